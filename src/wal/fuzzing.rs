//! What must hold of recovery for any content of the log's directory.
//!
//! An input is the directory: its segments, oldest first, one behind the other, [`SEGMENT_BYTES`] each; the last may be
//! shorter. The first takes its number from its own first sector, as far as that makes sense, the others follow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;

use crate::raft::{Entry, EntryKind, HardState, Membership};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Owner, Term};

use super::fs::testing::{Fault, MemFs, Unsynced};
use super::inspect::inspect;
use super::record::HEADER_BYTES;
use super::sector::{DATA_BYTES, FRAME_BYTES, NUMBER_MAX, SECTOR_BYTES, u32_at, u64_at};
use super::segment::PREAMBLE_SECTOR;
use super::{Error, GroupWrite, Install, Options, Reader, Recovered, RecoveredGroup, Wal, segment};

/// The length of each file in an input.
pub(crate) const SEGMENT_BYTES: usize = 6144;

const DIR: &str = "/wal";
const GROUP: GroupId = GroupId::FIRST;
const OTHER: GroupId = GroupId(7);
const OWNER: Owner = Owner {
    cluster: ClusterId(0xc1c2_c3c4_c5c6_c7c8),
    node: NodeId(1),
    incarnation: Incarnation(0xa1a2_a3a4_a5a6_a7a8),
};

type Opened = (Wal, Reader, Recovered);

fn membership(nodes: u64) -> Membership {
    Membership::bootstrap((1..=nodes).map(|id| (NodeId(id), format!("n{id}:7000"))))
}

fn open(fs: &MemFs) -> Result<Opened, Error> {
    let options = Options {
        owner: OWNER,
        segment_bytes: SEGMENT_BYTES as u64,
        bytes_max: 1 << 20,
        tail_bytes_max: 1 << 16,
    };
    let bootstrap = BTreeMap::from([(GROUP, membership(3)), (OTHER, membership(1))]);
    Wal::open(fs.shared(), Path::new(DIR), options, &bootstrap)
}

/// A disk that holds an input.
fn disk(input: &[u8]) -> MemFs {
    let fs = MemFs::new();
    let shared = fs.shared();
    let first = input.get(16..24).map_or(1, |bytes| u64_at(bytes, 0)).clamp(1, 1 << 40);
    for (number, bytes) in (first..).zip(input.chunks(SEGMENT_BYTES)) {
        let path = segment::path(Path::new(DIR), number);
        drop(shared.create(&path).expect("a new name"));
        fs.set_bytes(&path, bytes.to_vec());
    }
    fs
}

/// The input that is on a disk.
fn image(fs: &MemFs) -> Vec<u8> {
    let files = fs.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "wal"));
    files.flat_map(|(path, _)| fs.bytes(&path)).collect()
}

/// All entries that can be read, by group.
fn entries(opened: &Opened) -> BTreeMap<GroupId, Vec<Entry>> {
    let (_, reader, recovered) = opened;
    let mut entries = BTreeMap::new();
    for (id, group) in &recovered.groups {
        let read = read_all(reader, *id, group);
        assert!(read.ends_with(&group.tail), "group {id}: the tail is not the log's end");
        for (index, configuration) in &group.memberships {
            let entry = read.iter().find(|entry| entry.index == *index);
            let is_it = |entry: &Entry| Membership::decode(&entry.payload).as_ref() == Ok(configuration);
            assert!(entry.is_none_or(is_it), "group {id}: configuration {index}");
        }
        let ascending = read.windows(2).all(|pair| pair[0].term <= pair[1].term);
        assert!(ascending, "group {id}: terms fall");
        entries.insert(*id, read);
    }
    entries
}

