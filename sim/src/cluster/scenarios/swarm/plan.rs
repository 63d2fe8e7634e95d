//! What a seed draws once, for the whole of its run.

use std::time::Duration;

use crate::cluster::faults::kind::Kind;

/// A seed's plan.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The kinds of faults there are, each as often as it is to be drawn.
    kinds: Vec<Kind>,
    /// How many storms there are at the least.
    pub storms: usize,
    /// How many clients work.
    pub clients: usize,
    /// The most faults of one storm.
    faults_max: usize,
    /// The longest time between the beginnings of two faults of a storm.
    gap_max: Duration,
    /// The longest that a fault lasts, as a rule.
    length_max: Duration,
    /// The longest that a node stays down, as a rule.
    downtime_max: Duration,
    /// Of how many faults that may choose a node one chooses the leader.
    pub leader_one_in: u32,
    /// Whether a fault that is for ever may come, and which.
    pub damage: Option<Kind>,
    /// Whether leaders take leases, so that no clock runs farther off than a lease can bear.
    pub leased: bool,
    /// The longest time between two orders to hand leadership over, if there are any.
    pub transfer_gap_max: Option<Duration>,
}

/// Of this many seeds with a majority to spare, one has a disk damaged in each of the ways.
const DAMAGES: [Option<Kind>; 6] =
    [Some(Kind::Rot), Some(Kind::Rot), Some(Kind::Misdirected), Some(Kind::Wiped), Some(Kind::Removed), None];

impl Plan {
    /// A plan for a cluster of so many nodes.
    pub fn draw(rng: &mut fastrand::Rng, nodes: u64) -> Plan {
        let possible: Vec<Kind> =
            Kind::ALL.iter().copied().filter(|kind| kind.is_possible(nodes) && !kind.is_damage()).collect();
        let mut kinds = Vec::new();
        // Some seeds have almost everything, some have little and much of it.
        let share = [20, 40, 40, 70][rng.usize(..4)];
        for kind in &possible {
            if rng.u32(..100) < share {
                kinds.extend(std::iter::repeat_n(*kind, [1, 1, 2, 4][rng.usize(..4)]));
            }
        }
        while kinds.len() < 3 {
            kinds.push(possible[rng.usize(..possible.len())]);
        }
        let damage = DAMAGES[rng.usize(..DAMAGES.len())].filter(|kind| kind.is_possible(nodes));
        Plan {
            kinds,
            // A few go on for minutes: some things take a long log, or many restarts.
            storms: [2, 2, 3, 3, 8][rng.usize(..5)],
            clients: rng.usize(2..=5),
            faults_max: [3, 5, 9][rng.usize(..3)],
            gap_max: Duration::from_millis([200, 800, 2_000][rng.usize(..3)]),
            length_max: Duration::from_millis([400, 2_000, 6_000][rng.usize(..3)]),
            downtime_max: Duration::from_millis([100, 1_000, 5_000][rng.usize(..3)]),
            leader_one_in: [1, 2, 4][rng.usize(..3)],
            damage,
            leased: rng.u32(..3) == 0,
            transfer_gap_max: [None, Some(1_500), Some(6_000)][rng.usize(..3)].map(Duration::from_millis),
        }
    }

    /// The faults of one storm, each with the time after which the next begins.
    pub fn faults(&self, rng: &mut fastrand::Rng) -> Vec<(Kind, Duration)> {
        let count = rng.usize(2..=self.faults_max);
        (0..count).map(|_| (self.kinds[rng.usize(..self.kinds.len())], up_to(self.gap_max, rng))).collect()
    }

    /// How long a fault lasts.
    pub fn length(&self, rng: &mut fastrand::Rng) -> Duration {
        if rng.u32(..10) == 0 { up_to(super::LENGTH_MAX, rng) } else { up_to(self.length_max, rng) }
    }

    /// How long a node stays down.
    pub fn downtime(&self, rng: &mut fastrand::Rng) -> Duration {
        up_to(self.downtime_max, rng)
    }

    /// How long the rest after a storm is.
    pub fn rest(&self, rng: &mut fastrand::Rng) -> Duration {
        Duration::from_millis(rng.u64(300..2_500))
    }
}

/// A time up to `max`, in milliseconds, never none.
pub fn up_to(max: Duration, rng: &mut fastrand::Rng) -> Duration {
    let max_ms = u64::try_from(max.as_millis()).expect("a run is short").max(1);
    Duration::from_millis(rng.u64(1..=max_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_drawn() {
        let mut drawn = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let plan = Plan::draw(&mut rng, 3);
            drawn.extend(plan.kinds.iter().copied());
            drawn.extend(plan.damage);
        }
        assert_eq!(drawn.len(), Kind::ALL.len());
    }

    #[test]
    fn a_single_node_has_no_peer_to_lose() {
        for seed in 0..200 {
            let plan = Plan::draw(&mut fastrand::Rng::with_seed(seed), 1);
            assert_eq!(plan.damage, None);
            assert!(!plan.kinds.contains(&Kind::Isolation) && plan.kinds.len() >= 3);
        }
    }
}
