//! What installs and switches do: what is kept, what is void, what is freed, and what is refused. Covers H27, H28.

use super::*;

/// Ten entries of term 1 in some segments, and a vote in term 3.
fn ten(fs: &MemFs) -> (Wal, Reader, Model) {
    let mut model = Model::new();
    let (mut wal, reader, ..) = reopen(fs);
    let batch = [write(GROUP, Some(hard_state(3, 2, 4)), vec![command(1, 1, 900), config(2, 1, 5)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    for index in 3..=10 {
        let batch = [write(GROUP, None, vec![command(index, 1, 900)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    (wal, reader, model)
}

/// Both the log as it is open and the log as it is found again are what the model says.
fn check(fs: &MemFs, wal: Wal, reader: &Reader, model: &Model) -> (Wal, Reader) {
    for (id, group) in &model.groups {
        let first = group.purged.0.next();
        assert_eq!(
            reader.read(*id, first, Index(u64::MAX), usize::MAX).unwrap(),
            group.entries,
            "group {id}"
        );
        assert!(reader.read(*id, group.purged.0, Index(u64::MAX), usize::MAX).unwrap().is_empty());
        let beyond = model.last(*id).0.next();
        assert!(reader.read(*id, beyond, Index(u64::MAX), usize::MAX).unwrap().is_empty(), "group {id}");
    }
    drop(wal);
    fs.crash(&mut |_| false);
    let (wal, reader, recovered, found) = reopen(fs);
    assert_eq!((recovered.torn, &found), (None, model));
    (wal, reader)
}

#[test]
fn an_install_of_an_entry_that_the_log_has_keeps_what_follows() {
    let fs = MemFs::new();
    let (mut wal, reader, mut model) = ten(&fs);
    let before = segments(&fs);
    let batch =
        [installing(GROUP, Some(hard_state(4, 0, 6)), install((6, 1), 4, 1), vec![command(11, 4, 30)])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    assert_eq!(model.groups[&GROUP].entries.len(), 5, "7 to 11");
    remove_freed(&mut wal).unwrap();
    assert!(segments(&fs) < before, "what is before the snapshot's end is freed");
    check(&fs, wal, &reader, &model);
}

#[test]
fn an_install_at_the_last_entry_and_at_the_purge_point_keep_too() {
    for to in [10, 5] {
        let fs = MemFs::new();
        let (mut wal, reader, mut model) = ten(&fs);
        let (point, base) = model.purge(GROUP, 5);
        wal.purge(GROUP, point, &base).unwrap();
        let batch = [installing(GROUP, None, install((to, 1), 2, 3), vec![])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
        assert_eq!(model.groups[&GROUP].entries.len() as u64, 10 - to);
        check(&fs, wal, &reader, &model);
    }
}

/// H28: the entry at the snapshot's end is of another term, so nothing around it is of the snapshot's past.
#[test]
fn an_install_that_conflicts_makes_all_void() {
    for (to, entries) in [((6, 2), vec![]), ((6, 2), vec![command(7, 3, 40), config(8, 3, 1)])] {
        let fs = MemFs::new();
        let (mut wal, reader, mut model) = ten(&fs);
        let batch = [installing(GROUP, Some(hard_state(3, 2, 6)), install(to, 4, 1), entries)];
        wal.append(&batch).unwrap();
        model.apply(&batch);
        remove_freed(&mut wal).unwrap();
        assert_eq!(segments(&fs), 1, "void entries hold no segment, whatever their index");
        assert_eq!(model.groups[&GROUP].base, membership(4));
        let (wal, reader) = check(&fs, wal, &reader, &model);
        roll_and_check(&fs, wal, reader, model);
    }
}

#[test]
fn an_install_beyond_the_end_begins_the_log_there() {
    let fs = MemFs::new();
    let (mut wal, reader, mut model) = ten(&fs);
    let batch = [
        write(GROUP, None, vec![command(11, 3, 100)]),
        installing(GROUP, Some(hard_state(5, 0, 1000)), install((1000, 4), 1, 7), vec![command(1001, 5, 10)]),
    ];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    remove_freed(&mut wal).unwrap();
    assert_eq!(segments(&fs), 1);
    let (wal, reader) = check(&fs, wal, &reader, &model);
    roll_and_check(&fs, wal, reader, model);
}

/// Goes on until a preamble has been written behind the install, which then stands in a freed segment.
fn roll_and_check(fs: &MemFs, mut wal: Wal, mut reader: Reader, mut model: Model) {
    let newest = wal.newest();
    while wal.newest() < newest + 2 {
        let (last, _) = model.last(GROUP);
        let batch = [write(GROUP, None, vec![command(last.0 + 1, 5, 700)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    (wal, reader) = check(fs, wal, &reader, &model);
    let (to, base) = model.purge(GROUP, model.last(GROUP).0.0 - 1);
    wal.purge(GROUP, to, &base).unwrap();
    remove_freed(&mut wal).unwrap();
    assert!(fs.bytes(&segment(newest)).is_empty(), "the segment with the install is freed");
    check(fs, wal, &reader, &model);
}

/// The record of a void entry at an index that the new log reaches again is never taken for it, in whichever segment.
#[test]
fn void_entries_stay_void_when_the_new_log_reaches_their_indexes() {
    let fs = MemFs::new();
    // The other group holds all segments.
    let (mut wal, ..) = reopen(&fs);
    let pin = [write(OTHER, None, vec![command(1, 1, 10)])];
    wal.append(&pin).unwrap();
    drop(wal);
    let (mut wal, reader, mut model) = ten(&fs);
    model.apply(&pin);
    let before = segments(&fs);
    let batch = [installing(GROUP, None, install((4, 2), 3, 1), vec![])];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    remove_freed(&mut wal).unwrap();
    assert!(segments(&fs) >= before, "pinned by the other group");
    let (mut wal, mut reader) = check(&fs, wal, &reader, &model);
    let unpinned = fs.fork();
    unpinned.kill();
    let (mut later, ..) = reopen(&unpinned);
    later.purge(OTHER, (Index(1), Term(1)), &membership(1)).unwrap();
    remove_freed(&mut later).unwrap();
    assert_eq!(segments(&unpinned), 1, "after a start too, void entries hold no segment");
    for index in 5..=8 {
        let batch = [write(GROUP, None, vec![command(index, 3, 900)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
        (wal, reader) = check(&fs, wal, &reader, &model);
    }
}

#[test]
fn a_switch_changes_the_number_alone_and_a_purge_keeps_it() {
    let fs = MemFs::new();
    let (mut wal, reader, mut model) = ten(&fs);
    fs.take_trace();
    wal.switch(GROUP, 0).unwrap();
    assert!(fs.take_trace().is_empty(), "the number that it has");
    wal.switch(GROUP, 3).unwrap();
    model.groups.get_mut(&GROUP).unwrap().state = 3;
    let (mut wal, reader) = check(&fs, wal, &reader, &model);
    let (to, base) = model.purge(GROUP, 7);
    wal.purge(GROUP, to, &base).unwrap();
    assert_eq!(model.groups[&GROUP].state, 3);
    let (mut wal, reader) = check(&fs, wal, &reader, &model);
    wal.switch(GROUP, 4).unwrap();
    model.groups.get_mut(&GROUP).unwrap().state = 4;
    let (wal, reader) = check(&fs, wal, &reader, &model);
    roll_and_check(&fs, wal, reader, model);
}

/// The way out of a full log is a snapshot: neither it nor what comes with it is refused.
#[test]
fn a_full_log_takes_an_install() {
    let fs = MemFs::new();
    let mut model = Model::new();
    let small = Options { bytes_max: 6 * 5120, ..options() };
    let (mut wal, reader, _) = Wal::open(fs.shared(), Path::new(DIR), small, &bootstrap()).unwrap();
    let mut index = 1;
    while wal.append(&[write(GROUP, None, vec![command(index, 1, 900)])]).is_ok() {
        model.entry(GROUP, &command(index, 1, 900));
        index += 1;
    }
    let entries = vec![command(index + 50, 2, 3000)];
    let batch = [installing(GROUP, Some(hard_state(2, 0, 0)), install((index + 49, 2), 3, 1), entries)];
    wal.append(&batch).unwrap();
    model.apply(&batch);
    assert!(wal.has_room(2000), "there is room again");
    check(&fs, wal, &reader, &model);
}

/// What a crash kept from being freed is freed by the next start.
#[test]
fn a_start_frees_what_a_crash_left() {
    let fs = MemFs::new();
    let (mut wal, .., mut model) = ten(&fs);
    let batch = [installing(GROUP, None, install((20, 2), 3, 1), vec![])];
    let call = (0..20).find(|call| {
        let fs = fs.fork();
        fs.kill();
        let (mut wal, ..) = reopen(&fs);
        fs.fail_at(fs.calls() + call, crate::wal::fs::testing::Fault::Stop);
        assert!(wal.append(&batch).and_then(|()| remove_freed(&mut wal)).is_err());
        fs.take_trace().last().is_some_and(|last| last.starts_with("remove 0"))
    });
    fs.fail_at(fs.calls() + call.expect("some call removes a segment"), crate::wal::fs::testing::Fault::Stop);
    assert!(wal.append(&batch).and_then(|()| remove_freed(&mut wal)).is_err());
    model.apply(&batch);
    drop(wal);
    fs.crash(&mut |_| false);
    assert!(segments(&fs) > 1);
    let (wal, .., found) = reopen(&fs);
    assert_eq!((found, segments(&fs)), (model, 1));
    let on_disk: usize = fs.files().iter().map(|(_, len)| *len).sum();
    assert_eq!(wal.bytes(), on_disk as u64);
}

fn refused(write: GroupWrite) {
    let (mut wal, ..) = ten(&MemFs::new());
    wal.switch(GROUP, 5).unwrap();
    wal.purge(GROUP, (Index(3), Term(1)), &membership(5)).unwrap();
    let _ = wal.append(&[write]);
}

#[test]
#[should_panic(expected = "state file 4 after 5")]
fn an_install_with_a_number_that_falls_is_a_broken_caller() {
    refused(installing(GROUP, None, install((20, 2), 3, 4), vec![]));
}

#[test]
#[should_panic(expected = "state file 4 after 5")]
fn a_switch_to_a_number_that_falls_is_a_broken_caller() {
    let (mut wal, ..) = ten(&MemFs::new());
    wal.switch(GROUP, 5).unwrap();
    let _ = wal.switch(GROUP, 4);
}

#[test]
#[should_panic(expected = "reset to 2 of term 1 of a log of 4 to 10")]
fn an_install_of_what_is_purged_is_a_broken_caller() {
    refused(installing(GROUP, None, install((2, 1), 3, 6), vec![]));
}

#[test]
#[should_panic(expected = "reset to 20 of term 4 in term 3")]
fn an_install_of_a_term_that_the_node_has_not_reached_is_a_broken_caller() {
    refused(installing(GROUP, None, install((20, 4), 3, 6), vec![]));
}

#[test]
#[should_panic(expected = "entry 11 in a log of 21 to 20")]
fn entries_that_do_not_follow_the_install_are_a_broken_caller() {
    refused(installing(GROUP, None, install((20, 2), 3, 6), vec![command(11, 2, 1)]));
}

/// Recovery holds a base record to the same rules: made by hand, each with good checksums.
#[test]
fn a_base_record_that_cannot_follow_is_damage() {
    let to = |index: u64, term: u64| (Index(index), Term(term));
    for (resets, to, state, what) in [
        (false, to(3, 1), 4, "state file 4 after 5"),
        (true, to(20, 2), 4, "state file 4 after 5"),
        (true, to(20, 4), 6, "reset to 20 of term 4 in term 3"),
        (true, to(7, 1), 6, "reset to 7 of term 1 of a log of 4 to 10"),
        (true, to(3, 2), 6, "reset to 3 of term 2 of a log of 4 to 10"),
        (false, to(7, 2), 6, "purge to 7 of term 2, there it is Some(Term(1))"),
        (false, to(11, 2), 6, "purge to 11 of a log of 4 to 10"),
        (true, to(20, 2), u64::MAX / 2, "the base record cannot be decoded"),
    ] {
        let fs = MemFs::new();
        let (mut wal, ..) = ten(&fs);
        wal.switch(GROUP, 5).unwrap();
        wal.purge(GROUP, (Index(3), Term(1)), &membership(5)).unwrap();
        wal.forge_base(GROUP, to, &membership(3), state, resets);
        drop(wal);
        let error = open(&fs).map(|_| ()).unwrap_err();
        assert!(matches!(&error, Error::Damaged { what: found, .. } if found == what), "{what}: {error}");
    }
}
