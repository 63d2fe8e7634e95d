//! Where a tail of some size begins, and what the log then has on disk.

use super::*;

#[test]
fn a_tail_is_what_the_newest_segments_hold() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    assert_eq!(wal.first_within(GROUP, 0), Index(1), "an empty log");
    for index in 1..=20 {
        wal.append(&[write(GROUP, None, vec![command(index, 1, 900)])]).unwrap();
    }
    let files = wal.newest();
    assert!(files >= 7, "{files} segments");
    let mut before = Index(u64::MAX);
    for kept in 0..=files + 1 {
        let first = wal.first_within(GROUP, kept * 5120 + 100);
        assert!(first <= before, "a longer tail begins earlier");
        before = first;
        let fs = fs.fork();
        fs.kill();
        let (mut wal, reader, ..) = reopen(&fs);
        assert_eq!(wal.first_within(GROUP, kept * 5120 + 100), first, "recovery counts as the writer does");
        if first > Index(1) {
            wal.purge(GROUP, (first.prev(), Term(1)), &membership(3)).unwrap();
            wal.purge(OTHER, (Index(0), Term(0)), &membership(1)).unwrap();
            remove_freed(&mut wal).unwrap();
        }
        let segments = fs.files().iter().filter(|(path, _)| path.extension().is_some()).count() as u64;
        assert!(segments <= kept.clamp(1, files) + 1, "{segments} segments for {kept}");
        assert!(wal.bytes() <= (kept.max(1) + 2) * 5120, "{} bytes for {kept} segments", wal.bytes());
        assert_eq!(reader.read(GROUP, first, first, 1).unwrap().len(), 1);
    }
    assert_eq!(before, Index(1));
    assert_eq!(wal.first_within(GROUP, u64::MAX), Index(1));
}

#[test]
fn a_group_whose_entries_all_stand_before_the_tail_keeps_none() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    wal.append(&[write(OTHER, None, vec![command(1, 1, 10), command(2, 1, 10)])]).unwrap();
    for index in 1..=20 {
        wal.append(&[write(GROUP, None, vec![command(index, 1, 900)])]).unwrap();
    }
    assert_eq!(wal.first_within(OTHER, 2 * 5120), Index(3));
    assert_eq!(wal.first_within(OTHER, 1 << 20), Index(1));
}

/// Void entries neither hold a segment nor belong to a tail.
#[test]
fn what_is_void_does_not_count() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    let mut model = Model::new();
    let mut append = |wal: &mut Wal, batch: [GroupWrite; 1]| {
        wal.append(&batch).unwrap();
        model.apply(&batch);
    };
    for index in 1..=20 {
        append(&mut wal, [write(GROUP, None, vec![command(index, 1, 900)])]);
    }
    let newest = wal.newest();
    // Replaced from 3 on: all segments but the first and the last are void.
    append(&mut wal, [write(GROUP, Some(hard_state(2, 1, 0)), vec![command(3, 2, 900)])]);
    append(&mut wal, [write(GROUP, None, vec![command(4, 2, 900)])]);
    assert_eq!(wal.first_within(GROUP, 2 * 5120), Index(3));
    let (to, base) = model.purge(GROUP, 2);
    wal.purge(GROUP, to, &base).unwrap();
    remove_freed(&mut wal).unwrap();
    assert!(fs.bytes(&segment(newest - 2)).is_empty(), "nothing of it is left");
    let (_, _, _, found) = {
        drop(wal);
        fs.crash(&mut |_| false);
        reopen(&fs)
    };
    assert_eq!(found, model);
    let mut wal = reopen_again(&fs);
    wal.append(&[installing(GROUP, None, install((90, 2), 3, 1), vec![command(91, 2, 3000)])]).unwrap();
    assert_eq!(wal.first_within(GROUP, 0), Index(91));
    drop(wal);
    assert_eq!(reopen_again(&fs).first_within(GROUP, 0), Index(91));
}

fn reopen_again(fs: &MemFs) -> Wal {
    fs.kill();
    reopen(fs).0
}