/// All entries of a group that are not damaged; of those that are, none can be read.
fn read_all(reader: &Reader, id: GroupId, group: &RecoveredGroup) -> Vec<Entry> {
    let mut read = Vec::new();
    let mut damaged = group.damaged.iter().peekable();
    for index in (group.purged.0.0 + 1..=group.last.0).map(Index) {
        let one = reader.read(id, index, index, usize::MAX);
        if damaged.next_if(|damaged| damaged.index == index).is_some() {
            assert!(matches!(one, Err(Error::Entry { .. })), "group {id}: entry {index} is damaged: {one:?}");
            continue;
        }
        let one = one.unwrap_or_else(|error| panic!("group {id} was recovered and cannot be read: {error}"));
        assert!(
            matches!(&one[..], [entry] if entry.index == index && entry.is_intact()),
            "group {id}, entry {index}: {one:?}"
        );
        read.extend(one);
    }
    assert_eq!(damaged.next(), None, "group {id}: a damaged entry that is not held");
    read
}

/// Recovery of an input, whatever it is: it ends with a log or with an error that says what is wrong, and a log that was
/// recovered holds nothing that is not in the files, is found again, and can be written on.
pub(crate) fn check(input: &[u8]) -> bool {
    let fs = disk(input);
    let mut records = BTreeSet::new();
    inspect(&fs, Path::new(DIR), &mut |info| {
        records.insert((info.group, info.index, info.term));
    })
    .unwrap_or_else(|error| panic!("the disk is well: {error}"));
    let before = image(&fs);
    let opened = match open(&fs) {
        Ok(opened) => opened,
        Err(Error::Damaged { .. } | Error::Version { .. } | Error::Foreign { .. }) => {
            assert!(image(&fs) == before, "a log that is refused was changed");
            return false;
        }
        Err(error) => panic!("no answer to bytes on a disk that is well: {error}"),
    };
    let found = entries(&opened);
    // Through bad sectors recovery sees more than `inspect` shows.
    let is_whole = opened.2.wounds.is_empty();
    for (id, entry) in found
        .iter()
        .filter(|_| is_whole)
        .flat_map(|(id, entries)| entries.iter().map(move |entry| (id, entry)))
    {
        let record = (id.0, entry.index.0, entry.term.0);
        assert!(records.contains(&record), "{record:?} is in no file");
    }
    let groups = opened.2.groups.clone();
    drop(opened);
    // What recovery did to the files changes nothing of what they say.
    fs.crash(&mut |_| false);
    let again = open(&fs).unwrap_or_else(|error| panic!("recovered once, and not twice: {error}"));
    assert_eq!(again.2.torn, None, "torn twice");
    assert_eq!(entries(&again), found);
    assert_eq!(again.2.groups, groups);
    write_on(&fs, again, found);
    true
}

/// Adds an entry to each group, to every other one behind an install, and finds it again.
fn write_on(fs: &MemFs, opened: Opened, mut expected: BTreeMap<GroupId, Vec<Entry>>) {
    let (mut wal, _, recovered) = opened;
    let mut batch = Vec::new();
    for (id, group) in &recovered.groups {
        let last_term = group.terms.last().map_or(group.purged.1, |(_, term)| *term);
        let term = last_term.max(group.hard_state.term).next();
        let payload = Bytes::from_static(b"written on");
        let mut last = group.last;
        let install = last.0.is_multiple_of(2).then(|| {
            last = last.next();
            expected.remove(id);
            let state = (group.state + 1).min(NUMBER_MAX - 1);
            Install { to: (last, term), base: group.base.clone(), state }
        });
        let entry = Entry::new(last.next(), term, EntryKind::Command, payload);
        expected.entry(*id).or_default().push(entry.clone());
        let hard_state = Some(HardState { term, vote: Some(NodeId(3)), commit: last, in_doubt: false });
        batch.push(GroupWrite { group: *id, hard_state, install, repairs: Vec::new(), entries: vec![entry] });
    }
    wal.append(&batch).unwrap_or_else(|error| panic!("recovered, and cannot be written on: {error}"));
    drop(wal);
    fs.crash(&mut |_| false);
    let opened = open(fs).unwrap_or_else(|error| panic!("written on, and not recovered: {error}"));
    assert_eq!(entries(&opened), expected);
    for write in batch {
        let found = &opened.2.groups[&write.group];
        assert_eq!(Some(found.hard_state), write.hard_state);
        if let Some(install) = write.install {
            assert_eq!((found.purged, &found.base, found.state), (install.to, &install.base, install.state));
        }
    }
}

