//! The clock and entropy seam: a clock of its own for each node, on the simulated time line.
//!
//! A node's monotonic clock runs at a rate of its own and starts anywhere at each boot; its wall clock is off by
//! seconds to minutes and can be stepped; its random numbers come from the run's seed. While the node is paused its
//! clocks run on and its timers do not fire, as under SIGSTOP. Timers fire on whole milliseconds of simulated time.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::clock::{Clock, SharedClock, Sleep};
use quorate::types::Monotonic;

use crate::cluster::entropy;
use crate::cluster::power::SharedPower;

/// One million: a rate in parts per million is relative to it.
const MILLION: u128 = 1_000_000;

/// The wall clock at the start of every run: 2026-01-01.
pub const WALL_ORIGIN_MS: u64 = 1_767_225_600_000;

/// The longest that one simulated sleep waits before it looks at the clock again.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// A node's oscillator and battery clock: they outlive its crashes.
#[derive(Debug)]
pub struct Oscillator {
    state: Mutex<State>,
}

/// An oscillator, shared by the boots of a node and the world.
pub type SharedOscillator = Arc<Oscillator>;

#[derive(Debug)]
struct State {
    /// Local nanoseconds for each million of simulated ones, from `since` on.
    rate: u64,
    since: Duration,
    /// Local time at `since`.
    local_ns: u64,
    /// What the wall clock shows at local time 0.
    wall_ms: u64,
    /// The latest reading: a clock never goes back, also not from within a step to its beginning.
    now: Duration,
    rng: fastrand::Rng,
}

impl Oscillator {
    /// The clock hardware of node `number`: its rate is off by up to `drift` parts per million, its wall clock by up to
    /// a minute.
    pub fn new(seed: u64, number: u64, drift: u64) -> SharedOscillator {
        let mut rng = crate::seed::generator(seed, "clock", number);
        let state = State {
            rate: rng.u64(1_000_000 - drift..=1_000_000 + drift),
            since: Duration::ZERO,
            local_ns: rng.u64(0..1 << 50),
            wall_ms: WALL_ORIGIN_MS + rng.u64(0..60_000),
            now: Duration::ZERO,
            rng,
        };
        Arc::new(Oscillator { state: Mutex::new(state) })
    }

    /// From now on the clock runs at `rate` parts per million of simulated time.
    pub fn set_rate(&self, rate: u64) {
        assert!(rate > 0, "a clock that stands still is a pause");
        let mut state = self.lock();
        let now = state.simulated();
        state.local_ns = state.local_ns(now);
        state.since = now;
        state.rate = rate;
    }

    /// Steps the wall clock by `ms`.
    pub fn step_wall(&self, ms: i64) {
        let mut state = self.lock();
        state.wall_ms = state.wall_ms.saturating_add_signed(ms);
    }

