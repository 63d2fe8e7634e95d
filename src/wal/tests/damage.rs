//! Damage: bytes that were synced and changed. Covers H16, H17 and, of TigerBeetle's journal scenarios, "WAL prepare
//! corruption" (right of head, left of head, root, checkpoint..head), "WAL header corruption", "WAL torn prepare" and
//! misdirected writes, as far as one node alone can judge them. A log is refused, or says exactly what it lacks, and has
//! it again once that was stored once more.

use super::*;
use crate::wal::inspect;
use crate::wal::inspect::inspect;

/// A log of several segments, one of them ending in a cut, and its model.
pub fn several_segments() -> (MemFs, Model) {
    let fs = MemFs::new();
    let mut model = Model::new();
    let larger = Options { segment_bytes: 6656, ..options() };
    let (mut wal, ..) = Wal::open(fs.shared(), Path::new(DIR), larger, &bootstrap()).unwrap();
    let mut append = |wal: &mut Wal, batch: &[GroupWrite]| {
        wal.append(batch).unwrap();
        model.apply(batch);
    };
    append(&mut wal, &[write(GROUP, Some(hard_state(1, 2, 0)), vec![command(1, 1, 600), zeroes(2, 1, 900)])]);
    append(&mut wal, &[write(OTHER, None, vec![config(1, 2, 2)])]);
    append(&mut wal, &[write(GROUP, Some(hard_state(3, 0, 1)), vec![command(2, 3, 30)])]);
    drop(wal);
    // A torn batch that ends the second segment with a cut.
    let (mut wal, ..) = reopen(&fs);
    let batch = [write(GROUP, None, vec![command(3, 3, 100), command(4, 3, 900)])];
    fs.fail_at(fs.calls() + 1, crate::wal::fs::testing::Fault::Stop);
    assert!(wal.append(&batch).is_err());
    let sectors = fs.unsynced(&segment(wal.newest()));
    fs.crash(&mut |lost| {
        matches!(lost, crate::wal::fs::testing::Unsynced::Sector(_, at) if at == sectors[0] || at == sectors[2])
    });
    let larger = Options { segment_bytes: 6656, ..options() };
    let (mut wal, reader, recovered) = Wal::open(fs.shared(), Path::new(DIR), larger, &bootstrap()).unwrap();
    assert!(recovered.torn.is_some());
    model = Model::found(&recovered, &reader);
    let mut append = |wal: &mut Wal, batch: &[GroupWrite]| {
        wal.append(batch).unwrap();
        model.apply(batch);
    };
    append(&mut wal, &[write(GROUP, Some(hard_state(4, 1, 2)), vec![command(4, 4, 50)])]);
    append(&mut wal, &[write(GROUP, None, vec![zeroes(5, 4, 600)])]);
    drop(wal);
    fs.crash(&mut |_| false);
    assert_eq!(fs.files().iter().filter(|(path, _)| path.extension().is_some()).count(), 3);
    (fs, model)
}

fn files(fs: &MemFs) -> Vec<(PathBuf, usize)> {
    fs.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "wal")).collect()
}

/// Where the records of a segment end, by the first sector of its successor; all of it for the newest.
pub fn end_of(fs: &MemFs, number: u64, len: usize) -> usize {
    let next = fs.bytes(&segment(number + 1));
    if next.is_empty() { len } else { u64::from_le_bytes(next[32..40].try_into().unwrap()) as usize }
}

#[test]
fn each_byte_flipped_heals_or_lies_behind_the_end() {
    let (fs, model) = several_segments();
    let (mut refused, mut repaired) = (0, 0);
    for (at, (path, len)) in files(&fs).into_iter().enumerate() {
        let end = end_of(&fs, at as u64 + 1, len).next_multiple_of(512);
        let image = fs.bytes(&path);
        for offset in 0..len {
            let fs = fs.fork();
            fs.flip(&path, offset, 1 << (offset % 8));
            match open(&fs) {
                Ok(opened) if offset >= end => {
                    assert_eq!(Model::found(&opened.2, &opened.1), model);
                    assert_eq!(opened.2.wounds, []);
                }
                Ok(opened) => {
                    let place = format!("from byte {} on", offset / 512 * 512);
                    let wounds = &opened.2.wounds;
                    // Behind the last batch nobody can tell whether the zeroes before it were written.
                    let is_behind = image[offset / 512 * 512..].iter().all(|byte| *byte == 0);
                    let is_named = wounds.len() == 1
                        && (wounds[0].to_string().contains(&place)
                            || (is_behind && wounds[0].offset <= offset as u64));
                    assert!(is_named, "byte {offset}: {wounds:?}");
                    assert!(wounds[0].file == *path, "{wounds:?}");
                    match offset % 16 {
                        0 => heal(&fs, opened, &model),
                        _ => check_damaged(&model, &opened.2, &opened.1),
                    }
                    repaired += 1;
                }
                Err(Error::Damaged { file, offset: found, .. }) => {
                    assert!(offset < end, "{}: byte {offset} is never read", path.display());
                    // A lost header shows where the record behind it does not follow.
                    assert!(file >= path, "{}: byte {offset}", path.display());
                    // The place is the record's, which may begin in the sector before.
                    assert!(file > path || found / 512 + 1 >= offset as u64 / 512, "{}", path.display());
                    refused += 1;
                }
                Err(error) => panic!("{}: byte {offset}: {error}", path.display()),
            }
        }
    }
    assert!(refused == 0 && repaired > 10_000, "{refused} refused, {repaired} repaired");
}

