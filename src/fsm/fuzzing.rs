//! What must hold of the state file and its rows for any bytes.

use std::sync::LazyLock;

use bytes::Bytes;

use crate::codec;
use crate::command::{
    Command, Envelope, Found, Keys, Op, Query, Record, Reply, SessionRefusal, SessionSeq, Write,
};
use crate::types::{ClientId, ClusterId, Incarnation, Index, Keyspace, NodeId, Owner, Revision, Seq, Term};

use super::layout::{SECTOR_BYTES, raw_offset, seal_sector};
use super::schema::{Head, ReplyRow, SessionRow, reply_key, reply_of_key, session_key, session_of_key};
use super::snapshot::format::{
    CHUNK_BYTES_MAX, Content as Taken, Manifest, ROW_HEADER_BYTES, Trailer, chunk_crc, decode,
    decode_row_header, encode_piece, encode_trailer,
};
use super::testing::CrashFile;
use super::{Body, Builder, Error, Input, Options, Store, hash};

/// Lets every row's decoder loose on the input: what is accepted has one encoding, but for a reply, which encodes back
/// to an equal one.
pub(crate) fn check_rows(input: &[u8]) -> bool {
    let mut accepted = false;
    if let Ok(head) = Head::decode(input, None) {
        assert_eq!(head.encode(), input, "two encodings of {head:?}");
        accepted = true;
    }
    if let Ok(session) = SessionRow::decode(input) {
        assert_eq!(session.encode(), input, "two encodings of {session:?}");
        accepted = true;
    }
    if let Ok(reply) = ReplyRow::decode(input) {
        assert_eq!(ReplyRow::decode(&reply.encode()), Ok(reply));
        accepted = true;
    }
    if let Ok(client) = session_of_key(input) {
        assert_eq!(*session_key(client), *input);
        accepted = true;
    }
    if let Ok((client, seq)) = reply_of_key(input) {
        assert_eq!(*reply_key(client, seq), *input);
        accepted = true;
    }
    accepted
}

/// One of each.
pub(crate) fn rows() -> Vec<(&'static str, Vec<u8>)> {
    let head = Head {
        applied: (Index(300), Term(2)),
        revision: Revision(200),
        group_time_ms: 1_700_000_000_000,
        keys: 5,
        hash: 1 << 120,
        membership: None,
    };
    let session = SessionRow { last_used: Index(7), done_below: Seq(8) };
    let refused = Reply::SessionRefused { why: SessionRefusal::BeyondWindow };
    vec![
        ("head", head.encode()),
        ("session", session.encode().to_vec()),
        ("reply", ReplyRow { digest: 1 << 99, reply: refused }.encode().to_vec()),
        ("session-key", session_key(ClientId(9)).to_vec()),
        ("reply-key", reply_key(ClientId(9), Seq(2)).to_vec()),
    ]
}

fn options() -> Options {
    let owner =
        Owner { cluster: ClusterId(0xc1c2_c3c4), node: NodeId(1), incarnation: Incarnation(0xa1a2_a3a4) };
    Options {
        owner,
        write_set_bytes_max: 1 << 20,
        cache_bytes: 1 << 16,
        session_inflight_max: 4,
        session_replies_bytes_max: 1 << 20,
        idempotency_answers_max: 3,
        idempotency_spent_max: 4,
        sessions_max: 3,
    }
}

/// A file with records, a session and a reply, folded; and what is in it.
static WHOLE: LazyLock<(Vec<u8>, Content)> = LazyLock::new(|| {
    let file = CrashFile::new();
    let store = Store::open(Box::new(file.clone()), options()).expect("a new file");
    let envelope = |session, command| Envelope {
        term: Term(1),
        group_time_ms: 5,
        session,
        principal: String::new(),
        command,
    };
    let client = ClientId(77);
    let mut envelopes = vec![envelope(None, Command::OpenSession { client })];
    for at in 0..40_usize {
        let key = Bytes::from(format!("key {at:03}"));
        let ops = vec![Op::Put { key, value: Bytes::from(vec![at as u8; at * 37]) }];
        let command = Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops });
        let session = (at == 20).then_some(SessionSeq { client, seq: Seq(1), done_below: Seq(1) });
        envelopes.push(envelope(session, command));
    }
    for (index, envelope) in (1..).zip(&envelopes) {
        let body = Body::Command(codec::encode_envelope(envelope));
        store.apply(&[Input { index: Index(index), term: Term(1), body }]).expect("well");
    }
    store.fold().expect("well");
    let content = content(&store).expect("well");
    drop(store);
    (file.bytes(), content)
});