    /// The clock of one boot.
    pub fn boot(self: &Arc<Self>, power: SharedPower) -> SharedClock {
        let (origin_ns, rng) = {
            let mut state = self.lock();
            let now = state.simulated();
            // Readings before and after a restart cannot be compared: the origin is anywhere.
            let origin_ns = state.local_ns(now) - state.rng.u64(0..1_000_000_000);
            (origin_ns, state.rng.fork())
        };
        Arc::new(NodeClock { oscillator: self.clone(), power, origin_ns, rng: Mutex::new(rng) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn simulated(&mut self) -> Duration {
        self.now = entropy::now().max(self.now);
        self.now
    }

    fn local_ns(&self, now: Duration) -> u64 {
        let elapsed = (now - self.since).as_nanos() * u128::from(self.rate) / MILLION;
        self.local_ns + u64::try_from(elapsed).expect("a run is shorter than 584 years")
    }
}

/// The clock of one boot of one node.
#[derive(Debug)]
struct NodeClock {
    oscillator: SharedOscillator,
    power: SharedPower,
    origin_ns: u64,
    rng: Mutex<fastrand::Rng>,
}

impl NodeClock {
    /// How long, in simulated time, until the local clock shows `deadline`; zero once it does.
    fn wait(&self, deadline: Monotonic) -> Duration {
        let local = deadline.since(self.now()).as_nanos();
        let rate = u128::from(self.oscillator.lock().rate);
        let simulated = (local * MILLION).div_ceil(rate);
        Duration::from_nanos(u64::try_from(simulated).unwrap_or(u64::MAX))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Monotonic {
        let mut state = self.oscillator.lock();
        let now = state.simulated();
        Monotonic(state.local_ns(now) - self.origin_ns)
    }

    fn wall_ms(&self) -> u64 {
        let mut state = self.oscillator.lock();
        let now = state.simulated();
        state.wall_ms + u64::try_from(now.as_millis()).expect("a run is shorter than 584 years")
    }

    fn sleep_until(&self, deadline: Monotonic) -> Sleep {
        let clock = NodeClock {
            oscillator: self.oscillator.clone(),
            power: self.power.clone(),
            origin_ns: self.origin_ns,
            rng: Mutex::new(fastrand::Rng::with_seed(0)),
        };
        Box::pin(async move {
            loop {
                clock.power.running().await;
                let wait = clock.wait(deadline);
                if wait.is_zero() {
                    return;
                }
                tokio::time::sleep(wait.min(SLEEP_MAX)).await;
            }
        })
    }

    fn random(&self) -> u64 {
        self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner).u64(..)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::cluster::power::Power;

    /// Runs `body` on a host for `steps` milliseconds, with `between` after each.
    fn simulate<F: Future<Output = ()> + 'static>(body: F, steps: u64, mut between: impl FnMut(u64)) {
        let mut sim = turmoil::Builder::new().rng_seed(1).build();
        sim.client("node1", async move {
            body.await;
            Ok(())
        });
        for step in 0..steps {
            sim.step().expect("the host does not fail");
            between(step);
        }
    }

    #[test]
    fn a_fast_clock_fires_early_on_the_simulated_time_line() {
        let oscillator = Oscillator::new(1, 1, 0);
        oscillator.set_rate(2_000_000);
        let woke = Rc::new(RefCell::new(None));
        let noted = woke.clone();
        let body = async move {
            let clock = oscillator.boot(Power::on());
            let deadline = clock.now().plus(Duration::from_millis(200));
            clock.sleep_until(deadline).await;
            assert!(clock.now() >= deadline);
            noted.replace(turmoil::sim_elapsed());
        };
        simulate(body, 150, |_| {});
        let woke = woke.take().expect("it woke up");
        assert!((Duration::from_millis(99)..=Duration::from_millis(102)).contains(&woke), "{woke:?}");
    }

    #[test]
    fn no_timer_fires_in_a_pause_and_all_that_are_due_fire_after_it() {
        let oscillator = Oscillator::new(1, 1, 0);
        let power = Power::on();
        let woke = Rc::new(RefCell::new(None));
        let (noted, node_power) = (woke.clone(), power.clone());
        let body = async move {
            let clock = oscillator.boot(node_power);
            let start = clock.now();
            clock.sleep_until(start.plus(Duration::from_millis(50))).await;
            noted.replace(Some(clock.now().since(start)));
        };
        power.pause();
        simulate(body, 300, |step| {
            if step == 200 {
                assert_eq!(*woke.borrow(), None, "it is frozen");
                power.resume();
            }
        });
        let after = woke.take().expect("it woke up");
        assert!(after >= Duration::from_millis(199), "its clock ran on: {after:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_and_each_boot_anew() {
        let draws = |seed| {
            let oscillator = Oscillator::new(seed, 1, 200);
            let draw = |clock: SharedClock| (clock.random(), clock.random(), clock.wall_ms());
            [draw(oscillator.boot(Power::on())), draw(oscillator.boot(Power::on()))]
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert_ne!(draws(1)[0].0, draws(1)[1].0);
    }

    #[test]
    fn a_wall_clock_can_be_stepped_and_the_monotonic_one_cannot() {
        let oscillator = Oscillator::new(1, 1, 200);
        let clock = oscillator.boot(Power::on());
        let (wall, now) = (clock.wall_ms(), clock.now());
        oscillator.step_wall(-10_000);
        assert_eq!(clock.wall_ms(), wall - 10_000);
        assert_eq!(clock.now(), now);
    }
}
