//! Random histories against the model, with crashes that lose random parts of what was not synced, and a reader that
//! reads while the log is written.

use proptest::prelude::*;

use super::*;
use crate::wal::fs::testing::Fault;

/// One thing that happens. Numbers are reduced to what is possible in the state they meet.
#[derive(Clone, Debug)]
enum Op {
    Append {
        writes: Vec<Write>,
    },
    Purge {
        other: bool,
        keep: u64,
    },
    Switch {
        other: bool,
    },
    Restart {
        crash: Option<u64>,
    },
    /// The process dies at a call of the next append or purge, or of the open after that.
    CrashAt {
        call: u64,
        seed: u64,
    },
}

#[derive(Clone, Debug)]
struct Write {
    other: bool,
    back: u64,
    lens: Vec<usize>,
    vote: Option<u64>,
    install: Option<Snapshot>,
}

/// A snapshot that ends so far from the last entry, before or behind it; of the term that the log has there, or not.
#[derive(Clone, Debug)]
struct Snapshot {
    distance: i64,
    conflicts: bool,
    nodes: u64,
}

fn a_snapshot() -> impl Strategy<Value = Snapshot> {
    (-8..6_i64, any::<bool>(), 1..15_u64).prop_map(|(distance, conflicts, nodes)| Snapshot {
        distance,
        conflicts,
        nodes,
    })
}

fn a_write() -> impl Strategy<Value = Write> {
    let len = prop_oneof![4 => 0..200_usize, 2 => 200..1500_usize, 1 => Just(448), 1 => 1500..6000_usize];
    let vote = prop::option::weighted(0.3, 0..4_u64);
    let back = prop_oneof![5 => Just(0_u64), 1 => 1..6_u64];
    let install = prop::option::weighted(0.12, a_snapshot());
    (any::<bool>(), back, prop::collection::vec(len, 0..5), vote, install)
        .prop_map(|(other, back, lens, vote, install)| Write { other, back, lens, vote, install })
}

fn an_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(a_write(), 1..4).prop_map(|writes| Op::Append { writes }),
        3 => (any::<bool>(), 0..6_u64).prop_map(|(other, keep)| Op::Purge { other, keep }),
        1 => any::<bool>().prop_map(|other| Op::Switch { other }),
        1 => prop::option::of(any::<u64>()).prop_map(|crash| Op::Restart { crash }),
        3 => (0..24_u64, any::<u64>()).prop_map(|(call, seed)| Op::CrashAt { call, seed }),
    ]
}

/// Makes a batch that is allowed in this state of the log.
fn batch_of(model: &Model, writes: &[Write]) -> Vec<GroupWrite> {
    let mut model = model.clone();
    let mut batch = Vec::new();
    for draft in writes {
        let group = if draft.other { OTHER } else { GROUP };
        let state = model.groups[&group].hard_state;
        let (last, last_term) = model.last(group);
        let held = model.groups[&group].entries.len() as u64;
        let first = last.0 + 1 - draft.back.min(held);
        // A truncation comes with a new leader, and so with a new term.
        let new_term = draft.back > 0 || draft.vote.is_some() || draft.install.is_some();
        let term = state.term.0.max(last_term.0).max(1) + u64::from(new_term);
        let hard_state = new_term.then(|| hard_state(term, draft.vote.unwrap_or(0), first.saturating_sub(1)));
        let install = draft.install.as_ref().and_then(|draft| install_of(&model, group, draft, term));
        let mut after = model.clone();
        install.iter().for_each(|install| after.install(group, install));
        let first = if install.is_some() { after.last(group).0.0 + 1 } else { first };
        let entries = (first..).zip(&draft.lens).map(|(index, len)| match len % 7 {
            6 => config(index, term, 1 + index % 5),
            5 => zeroes(index, term, *len),
            _ => command(index, term, *len),
        });
        let entries: Vec<Entry> = entries.collect();
        let one = GroupWrite { group, hard_state, install, repairs: Vec::new(), entries };
        model.apply(std::slice::from_ref(&one));
        batch.push(one);
    }
    batch
}

/// Makes an install that is allowed in this state of the log, if there is one like this.
fn install_of(model: &Model, group: GroupId, draft: &Snapshot, term: u64) -> Option<Install> {
    let known = &model.groups[&group];
    let index = model.last(group).0.0.checked_add_signed(draft.distance)?;
    let has = known.entries.iter().find(|entry| entry.index.0 == index).map(|entry| entry.term.0);
    let to = match has {
        Some(has) if !draft.conflicts => (index, has),
        _ if index > known.purged.0.0 => (index, term),
        _ => return None,
    };
    Some(install(to, draft.nodes, known.state + index % 3))
}

fn keep_some(fs: &MemFs, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let share = random.u32(0..=10);
    fs.crash(&mut |_| random.u32(0..10) < share);
}

