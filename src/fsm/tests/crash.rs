//! The power goes between any two calls to the disk (covers H20, H21).

use bytes::Bytes;

use super::support::*;
use crate::command::Command;
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{Body, Error, Input, Options, Store};
use crate::types::{ClientId, Index, Term};

/// A log with folds in it: batches of entries, each followed by a fold.
struct Scenario {
    log: Vec<Input>,
    /// After so many entries there is a fold.
    folds: Vec<usize>,
    options: Options,
}

impl Scenario {
    /// All kinds of entries; small.
    fn small() -> Scenario {
        let mut log = vec![];
        let mut add = |body: &dyn Fn(u64) -> Input| log.push(body(log.len() as u64 + 1));
        for round in 0..3_u64 {
            add(&|index| input(index, Command::OpenSession { client: ClientId(u128::from(round)) }));
            let session = Some(at(u128::from(round), 1, 1));
            add(&|index| input_of(index, &envelope(session, write(vec![put("in a session", "v")]))));
            for key in 0..12 {
                let (name, value) = (format!("key {}", key * (round + 1)), "v".repeat(40 * key as usize));
                add(&|index| input(index, write(vec![put(&name, &value), delete(&format!("key {key}"))])));
            }
            add(&|index| Input {
                index: Index(index),
                term: Term(1),
                body: Body::Membership(Bytes::from(format!("membership {round}"))),
            });
        }
        let folds = vec![10, 15, 33, 45];
        // A cache of next to nothing makes redb write and read pages in the middle of a transaction.
        Scenario { log, folds, options: Options { cache_bytes: 4_096, ..options() } }
    }

    /// Large values come and go, so that the file grows past a group of checksums, and shrinks.
    fn large() -> Scenario {
        let large = "x".repeat(360_000);
        let log = (1..=24)
            .map(|index| {
                let name = format!("key {}", index % 12);
                let op = if index <= 12 { put(&name, &large) } else { delete(&name) };
                input(index, write(vec![op]))
            })
            .collect();
        let options = Options { write_set_bytes_max: 1 << 30, ..options() };
        Scenario { log, folds: vec![6, 12, 18, 24], options }
    }

    fn open(&self, file: &CrashFile) -> Result<Store, Error> {
        Store::open(Box::new(file.clone()), self.options.clone())
    }

    /// Runs until the power goes or the log ends. Returns the index of the last fold that was acknowledged, and of
    /// the one under way.
    fn run(&self, file: &CrashFile) -> (u64, u64) {
        let (mut acked, mut tried) = (0, 0);
        let Ok(store) = self.open(file) else { return (acked, tried) };
        let mut done = 0;
        for &fold in &self.folds {
            // Applying may read from the file, and fail with it.
            if store.apply(&self.log[done..fold]).is_err() {
                break;
            }
            done = fold;
            tried = fold as u64;
            match store.fold() {
                Ok((folded, _)) => acked = folded.0,
                Err(_) => break,
            }
        }
        (acked, tried)
    }

    /// How many calls there are without a crash, and the state at the end.
    fn measure(&self) -> (u64, State) {
        let file = CrashFile::new();
        self.run(&file);
        let calls = file.calls();
        let state = State::of(&self.open(&file).expect("reopen"));
        assert_eq!(state.applied.0.0 as usize, self.log.len(), "the last fold takes the whole log");
        (calls, state)
    }

    /// Opens what a crash left, replays the log, and compares.
    fn recover(
        &self,
        file: &CrashFile,
        (acked, tried): (u64, u64),
        expected: &State,
        and_on: bool,
        when: &str,
    ) {
        let store = self.open(file).unwrap_or_else(|error| panic!("{when}: {error}"));
        let folded = store.folded().0.0;
        assert!(
            folded == acked || folded == tried,
            "{when}: folded is {folded}, acknowledged was {acked}, under way {tried}"
        );
        store.apply(&self.log[folded as usize..]).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(State::of(&store), *expected, "{when}");
        if !and_on {
            return;
        }
        // And it goes on: a fold over what the crash left behind.
        store.fold().unwrap_or_else(|error| panic!("{when}: {error}"));
        drop(store);
        let store = self.open(file).unwrap_or_else(|error| panic!("{when}: {error}"));
        assert_eq!(State::of(&store), *expected, "{when}, after a fold");
    }

