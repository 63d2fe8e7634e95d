//! One seed, many generators: every part of a run draws from its own, so that a new draw in one moves no other.

/// A generator for one part of a run: parts do not disturb each other's draws.
pub fn generator(seed: u64, part: &str, number: u64) -> fastrand::Rng {
    // FNV-1a over the part's name, so that a new part changes no other part's sequence.
    let mut mixed = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in part.bytes().chain(number.to_le_bytes()) {
        mixed = (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    fastrand::Rng::with_seed(mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generators_of_different_parts_differ() {
        let mut draws: Vec<u64> = [("disk", 1), ("disk", 2), ("net", 1)]
            .map(|(part, number)| generator(7, part, number).u64(..))
            .to_vec();
        draws.dedup();
        assert_eq!(draws.len(), 3);
        assert_eq!(generator(7, "disk", 1).u64(..), generator(7, "disk", 1).u64(..));
    }
}
