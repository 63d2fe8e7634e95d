//! The tables of the state file and the layout of their rows.
//!
//! ```text
//! table     key                                          row
//! records   keyspace u32 big endian | key                record (see codec)
//! sessions  client u128 big endian                       format 1 | last_used u64 | done_below u64
//! replies   client u128 big endian | seq u64 big endian  format 1 | command digest u128 | reply (see codec)
//! meta      "state"                                      format 1 | applied index u64 | applied term u64 |
//!                                                        revision u64 | group time u64 | keys u64 | state hash u128
//! meta      "membership"                                 the last applied membership, as its entry carried it
//! meta      "footprint"                                  format 1 | what the rows cost u64 (see base); it is the
//!                                                        file's alone, and no part of the state
//! ```
//!
//! Integers in rows are little endian; those in keys are big endian, so that byte order is their order. All that one
//! fold writes, the meta rows included, is one redb transaction: applied index and data can never part (H20).

use bytes::Bytes;
use redb::TableDefinition;

use super::Error;
use super::key::Key;
use crate::codec;
use crate::command::Reply;
use crate::types::{ClientId, Index, Keyspace, Revision, Seq, Term};

/// A redb table of ours: both sides are plain bytes.
pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// The row that says how far the state machine is.
pub(super) const META_STATE: &[u8] = b"state";

/// The row that holds the membership.
pub(super) const META_MEMBERSHIP: &[u8] = b"membership";

/// The row that holds what the rows of the other tables cost in the file.
pub(super) const META_FOOTPRINT: &[u8] = b"footprint";

/// The table of the meta rows, which do not pass through the write set.
pub(super) const META: Definition = TableDefinition::new("meta");

/// The tables that the write set has a map for, in the order of its maps.
pub(super) const DEFINITIONS: [Definition; 3] =
    [TableDefinition::new("records"), TableDefinition::new("sessions"), TableDefinition::new("replies")];

/// The version of the tables as a whole: what another node must know to read this one's rows.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The version of the rows that are laid out here.
const FORMAT: u8 = 1;

/// A table that the write set has a map for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// The keys and values.
    Records = 0,
    /// The sessions held.
    Sessions = 1,
    /// Their replies.
    Replies = 2,
}

impl Table {
    /// Its redb table.
    pub(super) fn definition(self) -> Definition {
        DEFINITIONS[self as usize]
    }

    /// The one after it, in the order of the numbers.
    pub(super) fn next(self) -> Option<Table> {
        Table::of_number(self as u8 + 1)
    }

    /// The table of a number.
    pub(super) fn of_number(number: u8) -> Option<Table> {
        [Table::Records, Table::Sessions, Table::Replies].into_iter().find(|table| *table as u8 == number)
    }
}

/// How far the state machine is: all that is not in the other tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The last applied entry. Monotone.
    pub(super) applied: (Index, Term),
    /// The revision of the last write transaction. Monotone.
    pub(super) revision: Revision,
    /// The greatest group time of all applied envelopes. Monotone.
    pub(super) group_time_ms: u64,
    /// How many keys there are.
    pub(super) keys: u64,
    /// See [`super::hash`].
    pub(super) hash: u128,
    /// The last applied membership.
    pub(super) membership: Option<Bytes>,
}

impl Head {
    /// The head of an empty store.
    pub(super) fn empty() -> Head {
        Head {
            applied: (Index(0), Term(0)),
            revision: Revision::EMPTY,
            group_time_ms: 0,
            keys: 0,
            hash: 0,
            membership: None,
        }
    }

    /// The row of [`META_STATE`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut row = vec![FORMAT];
        let numbers = [self.applied.0.0, self.applied.1.0, self.revision.0, self.group_time_ms, self.keys];
        for number in numbers {
            row.extend_from_slice(&number.to_le_bytes());
        }
        row.extend_from_slice(&self.hash.to_le_bytes());
        row
    }

    /// Reads both meta rows.
    pub(super) fn decode(row: &[u8], membership: Option<&[u8]>) -> Result<Head, Error> {
        let mut fields = Fields::new("state", row)?;
        let head = Head {
            applied: (Index(fields.u64()?), Term(fields.u64()?)),
            revision: Revision(fields.u64()?),
            group_time_ms: fields.u64()?,
            keys: fields.u64()?,
            hash: fields.u128()?,
            membership: membership.map(Bytes::copy_from_slice),
        };
        fields.end()?;
        Ok(head)
    }
}

/// A session's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionRow {
    /// The index of the last command that named the session.
    pub(super) last_used: Index,
    /// Where its window begins. Monotone.
    pub(super) done_below: Seq,
}

impl SessionRow {
    pub(super) fn encode(&self) -> Bytes {
        let mut row = Vec::with_capacity(17);
        row.push(FORMAT);
        row.extend_from_slice(&self.last_used.0.to_le_bytes());
        row.extend_from_slice(&self.done_below.0.to_le_bytes());
        Bytes::from(row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<SessionRow, Error> {
        let mut fields = Fields::new("session", row)?;
        let row = SessionRow { last_used: Index(fields.u64()?), done_below: Seq(fields.u64()?) };
        fields.end()?;
        Ok(row)
    }
}

/// A reply's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyRow {
    /// The digest of the command that was answered.
    pub(super) digest: u128,
    /// The answer.
    pub(super) reply: Reply,
}

impl ReplyRow {
    pub(super) fn encode(&self) -> Bytes {
        let reply = codec::encode_reply(&self.reply);
        let mut row = Vec::with_capacity(17 + reply.len());
        row.push(FORMAT);
        row.extend_from_slice(&self.digest.to_le_bytes());
        row.extend_from_slice(&reply);
        Bytes::from(row)
    }