    fn crash_everywhere(&self, every: usize) {
        let (calls, expected) = self.measure();
        assert!(calls > 50, "only {calls} calls: the scenario does not reach the disk");
        for cut in (0..=calls).step_by(every) {
            let file = CrashFile::new();
            file.cut_after(cut);
            let folds = self.run(&file);
            for loss in Loss::EVERY {
                let draws = if matches!(loss, Loss::Writes | Loss::Sectors) { 4 } else { 1 };
                for draw in 0..draws {
                    let seed = (cut << 8) + draw;
                    let when = format!("cut after call {cut} of {calls}, losing {loss:?} by seed {seed}");
                    let and_on = loss == Loss::Sectors && draw == 0;
                    self.recover(&file.reboot(loss, seed), folds, &expected, and_on, &when);
                }
            }
        }
    }
}

#[test]
fn a_crash_between_any_two_calls_loses_no_fold_and_tears_none() {
    Scenario::small().crash_everywhere(1);
}

#[test]
fn a_crash_while_the_file_grows_and_shrinks_is_survived() {
    let scenario = Scenario::large();
    let file = CrashFile::new();
    let mut lengths = vec![];
    let store = scenario.open(&file).expect("open");
    let mut done = 0;
    for &fold in &scenario.folds {
        store.apply(&scenario.log[done..fold]).expect("apply");
        store.fold().expect("fold");
        done = fold;
        lengths.push(file.bytes().len());
    }
    drop(store);
    let (most, last) = (lengths.iter().max().expect("lengths"), file.bytes().len());
    assert!(*most > 4 << 20 && last < *most / 2, "the file never grew or never shrank: {lengths:?}, {last}");
    let (calls, _) = scenario.measure();
    scenario.crash_everywhere(calls as usize / 8);
}

/// The power goes again while the store is being opened after a crash.
#[test]
fn a_crash_during_recovery_is_survived() {
    let scenario = Scenario::small();
    let (calls, expected) = scenario.measure();
    for cut in (0..=calls).step_by(11) {
        let file = CrashFile::new();
        file.cut_after(cut);
        let folds = scenario.run(&file);
        for (again, loss) in (0..12).zip(Loss::EVERY.into_iter().cycle()) {
            let second = file.reboot(loss, cut + again);
            second.cut_after(again);
            drop(scenario.open(&second));
            let when = format!("cut after call {cut}, losing {loss:?}, and again after {again}");
            let third = second.reboot(Loss::Sectors, cut + again);
            scenario.recover(&third, folds, &expected, false, &when);
        }
    }
}

/// Covers H15: whichever call fails, nothing is tried after it, and a restart finds what was folded.
#[test]
fn a_failed_call_stops_the_store_for_good() {
    let scenario = Scenario::small();
    let (calls, expected) = scenario.measure();
    for failing in 0..calls {
        let file = CrashFile::new();
        file.fail_after(failing);
        let (mut acked, mut tried) = (0, 0);
        if let Ok(store) = scenario.open(&file) {
            let mut done = 0;
            for &fold in &scenario.folds {
                let applied = store.apply(&scenario.log[done..fold]).map(|_| ());
                if applied.is_ok() {
                    (done, tried) = (fold, fold as u64);
                }
                match applied.and_then(|()| store.fold()) {
                    Ok((folded, _)) => acked = folded.0,
                    Err(error) => {
                        assert!(matches!(error, Error::Io { .. }), "call {failing}: {error}");
                        let calls = file.calls();
                        assert_eq!(store.fold(), Err(error.clone()), "call {failing}");
                        assert_eq!(dump(&store), Err(error), "call {failing}");
                        drop(store);
                        assert_eq!(
                            file.calls(),
                            calls,
                            "the disk was written to after call {failing} failed"
                        );
                        break;
                    }
                }
            }
        }
        let when = format!("call {failing} failed");
        scenario.recover(&file.reboot(Loss::Sectors, failing), (acked, tried), &expected, false, &when);
    }
}