/// All that a store can be asked.
type Content = (Vec<(Bytes, Record)>, Revision, (Index, Term));

fn content(store: &Store) -> Result<Content, Error> {
    let (limit, bytes_max) = (usize::MAX, usize::MAX);
    let (keyspace, keys) = (Keyspace(0), Keys::all());
    let answer =
        store.query(&Query::List { keyspace, keys, after: None, keys_only: false, limit, bytes_max })?;
    match answer.found {
        Found::Page { pairs, more: false } => Ok((pairs, answer.revision, store.applied())),
        found => panic!("a list of everything found {found:?}"),
    }
}

/// Opens a file with the input's wounds: each the offset in four bytes, a length in one, and so many bytes. A store that
/// opens and answers says what was written, or that the file is damaged.
pub(crate) fn check_state(input: &[u8]) -> bool {
    let (whole, expected) = &*WHOLE;
    let mut bytes = whole.clone();
    for (offset, piece) in wounds_of(input) {
        let offset = offset % bytes.len();
        let len = piece.len().min(bytes.len() - offset);
        bytes[offset..offset + len].copy_from_slice(&piece[..len]);
    }
    // A superblock that says that the file was never formed, with its checksum, is one: it is begun anew.
    let begun = bytes[12] != 1;
    let read = |store: Store| content(&store);
    match Store::open(Box::new(CrashFile::with_bytes(bytes)), options()).and_then(read) {
        Ok(found) if begun => {
            assert!(found.0.is_empty() && found.2 == (Index(0), Term(0)), "a new file with {found:?}");
            true
        }
        Ok(found) => {
            assert!(found == *expected, "a wrong answer from a damaged file");
            true
        }
        Err(Error::Damaged { .. } | Error::Version { .. } | Error::Foreign { .. }) => false,
        Err(error) => panic!("no answer to bytes on a disk that is well: {error}"),
    }
}

fn wounds_of(input: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (head, body) = rest.split_first_chunk::<5>()?;
        let (piece, after) = body.split_at(usize::from(head[4]).min(body.len()));
        rest = after;
        Some((u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize, piece))
    })
}

fn wound(offset: u64, piece: &[u8]) -> Vec<u8> {
    let offset = u32::try_from(offset).expect("a small file");
    let mut wound = offset.to_le_bytes().to_vec();
    wound.push(u8::try_from(piece.len()).expect("a small wound"));
    wound.extend(piece);
    wound
}

/// Adds the wound that makes the superblock's checksum right for what the others made of it.
pub(crate) fn mend_state(input: &mut Vec<u8>) {
    let mut sector: [u8; SECTOR_BYTES] = std::array::from_fn(|at| WHOLE.0[at]);
    let len = WHOLE.0.len();
    for (offset, piece) in wounds_of(input) {
        let offset = offset % len;
        for (at, byte) in (offset..SECTOR_BYTES).zip(piece) {
            sector[at] = *byte;
        }
    }
    seal_sector(&mut sector);
    let crc = sector[SECTOR_BYTES - 4..].to_vec();
    input.extend(wound(SECTOR_BYTES as u64 - 4, &crc));
}

/// Wounds that change nothing, at each kind of place.
pub(crate) fn wounds() -> Vec<(&'static str, Vec<u8>)> {
    let same = |offset: u64, len: usize| wound(offset, &WHOLE.0[offset as usize..offset as usize + len]);
    vec![
        ("superblock", same(0, 40)),
        ("header", same(raw_offset(0), 64)),
        ("sums", same(raw_offset(1) - 4096, 32)),
        ("block", [same(raw_offset(1), 24), same(raw_offset(3) + 100, 24)].concat()),
    ]
}

/// A manifest and chunks, each behind its length in four bytes. What is cut short ends there.
fn pieces_of(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (len, body) = rest.split_first_chunk::<4>()?;
        let (piece, after) = body.split_at((u32::from_le_bytes(*len) as usize).min(body.len()));
        rest = after;
        Some(piece)
    })
}

fn join(pieces: &[Bytes]) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        joined.extend(u32::try_from(piece.len()).expect("a chunk").to_le_bytes());
        joined.extend(&piece[..]);
    }
    joined
}

