//! Covers H18: a disk without room for the next segment poisons nothing, and is as good as ever once there is room.

use super::super::fs::testing::{Fault, Unsynced};
use super::*;

/// All bytes that the files of the disk take.
fn used(fs: &MemFs) -> usize {
    fs.files().iter().map(|(_, bytes)| bytes).sum()
}

/// Appends to GROUP, on a disk to which nothing more fits than what is there, until there is no room; which index that was.
fn fill(fs: &MemFs, wal: &mut Wal, model: &mut Model, from: u64) -> u64 {
    fs.set_capacity(Some(used(fs)));
    for index in from.. {
        let batch = [write(GROUP, None, vec![command(index, 1, 400)])];
        match wal.append(&batch) {
            Ok(()) => model.apply(&batch),
            Err(error) => {
                assert!(matches!(error, Error::NoRoom { .. }), "{error}");
                return index;
            }
        }
    }
    unreachable!("a segment is never full")
}

#[test]
fn without_room_for_a_segment_nothing_is_lost_and_it_goes_on_when_there_is() {
    let fs = MemFs::new();
    let mut model = Model::new();
    // Long enough for something to be kept of it.
    let long = Options { segment_bytes: 16 << 10, ..options() };
    let (mut wal, reader, _) = Wal::open(fs.shared(), Path::new(DIR), long, &bootstrap()).unwrap();
    let waits = fill(&fs, &mut wal, &mut model, 1);
    assert!(wal.is_cramped());
    assert!(
        fs.files().iter().all(|(path, _)| !path.ends_with("spare")),
        "a partial file stays: {:?}",
        fs.files()
    );
    let before = fs.files();
    let batch = [write(GROUP, None, vec![command(waits, 1, 400)])];
    for _ in 0..3 {
        assert!(matches!(wal.append(&batch), Err(Error::NoRoom { .. })));
    }
    assert_eq!(fs.files(), before, "nothing was written");
    assert_eq!(reader.read(GROUP, Index(1), Index(99), usize::MAX).unwrap(), model.groups[&GROUP].entries);
    // What was kept free in the segment takes a vote.
    let vote = [write(GROUP, Some(hard_state(2, 3, 0)), vec![])];
    wal.append(&vote).unwrap();
    model.apply(&vote);
    {
        let fs = fs.fork();
        fs.crash(&mut |_| false);
        let (wal, .., found) = reopen(&fs);
        assert_eq!(found, model, "it starts on the full disk");
        drop(wal);
    }
    fs.set_capacity(None);
    wal.append(&batch).unwrap();
    model.apply(&batch);
    assert!(!wal.is_cramped());
    drop(wal);
    fs.crash(&mut |_| false);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

/// A purge makes room: it never waits for what it makes room for.
#[test]
fn a_purge_goes_into_what_is_kept_of_the_last_segment() {
    let fs = MemFs::new();
    let mut model = Model::new();
    // Long enough for a base to fit into what is kept of it.
    let long = Options { segment_bytes: 16 << 10, ..options() };
    let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), long, &bootstrap()).unwrap();
    for index in 1..=48 {
        let batch = [write(GROUP, None, vec![command(index, 1, 400)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    let waits = fill(&fs, &mut wal, &mut model, 49);
    let (to, base) = model.purge(GROUP, waits - 1);
    wal.purge(GROUP, to, &base).unwrap();
    remove_freed(&mut wal).unwrap();
    let batch = [write(GROUP, None, vec![command(waits, 1, 400)])];
    wal.append(&batch).expect("the segments that were freed are room for another");
    model.apply(&batch);
    drop(wal);
    fs.crash(&mut |_| false);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

/// A log whose end is cut needs a new segment to go on in, and none to be read.
#[test]
fn a_torn_log_opens_on_a_full_disk() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, ..) = reopen(&fs);
    let batch = [write(GROUP, Some(hard_state(1, 1, 0)), vec![command(1, 1, 100)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    // The next batch stops half way: its first sector is there, the rest is not.
    let torn = [write(GROUP, None, vec![command(2, 1, 900)])];
    fs.fail_at(fs.calls(), Fault::Stop);
    assert!(wal.append(&torn).is_err());
    drop(wal);
    let first = fs.unsynced(&segment(1))[0];
    fs.crash(&mut |lost| matches!(lost, Unsynced::Sector(_, sector) if sector == first));
    // Of what the crash left the spare goes at the start.
    let numbered =
        fs.files().iter().filter(|(path, _)| !path.ends_with("spare")).map(|(_, bytes)| bytes).sum();
    fs.set_capacity(Some(numbered));
    for _ in 0..2 {
        let (mut wal, _, recovered, found) = reopen(&fs);
        assert!(recovered.torn.is_some(), "the cut is made once there is room");
        assert_eq!(found, model);
        assert!(wal.is_cramped());
        let vote = [write(GROUP, Some(hard_state(2, 2, 0)), vec![])];
        assert!(matches!(wal.append(&vote), Err(Error::NoRoom { .. })), "not before the cut");
        drop(wal);
        fs.crash(&mut |_| false);
    }
    let (mut wal, ..) = reopen(&fs);
    fs.set_capacity(None);
    let batch = [write(GROUP, Some(hard_state(2, 2, 0)), vec![command(2, 2, 100)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    drop(wal);
    fs.crash(&mut |_| false);
    let (_, _, recovered, found) = reopen(&fs);
    assert_eq!((recovered.torn, found), (None, model));
}

/// H15 stays: a write into a segment that exists needs no room, and one that fails for want of it has failed.
#[test]
fn a_write_that_fails_in_a_segment_poisons_whatever_the_reason() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    fs.fail_at(fs.calls(), Fault::Full);
    let batch = [write(GROUP, None, vec![command(1, 1, 100)])];
    let error = wal.append(&batch).expect_err("told to fail");
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert!(matches!(wal.append(&batch), Err(Error::Poisoned)));
}