    pub(super) fn decode(row: &[u8]) -> Result<ReplyRow, Error> {
        let mut fields = Fields::new("reply", row)?;
        let digest = fields.u128()?;
        let reply =
            codec::decode_reply(fields.rest()).map_err(|error| broken("reply", &error.to_string()))?;
        Ok(ReplyRow { digest, reply })
    }
}

/// The row of [`META_FOOTPRINT`].
pub(super) fn encode_footprint(footprint: u64) -> Vec<u8> {
    let mut row = vec![FORMAT];
    row.extend_from_slice(&footprint.to_le_bytes());
    row
}

/// Reads the row of [`META_FOOTPRINT`].
pub(super) fn decode_footprint(row: &[u8]) -> Result<u64, Error> {
    let mut fields = Fields::new("footprint", row)?;
    let footprint = fields.u64()?;
    fields.end()?;
    Ok(footprint)
}

/// The table key of a user's key.
pub(super) fn record_key(keyspace: Keyspace, key: &[u8]) -> Key {
    Key::of(&[&keyspace.0.to_be_bytes(), key])
}

/// The bytes of a table key before the user's key.
pub(super) const KEYSPACE_BYTES: usize = 4;

/// The table key of a session.
pub(super) fn session_key(client: ClientId) -> Key {
    Key::of(&[&client.0.to_be_bytes()])
}

/// The session of a row of `sessions`.
pub(super) fn session_of_key(key: &[u8]) -> Result<ClientId, Error> {
    let key = key.try_into().map_err(|_| broken("session key", &format!("{} bytes", key.len())))?;
    Ok(ClientId(u128::from_be_bytes(key)))
}

/// The table key of a reply.
pub(super) fn reply_key(client: ClientId, seq: Seq) -> Key {
    Key::of(&[&client.0.to_be_bytes(), &seq.0.to_be_bytes()])
}

/// The session and number of a row of `replies`.
pub(super) fn reply_of_key(key: &[u8]) -> Result<(ClientId, Seq), Error> {
    let key: [u8; 24] = key.try_into().map_err(|_| broken("reply key", &format!("{} bytes", key.len())))?;
    let (mut client, mut seq) = ([0; 16], [0; 8]);
    client.copy_from_slice(&key[..16]);
    seq.copy_from_slice(&key[16..]);
    Ok((ClientId(u128::from_be_bytes(client)), Seq(u64::from_be_bytes(seq))))
}

/// A row that no version of this program writes, though its block's checksum matched.
pub(super) fn broken(what: &str, found: &str) -> Error {
    Error::Damaged { offset: None, what: format!("a {what} row cannot be read: {found}") }
}

/// Reads a row's fields in order.
pub(super) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(what: &'static str, row: &'a [u8]) -> Result<Fields<'a>, Error> {
        match row.split_first() {
            Some((&FORMAT, rest)) => Ok(Fields { what, rest }),
            Some((&found, _)) => Err(Error::Version { found: found.into(), known: FORMAT.into() }),
            None => Err(broken(what, "it is empty")),
        }
    }

    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((field, rest)) = self.rest.split_first_chunk() else {
            return Err(broken(self.what, "it is too short"));
        };
        self.rest = rest;
        Ok(*field)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, Error> {
        self.take().map(u128::from_le_bytes)
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn end(&self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(broken(self.what, &format!("{extra} bytes too many"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// These rows are on disks: a change needs a new format byte.
    #[test]
    fn golden_rows() {
        let head = Head {
            applied: (Index(1), Term(2)),
            revision: Revision(3),
            group_time_ms: 4,
            keys: 5,
            hash: 6,
            membership: None,
        };
        assert_eq!(
            hex(&head.encode()),
            concat!(
                "01",
                "0100000000000000",
                "0200000000000000",
                "0300000000000000",
                "0400000000000000",
                "0500000000000000",
                "06000000000000000000000000000000"
            )
        );
        assert_eq!(Head::decode(&head.encode(), None), Ok(head));
        assert_eq!(hex(&encode_footprint(7)), "010700000000000000");
        assert_eq!(decode_footprint(&encode_footprint(7)), Ok(7));
        let session = SessionRow { last_used: Index(7), done_below: Seq(8) };
        assert_eq!(hex(&session.encode()), concat!("01", "0700000000000000", "0800000000000000"));
        assert_eq!(SessionRow::decode(&session.encode()), Ok(session));
        let reply = ReplyRow { digest: 9, reply: Reply::Void };
        assert_eq!(hex(&reply.encode()), concat!("01", "09000000000000000000000000000000", "0106"));
        assert_eq!(ReplyRow::decode(&reply.encode()), Ok(reply));
        assert_eq!(hex(&record_key(Keyspace(1), b"k")), "000000016b");
        assert_eq!(hex(&session_key(ClientId(1))), "00000000000000000000000000000001");
        assert_eq!(hex(&reply_key(ClientId(1), Seq(2))), "000000000000000000000000000000010000000000000002");
        assert_eq!(reply_of_key(&reply_key(ClientId(1), Seq(2))), Ok((ClientId(1), Seq(2))));
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        assert!(matches!(Head::decode(&[], None), Err(Error::Damaged { .. })));
        assert_eq!(Head::decode(&[2], None), Err(Error::Version { found: 2, known: 1 }));
        assert!(matches!(Head::decode(&[1, 0], None), Err(Error::Damaged { .. })));
        let mut long = Head::empty().encode();
        long.push(0);
        assert!(matches!(Head::decode(&long, None), Err(Error::Damaged { .. })));
        assert!(matches!(session_of_key(b"short"), Err(Error::Damaged { .. })));
        assert!(matches!(reply_of_key(b"short"), Err(Error::Damaged { .. })));
    }
}
