//! Transactions that choose: compare, then one list of operations or the other, as etcd's do.
//!
//! ```text
//! compares ---- all hold ----> success: ops in order
//!          \--- one fails ---> failure: ops in order       an op may be a transaction again
//! ```
//!
//! All compares, those of the transactions in it included, are judged by the keys as they are before the first operation:
//! what a transaction will do is settled before it does anything. All that is changed shares one revision. A key is
//! put at most once, and not deleted beside it ([`Txn::check_keys`]): two values at one revision would have no order.
//!
//! What a transaction answers and deletes is bounded, and by constants: every node must judge alike.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;

use super::Record;
use crate::types::{Keyspace, Revision};

/// What one transaction may answer with, in bytes: keys and values, and 128 for each pair and each answer. Part of what
/// applying means, so no setting.
pub const TXN_ANSWER_BYTES_MAX: usize = 2 << 20;
/// The keys that one transaction may look at, count or delete: applying it holds up all that comes behind.
pub const TXN_KEYS_MAX: usize = 100_000;
/// The keys and values that one transaction may write, in bytes: a put that keeps its value writes it again.
pub const TXN_WRITTEN_BYTES_MAX: usize = 4 << 20;
/// Compares and operations of a transaction, those of the ones in it included.
pub const TXN_PARTS_MAX: usize = 1_024;
/// How deep transactions lie in each other, the outermost counted.
pub const TXN_DEPTH_MAX: usize = 8;

/// Which keys are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This one.
    One(Bytes),
    /// This one and all behind it.
    From(Bytes),
    /// From the first, which is among them, to the second, which is not.
    Between(Bytes, Bytes),
}

impl Keys {
    /// All keys that start so.
    pub fn prefix(prefix: Bytes) -> Keys {
        // The first key that is greater than all of them: the prefix without what it ends in of 0xff, one higher.
        let Some(last) = prefix.iter().rposition(|byte| *byte != u8::MAX) else {
            return Keys::From(prefix);
        };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        Keys::Between(prefix, Bytes::from(end))
    }

    /// All keys there are.
    pub fn all() -> Keys {
        Keys::From(Bytes::new())
    }

    /// Whether `key` is one of them.
    pub fn contain(&self, key: &[u8]) -> bool {
        match self {
            Keys::One(one) => one == key,
            Keys::From(from) => from <= key,
            Keys::Between(from, to) => from <= key && key < to,
        }
    }

    /// The bytes that name them.
    pub fn bytes(&self) -> usize {
        match self {
            Keys::One(key) | Keys::From(key) => key.len(),
            Keys::Between(from, to) => from.len() + to.len(),
        }
    }
}

/// A read of keys, in a transaction or by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Which.
    pub keys: Keys,
    /// At most so many pairs, of those that come first in the order asked for; `None`: all.
    pub limit: Option<usize>,
    /// In which order.
    pub order: Order,
    /// What of them.
    pub content: Content,
    /// Only those whose mod_revision lies within.
    pub mod_revisions: Bounds,
    /// Only those whose create_revision lies within.
    pub create_revisions: Bounds,
}

impl Range {
    /// All of these keys with their records, in key order.
    pub fn of(keys: Keys) -> Range {
        Range {
            keys,
            limit: None,
            order: Order::default(),
            content: Content::Records,
            mod_revisions: Bounds::default(),
            create_revisions: Bounds::default(),
        }
    }
}

/// The order of pairs. Those that are equal in it come in key order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// By what.
    pub by: OrderBy,
    /// From the greatest to the least.
    pub is_descending: bool,
}

/// What pairs are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create_revision.
    CreateRevision,
    /// The mod_revision.
    ModRevision,
    /// The value.
    Value,
}

/// What a range answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Keys and whole records.
    Records,
    /// Keys and records without their values.
    Keys,
    /// Only how many there are.
    Count,
}

/// Revisions from one to another, both among them; where there is none, there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least.
    pub min: Option<Revision>,
    /// The greatest.
    pub max: Option<Revision>,
}

