//! Snapshots from one store to another: all of the state, nothing but the state, or a refusal (covers H27, H29, H30).

use bytes::Bytes;

use super::support::*;
use crate::command::{Command, Envelope, Reply};
use crate::fsm::snapshot::format;
use crate::fsm::testing::{CrashFile, Loss};
use crate::fsm::{
    Body, Builder, CHUNK_BYTES_MAX, Error, Fresh, Input, Manifest, Rewritten, Snapshot, Store, file_backend,
};
use crate::fuzzing::meter::measure;
use crate::types::{ClientId, Index, Revision, Term};

/// The entries of a state that has something of everything. Entry 5 is a session's, and may be repeated.
fn log() -> Vec<Input> {
    let mut log = vec![];
    let mut add = |body: &dyn Fn(u64) -> Input| log.push(body(log.len() as u64 + 1));
    for client in 0..3 {
        add(&|index| input(index, Command::OpenSession { client: ClientId(client) }));
    }
    add(&|index| Input {
        index: Index(index),
        term: Term(1),
        body: Body::Membership(Bytes::from_static(b"three members")),
    });
    for seq in 1..=3 {
        let session = Some(at(1, seq, 1));
        add(&|index| input_of(index, &envelope(session, write(vec![put("in a session", &seq.to_string())]))));
    }
    let time = Envelope { group_time_ms: 1_700_000_000_000, ..envelope(None, write(vec![put("a", "1")])) };
    add(&|index| input_of(index, &time));
    for key in 0..40_u64 {
        let value = "v".repeat(30 * key as usize);
        add(&|index| input(index, write(vec![put(&format!("key {key:02}"), &value)])));
    }
    add(&|index| input(index, write(vec![delete("key 07"), put("a", "2")])));
    log
}

/// The store of [`log`], folded.
fn sample() -> Store {
    let store = open(&CrashFile::new()).expect("open");
    store.apply(&log()).expect("apply");
    store.fold().expect("fold");
    store
}

/// The same with values of which one is longer than a chunk, and none shrinks.
fn large() -> Store {
    let store = sample();
    for (seed, len) in [(1, 700_000), (2, 2_600_000), (3, 300_000), (4, 900_000)] {
        apply(&store, write(vec![put_bytes(&format!("large {seed}"), noise(seed, len))]));
    }
    store.fold().expect("fold");
    store
}

fn refusal(result: Result<Fresh, Error>, when: &str) -> String {
    match result {
        Err(Error::Snapshot { what }) => what,
        Err(error) => panic!("{when}: {error}"),
        Ok(fresh) => panic!("{when}: accepted as {fresh:?}"),
    }
}

#[test]
fn everything_arrives_and_only_it() {
    let source = large();
    let (manifest, chunks) = snapshot(&source);
    assert!(chunks.len() >= 6, "{} chunks: no value spans two of them", chunks.len());
    assert!(chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES_MAX));
    // The receiver holds other things: in its file, in a set that is frozen, in the one that is written to.
    let (old_file, new_file) = (CrashFile::new(), CrashFile::new());
    let target = open(&old_file).expect("open");
    apply(&target, Command::OpenSession { client: ClientId(77) });
    apply(&target, write(vec![put("old in the file", "x"), put("key 07", "deleted meanwhile")]));
    target.fold().expect("fold");
    apply(&target, write(vec![put("old and frozen", "x")]));
    target.freeze();
    apply(&target, write(vec![put("old and active", "x")]));
    let fresh = build(&new_file, &manifest, &chunks).expect("a sound stream");
    assert_eq!(fresh.applied(), source.applied());
    assert_eq!(fresh.membership(), Some(Bytes::from_static(b"three members")));
    target.install(fresh);
    let expected = State::of(&source);
    assert_eq!(State::of(&target), expected);
    assert_eq!(rows(&target), rows(&source));
    assert_eq!(target.folded(), source.folded());
    assert_eq!(target.group_time_ms(), 1_700_000_000_000);
    assert_eq!((target.sizes().write_set_bytes, target.sizes().frozen_bytes), (0, 0));
    // Both go on alike: a repeated write gets its first reply, a session that only the old state had is gone.
    for (session, value) in [(at(1, 3, 1), "3"), (at(77, 1, 1), "x"), (at(1, 4, 2), "4")] {
        let command = envelope(Some(session), write(vec![put("in a session", value)]));
        let reply = apply_envelope(&target, &command);
        assert_eq!(apply_envelope(&source, &command), reply);
        assert_eq!(matches!(reply, Reply::SessionGone), session.client == ClientId(77), "{reply:?}");
    }
    source.fold().expect("fold");
    target.fold().expect("fold");
    let expected = State::of(&source);
    assert_eq!(State::of(&open(&new_file.reboot(Loss::All, 0)).expect("reopen")), expected);
    assert!(
        !format!("{:?}", dump(&open(&old_file).expect("reopen"))).contains("large"),
        "the old file is as it was"
    );
}