/// What was under way when the process died.
enum UnderWay {
    Nothing,
    Append(Vec<GroupWrite>),
    Base(Model),
}

fn check(model: &mut Model, found: Model, under_way: &UnderWay) {
    let fine = match under_way {
        UnderWay::Nothing => found == *model,
        UnderWay::Append(batch) => model.may_become(batch, &found),
        UnderWay::Base(after) => found == *model || found == *after,
    };
    assert!(fine, "acknowledged was {model:#?}, found was {found:#?}");
    *model = found;
}

fn run(ops: &[Op]) {
    let fs = MemFs::new();
    let mut model = Model::new();
    let mut opened = Some(reopen(&fs));
    let mut crash_seed = 0;
    for op in ops {
        let (wal, reader) = match &mut opened {
            Some((wal, reader, ..)) => (wal, reader),
            None => unreachable!("every operation ends with an open log"),
        };
        let (result, under_way) = match op {
            Op::CrashAt { call, seed } => {
                crash_seed = *seed;
                fs.fail_at(fs.calls() + call, Fault::Stop);
                continue;
            }
            Op::Restart { crash } => {
                drop(opened.take());
                match crash {
                    Some(seed) => keep_some(&fs, *seed),
                    None => fs.kill(),
                }
                let (wal, reader, recovered, found) = reopen(&fs);
                assert_eq!(found, model);
                opened = Some((wal, reader, recovered, found));
                continue;
            }
            Op::Append { writes } => {
                let batch = batch_of(&model, writes);
                let result = wal.append(&batch);
                if result.is_ok() {
                    model.apply(&batch);
                }
                (result, UnderWay::Append(batch))
            }
            Op::Purge { other, keep } => {
                let group = if *other { OTHER } else { GROUP };
                let (last, purged) = (model.last(group).0, model.groups[&group].purged.0);
                let to = last.0.saturating_sub(*keep);
                if to <= purged.0 {
                    continue;
                }
                let mut after = model.clone();
                let (point, base) = after.purge(group, to);
                let result = wal.purge(group, point, &base);
                if result.is_ok() {
                    model = after.clone();
                }
                (result, UnderWay::Base(after))
            }
            Op::Switch { other } => {
                let group = if *other { OTHER } else { GROUP };
                let mut after = model.clone();
                let known = after.groups.get_mut(&group).unwrap();
                known.state += 1;
                let result = wal.switch(group, known.state);
                if result.is_ok() {
                    model = after.clone();
                }
                (result, UnderWay::Base(after))
            }
        };
        if let Err(error) = result {
            // Poisoned if it was a read that died.
            assert!(matches!(error, Error::Io { .. } | Error::Poisoned), "{error}");
            drop(opened.take());
            keep_some(&fs, crash_seed);
            // Twice: what recovery did must itself be durable and stable.
            let (wal, reader, _, found) = reopen(&fs);
            check(&mut model, found, &under_way);
            drop((wal, reader));
            keep_some(&fs, !crash_seed);
            let again = reopen(&fs);
            check(&mut model, again.3.clone(), &UnderWay::Nothing);
            opened = Some(again);
            continue;
        }
        for (id, group) in &model.groups {
            let from = group.purged.0.next();
            let read = reader.read(*id, from, Index(u64::MAX), usize::MAX);
            match read {
                Ok(read) => assert_eq!(read, group.entries, "group {id}"),
                Err(error) => assert!(matches!(error, Error::Io { .. } | Error::Poisoned), "{error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_lose_nothing(ops in prop::collection::vec(an_op(), 1..40)) {
        run(&ops);
    }
}

#[test]
fn a_reader_reads_while_the_log_is_written_and_purged() {
    let fs = MemFs::new();
    let (mut wal, reader, ..) = reopen(&fs);
    let written = std::sync::atomic::AtomicU64::new(0);
    let entries: Vec<Entry> = (1..=600).map(|index| command(index, 1, index as usize % 700)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            let mut met = 0;
            loop {
                let last = written.load(std::sync::atomic::Ordering::Acquire);
                let first = random.u64(1..=last.max(1));
                let read = reader.read(GROUP, Index(first), Index(first + 9), usize::MAX).unwrap();
                met += read.len();
                assert!(entries[first as usize - 1..].starts_with(&read), "from {first}");
                if last == 600 && met > 0 {
                    return;
                }
            }
        });
        for chunk in entries.chunks(3) {
            wal.append(&[write(GROUP, None, chunk.to_vec())]).unwrap();
            let last = chunk[chunk.len() - 1].index;
            written.store(last.0, std::sync::atomic::Ordering::Release);
            if last.0 > 100 {
                wal.purge(GROUP, (Index(last.0 - 100), Term(1)), &membership(3)).unwrap();
            }
        }
    });
    assert!(wal.bytes() < 40 * 5120, "{} bytes", wal.bytes());
}