#[test]
fn each_sector_lost_after_its_batch_was_followed_by_another_heals() {
    let (fs, model) = several_segments();
    let files = files(&fs);
    let (mut refused, mut repaired) = (0, 0);
    for (at, (path, len)) in files.iter().enumerate() {
        let image = fs.bytes(path);
        for sector in 0..len / 512 {
            let range = sector * 512..(sector + 1) * 512;
            if image[range.clone()].iter().all(|byte| *byte == 0) {
                continue;
            }
            let fs = fs.fork();
            let mut bytes = image.clone();
            bytes[range.clone()].fill(0);
            fs.set_bytes(path, bytes);
            let newest = at + 1 == files.len();
            match open(&fs) {
                Err(Error::Damaged { .. }) => refused += 1,
                Ok(opened) if !opened.2.wounds.is_empty() => {
                    heal(&fs, opened, &model);
                    repaired += 1;
                }
                // Outside the fault model: a zeroed sector of the last batch looks like a crash; a sector behind a
                // cut is never read.
                Ok((_, reader, recovered)) => {
                    let found = Model::found(&recovered, &reader);
                    let behind = range.start >= end_of(&fs, at as u64 + 1, *len);
                    assert!(recovered.torn.is_some() && newest || behind, "{} {sector}", path.display());
                    for (id, group) in &model.groups {
                        assert_eq!(found.groups[id].hard_state, group.hard_state);
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(refused == 0 && repaired > 12, "{refused} refused, {repaired} repaired");
}

/// The last batch carries a vote, was synced, and then loses one sector to the disk: outside the fault model for
/// entries, yet the vote is not forgotten.
#[test]
fn a_vote_in_the_last_batch_survives_the_loss_of_any_one_sector() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    wal.append(&[write(GROUP, Some(hard_state(8, 2, 0)), vec![command(1, 8, 300)])]).unwrap();
    drop(wal);
    let image = fs.bytes(&segment(1));
    let written = image.chunks(512).rposition(|sector| sector.iter().any(|byte| *byte != 0)).unwrap();
    for sector in written - 2..=written {
        let fs = fs.fork();
        let mut bytes = image.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        fs.set_bytes(&segment(1), bytes);
        let (_, _, recovered, _) = reopen(&fs);
        assert_eq!(recovered.groups[&GROUP].hard_state, hard_state(8, 2, 0), "sector {sector}");
    }
}

#[test]
fn a_sector_written_to_the_wrong_place_is_refused_or_repaired() {
    let (fs, model) = several_segments();
    let (mut refused, mut repaired) = (0, 0);
    let files = files(&fs);
    let images: Vec<Vec<u8>> = files.iter().map(|(path, _)| fs.bytes(path)).collect();
    for (from_file, from_image) in images.iter().enumerate() {
        for (to_file, to_image) in images.iter().enumerate() {
            for from in 0..from_image.len() / 512 {
                for to in 0..end_of(&fs, to_file as u64 + 1, to_image.len()) / 512 {
                    let moved = &from_image[from * 512..(from + 1) * 512];
                    let target = &to_image[to * 512..(to + 1) * 512];
                    if moved == target || moved.iter().all(|byte| *byte == 0) {
                        continue;
                    }
                    let fs = fs.fork();
                    let mut bytes = to_image.clone();
                    bytes[to * 512..(to + 1) * 512].copy_from_slice(moved);
                    fs.set_bytes(&files[to_file].0, bytes);
                    match open(&fs) {
                        Err(Error::Damaged { .. }) => refused += 1,
                        Ok(opened) => {
                            heal(&fs, opened, &model);
                            repaired += 1;
                        }
                        Err(error) => {
                            panic!("sector {from} of file {from_file} over {to} of {to_file}: {error}")
                        }
                    }
                }
            }
        }
    }
    assert!(refused < repaired / 10 && repaired > 500, "{refused} refused, {repaired} repaired");
}

#[test]
fn a_missing_segment_is_damage() {
    let (fs, _) = several_segments();
    for lost in [1, 2] {
        let fs = fs.fork();
        fs.lose(&segment(lost));
        let error = open(&fs).map(|_| ()).unwrap_err();
        let Error::Damaged { what, .. } = &error else { panic!("{error}") };
        assert!(what.contains("missing"), "{error}");
    }
}

/// Whole files of another log, each good in itself, with the same groups, indexes, terms and batches: only the chain
/// tells that they do not belong.
#[test]
fn a_segment_of_another_log_is_damage() {
    let (fs, other) = (MemFs::new(), MemFs::new());
    for (fs, payload) in [(&fs, 0), (&other, 1)] {
        let (mut wal, ..) = reopen(fs);
        for index in 1..=5 {
            let payload = Bytes::from(vec![payload; 1300]);
            let entry = Entry::new(Index(index), Term(1), EntryKind::Command, payload);
            wal.append(&[write(GROUP, None, vec![entry])]).unwrap();
        }
    }
    for foreign in [1, 2, 3] {
        let fs = fs.fork();
        fs.kill();
        drop(reopen(&fs));
        fs.set_bytes(&segment(foreign), other.bytes(&segment(foreign)));
        let error = open(&fs).map(|_| ()).unwrap_err();
        let Error::Damaged { file, what, .. } = &error else { panic!("{error}") };
        assert_eq!(*file, segment(foreign.max(2)), "{error}");
        assert!(what.contains("does not"), "{error}");
    }
}

#[test]
fn a_later_format_is_named_and_not_called_damage() {
    let (fs, _) = several_segments();
    let mut bytes = fs.bytes(&segment(2));
    bytes[8] = 3;
    let crc = crc32fast::hash(&bytes[..508]);
    bytes[508..512].copy_from_slice(&crc.to_le_bytes());
    fs.set_bytes(&segment(2), bytes);
    let error = open(&fs).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 3, known: 2, .. }), "{error}");
    assert!(
        error.to_string().ends_with("start the version of quorate that wrote it, or a newer one"),
        "{error}"
    );
}

#[test]
fn the_first_format_is_refused_with_a_way_out_and_left_as_it_is() {
    let (fs, _) = several_segments();
    for number in [1, 2, 3] {
        let mut bytes = fs.bytes(&segment(number));
        bytes[8] = 1;
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..512].copy_from_slice(&crc.to_le_bytes());
        fs.set_bytes(&segment(number), bytes);
    }
    let before = image(&fs);
    let error = open(&fs).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Version { found: 1, known: 2, .. }), "{error}");
    for part in ["log format 1", "start the version", "empty data directories", "never delete the log alone"]
    {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(image(&fs) == before, "the directory was changed");
}