#[test]
fn an_empty_state_is_a_state() {
    let store = open(&CrashFile::new()).expect("open");
    store.apply(&[Input { index: Index(1), term: Term(1), body: Body::Noop }]).expect("apply");
    store.fold().expect("fold");
    let (manifest, chunks) = snapshot(&store);
    assert_eq!(chunks.len(), 1, "a trailer alone");
    let target = open(&CrashFile::new()).expect("open");
    target.install(build(&CrashFile::new(), &manifest, &chunks).expect("build"));
    assert_eq!(State::of(&target), State::of(&store));
}

/// Writes and folds go on while the snapshot is sent, and it stays what it was.
#[test]
fn a_snapshot_is_of_one_state_whatever_is_folded_meanwhile() {
    let store = large();
    let (manifest, expected) = snapshot(&store);
    let mut sent = store.snapshot(u64::MAX, || ()).expect("a snapshot");
    assert_eq!(sent.applied(), store.folded());
    let mut chunks = vec![];
    for round in 0.. {
        apply(&store, write(vec![delete(&format!("large {round}")), put("a", &format!("{round}"))]));
        store.fold().expect("fold");
        match sent.next_chunk().expect("a chunk") {
            Some(chunk) => chunks.push(chunk),
            None => break,
        }
    }
    assert_eq!(sent.manifest(), manifest);
    assert!(chunks == expected, "the chunks differ");
    assert!(snapshot(&store).0 != manifest, "a later one is of a later state");
}

#[test]
fn the_same_state_gives_the_same_bytes_whatever_its_history_of_folds() {
    let once = sample();
    let often = open(&CrashFile::new()).expect("open");
    for entry in log() {
        often.apply(&[entry]).expect("apply");
        often.fold().expect("fold");
    }
    let received = open(&CrashFile::new()).expect("open");
    let (manifest, chunks) = snapshot(&once);
    received.install(build(&CrashFile::new(), &manifest, &chunks).expect("build"));
    assert!(snapshot(&often) == (manifest.clone(), chunks.clone()), "another history of folds");
    assert!(snapshot(&received) == (manifest, chunks), "one that was received itself");
}

#[test]
fn what_shrinks_is_sent_compressed_and_what_does_not_is_not() {
    let store = sample();
    let plain: usize = rows(&store).iter().map(|(_, key, row)| 9 + key.len() + row.len()).sum();
    let sent: usize = snapshot(&store).1.iter().map(Bytes::len).sum();
    assert!(sent < plain / 4, "{sent} bytes for {plain} that are mostly one letter");
    let chunks = snapshot(&large()).1;
    let (flags, sizes): (Vec<u8>, Vec<usize>) = chunks.iter().map(|chunk| (chunk[1], chunk.len())).unzip();
    assert!(flags.contains(&0), "flags {flags:?}: noise was compressed");
    assert!(sizes.contains(&CHUNK_BYTES_MAX), "{sizes:?}: no chunk is full");
}

