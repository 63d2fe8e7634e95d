//! What each request is about: keys by their distribution, values from a pool.
//!
//! All is drawn from the plan's seed, so that two runs ask the same. Drawing must cost next to nothing, since it happens on the
//! machine that measures: a value is a piece of a pool that all share, and a key is sixteen digits.

use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;

use super::plan::{Distribution, KEY_PREFIX, Plan, Work};

/// The least size of the pool that values are cut from.
const POOL_BYTES_MIN: usize = 1 << 20;

/// What bytes values are made of: text that JSON carries as it is, six bits of entropy in each byte.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Ranks are spread over the keys by this prime: neighbours in popularity are no neighbours in the store's order.
const SCATTER: u64 = 4_294_967_291;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Write this.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
    },
    /// Read this.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Read what follows, in order.
    List {
        /// The first key.
        from: Bytes,
        /// At most so many.
        limit: u64,
    },
}

impl Op {
    /// Its kind.
    pub(crate) fn kind(&self) -> OpKind {
        match self {
            Op::Put { .. } => OpKind::Put,
            Op::Get { .. } => OpKind::Get,
            Op::List { .. } => OpKind::List,
        }
    }
}

/// Kinds of requests, which are measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpKind {
    /// A write.
    Put,
    /// A read of one key.
    Get,
    /// A read of many.
    List,
}

impl OpKind {
    /// All.
    pub(crate) const ALL: [OpKind; 3] = [OpKind::Put, OpKind::Get, OpKind::List];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            OpKind::Put => "put",
            OpKind::Get => "get",
            OpKind::List => "list",
        }
    }
}

/// What all clients of a run draw from.
pub(crate) struct Supply {
    work: Work,
    key_count: u64,
    digits: usize,
    value_bytes: usize,
    list_limit: u64,
    read_share: f64,
    zipf: Option<Zipf>,
    pool: Bytes,
    seed: u64,
}

impl Supply {
    /// As the plan has it.
    pub(crate) fn new(plan: &Plan) -> Arc<Supply> {
        let mut rng = Rng::with_seed(plan.seed);
        let size = POOL_BYTES_MIN.max(2 * plan.value_bytes);
        let pool: Vec<u8> = (0..size).map(|_| ALPHABET[rng.usize(..ALPHABET.len())]).collect();
        Arc::new(Supply {
            work: plan.work,
            key_count: plan.key_count,
            digits: plan.key_bytes - KEY_PREFIX.len(),
            value_bytes: plan.value_bytes,
            list_limit: plan.list_limit,
            read_share: plan.read_share,
            zipf: match plan.distribution {
                Distribution::Uniform => None,
                Distribution::Zipf(exponent) => Some(Zipf::new(plan.key_count, exponent)),
            },
            pool: pool.into(),
            seed: plan.seed,
        })
    }

    /// The nth client's own stream of requests.
    pub(crate) fn draw(self: &Arc<Supply>, client: usize) -> Draw {
        Draw {
            rng: Rng::with_seed(self.seed ^ (client as u64 + 1).wrapping_mul(SCATTER)),
            supply: self.clone(),
        }
    }

    /// How many keys there are.
    pub(crate) fn key_count(&self) -> u64 {
        self.key_count
    }

    /// The nth key.
    pub(crate) fn key(&self, at: u64) -> Bytes {
        format!("{KEY_PREFIX}{at:0width$}", width = self.digits).into()
    }

    fn value(&self, rng: &mut Rng) -> Bytes {
        let begin = rng.usize(..=self.pool.len() - self.value_bytes);
        self.pool.slice(begin..begin + self.value_bytes)
    }
}

/// A client's stream of requests.
pub(crate) struct Draw {
    supply: Arc<Supply>,
    rng: Rng,
}

impl Draw {
    /// The next one.
    pub(crate) fn next(&mut self) -> Op {
        let at = match &self.supply.zipf {
            None => self.rng.u64(..self.supply.key_count),
            Some(zipf) => {
                let rank = zipf.draw(&mut self.rng) - 1;
                let spread = u128::from(rank) * u128::from(SCATTER) % u128::from(self.supply.key_count);
                u64::try_from(spread).unwrap_or(rank)
            }
        };
        let key = self.supply.key(at);
        match self.supply.work {
            Work::Get => Op::Get { key },
            Work::List => Op::List { from: key, limit: self.supply.list_limit },
            Work::Mixed if self.rng.f64() < self.supply.read_share => Op::Get { key },
            Work::Put | Work::Mixed => Op::Put { key, value: self.supply.value(&mut self.rng) },
        }
    }

    /// A write of this key.
    pub(crate) fn put(&mut self, at: u64) -> Op {
        Op::Put { key: self.supply.key(at), value: self.supply.value(&mut self.rng) }
    }
}

/// The first key behind all that begin so.
pub(crate) fn after_all(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    let last = end.last_mut().expect("the prefix is not empty");
    *last = last.checked_add(1).expect("the prefix ends with a letter");
    end.into()
}

/// Ranks 1 to n, the nth in proportion to n to the power of minus the exponent, in constant time and without tables.
///
/// Rejection-inversion: W. Hoermann, G. Derflinger, "Rejection-inversion to generate variates from monotone discrete
/// distributions", ACM TOMACS 6.3 (1996). The names are the paper's: H is the integral of the hat function h.
pub(crate) struct Zipf {
    exponent: f64,
    count: f64,
    h_x1: f64,
    h_n: f64,
    s: f64,
}

