//! Clocks: a rate that is off, a wall clock that is set.

use super::kind::Kind;
use crate::cluster::world::World;

/// A clock that is right, in parts per million.
pub const RIGHT: u64 = 1_000_000;

impl World {
    /// A node's clock runs at `rate` parts per million of simulated time from now on.
    pub fn set_clock_rate(&mut self, id: u64, rate: u64) {
        if rate == RIGHT {
            self.ledger.end(Kind::ClockRate, id, "");
        } else {
            self.ledger.begin(Kind::ClockRate, id, "");
        }
        self.node(id).oscillator.set_rate(rate);
    }

    /// A node's wall clock is set `ms` ahead, or back.
    pub fn step_wall_clock(&mut self, id: u64, ms: i64) {
        self.ledger.fire(Kind::WallStep, id, &format!("{ms} ms"));
        self.node(id).oscillator.step_wall(ms);
    }
}
