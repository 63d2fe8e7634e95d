//! Pauses between attempts: exponential with full jitter.
//!
//! The n-th pause is drawn evenly from nothing to `BASE * 2^n`, at most `MAX`. With full jitter the clients that failed
//! together do not come back together ("Exponential Backoff And Jitter", AWS architecture blog, 2015).

use std::time::Duration;

use super::edge::Entropy;

/// The longest that the first pause can be: a new leader is there within some tens of milliseconds.
const BASE: Duration = Duration::from_millis(20);
/// The longest that any pause can be.
const MAX: Duration = Duration::from_secs(1);

/// The longest that the pause behind `attempts` failed attempts can be.
pub(super) fn ceiling(attempts: u32) -> Duration {
    BASE.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(MAX)
}

/// The pause behind `attempts` failed attempts.
pub(super) fn pause(entropy: &Entropy, attempts: u32) -> Duration {
    entropy.up_to(ceiling(attempts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceilings_double_up_to_a_limit() {
        let ceilings: Vec<u128> = (1..9).map(|attempts| ceiling(attempts).as_millis()).collect();
        assert_eq!(ceilings, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(ceiling(u32::MAX), MAX);
    }

    #[test]
    fn pauses_are_spread_over_the_whole_range() {
        let entropy = Entropy::new(Some(7)).expect("seeded");
        let pauses: Vec<Duration> = (0..1000).map(|_| pause(&entropy, 3)).collect();
        assert!(pauses.iter().all(|pause| *pause <= ceiling(3)));
        let in_lower_half = pauses.iter().filter(|pause| **pause < ceiling(3) / 2).count();
        assert!((400..600).contains(&in_lower_half), "{in_lower_half} of 1000 in the lower half");
    }
}
