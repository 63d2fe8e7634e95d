//! How the network, the disks and the machines behave just now: what every message, fsync and tick is subject to.
//!
//! Weather is about probabilities; what strikes a certain node or link at a certain time is a [fault](super::faults).

use fastrand::Rng;

use super::clock::Instant;

/// How messages, disks and clocks behave where no fault strikes. Probabilities are from 0 to 1, times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Weather {
    /// The least time that a message takes.
    pub delay_min: Instant,
    /// And what comes on top: anything up to this.
    pub delay_spread: Instant,
    /// A message is lost.
    pub loss: f64,
    /// A message arrives twice.
    pub duplicate: f64,
    /// A message takes up to `straggle_max` longer, and is overtaken.
    pub straggle: f64,
    /// See `straggle`.
    pub straggle_max: Instant,
    /// The least time that an fsync takes.
    pub sync_min: Instant,
    /// And what comes on top: anything up to this.
    pub sync_spread: Instant,
    /// An fsync takes up to `slow_sync_max` longer.
    pub slow_sync: f64,
    /// See `slow_sync`.
    pub slow_sync_max: Instant,
    /// The core is told of a completed write up to `late_completion_max` later, and so perhaps out of order.
    pub late_completion: f64,
    /// See `late_completion`.
    pub late_completion_max: Instant,
    /// The core is not told of a completed write at all: a later completion attests it.
    pub lost_completion: f64,
    /// The core is told of an old write once more.
    pub repeated_completion: f64,
    /// A deadline is judged up to `late_tick_max` too late.
    pub late_tick: f64,
    /// See `late_tick`.
    pub late_tick_max: Instant,
    /// Entries cannot be read back.
    pub failed_fetch: f64,
    /// The most time that a chunk of a snapshot takes.
    pub transfer_max: Instant,
    /// The transfer of a snapshot breaks off, at each of its chunks.
    pub broken_transfer: f64,
    /// The most time that applying a batch, or reading entries back, takes.
    pub work_max: Instant,
    /// The driver does not collect at once what the core has made, but up to `work_max` later, and more with it.
    pub lazy: f64,
}

impl Weather {
    /// Fair weather for a group with this heartbeat interval: everything is quick and nothing fails.
    pub fn calm(heartbeat: Instant) -> Weather {
        Weather {
            delay_min: heartbeat / 200,
            delay_spread: heartbeat / 40,
            loss: 0.0,
            duplicate: 0.0,
            straggle: 0.0,
            straggle_max: 0,
            sync_min: heartbeat / 400,
            sync_spread: heartbeat / 40,
            slow_sync: 0.0,
            slow_sync_max: 0,
            late_completion: 0.0,
            late_completion_max: 0,
            lost_completion: 0.0,
            repeated_completion: 0.0,
            late_tick: 0.0,
            late_tick_max: 0,
            failed_fetch: 0.0,
            transfer_max: heartbeat / 10,
            broken_transfer: 0.0,
            work_max: heartbeat / 100,
            lazy: 0.0,
        }
    }

    /// Whether messages are lost, repeated or overtaken.
    pub fn is_network_foul(&self) -> bool {
        self.loss + self.duplicate + self.straggle > 0.0
    }

    /// Whether fsyncs or their completions misbehave.
    pub fn is_disk_foul(&self) -> bool {
        self.slow_sync + self.late_completion + self.lost_completion + self.repeated_completion > 0.0
    }
}

/// Whether something of this probability happens. Draws nothing where that is certain.
pub fn chance(rng: &mut Rng, probability: f64) -> bool {
    probability > 0.0 && rng.f64() < probability
}

/// Some time, at most `max`.
pub fn up_to(rng: &mut Rng, max: Instant) -> Instant {
    rng.u64(..=max)
}