/// Builds a state from a manifest and chunks. One that is accepted is in the file: it can be installed, opened again, and
/// sent on under the same manifest.
pub(crate) fn check_snapshot_state(input: &[u8]) -> bool {
    let mut pieces = pieces_of(input).map(Bytes::copy_from_slice);
    let manifest = pieces.next().unwrap_or_default();
    let file = CrashFile::new();
    let built = Builder::begin(Box::new(file.clone()), options(), &manifest).and_then(|mut builder| {
        pieces.try_for_each(|chunk| builder.add(&chunk))?;
        builder.finish()
    });
    let fresh = match built {
        Ok(fresh) => fresh,
        Err(Error::Snapshot { .. }) => return false,
        Err(error) => panic!("no answer to a stream on a disk that is well: {error}"),
    };
    let applied = fresh.applied();
    if applied.0 == Index(0) {
        return true;
    }
    let store = Store::open(Box::new(CrashFile::new()), options()).expect("a new file");
    store.install(fresh);
    let found = content(&store).expect("a state that was accepted can be read");
    assert_eq!(found.2, applied);
    let mut sent = store.snapshot(u64::MAX, || ()).expect("and sent");
    // What the rows cost is the sender's estimate, for whoever asks whether there is room: the next sender has its own.
    let claimed = Manifest::decode(&manifest).expect("it was accepted");
    let passed_on = Manifest::decode(&sent.manifest()).expect("our own");
    assert_eq!(Manifest { cost_bytes: claimed.cost_bytes, ..passed_on }, claimed);
    while let Some(chunk) = sent.next_chunk().expect("whole") {
        assert!(chunk.len() <= CHUNK_BYTES_MAX);
    }
    drop((sent, store));
    let again = Store::open(Box::new(file), options()).expect("and opened");
    assert_eq!(content(&again).expect("read"), found);
    true
}

/// Makes lengths, sums, counts and hashes right for what the rows became.
pub(crate) fn mend_snapshot_state(input: &mut Vec<u8>) {
    let mut pieces = pieces_of(input);
    let mut manifest = pieces.next().unwrap_or_default().to_vec();
    let mut stream = Vec::new();
    for (number, chunk) in (0..).zip(pieces) {
        let mut chunk = chunk.to_vec();
        if chunk.len() > 12 {
            let crc = chunk_crc(number, &chunk[..8], &chunk[12..]);
            chunk[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        if !matches!(decode(number, &chunk, &mut stream), Ok(Taken::Piece)) {
            break;
        }
    }
    let (mut rows, mut sum, mut at) = ([0_u64; 3], 0_u128, 0);
    while let Some((header, rest)) = stream[at..].split_first_chunk::<ROW_HEADER_BYTES>() {
        let Ok((table, key, row)) = decode_row_header(header) else { break };
        let (Some(count), Some(pair)) = (rows.get_mut(usize::from(table)), rest.get(..key + row)) else {
            break;
        };
        *count += 1;
        if table == 0 {
            sum = sum.wrapping_add(hash::pair(&pair[..key], &pair[key..]));
        }
        at += ROW_HEADER_BYTES + pair.len();
    }
    if manifest.len() >= 69 {
        let body = manifest.len() - 4;
        manifest[40..48].copy_from_slice(&rows[0].to_le_bytes());
        manifest[48..64].copy_from_slice(&sum.to_le_bytes());
        let crc = crc32fast::hash(&manifest[..body]);
        manifest[body..].copy_from_slice(&crc.to_le_bytes());
    }
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&manifest);
    hasher.update(&stream[..at]);
    let trailer = Trailer { rows, bytes: at as u64, hash: hasher.digest128() };
    let mut mended = vec![Bytes::from(manifest)];
    // Small pieces, so that rows are cut.
    for piece in stream[..at].chunks(4_000) {
        mended.push(encode_piece(mended.len() as u64 - 1, piece, &mut Vec::new()));
    }
    mended.push(encode_trailer(mended.len() as u64 - 1, &trailer));
    *input = join(&mended);
}

/// The state of the other target's file, and one of no rows.
pub(crate) fn snapshot_states() -> Vec<(&'static str, Vec<u8>)> {
    let file = CrashFile::with_bytes(WHOLE.0.clone());
    let store = Store::open(Box::new(file), options()).expect("a sound file");
    let mut sent = store.snapshot(u64::MAX, || ()).expect("a snapshot");
    let mut pieces = vec![sent.manifest()];
    pieces.extend(std::iter::from_fn(|| sent.next_chunk().expect("a chunk")));
    let manifest = Manifest {
        applied: (Index(3), Term(1)),
        revision: Revision::EMPTY,
        group_time_ms: 9,
        keys: 0,
        hash: 0,
        cost_bytes: 0,
        membership: Some(Bytes::from_static(b"three members")),
    }
    .encode();
    let hash = xxhash_rust::xxh3::xxh3_128(&manifest);
    let empty = [manifest, encode_trailer(0, &Trailer { hash, ..Trailer::default() })];
    vec![("whole", join(&pieces)), ("empty", join(&empty))]
}
