//! Crashes: any subset of un-synced sectors lost, at every call, twice in a row. Covers H8, H9, H10, H14, H16.

use super::*;
use crate::wal::fs::testing::{Fault, Unsynced};

/// A log with something in it and room for a larger batch, and the model of that.
fn prepared() -> (MemFs, Model) {
    let fs = MemFs::new();
    let mut model = Model::new();
    let large = Options { segment_bytes: 16 << 10, ..options() };
    let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), large, &bootstrap()).unwrap();
    for batch in [
        [write(GROUP, Some(hard_state(1, 2, 0)), (1..=4).map(|index| command(index, 1, 60)).collect())],
        [write(OTHER, Some(hard_state(3, 1, 0)), vec![command(1, 3, 30)])],
        [write(GROUP, Some(hard_state(1, 2, 2)), vec![])],
    ] {
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    (fs, model)
}

/// Writes a batch, up to its sync, which does not come.
fn unsynced(fs: &MemFs, batch: &[GroupWrite]) -> (PathBuf, Vec<usize>) {
    let (mut wal, ..) = reopen(fs);
    fs.fail_at(fs.calls() + 1, Fault::Stop);
    assert!(matches!(wal.append(batch), Err(Error::Io { doing: "syncing", .. })));
    let path = segment(wal.newest());
    let sectors = fs.unsynced(&path);
    (path, sectors)
}

