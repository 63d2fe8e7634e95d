//! One target of `quorate::fuzzing` under libFuzzer: which one is this binary's name. Half of the mutants are the
//! project's own, which know of structure and mend checksums; the others are libFuzzer's.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use quorate::fuzzing::{Target, mutate, target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| target(env!("CARGO_BIN_NAME")));

fuzz_target!(|input: &[u8]| {
    (TARGET.check)(input);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = fastrand::Rng::with_seed(seed.into());
    let mut input = data[..size].to_vec();
    if random.bool() {
        let donor = input.clone();
        mutate(&mut random, &mut input, &donor);
    } else {
        let size = fuzzer_mutate(data, size, max_size);
        input = data[..size].to_vec();
    }
    if random.bool() {
        (TARGET.mend)(&mut input);
    }
    let size = input.len().min(max_size);
    data[..size].copy_from_slice(&input[..size]);
    size
});
