//! What a follower asks its leader to do for it, as the opaque bytes that the transport carries.
//!
//! ```text
//! request = kind u8 | body        kind 1: body is a list of encoded command::Forward
//!                                 kind 2: body is the encoded MemberRecord to publish
//!                                 kind 3: body is an encoded Ask, see `admin`
//!                                 kind 4: body is the index of a mark u64 | this node's state hash there u128, little endian
//! reply   = to writes a list of encoded command::Forwarded, one for each in their order; to all else one of them; to an ask
//!           an answer as `admin` has it; to a hash the one that a quorum has
//! list    = (length u32 little endian | so many bytes)*
//! ```
//!
//! The writes that a follower takes in one turn of its driver go to the leader as one request ([`Batches`]), which is
//! answered as one, when the last of them is ([`Answers`]): on their way they cost what one would. They are taken in together or
//! not at all, and nearly always proposed together, so that they are applied together. Where they are not (some find no room, are
//! over this node's own limits, or the leadership goes in between), the outcome of one is heard with that of the last; and whoever gives up on one does not
//! take it out of the request. A write whose answer may be large goes by itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::admin::Ask;
use crate::codec;
use crate::command::{Command, Forward, Forwarded};
use crate::error::{Error, ErrorKind};
use crate::raft::MemberRecord;
use crate::types::Index;

const KIND_WRITES: u8 = 1;
const KIND_PUBLISH: u8 = 2;
const KIND_ASK: u8 = 3;
const KIND_HASH: u8 = 4;

/// A decoded request.
pub(super) enum Request {
    /// Propose these commands.
    Writes(Vec<Forward>),
    /// Publish this member record.
    Publish(Box<MemberRecord>),
    /// Answer this as the leader.
    Ask(Ask),
    /// Compare this hash of the state at a mark.
    Hash(Index, u128),
}

/// A request has at most so many writes, and so many bytes, but for one that alone has more. More are not taken from anybody.
const WRITES_MAX: usize = 1_024;
const WRITE_BYTES_MAX: usize = 256 << 10;
/// What a write takes besides its keys and values, generously.
const WRITE_OVERHEAD_BYTES: usize = 64;

/// How much a write adds to a request; `None` if it has to go by itself.
pub(super) fn weight(command: &Command) -> Option<usize> {
    match command {
        // What it reads comes back: two such answers may not fit into one frame.
        Command::Txn(_) => None,
        command => Some(command.bytes() + WRITE_OVERHEAD_BYTES),
    }
}

/// Which writes go together.
#[derive(Debug)]
pub(super) struct Batches<T> {
    full: Vec<Vec<T>>,
    last: Vec<T>,
    last_bytes: usize,
    bytes_max: usize,
}

impl<T> Batches<T> {
    /// None yet. Each has to fit into a frame of so many bytes.
    pub fn new(frame_bytes_max: usize) -> Batches<T> {
        let bytes_max = WRITE_BYTES_MAX.min(frame_bytes_max / 2);
        Batches { full: Vec::new(), last: Vec::new(), last_bytes: 0, bytes_max }
    }

    /// Adds a write of this [`weight`], in order.
    pub fn add(&mut self, write: T, weight: Option<usize>) {
        let Some(bytes) = weight else {
            self.close();
            self.full.push(vec![write]);
            return;
        };
        if self.last.len() >= WRITES_MAX || self.last_bytes + bytes > self.bytes_max {
            self.close();
        }
        self.last_bytes += bytes;
        self.last.push(write);
    }

    /// All batches, in order.
    pub fn into_vec(mut self) -> Vec<Vec<T>> {
        self.close();
        self.full
    }

    fn close(&mut self) {
        self.last_bytes = 0;
        if !self.last.is_empty() {
            self.full.push(std::mem::take(&mut self.last));
        }
    }
}

/// The answers to the writes of one request, which leave together. Where one is dropped without an answer, so are all: nobody
/// then knows what became of them.
#[derive(Debug)]
pub(super) struct Answers {
    encoded: Vec<Bytes>,
    missing: usize,
    reply: Option<oneshot::Sender<Bytes>>,
}

/// Where the answer to one of them goes.
#[derive(Debug)]
pub(super) struct Place {
    answers: Arc<Mutex<Answers>>,
    at: usize,
}

impl Answers {
    /// A place for each of so many.
    pub fn places(count: usize, reply: oneshot::Sender<Bytes>) -> impl Iterator<Item = Place> {
        let answers = Answers { encoded: vec![Bytes::new(); count], missing: count, reply: Some(reply) };
        let answers = Arc::new(Mutex::new(answers));
        (0..count).map(move |at| Place { answers: answers.clone(), at })
    }
}

