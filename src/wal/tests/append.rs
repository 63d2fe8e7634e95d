//! What a log does when nothing goes wrong: append, truncate, roll, purge, fill up, read.

use super::*;

#[test]
fn a_new_log_is_empty_and_has_its_groups() {
    let fs = MemFs::new();
    let (_wal, _reader, recovered, found) = reopen(&fs);
    assert_eq!(recovered.torn, None);
    assert_eq!(found, Model::new());
}

#[test]
fn what_was_appended_is_read_back_at_once_and_after_a_restart() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let batches = [
        vec![write(GROUP, Some(hard_state(1, 2, 0)), vec![command(1, 1, 0), command(2, 1, 700)])],
        vec![write(GROUP, None, vec![config(3, 1, 4)]), write(OTHER, None, vec![zeroes(1, 3, 2000)])],
        vec![
            write(GROUP, Some(hard_state(2, 0, 2)), vec![]),
            write(OTHER, Some(hard_state(3, 1, 1)), vec![]),
        ],
        vec![write(GROUP, None, vec![command(4, 2, 3)]), write(GROUP, None, vec![command(5, 2, 496)])],
    ];
    let (mut wal, reader, recovered, _) = reopen(&fs);
    assert!(recovered.torn.is_none());
    for batch in &batches {
        wal.append(batch).unwrap();
        model.apply(batch);
        for (id, group) in &model.groups {
            assert_eq!(reader.read(*id, Index(1), Index(9), usize::MAX).unwrap(), group.entries);
        }
    }
    drop(wal);
    fs.crash(&mut |_| false);
    let (_wal, _reader, recovered, found) = reopen(&fs);
    assert_eq!(recovered.torn, None, "a log whose appends all returned is never torn");
    assert_eq!(found, model);
}

#[test]
fn an_append_is_one_write_and_one_sync_and_nothing_to_store_is_none() {
    let fs = MemFs::new();
    let larger = Options { segment_bytes: 1 << 14, ..options() };
    let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), larger, &bootstrap()).unwrap();
    fs.take_trace();
    wal.append(&[write(GROUP, None, vec![command(1, 1, 100), command(2, 1, 100)])]).unwrap();
    assert_eq!(fs.take_trace(), ["write 512 at 2048", "sync"]);
    wal.append(&[write(GROUP, None, vec![]), write(OTHER, None, vec![])]).unwrap();
    assert!(fs.take_trace().is_empty());
}

/// In batches, in segments that are prepared, begun and given back, and at a start.
#[test]
fn each_sync_of_a_file_is_counted() {
    let fs = MemFs::new();
    for restart in 0..3 {
        fs.take_trace();
        let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), options(), &bootstrap()).unwrap();
        let syncs = wal.syncs();
        let first = restart * 30 + 1;
        for index in first..first + 30 {
            wal.append(&[write(GROUP, None, vec![command(index, 1, 400)])]).unwrap();
        }
        wal.purge(GROUP, (Index(first + 25), Term(1)), &membership(3)).unwrap();
        wal.purge(OTHER, (Index(0), Term(0)), &membership(1)).unwrap();
        let mut removed = wal.take_freed().expect("segments are freed").remove().unwrap();
        while removed.give_back() {}
        let trace = fs.take_trace();
        let expected = trace.iter().filter(|call| *call == "sync").count();
        assert_eq!(syncs.count(), expected as u64, "{trace:#?}");
        assert!(expected > 40, "{expected} are too few: {trace:#?}");
    }
}

#[test]
fn an_entry_at_a_held_index_truncates() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, reader, ..) = reopen(&fs);
    let batches = [
        vec![write(GROUP, None, (1..=9).map(|index| command(index, 1, 300)).collect())],
        vec![write(GROUP, None, vec![config(4, 2, 5), command(5, 2, 10)])],
        vec![write(GROUP, None, vec![command(2, 3, 10)])],
        vec![write(GROUP, None, vec![command(3, 3, 10), command(4, 4, 10)])],
    ];
    for batch in &batches {
        wal.append(batch).unwrap();
        model.apply(batch);
        let read = reader.read(GROUP, Index(1), Index(20), usize::MAX).unwrap();
        assert_eq!(read, model.groups[&GROUP].entries);
    }
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

#[test]
fn read_stops_at_its_limits() {
    let fs = MemFs::new();
    let (mut wal, reader, ..) = reopen(&fs);
    let entries: Vec<Entry> = (1..=40).map(|index| command(index, 1, 400)).collect();
    wal.append(&[write(GROUP, None, entries.clone())]).unwrap();
    let read = |first, last, bytes| reader.read(GROUP, Index(first), Index(last), bytes).unwrap();
    assert_eq!(read(7, 7, usize::MAX), entries[6..7]);
    assert_eq!(read(7, 12, usize::MAX), entries[6..12]);
    assert_eq!(read(7, 12, 0), entries[6..7], "one at least");
    assert_eq!(read(7, 12, 448), entries[6..7], "up to the one with which the limit is reached");
    assert_eq!(read(7, 12, 449), entries[6..8]);
    assert_eq!(read(38, 99, usize::MAX), entries[37..]);
    assert!(read(41, 99, usize::MAX).is_empty(), "beyond the end");
    assert!(read(0, 99, usize::MAX).is_empty(), "before the first");
    assert!(reader.read(GroupId(99), Index(1), Index(1), 1).unwrap().is_empty());
}