/// Goes on with a log that recovered: what is written then must be there, whatever was cut before.
fn go_on(fs: &MemFs, mut model: Model) {
    let (mut wal, ..) = reopen(fs);
    let (last, _) = model.last(GROUP);
    let term = model.groups[&GROUP].hard_state.term.0 + 7;
    let batch = [write(GROUP, Some(hard_state(term, 1, last.0)), vec![command(last.0 + 1, term, 700)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    drop(wal);
    fs.crash(&mut |_| false);
    let (_, _, recovered, found) = reopen(fs);
    assert_eq!(recovered.torn, None, "cut once, and for good");
    assert_eq!(found, model);
}

fn every_subset(batch: &[GroupWrite], expected_sectors: usize) {
    let (fs, model) = prepared();
    let (path, sectors) = unsynced(&fs, batch);
    assert_eq!(sectors.len(), expected_sectors);
    let mut whole = model.clone();
    whole.apply(batch);
    for subset in 0_u32..1 << sectors.len() {
        let fs = fs.fork();
        let first = sectors[0];
        fs.crash(&mut |lost| match lost {
            Unsynced::Sector(_, sector) => subset & (1 << (sector - first)) != 0,
            _ => panic!("only sectors of one file are un-synced, not {lost:?}"),
        });
        let (wal, reader, recovered, found) = reopen(&fs);
        let all = subset == (1 << sectors.len()) - 1;
        assert_eq!(recovered.torn.is_none(), all || subset == 0, "subset {subset:b} of {}", path.display());
        assert!(model.may_become(batch, &found), "subset {subset:b}: {found:#?}");
        if all {
            assert_eq!(found, whole);
        }
        drop((wal, reader));
        if subset % 37 == 0 || subset < 64 {
            go_on(&fs, found);
        }
    }
}

#[test]
fn every_subset_of_a_batch_of_entries() {
    let entries =
        vec![command(5, 1, 300), zeroes(6, 1, 3400), command(7, 2, 500), config(8, 2, 2), zeroes(9, 2, 400)];
    every_subset(&[write(GROUP, None, entries)], 10);
}

#[test]
fn every_subset_of_a_batch_of_hard_states_and_entries_that_replace_others() {
    let batch = [
        write(
            GROUP,
            Some(hard_state(6, 0, 4)),
            vec![command(3, 6, 900), zeroes(4, 6, 1200), command(5, 6, 20)],
        ),
        write(OTHER, Some(hard_state(4, 1, 1)), vec![config(2, 4, 3), command(3, 4, 400)]),
    ];
    every_subset(&batch, 8);
}

/// The install is there with its hard state or not at all, and nothing that follows it without it. Its record spans
/// sectors. Covers H27.
#[test]
fn every_subset_of_a_batch_with_an_install_beyond_the_end() {
    let entries = vec![command(31, 6, 300), zeroes(32, 6, 900), config(33, 6, 2)];
    every_subset(&[installing(GROUP, Some(hard_state(6, 0, 30)), install((30, 5), 14, 3), entries)], 9);
}

/// Entries around it of the same group and of another, before it and after it. Covers H28.
#[test]
fn every_subset_of_a_batch_with_an_install_that_resets_and_one_that_keeps() {
    let batch = [
        write(GROUP, Some(hard_state(6, 0, 4)), vec![command(4, 6, 500), command(5, 6, 400)]),
        write(OTHER, Some(hard_state(4, 1, 1)), vec![command(2, 4, 100)]),
        installing(GROUP, None, install((3, 2), 9, 1), vec![command(4, 6, 600)]),
        installing(OTHER, None, install((1, 3), 8, 2), vec![command(3, 4, 60)]),
    ];
    every_subset(&batch, 12);
}

/// The commit index of the hard state spoke of the snapshot: without it, it would bless what the snapshot voids.
#[test]
fn a_hard_state_that_outlives_its_install_says_nothing_of_the_log() {
    let (fs, model) = prepared();
    let batch = [installing(GROUP, Some(hard_state(9, 3, 4)), install((4, 8), 14, 1), vec![])];
    let (_, sectors) = unsynced(&fs, &batch);
    // Of the two copies of the install the first one counts.
    for lost in &sectors[2..4] {
        let fs = fs.fork();
        fs.crash(&mut |it| !matches!(it, Unsynced::Sector(_, sector) if sector == *lost));
        let (.., found) = reopen(&fs);
        let mut expected = model.clone();
        expected.groups.get_mut(&GROUP).unwrap().hard_state = hard_state(9, 3, 2);
        assert_eq!(found, expected, "without sector {lost}");
        go_on(&fs, found);
    }
}

#[test]
fn a_hard_state_survives_by_either_copy() {
    for keep in [0, 1] {
        let (fs, model) = prepared();
        let batch = [write(GROUP, Some(hard_state(9, 3, 4)), vec![command(4, 9, 20)])];
        let (_, sectors) = unsynced(&fs, &batch);
        fs.crash(&mut |lost| matches!(lost, Unsynced::Sector(_, sector) if sector == sectors[keep]));
        let (.., found) = reopen(&fs);
        let mut expected = model.clone();
        // Term and vote are kept. The commit index is not: it spoke of an entry 4 that is lost, while an older
        // entry 4, which was never committed, is still there.
        expected.groups.get_mut(&GROUP).unwrap().hard_state = hard_state(9, 3, 2);
        assert_eq!(found, expected, "copy {keep}");
        go_on(&fs, found);
    }
}

#[test]
fn a_payload_that_looks_like_a_hard_state_is_not_taken_for_one() {
    // Records of a later term, aligned so that one of them begins with a sector's first data byte.
    let (fs, _) = prepared();
    let (mut wal, ..) = reopen(&fs);
    let forged = wal.forge_hard_state(GROUP, hard_state(99, 3, 0));
    drop(wal);
    let mut payload = vec![0xee; 496 - 48];
    while payload.len() < 5 * 496 {
        payload.extend_from_slice(&forged);
        payload.resize(payload.len().next_multiple_of(496) - 48, 0xee);
        payload.extend_from_slice(&[0xee; 48]);
    }
    let entry = Entry::new(Index(5), Term(1), EntryKind::Command, Bytes::from(payload));
    let (_, sectors) = unsynced(&fs, &[write(GROUP, None, vec![entry])]);
    fs.crash(&mut |lost| !matches!(lost, Unsynced::Sector(_, sector) if sector == sectors[0]));
    let (_, _, recovered, found) = reopen(&fs);
    assert!(recovered.torn.is_some());
    assert_eq!(found.groups[&GROUP].hard_state.term, Term(1));
}

#[test]
fn a_cut_at_every_byte_is_torn_at_sectors_and_never_wrong() {
    let (fs, model) = prepared();
    let batch = [write(GROUP, Some(hard_state(6, 0, 4)), vec![command(3, 6, 600), zeroes(4, 6, 700)])];
    let (path, sectors) = unsynced(&fs, &batch);
    let image = fs.bytes(&path);
    let (start, end) = (sectors[0] * 512, (sectors[sectors.len() - 1] + 1) * 512);
    for cut in start..=end {
        let fs = fs.fork();
        fs.crash(&mut |_| true);
        let mut bytes = image.clone();
        bytes[cut..end].fill(0);
        let whole_sectors =
            cut % 512 == 0 || bytes[..cut.next_multiple_of(512)] == image[..cut.next_multiple_of(512)];
        fs.set_bytes(&path, bytes);
        match open(&fs) {
            // Where all headers are there, what is missing counts as written: nobody can say that it was not.
            Ok((_, reader, recovered)) if !recovered.wounds.is_empty() => {
                assert!(!whole_sectors, "a disk that writes whole sectors does this");
                if recovered.groups[&GROUP].hard_state.in_doubt {
                    continue;
                }
                let mut part = model.clone();
                let mut batch = batch.clone();
                let found = &recovered.groups[&GROUP];
                let has_some = found.terms.last().is_some_and(|(_, term)| *term == Term(6));
                batch[0].entries.retain(|entry| has_some && entry.index <= found.last);
                part.apply(&batch);
                let commit = model.groups[&GROUP].hard_state.commit;
                part.groups.get_mut(&GROUP).unwrap().hard_state.commit = commit;
                check_damaged(&part, &recovered, &reader);
            }
            Ok((_, reader, recovered)) => {
                let found = Model::found(&recovered, &reader);
                assert!(model.may_become(&batch, &found), "cut at {cut}: {found:#?}");
            }
            Err(Error::Damaged { offset, .. }) => {
                assert!(!whole_sectors, "a disk that writes whole sectors does this");
                assert_eq!(offset / 512, cut as u64 / 512, "cut at {cut}");
            }
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
}

#[test]
fn a_file_cut_short_is_damage() {
    let (fs, _) = prepared();
    let image = fs.bytes(&segment(1));
    for len in 0..image.len() {
        fs.set_bytes(&segment(1), image[..len].to_vec());
        assert!(matches!(open(&fs), Err(Error::Damaged { .. })), "{len} bytes");
    }
}

/// One step of the history that is run into every crash.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<GroupWrite>),
    Purge(GroupId, u64),
    Switch(GroupId, u64),
}

/// Appends, truncations, hard states, rolls, purges that free segments, a batch longer than a segment, installs of each
/// kind, switches.
fn history() -> Vec<Step> {
    let mut steps =
        vec![Step::Append(vec![write(GROUP, Some(hard_state(1, 1, 0)), vec![command(1, 1, 40)])])];
    for index in 2..=9 {
        steps.push(Step::Append(vec![write(GROUP, None, vec![command(index, 1, 800)])]));
    }
    steps.push(Step::Append(vec![
        write(OTHER, Some(hard_state(2, 1, 0)), vec![zeroes(1, 2, 600)]),
        write(GROUP, Some(hard_state(3, 2, 6)), vec![config(7, 3, 5), command(8, 3, 10)]),
    ]));
    steps.push(Step::Purge(GROUP, 5));
    steps.push(Step::Append(vec![write(GROUP, None, vec![command(9, 3, 5000)])]));
    steps.push(Step::Purge(OTHER, 1));
    steps.push(Step::Purge(GROUP, 8));
    for term in 4..=12 {
        steps.push(Step::Append(vec![write(GROUP, Some(hard_state(term, 3, 9)), vec![])]));
    }
    steps.push(Step::Append(vec![write(GROUP, None, vec![command(10, 12, 30)])]));
    let to = |index, term, state| install((index, term), 11, state);
    let state = |term, commit| Some(hard_state(term, 2, commit));
    steps.push(Step::Append(vec![installing(
        GROUP,
        state(13, 30),
        to(30, 12, 1),
        vec![command(31, 13, 900)],
    )]));
    steps.push(Step::Switch(GROUP, 2));
    for index in 32..=36 {
        steps.push(Step::Append(vec![write(GROUP, None, vec![command(index, 13, 800)])]));
    }
    steps.push(Step::Append(vec![
        write(OTHER, None, vec![command(2, 2, 300)]),
        installing(GROUP, state(14, 33), to(33, 13, 3), vec![config(37, 14, 4)]),
    ]));
    steps.push(Step::Append(vec![installing(GROUP, state(15, 35), to(35, 14, 4), vec![])]));
    steps.push(Step::Append(vec![write(GROUP, None, vec![command(36, 15, 900), command(37, 15, 900)])]));
    steps.push(Step::Purge(GROUP, 36));
    steps.push(Step::Switch(OTHER, 1));
    steps.push(Step::Append(vec![installing(OTHER, None, to(2, 2, 2), vec![command(3, 2, 2500)])]));
    steps
}

/// What a step makes of a log.
fn after(model: &Model, step: &Step) -> Model {
    let mut after = model.clone();
    match step {
        Step::Append(batch) => after.apply(batch),
        Step::Purge(group, to) => drop(after.purge(*group, *to)),
        Step::Switch(group, state) => after.groups.get_mut(group).unwrap().state = *state,
    }
    after
}

/// Runs the history until something fails. Returns what was acknowledged, and the step that was not.
fn run(fs: &MemFs, options: Options) -> (Model, Option<Step>, Option<Error>) {
    let mut model = Model::new();
    let mut wal = match Wal::open(fs.shared(), Path::new(DIR), options, &bootstrap()) {
        Ok((wal, ..)) => wal,
        Err(error) => return (model, None, Some(error)),
    };
    for step in history() {
        let result = match &step {
            Step::Append(batch) => wal.append(batch),
            Step::Purge(group, to) => {
                let (to, base) = model.clone().purge(*group, *to);
                wal.purge(*group, to, &base)
            }
            Step::Switch(group, state) => wal.switch(*group, *state),
        }
        .and_then(|()| remove_freed(&mut wal));
        if let Err(error @ Error::NoRoom { .. }) = result {
            wal.append(&[]).expect("nothing is poisoned for want of room");
            return (model, Some(step), Some(error));
        }
        if let Err(error) = result {
            let later = wal.append(&[write(GROUP, Some(hard_state(99, 1, 0)), vec![])]);
            assert!(matches!(later, Err(Error::Poisoned)), "after {error}: {later:?}");
            return (model, Some(step), Some(error));
        }
        model = after(&model, &step);
    }
    (model, None, None)
}

/// Whether a log may be found like this, when `model` was acknowledged and `step` was under way.
fn check_found(model: &Model, step: &Option<Step>, found: &Model, context: &str) {
    let fine = match step {
        None => found == model,
        Some(Step::Append(batch)) => model.may_become(batch, found),
        Some(step) => found == model || *found == after(model, step),
    };
    assert!(fine, "{context}: {step:?} was under way, acknowledged was {model:#?}, found was {found:#?}");
}

/// A crash after every call, with nothing, all, or some of what was not synced kept; then a crash after every call
/// of the recovery (a few of those, with random losses); then a recovery that is left alone.
#[test]
fn a_crash_at_every_call_and_another_in_the_recovery_lose_nothing() {
    let whole = MemFs::new();
    assert!(run(&whole, options()).2.is_none());
    let calls = whole.calls();
    assert!(calls > 80, "{calls} calls");
    let mut torn = 0;
    for call in 0..calls {
        for loss in 0..4 {
            let mut random = fastrand::Rng::with_seed(call * 100 + loss);
            let mut keep = move |_: Unsynced| match loss {
                0 => false,
                1 => true,
                _ => random.bool(),
            };
            let fs = MemFs::new();
            fs.fail_at(call, Fault::Stop);
            let (model, step, _) = run(&fs, options());
            fs.crash(&mut keep);
            let context = format!("crash at call {call}, loss {loss}");
            let second = fs.fork();
            let before = fs.calls();
            let counted = fs.fork();
            drop(open(&counted).unwrap_or_else(|error| panic!("{context}: {error}")));
            let recovery_calls = counted.calls() - before;
            let (_, _, recovered, found) = reopen(&fs);
            torn += u32::from(recovered.torn.is_some());
            check_found(&model, &step, &found, &context);
            let start = if loss == 2 { 0 } else { recovery_calls.saturating_sub(3) };
            for again in start..recovery_calls {
                let fs = second.fork();
                fs.fail_at(before + again, Fault::Stop);
                assert!(open(&fs).is_err());
                fs.crash(&mut keep);
                let (.., found) = reopen(&fs);
                check_found(
                    &model,
                    &step,
                    &found,
                    &format!("{context}, then at call {again} of the recovery"),
                );
            }
        }
    }
    assert!(torn > 10, "{torn} torn logs: the test has lost its teeth");
}

/// An I/O error at every call poisons; a new process on the same machine, and one after a crash that follows, find
/// all that was acknowledged. Covers H15: after a failed sync the bytes are visible but not on the disk.
#[test]
fn an_error_at_every_call_poisons_and_loses_nothing() {
    let whole = MemFs::new();
    run(&whole, options());
    for call in 0..whole.calls() {
        let fs = MemFs::new();
        fs.fail_at(call, Fault::Error);
        let (model, step, error) = run(&fs, options());
        let error = error.unwrap_or_else(|| panic!("call {call} failed, and nobody said so"));
        assert!(matches!(error, Error::Io { .. }), "call {call}: {error}");
        fs.kill();
        let context = format!("error at call {call}");
        let (wal, reader, _, found) = reopen(&fs);
        check_found(&model, &step, &found, &context);
        drop((wal, reader));
        fs.crash(&mut |_| false);
        let (.., again) = reopen(&fs);
        assert_eq!(again, found, "{context}: what recovery showed was not on the disk");
        go_on(&fs, again);
    }
}

/// H18: a disk that is full at any size.
#[test]
fn a_disk_full_at_every_size_loses_nothing() {
    let whole = MemFs::new();
    run(&whole, options());
    let mut full = 0;
    for capacity in (0..40 * 1024).step_by(512) {
        let fs = MemFs::new();
        fs.set_capacity(Some(capacity));
        let (model, step, error) = run(&fs, options());
        let Some(error) = error else { continue };
        full += 1;
        assert!(matches!(error, Error::NoRoom { .. }), "capacity {capacity}: {error}");
        fs.crash(&mut |_| false);
        fs.set_capacity(None);
        let (.., found) = reopen(&fs);
        check_found(&model, &step, &found, &format!("capacity {capacity}"));
    }
    assert!(full > 10, "{full} full disks");
}

/// H14: a segment, and the removal of one, are durable before anything relies on them.
#[test]
fn names_are_durable_before_they_are_relied_on() {
    let fs = MemFs::new();
    let (model, step, error) = run(&fs, options());
    assert!(step.is_none() && error.is_none());
    let mut names = Vec::new();
    fs.crash(&mut |lost| {
        if let Unsynced::Name(path) = &lost {
            names.push(path.clone());
        }
        false
    });
    assert!(names.iter().all(|path| path.ends_with("spare")), "{names:?}");
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}