#[test]
fn damage_says_where_and_what_to_do() {
    let (fs, _) = several_segments();
    for offset in [80, 592] {
        fs.flip(&segment(1), offset, 4);
    }
    let text = open(&fs).map(|_| ()).unwrap_err().to_string();
    let parts = [
        "/wal/0000000000000001.wal",
        "byte 0",
        "serve on",
        "evidence",
        "quorate wal inspect",
        "never delete",
    ];
    for part in parts {
        assert!(text.contains(part), "{text}");
    }
}

/// Everything in the directory, byte for byte.
fn image(fs: &MemFs) -> Vec<(PathBuf, Vec<u8>)> {
    fs.files().into_iter().map(|(path, _)| (path.clone(), fs.bytes(&path))).collect()
}

#[test]
fn the_log_of_another_owner_is_refused_and_left_as_it_is() {
    let (fs, model) = several_segments();
    let others = [
        Owner { cluster: ClusterId(OWNER.cluster.0 ^ 1), ..OWNER },
        Owner { node: NodeId(2), ..OWNER },
        Owner { incarnation: Incarnation(OWNER.incarnation.0 ^ (1 << 63)), ..OWNER },
    ];
    // A spare too is left: it is not this node's to remove.
    drop(fs.shared().create(&Path::new(DIR).join("spare")).unwrap());
    let before = image(&fs);
    assert_eq!(before.len(), 4, "three segments and a spare");
    for expected in others {
        let options = Options { owner: expected, ..options() };
        fs.take_trace();
        let refused = Wal::open(fs.shared(), Path::new(DIR), options, &bootstrap()).map(|_| ());
        let error = refused.expect_err("the log of another owner was opened");
        assert!(
            matches!(&error, Error::Foreign { file, found, expected: asked }
                if *file == segment(1) && *found == OWNER && *asked == expected),
            "{error}"
        );
        for part in ["/wal/0000000000000001.wal", "this node's own files", "must never be used"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
        assert!(fs.take_trace().is_empty(), "the disk was written to");
        assert!(image(&fs) == before, "the directory was changed");
    }
    // Whoever does not know the owner can still look.
    let mut damaged = 0;
    inspect(&fs, Path::new(DIR), &mut |info| damaged += u32::from(info.kind == "damaged")).unwrap();
    assert_eq!(damaged, 0);
    assert_eq!(reopen(&fs).3, model);
}

/// One file alone, in the middle of the others.
#[test]
fn one_segment_of_another_owner_is_refused_by_its_name() {
    let (fs, _) = several_segments();
    for number in [1, 2, 3] {
        let fs = fs.fork();
        let mut bytes = fs.bytes(&segment(number));
        bytes[64] = 9;
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..512].copy_from_slice(&crc.to_le_bytes());
        fs.set_bytes(&segment(number), bytes);
        let error = open(&fs).map(|_| ()).unwrap_err();
        let found = Owner { node: NodeId(9), ..OWNER };
        assert!(
            matches!(&error, Error::Foreign { file, found: it, expected: OWNER }
                if *file == segment(number) && *it == found),
            "{error}"
        );
    }
}