#[test]
fn purge_frees_segments_that_no_group_needs_and_keeps_votes() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, reader, ..) = reopen(&fs);
    // The votes stand in the first segment alone.
    let votes =
        [write(GROUP, Some(hard_state(5, 3, 0)), vec![]), write(OTHER, Some(hard_state(9, 1, 0)), vec![])];
    let pinning = [write(OTHER, None, vec![command(1, 9, 20)])];
    for batch in [&votes[..], &pinning[..]] {
        wal.append(batch).unwrap();
        model.apply(batch);
    }
    for index in 1..=20 {
        let batch = [write(GROUP, None, vec![command(index, 5, 900)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    let before = wal.bytes();
    assert!(before > 6 * 5120, "{before} bytes");
    let (to, base) = model.purge(GROUP, 15);
    wal.purge(GROUP, to, &base).unwrap();
    assert_eq!(
        wal.bytes(),
        before,
        "the other group's only entry holds the first segment, and so all after it"
    );
    let (to, base) = model.purge(OTHER, 1);
    wal.purge(OTHER, to, &base).unwrap();
    assert!(wal.bytes() < before / 2, "{} of {before} bytes", wal.bytes());
    assert!(reader.read(GROUP, Index(15), Index(15), 1).unwrap().is_empty(), "purged");
    wal.purge(GROUP, (Index(3), Term(5)), &base).unwrap();
    drop(wal);
    fs.crash(&mut |_| false);
    let (wal, .., found) = reopen(&fs);
    assert_eq!(found, model);
    let on_disk: usize = fs.files().iter().map(|(_, len)| *len).sum();
    assert_eq!(wal.bytes(), on_disk as u64);
}

#[test]
fn a_log_purged_to_its_end_goes_on() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, reader, ..) = reopen(&fs);
    for round in 0..30 {
        let batch =
            [write(GROUP, Some(hard_state(round + 1, 0, round)), vec![command(round + 1, round + 1, 1500)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
        let (to, base) = model.purge(GROUP, round + 1);
        wal.purge(GROUP, to, &base).unwrap();
        assert!(reader.read(GROUP, Index(round + 1), Index(99), 1).unwrap().is_empty());
    }
    assert!(wal.bytes() <= 3 * 5120, "{} bytes", wal.bytes());
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

#[test]
fn a_full_log_refuses_entries_but_takes_hard_states_and_purges_and_recovers() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let small = Options { bytes_max: 6 * 5120, ..options() };
    let (mut wal, reader, _) = Wal::open(fs.shared(), Path::new(DIR), small, &bootstrap()).unwrap();
    let mut index = 0;
    let refused = loop {
        index += 1;
        let batch = [write(GROUP, None, vec![command(index, 1, 900)])];
        let room = wal.has_room(948);
        match wal.append(&batch) {
            Ok(()) => model.apply(&batch),
            Err(error) => {
                assert!(!room, "the log said that it had room");
                break error;
            }
        }
    };
    assert!(matches!(refused, Error::Full), "{refused}");
    assert!(wal.bytes() <= small.bytes_max);
    let refused_at = fs.calls();
    let again = wal.append(&[write(GROUP, Some(hard_state(1, 1, 0)), vec![command(index, 1, 900)])]);
    assert!(matches!(again, Err(Error::Full)));
    assert_eq!(fs.calls(), refused_at, "nothing is written");
    for term in 2..20 {
        let batch = [write(GROUP, Some(hard_state(term, 2, 0)), vec![])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    assert_eq!(reader.read(GROUP, Index(1), Index(99), usize::MAX).unwrap(), model.groups[&GROUP].entries);
    let (to, base) = model.purge(GROUP, index - 1);
    wal.purge(GROUP, to, &base).unwrap();
    let batch = [write(GROUP, None, vec![command(index, 20, 900)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

#[test]
fn a_batch_longer_than_a_segment_gets_a_longer_one() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, ..) = reopen(&fs);
    for batch in [
        [write(GROUP, None, vec![command(1, 1, 20)])],
        [write(GROUP, None, vec![command(2, 1, 50_000), zeroes(3, 1, 10_000)])],
        [write(GROUP, None, vec![command(4, 1, 20)])],
    ] {
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

#[test]
fn the_next_segment_is_prepared_ahead_and_the_roll_is_cheap() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    let mut traces = Vec::new();
    for index in 1..=12 {
        fs.take_trace();
        wal.append(&[write(GROUP, None, vec![command(index, 1, 400)])]).unwrap();
        traces.push(fs.take_trace());
    }
    let prepared = traces.iter().position(|trace| trace.contains(&"create spare".to_owned())).unwrap();
    let rolled = traces.iter().position(|trace| trace.iter().any(|call| call.starts_with("rename"))).unwrap();
    assert!(prepared < rolled, "{traces:#?}");
    let roll = &traces[rolled];
    let published = [
        "write 2048 at 0",
        "sync",
        "rename spare to 0000000000000002.wal",
        "sync directory",
        "write 512 at 2048",
    ];
    assert_eq!(roll[..5], published, "no zeroes are written while an append waits");
}

#[test]
fn groups_can_be_added_to_a_log() {
    let fs = MemFs::new();
    let one = BTreeMap::from([(GROUP, membership(3))]);
    let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), options(), &one).unwrap();
    let batch = [write(GROUP, Some(hard_state(4, 1, 0)), vec![command(1, 4, 5000)])];
    wal.append(&batch).unwrap();
    drop(wal);
    let mut model = Model::new();
    model.apply(&batch);
    let (mut wal, .., found) = reopen(&fs);
    assert_eq!(found, model);
    let batch = [write(OTHER, Some(hard_state(1, 1, 0)), vec![command(1, 1, 50)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

#[test]
fn a_log_is_open_once() {
    let fs = MemFs::new();
    let first = reopen(&fs);
    let error = open(&fs).map(|_| ()).unwrap_err();
    assert!(matches!(&error, Error::Locked { dir } if dir == Path::new(DIR)), "{error}");
    let text = error.to_string();
    assert!(text.contains(DIR) && text.contains("--data-dir"), "{text}");
    drop(first);
    reopen(&fs);
}

#[test]
fn the_tail_is_bounded() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    wal.append(&[write(GROUP, None, (1..=30).map(|index| command(index, 1, 52)).collect())]).unwrap();
    drop(wal);
    let few = Options { tail_bytes_max: 350, ..options() };
    let (_, _, recovered) = Wal::open(fs.shared(), Path::new(DIR), few, &bootstrap()).unwrap();
    let tail = &recovered.groups[&GROUP].tail;
    assert_eq!(tail.iter().map(|entry| entry.index.0).collect::<Vec<_>>(), [28, 29, 30]);
}

#[test]
fn the_index_is_sparse() {
    let fs = MemFs::new();
    let large = Options { segment_bytes: 1 << 20, bytes_max: 1 << 30, ..options() };
    let (mut wal, reader, _) = Wal::open(fs.shared(), Path::new(DIR), large, &bootstrap()).unwrap();
    let entries: Vec<Entry> = (1..=10_000).map(|index| command(index, 1, 100)).collect();
    for chunk in entries.chunks(7) {
        wal.append(&[write(GROUP, None, chunk.to_vec())]).unwrap();
    }
    let points = reader.shared.with_points(|points| points.count());
    assert!((10..40).contains(&points), "{points} points for 10,000 entries in 2 MiB");
    for first in [1, 7, 8, 4_999, 9_991] {
        let read = reader.read(GROUP, Index(first), Index(first + 9), usize::MAX).unwrap();
        assert_eq!(read, entries[first as usize - 1..first as usize + 9]);
    }
}

#[test]
#[should_panic(expected = "entry 5 in a log of 1 to 1")]
fn a_hole_in_the_log_is_a_broken_caller() {
    let (mut wal, ..) = reopen(&MemFs::new());
    wal.append(&[write(GROUP, None, vec![command(1, 1, 1)])]).unwrap();
    let _ = wal.append(&[write(GROUP, None, vec![command(5, 1, 1)])]);
}

#[test]
#[should_panic(expected = "term 3 after term 4")]
fn a_term_that_falls_is_a_broken_caller() {
    let (mut wal, ..) = reopen(&MemFs::new());
    wal.append(&[write(GROUP, Some(hard_state(4, 1, 0)), vec![])]).unwrap();
    let _ = wal.append(&[write(GROUP, Some(hard_state(3, 1, 0)), vec![])]);
}

#[test]
#[should_panic(expected = "damaged in memory")]
fn a_payload_that_fails_its_checksum_is_never_written() {
    let (mut wal, ..) = reopen(&MemFs::new());
    let mut entry = command(1, 1, 10);
    entry.crc ^= 1;
    let _ = wal.append(&[write(GROUP, None, vec![entry])]);
}

#[test]
fn the_real_disk_works() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("deep/wal");
    let fs: crate::wal::fs::SharedFs = std::sync::Arc::new(crate::wal::fs::StdFs);
    let mut model = Model::new();
    let (mut wal, ..) = Wal::open(fs.clone(), &dir, options(), &bootstrap()).unwrap();
    for index in 1..=20 {
        let batch = [write(GROUP, Some(hard_state(index, 1, 0)), vec![command(index, index, 900)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    let (to, base) = model.purge(GROUP, 12);
    wal.purge(GROUP, to, &base).unwrap();
    assert!(matches!(Wal::open(fs.clone(), &dir, options(), &bootstrap()), Err(Error::Locked { .. })));
    drop(wal);
    let (_wal, reader, recovered) = Wal::open(fs, &dir, options(), &bootstrap()).unwrap();
    assert_eq!(Model::found(&recovered, &reader), model);
}

#[test]
fn the_writer_moves_to_another_thread_and_readers_are_shared() {
    fn movable<T: Send>() {}
    fn shared<T: Clone + Send + Sync>() {}
    movable::<Wal>();
    shared::<Reader>();
}