impl Place {
    /// Answers.
    pub fn answer(self, forwarded: &Forwarded) {
        let mut answers = self.answers();
        answers.encoded[self.at] = codec::encode_forwarded(forwarded);
        answers.missing -= 1;
        if answers.missing == 0
            && let Some(reply) = answers.reply.take()
        {
            // Nobody may wait for it any more.
            let _ = reply.send(list(0, answers.encoded.drain(..)));
        }
    }

    /// Whether nobody waits for it any more.
    pub fn is_abandoned(&self) -> bool {
        self.answers().reply.as_ref().is_none_or(oneshot::Sender::is_closed)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request with these writes.
pub(super) fn encode_writes<'a>(writes: impl Iterator<Item = &'a Forward>) -> Bytes {
    list(KIND_WRITES, writes.map(codec::encode_forward))
}

/// The answers to so many writes. A single one that is no list is that to each of them: the request could not be read.
pub(super) fn decode_answers(reply: Bytes, count: usize) -> Result<Vec<Forwarded>, String> {
    if let Ok(to_all) = codec::decode_forwarded(&reply) {
        return Ok(vec![to_all; count]);
    }
    let answers: Result<Vec<Forwarded>, _> =
        items(reply)?.iter().map(|answer| codec::decode_forwarded(answer)).collect();
    let answers = answers.map_err(|error| error.to_string())?;
    match answers.len() {
        found if found == count => Ok(answers),
        found => Err(format!("{found} answers to {count} writes")),
    }
}

/// A list, behind the kind of a request unless that is 0.
fn list(kind: u8, items: impl Iterator<Item = Bytes>) -> Bytes {
    let items: Vec<Bytes> = items.collect();
    let mut out = BytesMut::with_capacity(1 + items.iter().map(|item| 4 + item.len()).sum::<usize>());
    if kind != 0 {
        out.put_u8(kind);
    }
    for item in items {
        out.put_u32_le(u32::try_from(item.len()).expect("an item is smaller than a frame"));
        out.put_slice(&item);
    }
    out.freeze()
}

/// The items of a list, which share its memory.
fn items(mut list: Bytes) -> Result<Vec<Bytes>, String> {
    let mut items = Vec::new();
    while list.has_remaining() {
        let length = list.try_get_u32_le().ok().and_then(|length| usize::try_from(length).ok());
        let length = length.filter(|&length| length <= list.len()).ok_or("a list breaks off")?;
        if items.len() == WRITES_MAX {
            return Err(format!("a list has more than {WRITES_MAX} items"));
        }
        items.push(list.split_to(length));
    }
    Ok(items)
}

pub(super) fn encode_publish(record: &MemberRecord) -> Bytes {
    framed(KIND_PUBLISH, &record.encode())
}

pub(super) fn encode_ask(ask: &Ask) -> Bytes {
    framed(KIND_ASK, &ask.encode())
}

pub(super) fn encode_hash(index: Index, hash: u128) -> Bytes {
    framed(KIND_HASH, &[&index.0.to_le_bytes()[..], &hash.to_le_bytes()].concat())
}

fn framed(kind: u8, body: &[u8]) -> Bytes {
    let mut request = BytesMut::with_capacity(1 + body.len());
    request.put_u8(kind);
    request.put_slice(body);
    request.freeze()
}

/// Decodes a request; the text says what is wrong with it.
pub(super) fn decode(request: &Bytes) -> Result<Request, String> {
    let kind = *request.first().ok_or("an empty request was forwarded")?;
    let body = request.slice(1..);
    match kind {
        KIND_WRITES => {
            let writes: Result<_, _> = items(body)?.iter().map(codec::decode_forward).collect();
            writes.map(Request::Writes).map_err(|error| error.to_string())
        }
        KIND_PUBLISH => {
            let record = MemberRecord::decode(&body).map_err(|error| error.to_string())?;
            Ok(Request::Publish(Box::new(record)))
        }
        KIND_ASK => Ask::decode(&body).map(Request::Ask).ok_or_else(|| "an ask cannot be read".to_owned()),
        KIND_HASH => decode_hash(&body).ok_or_else(|| "a hash cannot be read".to_owned()),
        other => Err(format!("a request of the unknown kind {other} was forwarded")),
    }
}

fn decode_hash(body: &[u8]) -> Option<Request> {
    let (index, hash) = body.split_first_chunk()?;
    Some(Request::Hash(Index(u64::from_le_bytes(*index)), u128::from_le_bytes(hash.try_into().ok()?)))
}

/// The reply that carries an error back.
pub(super) fn failed(error: &Error) -> Forwarded {
    Forwarded::Failed { kind: error.kind(), outcome: error.outcome(), message: error.message().to_owned() }
}

/// The error that a forwarded failure is on this side.
pub(super) fn error_of(kind: ErrorKind, outcome: crate::error::Outcome, message: String) -> Error {
    match outcome {
        crate::error::Outcome::NotApplied => Error::new(kind, message),
        crate::error::Outcome::Unknown => Error::unknown(kind, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Op, Reply, Txn, Write};
    use crate::types::{Keyspace, Revision};

    fn put(bytes: usize) -> Command {
        let op = Op::Put { key: Bytes::from_static(b"key"), value: Bytes::from(vec![b'v'; bytes]) };
        Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops: vec![op] })
    }