impl Bounds {
    /// Whether a revision lies within.
    pub fn contain(&self, revision: Revision) -> bool {
        self.min.is_none_or(|min| min <= revision) && self.max.is_none_or(|max| revision <= max)
    }

    /// Whether every revision does.
    pub fn is_all(&self) -> bool {
        self.min.is_none() && self.max.is_none()
    }
}

/// What a range found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Keys with their records, in the order asked for.
    pub pairs: Vec<(Bytes, Record)>,
    /// Whether the limit cut it short.
    pub more: bool,
    /// How many keys there are in the range, whatever the limit and the bounds.
    pub count: u64,
}

/// A transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// The keyspace of all keys in it.
    pub keyspace: Keyspace,
    /// All must hold for `success`.
    pub compares: Vec<Compare>,
    /// Executed in order if all compares hold.
    pub success: Vec<TxnOp>,
    /// Executed in order if one does not.
    pub failure: Vec<TxnOp>,
}

/// What is compared: a property of keys, with a value. It must hold for each of the keys; where there is none, of one that
/// is absent: version, revisions and lease 0, and no value, with which every comparison fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The keys.
    pub keys: Keys,
    /// How the property, on the left, is to lie to the value, on the right.
    pub relation: Relation,
    /// The property and the value.
    pub target: Target,
}

/// How two values lie to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are equal.
    Equal,
    /// They are not.
    NotEqual,
    /// The left one is greater.
    Greater,
    /// The left one is less.
    Less,
}

impl Relation {
    /// Whether two values lie so.
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Greater => left > right,
            Relation::Less => left < right,
        }
    }
}

/// A property of a key, and the value that it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// How often it was written since it came into being.
    Version(u64),
    /// When it came into being.
    CreateRevision(Revision),
    /// When it was last changed.
    ModRevision(Revision),
    /// Its value.
    Value(Bytes),
    /// Its lease.
    Lease(u64),
}

/// An operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Reads.
    Range(Range),
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value; without one it keeps what it has, and must be there.
        value: Option<Bytes>,
        /// Whether the answer tells the record before.
        previous: bool,
    },
    /// Removes keys.
    Delete {
        /// Which.
        keys: Keys,
        /// Whether the answer tells their records.
        previous: bool,
    },
    /// A transaction of its own. Its keyspace is the outer one's.
    Txn(Txn),
}

/// What an operation answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnAnswer {
    /// To [`TxnOp::Range`].
    Range(Selection),
    /// To [`TxnOp::Put`].
    Put {
        /// The record before, if it was asked for and there was one.
        previous: Option<Record>,
    },
    /// To [`TxnOp::Delete`].
    Delete {
        /// How many keys were removed.
        deleted: u64,
        /// Those, with their records, if they were asked for.
        previous: Vec<(Bytes, Record)>,
    },
    /// To [`TxnOp::Txn`].
    Txn(TxnAnswers),
}

/// What a transaction answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnAnswers {
    /// Whether all its compares held.
    pub succeeded: bool,
    /// What each operation of the list that was executed answered.
    pub answers: Vec<TxnAnswer>,
}

impl TxnAnswers {
    /// The keys and values in it, in bytes.
    pub fn bytes(&self) -> usize {
        let of = |pairs: &[(Bytes, Record)]| -> usize {
            pairs.iter().map(|(key, record)| key.len() + record.value.len()).sum()
        };
        let answers = self.answers.iter().map(|answer| match answer {
            TxnAnswer::Range(Selection { pairs, .. }) => of(pairs),
            TxnAnswer::Put { previous } => previous.as_ref().map_or(0, |record| record.value.len()),
            TxnAnswer::Delete { previous, .. } => of(previous),
            TxnAnswer::Txn(inner) => inner.bytes(),
        });
        answers.sum()
    }
}

/// Why a transaction was not executed, though it was well-formed. Then nothing of it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnRefusal {
    /// A put without a value names a key that is not there.
    NoSuchKey,
    /// It would answer with more than [`TXN_ANSWER_BYTES_MAX`].
    AnswerTooLarge,
    /// It would look at, or delete, more than [`TXN_KEYS_MAX`] keys.
    TooManyKeys,
    /// It would write more than [`TXN_WRITTEN_BYTES_MAX`].
    WritesTooMuch,
}

