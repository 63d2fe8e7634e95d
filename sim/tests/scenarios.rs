//! The product in the simulation: a few seeds of each scenario. More by hand: `cargo run -p quorate-sim -- --help`.

use quorate_sim::cluster::scenarios::swarm;
use quorate_sim::cluster::world::{self, Options, Report};
use quorate_sim::cluster::{assembly, scenarios};

fn run(scenario: &str, seed: u64, nodes: u64) -> Report {
    let play = scenarios::find(scenario).expect("it exists").play;
    let report = world::run(&Options { seed, nodes, trace: None, log: false }, &assembly::production(), play);
    let command = format!(
        "cargo run -p quorate-sim -- cluster --seed {seed} --scenario {scenario} --nodes {nodes} --log"
    );
    assert_eq!(report.violation, None, "reproduce: {command}");
    report
}

/// Two seeds of a scenario with three nodes; what `counter` counted in both.
fn played(scenario: &str, counter: &str) -> u64 {
    let count = |seed| run(scenario, seed, 3).counters.get(counter).copied().unwrap_or(0);
    count(1) + count(2)
}

#[test]
fn elects_a_leader() {
    assert!(played("elect", "role changes") >= 2);
}

#[test]
fn writes_through_every_node() {
    assert!(played("write", "acked") >= 120);
}

#[test]
fn survives_a_crash_of_the_leader() {
    assert!(played("crash-leader", "crashes") == 2);
}

#[test]
fn goes_on_without_a_leader_that_is_cut_off() {
    assert!(played("partition-leader", "links cut") == 4);
}

#[test]
fn goes_on_without_a_leader_that_is_frozen() {
    assert!(played("pause-leader", "pauses") == 2);
}

#[test]
fn serves_nothing_stale_from_a_leader_that_is_cut_off() {
    assert!(played("stale-read", "reads refused by a cut-off leader") == 10);
}

#[test]
fn keeps_every_acknowledged_write_when_all_crash() {
    assert!(played("restart-all", "crashes") == 18);
}

#[test]
fn restarts_one_by_one() {
    for seed in [1, 2] {
        let counters = run("rolling-restart", seed, 3).counters;
        assert!(counters["final reads"] > 0);
        // Whoever leads hands over before it stops: others do not have to find out that it is gone.
        let stopped = counters["leaders stopped in good order"];
        assert!(stopped > 0 && stopped == counters["of them replaced before that"], "{counters:?}");
    }
}

#[test]
fn the_swarm_finds_nothing_and_does_enough() {
    for seed in 1..=3 {
        let report = run("swarm", seed, swarm::nodes(seed));
        for (counter, quota) in swarm::QUOTAS {
            let count = report.counters.get(counter).copied().unwrap_or(0);
            assert!(count >= *quota, "seed {seed}: {counter} {count} of {quota}");
        }
        assert!(!report.faults.is_empty(), "seed {seed} had no fault");
    }
}

/// Exactly once is judged in every run; this is to see that there is something to judge.
#[test]
fn clients_of_the_library_write_once_through_every_fault() {
    let mut counters = quorate_sim::run::Counters::default();
    for seed in 1..=6 {
        for (counter, count) in run("swarm", seed, swarm::nodes(seed)).counters {
            *counters.entry(counter).or_default() += count;
        }
    }
    for counter in ["txns", "txns refused", "known by resuming"] {
        assert!(counters.get(counter).is_some_and(|count| *count > 0), "no {counter}: {counters:?}");
    }
}

#[test]
fn a_calm_run_has_its_operations_and_no_fault() {
    let report = run("calm", 1, 3);
    assert!(report.counters["operations"] >= quorate_sim::run::CALM_OPERATIONS);
    assert!(report.faults.is_empty(), "{:?}", report.faults);
}

#[test]
fn works_with_one_and_with_five_nodes() {
    run("story", 1, 1);
    run("crash-leader", 1, 5);
}
