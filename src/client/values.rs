//! Keys and values, and what calls answer with.

use std::str::Utf8Error;

use bytes::Bytes;

use super::calls::unexpected;
use super::error::Error;
use crate::proto::v1;
use crate::proto::v1::operation_result::Result as Reply;
use crate::proto::v1::txn_answer::Answer;

/// What can be a key or a value: bytes or text, borrowed or owned. What is owned is not copied.
///
/// ```
/// use quorate::client::IntoBytes;
///
/// assert_eq!("text".into_bytes(), b"text".into_bytes());
/// assert_eq!(String::from("text").into_bytes(), vec![b't', b'e', b'x', b't'].into_bytes());
/// ```
pub trait IntoBytes {
    /// The bytes.
    fn into_bytes(self) -> Bytes;
}

macro_rules! into_bytes {
    ($([$($generic:tt)*] $type:ty => $from:expr;)*) => {$(
        impl<$($generic)*> IntoBytes for $type {
            fn into_bytes(self) -> Bytes {
                $from(self)
            }
        }
    )*};
}

into_bytes! {
    [] Bytes => std::convert::identity;
    [] &Bytes => Bytes::clone;
    [] Vec<u8> => Bytes::from;
    [] &Vec<u8> => |bytes: &Vec<u8>| Bytes::copy_from_slice(bytes);
    [] &[u8] => Bytes::copy_from_slice;
    [const N: usize] &[u8; N] => |bytes: &[u8; N]| Bytes::copy_from_slice(bytes);
    [const N: usize] [u8; N] => |bytes: [u8; N]| Bytes::copy_from_slice(&bytes);
    [] String => Bytes::from;
    [] &String => |text: &String| Bytes::copy_from_slice(text.as_bytes());
    [] &str => |text: &str| Bytes::copy_from_slice(text.as_bytes());
}

/// Which keys are meant.
///
/// ```
/// use quorate::client::Keys;
///
/// let users = Keys::prefix("user:");
/// let some = Keys::range("a", "b"); // "a" is among them, "b" is not
/// let rest = Keys::starting_at("b");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(pub(super) v1::Keys);

impl Keys {
    /// This one.
    ///
    /// ```
    /// use quorate::client::Keys;
    ///
    /// assert_eq!(Keys::one("user:1001"), Keys::from("user:1001"));
    /// ```
    pub fn one(key: impl IntoBytes) -> Keys {
        Keys(v1::Keys { which: Some(v1::keys::Which::Key(key.into_bytes())) })
    }

    /// All that start so.
    ///
    /// ```
    /// use quorate::client::Keys;
    ///
    /// let users = Keys::prefix("user:");
    /// assert_ne!(users, Keys::one("user:"));
    /// ```
    pub fn prefix(prefix: impl IntoBytes) -> Keys {
        Keys(v1::Keys { which: Some(v1::keys::Which::Prefix(prefix.into_bytes())) })
    }

    /// From the first, which is among them, to the second, which is not.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// // "log/2024-01-01" is among them, "log/2024-06-01" is not.
    /// let five_months = client.list_keys(Keys::range("log/2024-01-01", "log/2024-06-01")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(from: impl IntoBytes, to: impl IntoBytes) -> Keys {
        let range = v1::KeyRange { from: from.into_bytes(), to: Some(to.into_bytes()) };
        Keys(v1::Keys { which: Some(v1::keys::Which::Range(range)) })
    }

    /// This one and all behind it.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use quorate::client::Keys;
    ///
    /// let rest = client.list_keys(Keys::starting_at("user:1001")).limit(100).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn starting_at(from: impl IntoBytes) -> Keys {
        let range = v1::KeyRange { from: from.into_bytes(), to: None };
        Keys(v1::Keys { which: Some(v1::keys::Which::Range(range)) })
    }

    /// All there are.
    ///
    /// ```
    /// use quorate::client::Keys;
    ///
    /// assert_eq!(Keys::all(), Keys::prefix("")); // every key starts so
    /// ```
    pub fn all() -> Keys {
        Keys::prefix("")
    }
}

/// A key as it was at a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Its value; empty where only keys were asked for.
    pub value: Bytes,
    /// The revision at which the key came into being.
    pub create_revision: u64,
    /// The revision of its last change: what [`if_revision`](super::Set::if_revision) compares.
    pub mod_revision: u64,
    /// How often it was written since it came into being; 1 at first.
    pub version: u64,
    /// The lease it is attached to; 0: none.
    pub lease: u64,
}

impl KeyValue {
    /// The key as text.
    ///
    /// ```
    /// let mut kv = quorate::client::KeyValue::default();
    /// kv.key = "user:1001".into();
    /// assert_eq!(kv.key_text(), Ok("user:1001"));
    /// ```
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn key_text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.key)
    }

    /// The value as text.
    ///
    /// ```
    /// let mut kv = quorate::client::KeyValue::default();
    /// kv.value = "Jane Doe".into();
    /// assert_eq!(kv.text(), Ok("Jane Doe"));
    /// kv.value = vec![0xff_u8].into();
    /// assert!(kv.text().is_err());
    /// ```
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.value)
    }
}

impl From<v1::KeyValue> for KeyValue {
    fn from(kv: v1::KeyValue) -> KeyValue {
        let v1::KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
        KeyValue { key, value, create_revision, mod_revision, version, lease }
    }
}

fn pairs(pairs: Vec<v1::KeyValue>) -> Vec<KeyValue> {
    pairs.into_iter().map(KeyValue::from).collect()
}