impl Zipf {
    /// Ranks up to `count`.
    pub(crate) fn new(count: u64, exponent: f64) -> Zipf {
        assert!(count > 0 && exponent > 0.0, "{count} ranks, exponent {exponent}");
        let mut zipf = Zipf { exponent, count: count as f64, h_x1: 0.0, h_n: 0.0, s: 0.0 };
        zipf.h_x1 = zipf.h_integral(1.5) - 1.0;
        zipf.h_n = zipf.h_integral(zipf.count + 0.5);
        zipf.s = 2.0 - zipf.h_integral_inverse(zipf.h_integral(2.5) - zipf.h(2.0));
        zipf
    }

    /// A rank.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        loop {
            let u = self.h_n + rng.f64() * (self.h_x1 - self.h_n);
            let x = self.h_integral_inverse(u);
            let rank = x.round().clamp(1.0, self.count);
            if rank - x <= self.s || u >= self.h_integral(rank + 0.5) - self.h(rank) {
                return rank as u64;
            }
        }
    }

    fn h(&self, x: f64) -> f64 {
        (-self.exponent * x.ln()).exp()
    }

    /// The integral of `h` up to `x`; with exponent 1 it is the logarithm, and near 1 this form loses no digits.
    fn h_integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_minus_1_over((1.0 - self.exponent) * log) * log
    }

    fn h_integral_inverse(&self, x: f64) -> f64 {
        let t = (x * (1.0 - self.exponent)).max(-1.0);
        (log_1_plus_over(t) * x).exp()
    }
}

/// `(exp(x) - 1) / x`.
fn exp_minus_1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`.
fn log_1_plus_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn zipf_has_the_shape_of_its_law() {
        const DRAWS: u32 = 200_000;
        for exponent in [0.5, 0.99, 1.0, 1.1, 2.5] {
            let (zipf, mut rng) = (Zipf::new(1_000, exponent), Rng::with_seed(7));
            let mut seen = vec![0_u32; 1_001];
            for _ in 0..DRAWS {
                seen[usize::try_from(zipf.draw(&mut rng)).expect("a rank")] += 1;
            }
            assert_eq!(seen[0], 0, "ranks begin with 1");
            let whole: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-exponent)).sum();
            for (low, high) in [(1, 1), (2, 2), (3, 9), (10, 99), (100, 1_000)] {
                let share = |rank: u32| f64::from(rank).powf(-exponent) / whole;
                let expected = (low..=high).map(share).sum::<f64>() * f64::from(DRAWS);
                let found = f64::from((low..=high).map(|rank| seen[rank as usize]).sum::<u32>());
                // Five standard deviations; the seed is fixed, so this holds or does not.
                let slack = 5.0 * expected.sqrt();
                assert!(
                    (found - expected).abs() <= slack,
                    "{exponent}: ranks {low}-{high}: {found} not {expected}"
                );
            }
        }
    }

    #[test]
    fn one_rank_is_drawn_always() {
        let (zipf, mut rng) = (Zipf::new(1, 1.1), Rng::with_seed(1));
        assert!((0..100).all(|_| zipf.draw(&mut rng) == 1));
    }

    #[test]
    fn keys_have_the_size_and_are_those_of_the_plan() {
        let mut seen = BTreeMap::new();
        let supply = Supply::new(&Plan { key_count: 10, ..plan() });
        let mut draw = supply.draw(0);
        for _ in 0..1_000 {
            let Op::Put { key, value } = draw.next() else { panic!("the plan is to put") };
            assert_eq!((key.len(), value.len()), (16, 32));
            assert!(value.iter().all(|byte| ALPHABET.contains(byte)));
            *seen.entry(key).or_insert(0) += 1;
        }
        let all: Vec<Bytes> = (0..10).map(|at| supply.key(at)).collect();
        assert_eq!(seen.keys().cloned().collect::<Vec<_>>(), all);
        assert!(seen.values().all(|count| (50..200).contains(count)), "{seen:?}");
    }

    #[test]
    fn popular_keys_are_apart_and_all_keys_are_met() {
        let supply = Supply::new(&Plan {
            key_count: 100,
            distribution: Distribution::Zipf(0.5),
            work: Work::Get,
            ..plan()
        });
        let mut draw = supply.draw(3);
        let seen: std::collections::BTreeSet<Bytes> = (0..20_000)
            .map(|_| match draw.next() {
                Op::Get { key } => key,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(seen.len(), 100, "spreading ranks leaves none out");
    }

    #[test]
    fn a_seed_repeats_and_clients_differ() {
        let drawn = |seed, client| {
            let mut draw = Supply::new(&Plan { seed, ..plan() }).draw(client);
            (0..20).map(|_| draw.next()).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1, 0), drawn(1, 0));
        assert_ne!(drawn(1, 0), drawn(1, 1));
        assert_ne!(drawn(1, 0), drawn(2, 0));
    }

    #[test]
    fn mixed_work_has_its_share_of_reads() {
        let supply = Supply::new(&Plan { work: Work::Mixed, read_share: 0.9, ..plan() });
        let mut draw = supply.draw(0);
        let reads = (0..10_000).filter(|_| draw.next().kind() == OpKind::Get).count();
        assert!((8_800..9_200).contains(&reads), "{reads}");
    }
}
