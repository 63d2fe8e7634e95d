//! Pins the two system calls through which third-party code would reach real entropy and real time.
//!
//! Quorate itself reads both through its clock seam. Below it, std's `RandomState` seeds every `HashMap` from
//! `getrandom`, and a few crates call `Instant::now` (h2 for streams it reset, hyper for its timers' origin). This
//! module defines both C symbols for the whole binary: on a thread that is simulating, `getrandom` draws from the
//! run's seed and `clock_gettime` answers the simulated time; on every other thread they ask the kernel. std links
//! against the symbols by name, so the definitions here win over libc's.
//!
//! A run gets a thread of its own ([`simulating`]): std keeps the hash keys of a thread for its whole life, and a
//! thread that made a `HashMap` before the run would bring real entropy into it. Out of reach are crates that look
//! `getrandom` up at run time (the `getrandom` crate); none is called in a run, which the determinism test shows.

use std::cell::{Cell, RefCell};
use std::time::Duration;

thread_local! {
    /// The generator behind `getrandom`, while this thread simulates.
    static GENERATOR: RefCell<Option<fastrand::Rng>> = const { RefCell::new(None) };
    /// What `clock_gettime` answers, in nanoseconds, while this thread simulates.
    static NOW_NS: Cell<Option<u64>> = const { Cell::new(None) };
}

/// One step of the simulation.
pub const STEP: Duration = Duration::from_millis(1);

/// Where simulated time starts: late enough that code may subtract from it.
const ORIGIN_NS: u64 = 1_700_000_000 * 1_000_000_000;

/// Runs `body` on a thread whose entropy and time come from `seed`, and returns what it returned, or its panic.
pub fn simulating<T: Send>(seed: u64, body: impl FnOnce() -> T + Send) -> std::thread::Result<T> {
    let pinned = move || {
        GENERATOR.set(Some(fastrand::Rng::with_seed(seed)));
        NOW_NS.set(Some(ORIGIN_NS));
        // What the body leaves in thread locals is dropped after it, on real time: nothing of the run depends on it.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        GENERATOR.set(None);
        NOW_NS.set(None);
        result
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name(format!("seed {seed}")).stack_size(16 << 20);
        let thread = builder.spawn_scoped(scope, pinned).expect("the system has a thread to give");
        thread.join().and_then(|result| result)
    })
}

/// Whether this thread simulates.
pub fn is_simulating() -> bool {
    NOW_NS.try_with(Cell::get).is_ok_and(|now| now.is_some())
}

/// Moves this thread's simulated time to `elapsed` after its origin.
pub fn advance_to(elapsed: Duration) {
    let elapsed_ns = u64::try_from(elapsed.as_nanos()).expect("a run is shorter than 584 years");
    let now = ORIGIN_NS + elapsed_ns;
    let before = NOW_NS.replace(Some(now)).expect("only a simulating thread advances time");
    assert!(before <= now, "time went back from {before} to {now} ns");
}

/// The simulated time since the run began.
///
/// It is turmoil's, as long as that lies within the current step. It does not while a host is being restarted: turmoil
/// then counts the time it was down twice. Outside a run it is turmoil's, and zero outside a simulation.
pub fn now() -> Duration {
    let began = NOW_NS.get().map(|now| Duration::from_nanos(now - ORIGIN_NS));
    match (began, turmoil::sim_elapsed()) {
        (Some(began), Some(now)) if (began..=began + STEP).contains(&now) => now,
        (Some(began), _) => began,
        (None, now) => now.unwrap_or_default(),
    }
}

/// Answers libc's `getrandom`.
///
/// # Safety
/// As for libc's: `buffer` points to `len` writable bytes.
#[allow(unsafe_code, reason = "the symbol that std links against has a C signature")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut libc::c_void, len: usize, flags: libc::c_uint) -> isize {
    // A thread that is ending has lost its thread locals: it gets the kernel's answer.
    let drawn = GENERATOR.try_with(|generator| {
        let mut generator = generator.try_borrow_mut().ok()?;
        let generator = generator.as_mut()?;
        // SAFETY: the caller promises `len` writable bytes at `buffer`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len) };
        bytes.fill_with(|| generator.u8(..));
        isize::try_from(len).ok()
    });
    match drawn {
        Ok(Some(len)) => len,
        // SAFETY: the arguments are the caller's, and the kernel checks them.
        _ => unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize },
    }
}

/// Answers libc's `clock_gettime`.
///
/// # Safety
/// As for libc's: `time` points to a writable `timespec`.
#[allow(unsafe_code, reason = "the symbol that std links against has a C signature")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    match NOW_NS.try_with(Cell::get) {
        Ok(Some(now)) => {
            let seconds = libc::time_t::try_from(now / 1_000_000_000).unwrap_or(libc::time_t::MAX);
            let nanos = libc::c_long::try_from(now % 1_000_000_000).unwrap_or(0);
            // SAFETY: the caller promises a writable timespec.
            unsafe { time.write(libc::timespec { tv_sec: seconds, tv_nsec: nanos }) };
            0
        }
        // SAFETY: the arguments are the caller's, and the kernel checks them.
        _ => unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int },
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "that they are pinned is what is tested")]
mod tests {
    use std::collections::HashMap;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use super::*;

    fn hash_order(seed: u64) -> Vec<u32> {
        simulating(seed, || (0..64).map(|n| (n, ())).collect::<HashMap<u32, ()>>().into_keys().collect())
            .expect("the body does not panic")
    }

    #[test]
    fn hash_maps_iterate_in_the_order_of_the_seed() {
        assert_eq!(hash_order(1), hash_order(1));
        assert_ne!(hash_order(1), hash_order(2), "another seed is another order");
    }

    #[test]
    fn time_moves_only_when_the_run_moves_it() {
        let (before, at_once, after, wall) = simulating(1, || {
            let before = Instant::now();
            std::thread::yield_now();
            let at_once = Instant::now();
            advance_to(Duration::from_secs(7));
            (before, at_once, Instant::now(), SystemTime::now())
        })
        .expect("the body does not panic");
        assert_eq!(before, at_once);
        assert_eq!(after.duration_since(before), Duration::from_secs(7));
        let wall = wall.duration_since(UNIX_EPOCH).expect("after the epoch");
        assert_eq!(wall, Duration::from_nanos(ORIGIN_NS) + Duration::from_secs(7));
    }

    #[test]
    fn other_threads_keep_the_kernels_time_and_entropy() {
        let sample = || std::thread::spawn(|| fastrand::u64(..)).join().expect("the thread ends");
        assert_ne!(sample(), sample());
        let start = Instant::now();
        while start.elapsed().is_zero() {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_panic_comes_back_as_an_error() {
        assert!(simulating(1, || panic!("on purpose")).is_err());
    }
}
