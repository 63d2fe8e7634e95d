//! What a seed draws: the group, its times and limits, which faults it knows and how often they come.
//!
//! Each seed is of its own kind: half of the faults are left out of it, limits are small more often than not, and what is
//! rare in one seed is common in another. A bug that needs three things at once is met where just these three are common.

use std::time::Duration;

use fastrand::Rng;
use quorate::raft::CLOCK_DRIFT_MAX_PPM;

use super::clock::{Instant, span};
use super::faults;
use super::weather::Weather;
use super::world::Setup;
use crate::seed;

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Swarm {
    /// The faults of this seed, each with the mean time between two strikes.
    pub(super) faults: Vec<(usize, Instant)>,
    /// How likely an election brings a fault upon the node that was elected or stands for it.
    pub(super) ambush: f64,
    /// Which fault that is.
    pub(super) ambush_fault: usize,
    /// It strikes up to this much later.
    pub(super) ambush_delay_max: Instant,
    /// How likely a fault is aimed at the leader.
    pub(super) aim: f64,
    /// The mean length of a fault.
    pub(super) length: Instant,
    /// The mean time between two operations.
    pub(super) pace: Instant,
    /// How much more often than usual the group is changed, or not at all.
    pub(super) churn: u32,
    /// The mean length of a storm.
    pub(super) storm: Instant,
    /// How likely a calm follows a storm.
    pub(super) calms: f64,
    /// The worst of the weather.
    pub(super) worst: Weather,
}

/// The group of a seed; with so many voters if that is given.
pub(super) fn setup(seed: u64, voters: Option<u64>) -> Setup {
    let mut rng = seed::generator(seed, "setup", 0);
    let drawn = [1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7][rng.usize(..12)];
    let mut setup = Setup::new(seed, voters.unwrap_or(drawn));
    setup.learners = if rng.u8(..4) == 0 { rng.u64(1..=2) } else { 0 };
    let election = Duration::from_millis([100, 250, 1_000][rng.usize(..3)]);
    let config = &mut setup.config;
    config.election_timeout = election;
    config.heartbeat_interval = election / rng.u32(3..=8);
    let bytes = |rng: &mut Rng| [1, 1, 150, 600, 100_000][rng.usize(..5)];
    config.append_batch_bytes_max = bytes(&mut rng);
    config.append_inflight_max = [1, 2, 8][rng.usize(..3)];
    config.append_inflight_bytes_max = bytes(&mut rng);
    config.uncommitted_bytes_max = [1_500, 6_000][rng.usize(..2)];
    config.cache_bytes_max = [0, 200, 100_000][rng.usize(..3)];
    config.apply_inflight_bytes_max = bytes(&mut rng);
    config.reads_waiting_max = [2, 8, 1_000][rng.usize(..3)];
    let are_clocks_off = rng.bool();
    let drift: Vec<u64> = (0..10).map(|_| rng.u64(880_000..=1_120_000)).collect();
    let stall = election * [1, 3, 3][rng.usize(..3)];
    (config.disk_stall_timeout, config.evidence_delay_max) = (stall, election / [2, 10, 20][rng.usize(..3)]);
    if rng.u8(..3) > 0 {
        let lease = election / [1, 1, 2][rng.usize(..3)];
        setup.lease_ms = u32::try_from(lease.as_millis()).expect("a short lease");
        setup.rates = rates_for_leases(&mut rng, setup.voters);
    } else if are_clocks_off {
        setup.rates = drift;
    }
    setup.compaction = [0.0, 0.3, 1.0][rng.usize(..3)];
    setup
}

/// The rates of ten clocks that leases can rely on; in half of all seeds one voter's is as slow as may be and all others' as fast,
/// which is worst for whoever leads by it.
fn rates_for_leases(rng: &mut Rng, voters: u64) -> Vec<u64> {
    let mut rates: Vec<u64> = (0..10).map(|_| rate_for_leases(rng)).collect();
    if rng.bool() {
        let (slow, fast) = slowest_and_fastest();
        rates.fill(fast);
        rates[rng.usize(..voters as usize)] = slow;
    }
    rates
}

/// How slow and how fast a clock may be at the most: the slowest counts 1 - drift while the fastest counts 1, and both are as
/// far from true time.
fn slowest_and_fastest() -> (u64, u64) {
    let drift = u64::from(CLOCK_DRIFT_MAX_PPM);
    let off = drift * 1_000_000 / (2_000_000 - drift);
    (1_000_000 - off + 1, 1_000_000 + off - 1)
}