impl TxnRefusal {
    /// For the caller: what is wrong, and what to do.
    pub fn text(self) -> String {
        match self {
            TxnRefusal::NoSuchKey => {
                "a put that keeps the value names a key that is not there: nothing was done".to_owned()
            }
            TxnRefusal::AnswerTooLarge => format!(
                "the transaction would answer with more than {TXN_ANSWER_BYTES_MAX} bytes, and nothing was done: read \
                 less in it, with limits or without values"
            ),
            TxnRefusal::TooManyKeys => format!(
                "the transaction would look at, count or delete more than {TXN_KEYS_MAX} keys, and nothing was done: split \
                 it, or name fewer keys"
            ),
            TxnRefusal::WritesTooMuch => format!(
                "the transaction would write more than {TXN_WRITTEN_BYTES_MAX} bytes, and nothing was done: split it"
            ),
        }
    }
}

/// A key is put twice at one revision, or put and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateKey(pub Bytes);

impl Txn {
    /// Both lists of operations.
    pub fn ops(&self) -> impl Iterator<Item = &TxnOp> {
        self.success.iter().chain(&self.failure)
    }

    /// Calls `visit` with every transaction in this one, itself first, and how deep each lies, from 1; until it breaks.
    pub fn visit<B>(&self, visit: &mut impl FnMut(&Txn, usize) -> ControlFlow<B>) -> ControlFlow<B> {
        self.visit_from(1, visit)
    }

    fn visit_from<B>(
        &self,
        depth: usize,
        visit: &mut impl FnMut(&Txn, usize) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        visit(self, depth)?;
        for op in self.ops() {
            if let TxnOp::Txn(inner) = op {
                inner.visit_from(depth + 1, visit)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether it only reads, whichever way it goes.
    pub fn is_read_only(&self) -> bool {
        self.ops().all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put { .. } | TxnOp::Delete { .. } => false,
            TxnOp::Txn(inner) => inner.is_read_only(),
        })
    }

    /// Whether it sets a key on some way through it.
    pub fn may_put(&self) -> bool {
        self.ops().any(|op| match op {
            TxnOp::Put { .. } => true,
            TxnOp::Range(_) | TxnOp::Delete { .. } => false,
            TxnOp::Txn(inner) => inner.may_put(),
        })
    }

    /// The bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        let compares = self.compares.iter().map(|compare| {
            let value = if let Target::Value(value) = &compare.target { value.len() } else { 0 };
            compare.keys.bytes() + value
        });
        let ops = self.ops().map(|op| match op {
            TxnOp::Range(range) => range.keys.bytes(),
            TxnOp::Put { key, value, .. } => key.len() + value.as_ref().map_or(0, Bytes::len),
            TxnOp::Delete { keys, .. } => keys.bytes(),
            TxnOp::Txn(inner) => inner.bytes(),
        });
        compares.chain(ops).sum()
    }

    /// Whether no way through it puts a key twice, or puts and deletes it.
    ///
    /// # Errors
    /// One that is.
    pub fn check_keys(&self) -> Result<(), DuplicateKey> {
        check_keys(&self.success)?;
        check_keys(&self.failure)?;
        Ok(())
    }
}

/// What a list of operations may change.
#[derive(Default)]
struct Changed<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: Vec<&'a Keys>,
}

impl<'a> Changed<'a> {
    fn put(&mut self, key: &'a Bytes) -> Result<(), DuplicateKey> {
        let is_deleted = self.deletes.iter().any(|keys| keys.contain(key));
        if is_deleted || !self.puts.insert(key) {
            return Err(DuplicateKey(key.clone()));
        }
        Ok(())
    }
}