    fn batches(commands: &[Command]) -> Vec<Vec<usize>> {
        let mut batches = Batches::new(usize::MAX);
        for (at, command) in commands.iter().enumerate() {
            batches.add(at, weight(command));
        }
        batches.into_vec()
    }

    fn done(revision: u64) -> Forwarded {
        Forwarded::Done { reply: Reply::Written { revision: Revision(revision), deleted: 0 } }
    }

    #[test]
    fn writes_go_together_up_to_a_bound_and_in_order() {
        assert_eq!(batches(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(batches(&[put(1), put(1), put(1)]), [vec![0, 1, 2]]);
        assert_eq!(batches(&[put(1), put(WRITE_BYTES_MAX), put(1)]), [vec![0], vec![1], vec![2]]);
        let many = batches(&vec![put(1); WRITES_MAX + 1]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [WRITES_MAX, 1]);
    }

    #[test]
    fn what_may_answer_much_goes_alone() {
        let txn =
            Command::Txn(Txn { keyspace: Keyspace(0), compares: vec![], success: vec![], failure: vec![] });
        assert_eq!(
            batches(&[put(1), txn.clone(), txn, put(1), put(1)]),
            [vec![0], vec![1], vec![2], vec![3, 4]]
        );
    }

    #[test]
    fn writes_arrive_as_they_were_sent() {
        let writes: Vec<Forward> =
            [1, 0, 300].into_iter().map(|bytes| Forward { session: None, command: put(bytes) }).collect();
        let request = encode_writes(writes.iter());
        match decode(&request) {
            Ok(Request::Writes(found)) => assert_eq!(found, writes),
            _ => panic!("they cannot be read"),
        }
        for cut in 1..request.len() {
            let cut = request.slice(..cut);
            let read = matches!(decode(&cut), Ok(Request::Writes(found)) if found.len() == writes.len());
            assert!(!read, "{} bytes of {}", cut.len(), request.len());
        }
    }

    #[test]
    fn a_batch_fits_into_a_small_frame() {
        let mut batches = Batches::new(1_000);
        for at in 0..5 {
            batches.add(at, weight(&put(100)));
        }
        assert_eq!(batches.into_vec(), [vec![0, 1], vec![2, 3], vec![4]]);
    }

    #[test]
    fn more_writes_than_anybody_sends_are_not_taken() {
        let write = Forward { session: None, command: Command::HashMark };
        let request = |count| encode_writes(std::iter::repeat_n(&write, count));
        assert!(decode(&request(WRITES_MAX)).is_ok());
        assert!(decode(&request(WRITES_MAX + 1)).is_err());
    }

    #[test]
    fn what_could_not_be_read_is_an_answer_to_each() {
        let refused = failed(&Error::new(ErrorKind::Invalid, "unreadable"));
        assert_eq!(decode_answers(codec::encode_forwarded(&refused), 2), Ok(vec![refused.clone(), refused]));
    }

    #[test]
    fn answers_leave_when_the_last_is_there_and_in_the_order_of_the_writes() {
        let (reply, mut answered) = oneshot::channel();
        let mut places: Vec<Place> = Answers::places(3, reply).collect();
        for (place, revision) in [(places.pop(), 3), (places.pop(), 2)] {
            place.expect("there are three").answer(&done(revision));
            assert!(answered.try_recv().is_err(), "one is missing");
        }
        places.pop().expect("there are three").answer(&Forwarded::NotLeader);
        let answers = answered.try_recv().expect("all are there");
        assert_eq!(decode_answers(answers.clone(), 3), Ok(vec![Forwarded::NotLeader, done(2), done(3)]));
        assert!(decode_answers(answers, 2).is_err(), "an answer too many");
    }

    #[test]
    fn what_is_dropped_without_an_answer_leaves_all_unknown() {
        let (reply, mut answered) = oneshot::channel();
        let mut places: Vec<Place> = Answers::places(2, reply).collect();
        drop(places.pop());
        places.pop().expect("there were two").answer(&done(1));
        assert_eq!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn whoever_asked_may_be_gone() {
        let (reply, answered) = oneshot::channel();
        let places: Vec<Place> = Answers::places(2, reply).collect();
        assert!(places.iter().all(|place| !place.is_abandoned()));
        drop(answered);
        assert!(places.iter().all(Place::is_abandoned));
    }
}