/// A rate of a clock that leases can rely on: at most [`CLOCK_DRIFT_MAX_PPM`] apart from any other, and often just so.
pub(crate) fn rate_for_leases(rng: &mut Rng) -> u64 {
    let (slow, fast) = slowest_and_fastest();
    match rng.u8(..3) {
        0 => slow,
        1 => fast,
        _ => rng.u64(slow..=fast),
    }
}

impl Swarm {
    /// What this seed draws.
    pub(super) fn draw(seed: u64, setup: &Setup) -> Swarm {
        let mut rng = seed::generator(seed, "swarm", 0);
        let election = span(setup.config.election_timeout);
        let heartbeat = span(setup.config.heartbeat_interval);
        let around = |rng: &mut Rng, unit: Instant| {
            let (times, parts) = [(1, 5), (1, 3), (1, 2), (1, 1), (2, 1), (3, 1), (5, 1)][rng.usize(..7)];
            (unit * times / parts).max(1)
        };
        let mut chosen: Vec<(usize, Instant)> = Vec::new();
        while chosen.is_empty() {
            for fault in 0..faults::ALL.len() {
                if rng.bool() {
                    chosen.push((fault, around(&mut rng, election * 3)));
                }
            }
        }
        let worst = worst(&mut rng, election, heartbeat);
        let journey = worst.delay_min + worst.delay_spread + worst.sync_min + worst.sync_spread;
        Swarm {
            ambush: [0.0, 0.1, 0.4, 0.8][rng.usize(..4)],
            ambush_fault: chosen[rng.usize(..chosen.len())].0,
            ambush_delay_max: journey * [1, 4, 16][rng.usize(..3)],
            faults: chosen,
            aim: rng.f64(),
            length: around(&mut rng, election),
            pace: around(&mut rng, heartbeat / 2),
            churn: [0, 1, 1, 4, 12][rng.usize(..5)],
            storm: around(&mut rng, election * 6),
            calms: [0.25, 0.5, 1.0][rng.usize(..3)],
            worst,
        }
    }

    /// The weather of one storm: some of what this seed knows, more or less of it.
    pub(super) fn weather(&self, rng: &mut Rng) -> Weather {
        let mut weather = self.worst.clone();
        for probability in [
            &mut weather.loss,
            &mut weather.duplicate,
            &mut weather.straggle,
            &mut weather.slow_sync,
            &mut weather.late_completion,
            &mut weather.lost_completion,
            &mut weather.repeated_completion,
            &mut weather.late_tick,
            &mut weather.failed_fetch,
            &mut weather.broken_transfer,
            &mut weather.lazy,
        ] {
            *probability *= if rng.u8(..3) == 0 { 0.0 } else { rng.f64() };
        }
        weather
    }
}

/// The worst weather of a seed.
fn worst(rng: &mut Rng, election: Instant, heartbeat: Instant) -> Weather {
    let some = |rng: &mut Rng, max: f64| if rng.bool() { rng.f64() * max } else { 0.0 };
    Weather {
        delay_min: heartbeat / [400, 100, 20][rng.usize(..3)],
        delay_spread: heartbeat / [100, 20, 2][rng.usize(..3)],
        loss: some(rng, 0.4),
        duplicate: some(rng, 0.3),
        straggle: some(rng, 0.2),
        straggle_max: election * [1, 2, 4][rng.usize(..3)],
        sync_min: heartbeat / [400, 100, 20][rng.usize(..3)],
        sync_spread: heartbeat / [100, 20, 2][rng.usize(..3)],
        slow_sync: some(rng, 0.5),
        slow_sync_max: [heartbeat, election][rng.usize(..2)],
        late_completion: some(rng, 1.0),
        late_completion_max: [heartbeat, election][rng.usize(..2)],
        lost_completion: some(rng, 0.5),
        repeated_completion: some(rng, 0.5),
        late_tick: some(rng, 0.5),
        late_tick_max: [heartbeat, election * 2][rng.usize(..2)],
        failed_fetch: some(rng, 0.7),
        work_max: [heartbeat / 100, heartbeat / 4, election / 2][rng.usize(..3)],
        lazy: some(rng, 0.8),
        transfer_max: [heartbeat / 10, heartbeat, election][rng.usize(..3)],
        broken_transfer: some(rng, 0.4),
    }
}
