//! One seed is one run: the same trace hash in two processes, started at different times and with different pasts.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// How many seeds of each simulator are run twice, if `QUORATE_DETERMINISM_SEEDS` does not say it.
const SEEDS: u64 = 3;

/// The last `trace hash: ...` that the binary prints in a process of its own.
fn last_hash(scenario: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args(["cluster", "--scenario", scenario])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let hash = text
        .rsplit_once("trace hash: ")
        .and_then(|(_, hash)| Some(hash.split_whitespace().next()?.to_owned()));
    hash.unwrap_or_else(|| panic!("no trace hash in {text}"))
}

/// The second process runs another seed before: tokio numbers its tasks through the process, and the order in which a
/// crash drops them once came from these numbers.
#[test]
fn a_seed_repeats_exactly_in_another_process() {
    let mut hashes = BTreeSet::new();
    for (seed, scenario) in [("1", "crash-leader"), ("2", "restart-all"), ("3", "swarm"), ("4", "swarm")] {
        let before = (seed.parse::<u64>().expect("a number") - 1).to_string();
        let alone = last_hash(scenario, &["--seed", seed]);
        let second = last_hash(scenario, &["--from", &before, "--seeds", "2", "--jobs", "1", "--verbose"]);
        assert_eq!(second, alone, "seed {seed} of {scenario}");
        hashes.insert(alone);
    }
    assert_eq!(hashes.len(), 4, "another seed is another run");
}

/// Each seed's hash, of the first `seeds` seeds run by a process that runs so many at a time.
fn hashes(simulator: &str, seeds: u64, jobs: &str) -> BTreeMap<u64, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
        .args([simulator, "--from", "1", "--seeds", &seeds.to_string(), "--jobs", jobs, "--verbose"])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let of_line = |line: &str| {
        let seed = line.strip_prefix("seed ")?.split_once(':')?.0.parse().ok()?;
        Some((seed, line.rsplit_once("trace hash: ")?.1.to_owned()))
    };
    text.lines().filter_map(of_line).collect()
}

/// What else a process runs, and beside it, is nothing to a seed.
#[test]
fn seeds_repeat_beside_others() {
    let asked = std::env::var("QUORATE_DETERMINISM_SEEDS").ok();
    let seeds = asked.map_or(SEEDS, |text| text.parse().expect("QUORATE_DETERMINISM_SEEDS is a number"));
    for simulator in ["core", "cluster"] {
        let (alone, beside) = (hashes(simulator, seeds, "1"), hashes(simulator, seeds, "2"));
        assert_eq!(alone.len() as u64, seeds);
        assert_eq!(alone, beside, "{simulator}");
    }
}

#[test]
fn a_wrong_command_line_is_refused() {
    for wrong in [&["--scenario", "no such"][..], &["--scenario", "story", "--calm"]] {
        let status = Command::new(env!("CARGO_BIN_EXE_quorate-sim"))
            .arg("cluster")
            .args(wrong)
            .output()
            .expect("the binary runs")
            .status;
        assert_eq!(status.code(), Some(2), "{wrong:?}");
    }
}