/// Makes all checksums right: those of first sectors, of records with their chain, and of sectors. One input in eight
/// keeps its chain as it is.
pub(crate) fn mend(input: &mut [u8]) {
    let keeps_chain = crc32fast::hash(input).is_multiple_of(8);
    let mut chain = None;
    let first = input.get(16..24).map_or(1, |bytes| u64_at(bytes, 0)).clamp(1, 1 << 40);
    for (number, file) in (first..).zip(input.chunks_mut(SEGMENT_BYTES)) {
        let Some((head, rest)) = file.split_at_mut_checked(SECTOR_BYTES) else { return };
        let Some((copy, body)) = rest.split_at_mut_checked(SECTOR_BYTES) else { return };
        let chain = chain.get_or_insert(u32_at(head, 48));
        head[48..52].copy_from_slice(&chain.to_le_bytes());
        let crc = crc32fast::hash(&head[..SECTOR_BYTES - 4]);
        head[SECTOR_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        copy.copy_from_slice(head);
        mend_records(body, chain, keeps_chain);
        for (at, sector) in body.chunks_exact_mut(SECTOR_BYTES).enumerate() {
            if sector.iter().any(|byte| *byte != 0) {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(&number.to_le_bytes());
                hasher.update(&(at as u64 + PREAMBLE_SECTOR).to_le_bytes());
                hasher.update(&sector[4..]);
                let crc = hasher.finalize();
                sector[..4].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

/// Mends the records of each run of sectors that say that they are of one batch.
fn mend_records(body: &mut [u8], chain: &mut u32, keeps_chain: bool) {
    let mut sectors: Vec<&mut [u8]> = body.chunks_exact_mut(SECTOR_BYTES).collect();
    for run in sectors.chunk_by_mut(|a, b| u64_at(a, 8) == u64_at(b, 8)) {
        if u64_at(run[0], 8) == 0 {
            continue;
        }
        let mut data: Vec<u8> = run.iter().flat_map(|sector| &sector[FRAME_BYTES..]).copied().collect();
        mend_data(&mut data, chain, keeps_chain);
        for (sector, data) in run.iter_mut().zip(data.chunks_exact(DATA_BYTES)) {
            sector[FRAME_BYTES..].copy_from_slice(data);
        }
    }
}

fn mend_data(data: &mut [u8], chain: &mut u32, keeps_chain: bool) {
    let mut at = 0;
    while at + HEADER_BYTES <= data.len() {
        if data[at] == 0 {
            at = (at + 1).next_multiple_of(DATA_BYTES);
            continue;
        }
        let end = at + HEADER_BYTES + u32_at(data, at + 8) as usize;
        if let Some(payload) = data.get(at + HEADER_BYTES..end) {
            let crc = crc32fast::hash(payload);
            data[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        }
        if !keeps_chain {
            data[at + 40..at + 44].copy_from_slice(&chain.to_le_bytes());
        }
        let crc = crc32fast::hash(&data[at..at + 44]);
        data[at + 44..at + 48].copy_from_slice(&crc.to_le_bytes());
        *chain = crc;
        at = end;
    }
}

/// Logs of all shapes: fresh, with one of everything, of several segments, torn, and going on after a cut.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let fs = MemFs::new();
    let mut wal = open(&fs).expect("a new log").0;
    let fresh = image(&fs);
    let write = |hard_state: Option<(u64, u64)>, entries: Vec<Entry>| {
        let hard_state = hard_state.map(|(term, vote)| HardState {
            term: Term(term),
            vote: (vote > 0).then_some(NodeId(vote)),
            commit: Index(1),
            in_doubt: false,
        });
        GroupWrite { group: GROUP, hard_state, install: None, repairs: Vec::new(), entries }
    };
    let entry = |index: u64, term: u64, len: usize| {
        let payload = Bytes::from(vec![index as u8; len]);
        Entry::new(Index(index), Term(term), EntryKind::Command, payload)
    };
    let configuration = Entry::new(Index(3), Term(3), EntryKind::Membership, membership(2).encode());
    let noop = Entry::new(Index(1), Term(3), EntryKind::Noop, Bytes::new());
    wal.append(&[
        write(Some((3, 2)), vec![noop, entry(2, 3, 3), configuration, entry(4, 3, 600)]),
        GroupWrite {
            group: OTHER,
            hard_state: None,
            install: None,
            repairs: Vec::new(),
            entries: vec![entry(1, 2, 5)],
        },
    ])
    .expect("room");
    let everything = image(&fs);
    wal.append(&[write(Some((4, 1)), vec![entry(4, 4, 900)])]).expect("room");
    wal.purge(GROUP, (Index(2), Term(3)), &membership(3)).expect("room");
    wal.append(&[write(None, vec![entry(5, 4, 1200)])]).expect("room");
    let several = image(&fs);
    let installed = installed(&fs);
    drop(wal);
    let fs = tear(&fs, &[write(Some((5, 3)), vec![entry(6, 5, 400), entry(7, 5, 700)])]);
    let torn = image(&fs);
    let mut wal = open(&fs).expect("torn, not damaged").0;
    wal.append(&[write(None, vec![entry(6, 5, 30)])]).expect("room");
    drop(wal);
    let cut = image(&fs);
    vec![
        ("fresh", fresh),
        ("everything", everything),
        ("several", several),
        ("installed", installed),
        ("torn", torn),
        ("cut", cut),
    ]
}

/// The same log after an install that keeps, a switch, and an install that resets, with the next segment's preamble
/// behind it. The other group's entry holds all segments.
fn installed(fs: &MemFs) -> Vec<u8> {
    let fs = fs.fork();
    fs.kill();
    let mut wal = open(&fs).expect("well").0;
    let mut append = |term: u64, to: (u64, u64), state: u64, len: usize| {
        let install = Install { to: (Index(to.0), Term(to.1)), base: membership(2), state };
        let payload = Bytes::from(vec![0xa5; len]);
        let after = if to.0 == 4 { 6 } else { to.0 + 1 };
        let entries = vec![Entry::new(Index(after), Term(term), EntryKind::Command, payload)];
        let hard_state =
            Some(HardState { term: Term(term), vote: None, commit: Index(to.0), in_doubt: false });
        wal.append(&[GroupWrite {
            group: GROUP,
            hard_state,
            install: Some(install),
            repairs: Vec::new(),
            entries,
        }])
        .expect("room");
        wal.switch(GROUP, state + 1).expect("room");
    };
    append(5, (4, 4), 1, 20);
    append(6, (9, 5), 4, 10);
    append(7, (5_000, 7), 5, 1_500);
    image(&fs)
}

/// The disk after a power failure while `batch` was written: all of it arrived but its third sector.
fn tear(fs: &MemFs, batch: &[GroupWrite]) -> MemFs {
    let torn = (0..64).find_map(|call| {
        let fs = fs.fork();
        fs.kill();
        let mut wal = open(&fs).expect("well").0;
        fs.fail_at(fs.calls() + call, Fault::Stop);
        wal.append(batch).err()?;
        drop(wal);
        let mut files = fs.files().into_iter().filter(|(path, _)| path.extension().is_some());
        let sectors = files.next_back().map_or(Vec::new(), |(path, _)| fs.unsynced(&path));
        let lost = *sectors.get(2)?;
        fs.crash(&mut |unsynced| !matches!(unsynced, Unsynced::Sector(_, sector) if sector == lost));
        Some(fs)
    });
    torn.expect("some call writes the batch")
}