#[test]
fn each_flipped_bit_is_refused() {
    let (manifest, chunks) = snapshot(&sample());
    assert_eq!(chunks.len(), 2);
    let flip = |bytes: &Bytes, at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        Bytes::from(bytes)
    };
    for bit in 0..manifest.len() * 8 {
        assert!(matches!(Manifest::decode(&flip(&manifest, bit)), Err(Error::Snapshot { .. })), "bit {bit}");
    }
    for (number, chunk) in (0..).zip(&chunks) {
        for bit in 0..chunk.len() * 8 {
            let result = format::decode(number, &flip(chunk, bit), &mut vec![]);
            assert!(matches!(result, Err(Error::Snapshot { .. })), "bit {bit} of chunk {number}");
        }
    }
    // And a builder that met one is of no use: the sound chunk does not mend it.
    let raw = Box::new(CrashFile::new());
    let mut builder = Builder::begin(raw, options(), &manifest).expect("begin");
    let error = builder.add(&flip(&chunks[0], 500)).expect_err("damaged");
    assert_eq!(builder.add(&chunks[0]), Err(error.clone()));
    assert_eq!(builder.finish().expect_err("failed before"), error);
}

#[test]
fn chunks_that_are_cut_swapped_repeated_missing_or_others_are_refused() {
    let store = large();
    let (manifest, chunks) = snapshot(&store);
    let file = || CrashFile::new();
    let last = chunks.len() - 1;
    for at in 0..=last {
        let mut missing = chunks.clone();
        missing.remove(at);
        refusal(build(&file(), &manifest, &missing), &format!("chunk {at} is missing"));
        let mut repeated = chunks.clone();
        repeated.insert(at, chunks[at].clone());
        refusal(build(&file(), &manifest, &repeated), &format!("chunk {at} comes twice"));
        let mut cut = chunks.clone();
        cut[at].truncate(chunks[at].len() - 1);
        refusal(build(&file(), &manifest, &cut), &format!("chunk {at} is cut"));
        if at < last {
            let mut swapped = chunks.clone();
            swapped.swap(at, at + 1);
            refusal(build(&file(), &manifest, &swapped), &format!("chunk {at} is swapped"));
        }
    }
    refusal(build(&file(), &manifest, &[]), "no chunk came");
    // The misplaced one is found itself, before any of it is used; not by the hash at the end.
    let misplaced = format::decode(1, &chunks[0], &mut vec![]);
    assert!(matches!(misplaced, Err(Error::Snapshot { .. })), "{misplaced:?}");
    // Of another state, one put later: its chunks fit one another, but not this manifest.
    apply(&store, write(vec![put("a", "3")]));
    store.fold().expect("fold");
    let (later_manifest, later_chunks) = snapshot(&store);
    refusal(build(&file(), &manifest, &later_chunks), "the chunks of another state");
    build(&file(), &later_manifest, &later_chunks).expect("together they are sound");
}

/// A row on its way: table, key, row.
type Row<'a> = (u8, &'a [u8], &'a [u8]);