fn revision_of(header: Option<&v1::Header>) -> u64 {
    header.map_or(0, |header| header.revision)
}

/// The store's revision that a reply shows.
pub(super) fn revision(reply: &Reply) -> u64 {
    let header = match reply {
        Reply::Get(reply) => &reply.header,
        Reply::Put(reply) => &reply.header,
        Reply::Delete(reply) => &reply.header,
        Reply::List(reply) => &reply.header,
        Reply::Txn(reply) => &reply.header,
        Reply::Error(_) | Reply::OpenSession(_) | Reply::CloseSession(_) => return 0,
    };
    revision_of(header.as_ref())
}

/// What a set answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The store's revision after it, which is the key's mod_revision now.
    pub revision: u64,
    /// What the key was before, if that was asked for and there was such a key.
    pub previous: Option<KeyValue>,
}

impl From<v1::PutResponse> for Written {
    fn from(reply: v1::PutResponse) -> Written {
        Written { revision: revision_of(reply.header.as_ref()), previous: reply.previous.map(KeyValue::from) }
    }
}

/// What a delete answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deleted {
    /// The store's revision after it.
    pub revision: u64,
    /// How many keys were removed.
    pub count: u64,
    /// What they were, if that was asked for.
    pub previous: Vec<KeyValue>,
}

impl From<v1::DeleteResponse> for Deleted {
    fn from(reply: v1::DeleteResponse) -> Deleted {
        Deleted {
            revision: revision_of(reply.header.as_ref()),
            count: reply.deleted,
            previous: pairs(reply.previous),
        }
    }
}

/// What a compare-and-set came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap {
    /// The key had the expected revision, and has the new value now.
    Set {
        /// Its new mod_revision.
        revision: u64,
    },
    /// It had not, and is as it was.
    Changed {
        /// What it is; `None`: there is no such key.
        current: Option<KeyValue>,
    },
}

impl Swap {
    /// Whether the value was set.
    ///
    /// ```
    /// use quorate::client::Swap;
    ///
    /// assert!(Swap::Set { revision: 17 }.is_set());
    /// assert!(!Swap::Changed { current: None }.is_set());
    /// ```
    pub fn is_set(&self) -> bool {
        matches!(self, Swap::Set { .. })
    }

    pub(super) fn of(mut reply: v1::TxnResponse) -> Result<Swap, Error> {
        if reply.succeeded {
            return Ok(Swap::Set { revision: revision_of(reply.header.as_ref()) });
        }
        match reply.answers.pop().and_then(|answer| answer.answer) {
            Some(Answer::Range(mut found)) => {
                Ok(Swap::Changed { current: found.pairs.pop().map(KeyValue::from) })
            }
            _ => Err(unexpected(&Reply::Txn(reply))),
        }
    }
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// The store's revision that it shows.
    pub revision: u64,
    /// The pairs, in key order.
    pub pairs: Vec<KeyValue>,
    /// Whether further keys followed.
    pub more: bool,
}

impl From<v1::ListResponse> for Page {
    fn from(reply: v1::ListResponse) -> Page {
        Page { revision: revision_of(reply.header.as_ref()), pairs: pairs(reply.pairs), more: reply.more }
    }
}

/// What a transaction answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnResult {
    /// The store's revision after it, or the one that it shows if it only read.
    pub revision: u64,
    /// Whether all comparisons held, so that `then` was done; else `otherwise`.
    pub succeeded: bool,
    /// What each operation of the list that was done answered, in order.
    pub answers: Vec<TxnAnswer>,
}

/// What one operation of a transaction answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TxnAnswer {
    /// A read.
    Selected {
        /// What was found, in the order asked for.
        pairs: Vec<KeyValue>,
        /// Whether the limit cut it short.
        more: bool,
        /// How many keys there are, whatever the limit.
        count: u64,
    },
    /// A put.
    Put {
        /// What the key was before, if that was asked for and there was such a key.
        previous: Option<KeyValue>,
    },
    /// A delete.
    Deleted {
        /// How many keys were removed.
        count: u64,
        /// What they were, if that was asked for.
        previous: Vec<KeyValue>,
    },
    /// A transaction in the transaction.
    Branch {
        /// Whether its comparisons held.
        succeeded: bool,
        /// What its operations answered.
        answers: Vec<TxnAnswer>,
    },
}

impl From<v1::TxnResponse> for TxnResult {
    fn from(reply: v1::TxnResponse) -> TxnResult {
        TxnResult {
            revision: revision_of(reply.header.as_ref()),
            succeeded: reply.succeeded,
            answers: answers(reply.answers),
        }
    }
}

fn answers(answers: Vec<v1::TxnAnswer>) -> Vec<TxnAnswer> {
    let answers = answers.into_iter().filter_map(|answer| answer.answer);
    answers.map(TxnAnswer::from).collect()
}

impl From<Answer> for TxnAnswer {
    fn from(answer: Answer) -> TxnAnswer {
        match answer {
            Answer::Range(found) => {
                TxnAnswer::Selected { pairs: pairs(found.pairs), more: found.more, count: found.count }
            }
            Answer::Put(put) => TxnAnswer::Put { previous: put.previous.map(KeyValue::from) },
            Answer::Delete(delete) => {
                TxnAnswer::Deleted { count: delete.deleted, previous: pairs(delete.previous) }
            }
            Answer::Txn(txn) => TxnAnswer::Branch { succeeded: txn.succeeded, answers: answers(txn.answers) },
        }
    }
}