#[test]
fn a_reader_never_returns_a_damaged_entry_and_names_it() {
    let fs = MemFs::new();
    let (mut wal, ..) = reopen(&fs);
    let entries: Vec<Entry> = (1..=3).map(|index| command(index, 1, 500)).collect();
    wal.append(&[write(GROUP, None, entries.clone())]).unwrap();
    drop(wal);
    let mut damaged = 0;
    for offset in 0..fs.bytes(&segment(1)).len() {
        let fs = fs.fork();
        let (mut wal, reader, _) = open(&fs).unwrap();
        fs.flip(&segment(1), offset, 0x10);
        let mut found = Vec::new();
        for entry in &entries {
            match reader.read(GROUP, entry.index, Index(9), usize::MAX) {
                Ok(read) => assert!(entries[entry.index.0 as usize - 1..].starts_with(&read)),
                Err(Error::Entry { group: GROUP, index, .. }) => {
                    assert_eq!(index, entry.index);
                    found.push(entry.clone());
                }
                Err(error) => panic!("{error}"),
            }
        }
        damaged += usize::from(!found.is_empty());
        // It goes on, and what is stored once more is read from there.
        let repairs = GroupWrite { repairs: found, ..write(GROUP, None, vec![command(4, 1, 1)]) };
        wal.append(&[repairs]).unwrap();
        let read = reader.read(GROUP, Index(1), Index(9), usize::MAX).unwrap();
        assert_eq!(read, [&entries[..], &[command(4, 1, 1)]].concat(), "byte {offset}");
    }
    assert_eq!(damaged, 4 * 512, "each byte of the batch's four sectors");
}

/// A log that cannot be opened any more still tells whom to ask: the newest configuration that was in force, not one that was
/// replaced, nor that in which the log begins.
#[test]
fn a_log_that_is_lost_tells_who_the_members_were() {
    let fs = MemFs::new();
    let (mut wal, _, _) = open(&fs).unwrap();
    wal.append(&[write(GROUP, None, vec![command(1, 1, 10), config(2, 1, 5), command(3, 1, 10)])]).unwrap();
    wal.append(&[write(GROUP, None, vec![config(2, 2, 4), command(3, 2, 10)])]).unwrap();
    wal.purge(GROUP, (Index(1), Term(1)), &membership(3)).unwrap();
    drop(wal);
    let told = || inspect::configuration(&fs, Path::new(DIR), GROUP).unwrap();
    assert_eq!(told(), Some((Index(2), membership(4))));
    let mut bytes = fs.bytes(&segment(1));
    bytes[..1024].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs.kill();
    fs.set_bytes(&segment(1), bytes);
    assert!(matches!(open(&fs), Err(Error::Damaged { .. })));
    assert_eq!(told(), Some((Index(2), membership(4))), "both of its first sectors are lost");
    fs.set_bytes(&segment(1), vec![0; 100]);
    assert_eq!(told(), None);
}
