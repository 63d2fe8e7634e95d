//! Repairs: what may take the place of what, and what becomes of it later.

use super::*;

/// One segment with entries 1 to 5, of which so many are damaged.
fn damaged(which: &[u64]) -> (MemFs, Model) {
    let fs = MemFs::new();
    let mut model = Model::new();
    let (mut wal, ..) = reopen(&fs);
    for index in 1..=5 {
        let batch = [write(GROUP, None, vec![command(index, 1, 200)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    drop(wal);
    fs.kill();
    for index in which {
        fs.flip(&segment(1), place_of(&fs, *index), 8);
    }
    (fs, model)
}

fn place_of(fs: &MemFs, index: u64) -> usize {
    let mut place = 0;
    crate::wal::inspect::inspect(fs, Path::new(DIR), &mut |info| {
        if info.kind == "command" && info.index == index {
            place = info.offset as usize + 100;
        }
    })
    .unwrap();
    place
}

fn damage_of(recovered: &Recovered) -> Vec<u64> {
    recovered.groups[&GROUP].damaged.iter().map(|damaged| damaged.index.0).collect()
}

#[test]
fn any_of_the_entries_may_be_damaged_and_is_repaired() {
    for which in [&[1][..], &[3], &[5], &[1, 5], &[2, 4], &[1, 3, 5]] {
        let (fs, model) = damaged(which);
        let opened = open(&fs).unwrap();
        assert_eq!(damage_of(&opened.2), which);
        heal(&fs, opened, &model);
    }
}

#[test]
fn what_is_replaced_or_purged_is_damaged_no_more() {
    let (fs, _) = damaged(&[2, 4]);
    let (mut wal, _, recovered) = open(&fs).unwrap();
    assert_eq!(damage_of(&recovered), [2, 4]);
    wal.append(&[write(GROUP, Some(hard_state(2, 0, 0)), vec![command(4, 2, 10)])]).unwrap();
    drop(wal);
    let (mut wal, _, recovered) = open(&fs).unwrap();
    assert_eq!(damage_of(&recovered), [2]);
    wal.purge(GROUP, (Index(2), Term(1)), &membership(3)).unwrap();
    drop(wal);
    let (mut wal, _, recovered) = open(&fs).unwrap();
    assert_eq!(damage_of(&recovered), [0; 0]);
    let batch = [installing(GROUP, None, install((9, 2), 3, 1), vec![])];
    wal.append(&batch).unwrap();
    drop(wal);
    assert_eq!(reopen(&fs).2.groups[&GROUP].last, Index(9));
}

#[test]
fn a_repair_keeps_what_follows_it_and_outlives_a_roll() {
    let (fs, mut model) = damaged(&[2]);
    let (mut wal, reader, recovered) = open(&fs).unwrap();
    wal.append(&repairs_of(&model, &recovered)).unwrap();
    let mut index = 5;
    while wal.newest() < 4 {
        index += 1;
        let batch = [write(GROUP, None, vec![command(index, 1, 900)])];
        wal.append(&batch).unwrap();
        model.apply(&batch);
    }
    let read = reader.read(GROUP, Index(1), Index(99), usize::MAX).unwrap();
    assert_eq!(read, model.groups[&GROUP].entries);
    drop(wal);
    let (.., found) = reopen(&fs);
    assert_eq!(found, model);
}

/// A repair is damaged as easily as anything else: then the entry is damaged again, and can be repaired again.
#[test]
fn a_damaged_repair_repairs_nothing() {
    let (fs, model) = damaged(&[2]);
    let (mut wal, _, recovered) = open(&fs).unwrap();
    wal.append(&repairs_of(&model, &recovered)).unwrap();
    wal.append(&[write(GROUP, Some(hard_state(1, 2, 0)), vec![])]).unwrap();
    drop(wal);
    fs.kill();
    let mut place = 0;
    crate::wal::inspect::inspect(&fs, Path::new(DIR), &mut |info| {
        if info.kind == "repair" {
            place = info.offset as usize + 100;
        }
    })
    .unwrap();
    fs.flip(&segment(1), place, 1);
    let mut model = model;
    model.apply(&[write(GROUP, Some(hard_state(1, 2, 0)), vec![])]);
    let opened = open(&fs).unwrap();
    assert_eq!(damage_of(&opened.2), [2]);
    heal(&fs, opened, &model);
}

#[test]
#[should_panic(expected = "repair of entry 2 of term 7")]
fn a_repair_of_another_term_is_a_mistake() {
    let (fs, _) = damaged(&[2]);
    let (mut wal, ..) = open(&fs).unwrap();
    let repairs = GroupWrite { repairs: vec![command(2, 7, 200)], ..write(GROUP, None, vec![]) };
    let _ = wal.append(&[repairs]);
}

/// A power cut while a repair is written: it is there or not, and nothing else changes.
#[test]
fn a_torn_repair_changes_nothing() {
    let (fs, model) = damaged(&[3]);
    for kept in [false, true] {
        let fs = fs.fork();
        let (mut wal, _, recovered) = open(&fs).unwrap();
        fs.fail_at(fs.calls() + 1, crate::wal::fs::testing::Fault::Stop);
        assert!(wal.append(&repairs_of(&model, &recovered)).is_err());
        drop(wal);
        fs.crash(&mut |_| kept);
        let opened = open(&fs).unwrap();
        assert_eq!(damage_of(&opened.2), if kept { vec![] } else { vec![3] });
        heal(&fs, opened, &model);
    }
}

/// The rule where nothing stands behind the damage that could prove that nothing is missing.
#[test]
fn a_damaged_end_is_taken_for_written_if_all_headers_can_be_read() {
    let (fs, model) = damaged(&[5]);
    let opened = open(&fs).unwrap();
    assert_eq!((opened.2.torn.clone(), opened.0.newest()), (None, 2), "it goes on in a new segment");
    heal(&fs, opened, &model);
    let (fs, _) = damaged(&[]);
    fs.flip(&segment(1), place_of(&fs, 5) - 80, 8);
    let (wal, _, recovered) = open(&fs).unwrap();
    let found = &recovered.groups[&GROUP];
    assert!(found.hard_state.in_doubt, "entry 5 may have been there, or not");
    assert_eq!((found.last, wal.newest()), (Index(4), 2));
}

#[test]
fn a_damaged_configuration_leaves_doubt() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    wal.append(&[write(GROUP, None, vec![config(1, 1, 2)])]).unwrap();
    wal.append(&[write(GROUP, None, vec![command(2, 1, 10)])]).unwrap();
    drop(wal);
    fs.kill();
    let mut place = 0;
    crate::wal::inspect::inspect(&fs, Path::new(DIR), &mut |info| {
        if info.kind == "membership" {
            place = info.offset as usize + 60;
        }
    })
    .unwrap();
    fs.flip(&segment(1), place, 1);
    let found = open(&fs).unwrap().2.groups[&GROUP].clone();
    assert_eq!((found.hard_state.in_doubt, found.last), (true, Index(0)));
}

/// One copy is enough, as long as the header of the other can be read; with both gone, the vote is unknown.
#[test]
fn a_hard_state_is_read_from_either_copy() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    wal.append(&[write(GROUP, Some(hard_state(4, 2, 0)), vec![command(1, 4, 10)])]).unwrap();
    wal.append(&[write(GROUP, None, vec![command(2, 4, 10)])]).unwrap();
    drop(wal);
    fs.kill();
    let mut places = Vec::new();
    crate::wal::inspect::inspect(&fs, Path::new(DIR), &mut |info| {
        if info.kind == "hard-state" {
            places.push(info.offset as usize + 60);
        }
    })
    .unwrap();
    assert_eq!(places.len(), 2);
    for lost in [&places[..1], &places[1..], &places[..]] {
        let fs = fs.fork();
        lost.iter().for_each(|place| fs.flip(&segment(1), *place, 2));
        match open(&fs) {
            Ok((.., recovered)) => {
                assert!(lost.len() == 1 && recovered.wounds.len() == 1);
                assert_eq!(recovered.groups[&GROUP].hard_state, hard_state(4, 2, 0));
            }
            Err(error) => {
                assert!(lost.len() == 2 && error.to_string().contains("a hard state of group"), "{error}");
            }
        }
    }
}

/// In parts of any size, while the log is open: what rots is found, once, and nothing else.
#[test]
fn a_scrub_finds_what_rots() {
    let (fs, _) = damaged(&[]);
    let (mut wal, reader, _) = open(&fs).unwrap();
    wal.append(&[write(OTHER, None, vec![command(1, 1, 30)])]).unwrap();
    let scrub = |bytes_max: usize| {
        let (mut at, mut damaged, mut parts) = ((GroupId(0), Index(0)), Vec::new(), 0);
        loop {
            let part = reader.scrub(at, bytes_max).unwrap();
            damaged.extend(part.damaged);
            parts += 1;
            match part.next {
                Some(next) => at = next,
                None => return (damaged, parts),
            }
        }
    };
    assert_eq!(scrub(usize::MAX), (vec![], 1));
    for index in [2, 3, 5] {
        fs.flip(&segment(1), place_of(&fs, index), 8);
    }
    let expected: Vec<(GroupId, Index)> = [2, 3, 5].map(|index| (GROUP, Index(index))).to_vec();
    assert_eq!(scrub(usize::MAX), (expected.clone(), 1));
    for bytes_max in [1, 100, 300, 900] {
        let (damaged, parts) = scrub(bytes_max);
        assert!(damaged == expected && parts > 1, "{damaged:?} in {parts} parts");
    }
    let repairs = [2, 3, 5].map(|index| command(index, 1, 200)).to_vec();
    wal.append(&[GroupWrite { repairs, ..write(GROUP, None, vec![]) }]).unwrap();
    assert_eq!(scrub(usize::MAX), (vec![], 1));
}