/// A stream of rows with sums that are right, as only a liar or an error in a sender makes it.
fn forged(manifest: &Manifest, rows: &[Row<'_>]) -> (Bytes, Vec<Bytes>) {
    let mut stream = vec![];
    let mut counts = [0; 3];
    for (table, key, row) in rows {
        format::encode_row(&mut stream, *table, key, row);
        if let Some(count) = counts.get_mut(usize::from(*table)) {
            *count += 1;
        }
    }
    forged_stream(manifest, &stream, counts)
}

fn forged_stream(manifest: &Manifest, stream: &[u8], rows: [u64; 3]) -> (Bytes, Vec<Bytes>) {
    let manifest = manifest.encode();
    let hash = xxhash_rust::xxh3::xxh3_128(&[&manifest, stream].concat());
    let trailer = format::Trailer { rows, bytes: stream.len() as u64, hash };
    let piece = format::encode_piece(0, stream, &mut vec![]);
    (manifest, vec![piece, format::encode_trailer(1, &trailer)])
}

#[test]
fn a_liars_stream_is_refused() {
    let source = sample();
    let all = rows(&source);
    let of = |wanted: u8| all.iter().find(|(table, ..)| *table as u8 == wanted).expect("a row of each");
    let (_, key, row) = of(0);
    let ((_, session, session_row), (_, reply, reply_row)) = (of(1), of(2));
    // The reply is session 1's; the first session is session 0.
    let owner = &all[all.iter().position(|(_, key, _)| key[..] == reply[..16]).expect("its session")];
    let manifest = Manifest {
        applied: (Index(9), Term(2)),
        revision: Revision(5),
        group_time_ms: 0,
        keys: 1,
        hash: crate::fsm::hash::pair(key, row),
        cost_bytes: 0,
        membership: None,
    };
    let forge = |rows: &[Row<'_>]| {
        let (manifest, chunks) = forged(&manifest, rows);
        build(&CrashFile::new(), &manifest, &chunks)
    };
    let sound: [Row<'_>; 3] = [(0, key, row), (1, &owner.1, &owner.2), (2, reply, reply_row)];
    assert_eq!(forge(&sound).expect("nothing is wrong with it").applied(), manifest.applied);
    let greater = [key.as_ref(), b"z"].concat();
    let lies: [(&str, &[Row<'_>], &str); 11] = [
        ("a key twice", &[(0, key, row), (0, key, row)], "not after"),
        ("keys that fall", &[(0, &greater, row), (0, key, row)], "not after"),
        ("tables that fall", &[(1, session, session_row), (0, key, row)], "not after"),
        ("a table that there is not", &[(0, key, row), (3, b"state", b"x")], "table 3"),
        ("a record without a keyspace", &[(0, b"abc", row)], "3 bytes"),
        ("a record of another format", &[(0, key, b"\x09abc")], "Records"),
        ("a session under another key", &[(0, key, row), (1, b"abc", session_row)], "Sessions"),
        ("a reply that is none", &[(0, key, row), (2, reply, b"\x01")], "Replies"),
        ("a reply without its session", &[(0, key, row), (2, reply, reply_row)], "session is not there"),
        ("a row too many", &[(0, key, row), (0, &greater, row)], "2 keys"),
        ("another row", &[(0, &greater, row)], "1 keys"),
    ];
    for (when, rows, expected) in lies {
        let what = refusal(forge(rows), when);
        assert!(what.contains(expected), "{when}: {what}");
    }
    // Lengths and counts.
    let mut stream = vec![];
    format::encode_row(&mut stream, 0, key, row);
    let forge = |stream: &[u8], rows| {
        let (manifest, chunks) = forged_stream(&manifest, stream, rows);
        build(&CrashFile::new(), &manifest, &chunks)
    };
    forge(&stream, [1, 0, 0]).expect("nothing is wrong with it");
    assert!(refusal(forge(&stream, [1, 1, 0]), "counts").contains("the trailer says"));
    assert!(refusal(forge(&stream[..stream.len() - 1], [1, 0, 0]), "half a row").contains("lacks bytes"));
    for (at, what) in [(1, "a key of"), (5, "with a row of")] {
        let mut long = stream.clone();
        long[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(refusal(forge(&long, [1, 0, 0]), "a length").contains(what));
    }
}

#[test]
fn a_manifest_of_what_cannot_be_is_refused() {
    let sound = Manifest::decode(&snapshot(&sample()).0).expect("a sound manifest");
    let refused = |manifest: Manifest| {
        let result = Manifest::decode(&manifest.encode());
        assert!(matches!(result, Err(Error::Snapshot { .. })), "{result:?}");
        let raw = Box::new(CrashFile::new());
        let begun = Builder::begin(raw, options(), &manifest.encode()).map(drop);
        assert_eq!(begun, Err(result.expect_err("refused")));
    };
    refused(Manifest { revision: Revision(0), ..sound.clone() });
    refused(Manifest { revision: Revision(sound.applied.0.0 + 2), ..sound.clone() });
    refused(Manifest { applied: (Index(0), Term(1)), revision: Revision(1), ..sound.clone() });
    refused(Manifest { applied: (Index(60), Term(0)), ..sound.clone() });
    refused(Manifest { keys: 0, ..sound.clone() });
    refused(Manifest { revision: Revision(1), ..sound.clone() });
    assert_eq!(Manifest::decode(&sound.encode()), Ok(sound.clone()));
    let none = Manifest { membership: None, ..sound.clone() };
    assert_eq!(Manifest::decode(&none.encode()), Ok(none));
    for version_at in [0, 4] {
        let mut later = sound.encode().to_vec();
        later[version_at] = 2;
        let body = later.len() - 4;
        let crc = crc32fast::hash(&later[..body]);
        later[body..].copy_from_slice(&crc.to_le_bytes());
        match Manifest::decode(&Bytes::from(later)) {
            Err(Error::Snapshot { what }) => {
                assert!(what.contains("version 2, this binary reads 1"), "{what}")
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The power goes between any two calls while a file is built: what is left is no state, or all of it.
#[test]
fn a_crash_while_it_is_built_leaves_nothing_that_passes_for_a_state() {
    let source = sample();
    let (expected, (manifest, chunks)) = (State::of(&source), snapshot(&source));
    let file = CrashFile::new();
    drop(build(&file, &manifest, &chunks).expect("build"));
    let calls = file.calls();
    let mut whole = 0;
    for cut in 0..=calls {
        let file = CrashFile::new();
        file.cut_after(cut);
        let built = build(&file, &manifest, &chunks).map(drop);
        assert!(matches!(built, Ok(()) | Err(Error::Staged { .. })), "call {cut}: {built:?}");
        for (loss, seed) in Loss::EVERY.into_iter().zip(cut..) {
            let left = file.reboot(loss, seed);
            let store = open(&left).unwrap_or_else(|error| panic!("cut after {cut}, {loss:?}: {error}"));
            if store.applied().0 == Index(0) {
                assert_eq!(
                    built.clone().err().map(drop),
                    Some(()),
                    "finished, and gone after cut {cut}, {loss:?}"
                );
                assert_eq!(State::of(&store).content, []);
            } else {
                assert_eq!(State::of(&store), expected, "cut after {cut}, {loss:?}");
                whole += 1;
            }
        }
    }
    assert!(whole >= Loss::EVERY.len(), "only {whole} files were whole");
}

/// A disk that fails under the new file fails the new file.
#[test]
fn a_failed_call_while_it_is_built_fails_the_builder_and_nothing_else() {
    let source = sample();
    let (manifest, chunks) = snapshot(&source);
    let file = CrashFile::new();
    // Dropped, it is closed, which makes calls of its own.
    let (_fresh, calls) = (build(&file, &manifest, &chunks).expect("build"), file.calls());
    for failing in 0..calls {
        let file = CrashFile::new();
        file.fail_after(failing);
        match build(&file, &manifest, &chunks) {
            Err(Error::Staged { .. }) => {}
            Ok(_) => panic!("call {failing} failed, and the file was finished"),
            Err(error) => panic!("call {failing}: {error}"),
        }
    }
    // Nor is a file taken that is a state already.
    let taken = CrashFile::new();
    open(&taken).expect("open");
    assert!(matches!(build(&taken, &manifest, &chunks), Err(Error::Staged { .. })));
    source.fold().expect("the source knows nothing of it");
}

#[test]
#[should_panic(expected = "a snapshot of index")]
fn an_older_state_is_never_installed() {
    let store = sample();
    let (manifest, chunks) = snapshot(&store);
    let fresh = build(&CrashFile::new(), &manifest, &chunks).expect("build");
    store.install(fresh);
}

/// These bytes are between nodes of different versions: a change needs a new format version.
#[test]
fn golden_bytes() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let manifest = Manifest {
        applied: (Index(9), Term(2)),
        revision: Revision(5),
        group_time_ms: 7,
        keys: 3,
        hash: 0x0102,
        cost_bytes: 4,
        membership: Some(Bytes::from_static(b"m")),
    };
    assert_eq!(
        hex(&manifest.encode()),
        concat!(
            "01000000",
            "01000000",
            "0900000000000000",
            "0200000000000000",
            "0500000000000000",
            "0700000000000000",
            "0300000000000000",
            "02010000000000000000000000000000",
            "0400000000000000",
            "01",
            "6d",
            "c603eb03"
        )
    );
    let mut stream = vec![];
    format::encode_row(&mut stream, 0, b"key", b"row");
    assert_eq!(hex(&stream), concat!("00", "03000000", "03000000", "6b6579", "726f77"));
    let piece = format::encode_piece(0, &stream, &mut vec![]);
    assert_eq!(hex(&piece), concat!("01000000", "0f000000", "09891478", "0003000000030000006b6579726f77"));
    let piece = format::encode_piece(1, &[7; 100], &mut vec![]);
    assert_eq!(hex(&piece), concat!("01010000", "64000000", "eaaf36b3", "1f0701004a60070707070707"));
    let trailer = format::Trailer { rows: [1, 2, 3], bytes: 4, hash: 5 };
    assert_eq!(
        hex(&format::encode_trailer(2, &trailer)),
        concat!(
            "01020000",
            "30000000",
            "f0ae82f5",
            "0100000000000000",
            "0200000000000000",
            "0300000000000000",
            "0400000000000000",
            "05000000000000000000000000000000"
        )
    );
}

/// They go from lane to lane.
#[test]
fn all_that_is_handed_out_may_change_threads() {
    fn is_send<T: Send>() {}
    is_send::<Snapshot>();
    is_send::<Builder>();
    is_send::<Fresh>();
    is_send::<Rewritten>();
}

/// What is held beside redb's cache is a few chunks and rows, however much is sent; the same goes for a rewrite.
#[test]
fn memory_is_bounded_by_the_chunk_and_not_by_the_data() {
    const VALUE_BYTES: usize = 1 << 20;
    const HEAP_BYTES_MAX: usize = 16 << 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let raw = |name: &str| file_backend(&directory.path().join(name)).expect("a file");
    let store = Store::open(raw("source"), options()).expect("open");
    for seed in 0..32 {
        apply(&store, write(vec![put_bytes(&format!("large {seed}"), noise(seed, VALUE_BYTES))]));
        if seed % 8 == 7 {
            store.fold().expect("fold");
        }
    }
    assert!(store.sizes().file_bytes as usize > 2 * HEAP_BYTES_MAX);
    let (fresh, sent) = measure(|| {
        let mut sender = store.snapshot(u64::MAX, || ()).expect("a snapshot");
        let mut builder = Builder::begin(raw("received"), options(), &sender.manifest()).expect("begin");
        while let Some(chunk) = sender.next_chunk().expect("a chunk") {
            builder.add(&chunk).expect("a sound chunk");
        }
        builder.finish().expect("all of it")
    });
    assert_eq!(fresh.applied(), store.folded());
    assert!(sent < HEAP_BYTES_MAX, "{sent} bytes for sending and receiving");
    let (rewritten, copied) = measure(|| store.rewrite(raw("rewritten")).expect("rewrite"));
    assert!(copied < HEAP_BYTES_MAX, "{copied} bytes for rewriting");
    store.adopt(rewritten).expect("adopt");
}