/// As etcd judges it: a list's own puts and those of either side of each transaction in it must be apart from each other,
/// and from what the list deletes; only the two sides of one transaction may put the same key.
fn check_keys(ops: &[TxnOp]) -> Result<Changed<'_>, DuplicateKey> {
    let mut changed = Changed::default();
    for op in ops {
        if let TxnOp::Delete { keys, .. } = op {
            changed.deletes.push(keys);
        }
    }
    for op in ops {
        let TxnOp::Txn(inner) = op else { continue };
        let (success, failure) = (check_keys(&inner.success)?, check_keys(&inner.failure)?);
        for key in &success.puts {
            changed.put(key)?;
        }
        for key in failure.puts.difference(&success.puts) {
            changed.put(key)?;
        }
        if let Some(key) =
            failure.puts.iter().find(|key| changed.deletes.iter().any(|keys| keys.contain(key)))
        {
            return Err(DuplicateKey((*key).clone()));
        }
        changed.deletes.extend(success.deletes.into_iter().chain(failure.deletes));
    }
    for op in ops {
        if let TxnOp::Put { key, .. } = op {
            changed.put(key)?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn put(key: &'static str) -> TxnOp {
        TxnOp::Put { key: bytes(key), value: Some(bytes("v")), previous: false }
    }

    fn delete(from: &'static str, to: &'static str) -> TxnOp {
        TxnOp::Delete { keys: Keys::Between(bytes(from), bytes(to)), previous: false }
    }

    fn txn(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> Txn {
        Txn { keyspace: Keyspace(0), compares: Vec::new(), success, failure }
    }

    #[test]
    fn a_prefix_is_the_keys_that_start_so() {
        let cases: [(&[u8], Keys); 4] = [
            (b"ab", Keys::Between(bytes("ab"), bytes("ac"))),
            (b"", Keys::all()),
            (b"\xff\xff", Keys::From(Bytes::from_static(b"\xff\xff"))),
            (b"a\xff", Keys::Between(Bytes::from_static(b"a\xff"), bytes("b"))),
        ];
        for (prefix, keys) in cases {
            assert_eq!(Keys::prefix(Bytes::copy_from_slice(prefix)), keys);
            for key in
                [&b""[..], b"a", b"ab", b"ab\xff\xff", b"ac", b"a\xff", b"a\xff\x00", b"b", b"\xff\xff\x01"]
            {
                assert_eq!(keys.contain(key), key.starts_with(prefix), "{key:?} and {prefix:?}");
            }
        }
    }

    #[test]
    fn a_key_is_changed_once_on_every_way() {
        let inner = |success, failure| TxnOp::Txn(txn(success, failure));
        let good = [
            txn(vec![put("a"), put("b"), delete("c", "d")], vec![put("a")]),
            txn(vec![delete("a", "c"), delete("b", "d")], vec![]),
            txn(vec![inner(vec![put("a")], vec![put("a")])], vec![]),
            txn(vec![inner(vec![put("a")], vec![]), put("b")], vec![]),
        ];
        for txn in good {
            assert_eq!(txn.check_keys(), Ok(()), "{txn:?}");
        }
        let bad = [
            txn(vec![put("a"), put("a")], vec![]),
            txn(vec![], vec![put("a"), delete("a", "b")]),
            txn(vec![inner(vec![put("a")], vec![]), put("a")], vec![]),
            txn(vec![inner(vec![], vec![put("a")]), put("a")], vec![]),
            txn(vec![inner(vec![put("a")], vec![]), inner(vec![], vec![put("a")])], vec![]),
            txn(vec![inner(vec![delete("a", "b")], vec![]), put("a")], vec![]),
            txn(vec![delete("a", "b"), inner(vec![put("a")], vec![put("a")])], vec![]),
            txn(vec![inner(vec![inner(vec![put("a")], vec![])], vec![]), put("a")], vec![]),
        ];
        for txn in bad {
            assert_eq!(txn.check_keys(), Err(DuplicateKey(bytes("a"))), "{txn:?}");
        }
    }

    #[test]
    fn what_only_reads_is_told_from_what_writes() {
        let range = TxnOp::Range(Range::of(Keys::all()));
        assert!(txn(vec![range.clone()], vec![TxnOp::Txn(txn(vec![range.clone()], vec![]))]).is_read_only());
        assert!(!txn(vec![range], vec![TxnOp::Txn(txn(vec![], vec![delete("a", "b")]))]).is_read_only());
    }
}
