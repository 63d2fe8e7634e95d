//! Who is in the group, with which role, at which addresses.
//!
//! A [`Membership`] is the payload of a configuration entry and is in force from the moment it is appended (thesis,
//! section 4.1). It can express a joint configuration (section 4.3): while `outgoing` is set, every decision needs a
//! majority of the voters *and* a majority of the outgoing ones. A learner receives the log but never counts.
//!
//! # Layout
//!
//! What [`Membership::encode`] makes, byte for byte (integers little-endian; `str` is a u32 length and UTF-8):
//!
//! ```text
//! u8  layout version, 2
//! u32 cluster version   u32 lease in milliseconds, 0: lease reads are off
//! u32 members, then each, ids ascending:
//!     u64 id   u8 role (1 voter, 2 learner, 3 leaving, 4 joining)
//!     u8  has incarnation (0, 1)   [u64 incarnation]
//!     str peer   str http   str grpc
//!     u32 labels, then each, keys ascending: str key   str value
//!     str version   u32 supports
//! u8  is joint (0, 1)   [u32 outgoing voters, then each, ascending: u64 id]
//! u32 retired, then each, ascending: u64 id
//! ```
//!
//! One configuration has one encoding: anything else (disorder, repetition, bytes left over) is refused.
//!
//! # Invariants
//!
//! Checked by [`Membership::validate`]: a voter has a member record (the role stands in the record, so
//! there cannot be one without); all outgoing voters have records; a retired id has none and never gets one again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;

use crate::types::{Incarnation, NodeId};

use super::quorum::VOTERS_MAX;

/// A member's part in decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Counts in every quorum.
    Voter,
    /// Receives the log, counts in none, and is promoted only when asked to: a read replica.
    Learner,
    /// Only a voter of the outgoing half of a joint configuration; gone once that is left.
    Leaving,
    /// A learner that becomes a voter by itself, once it has caught up.
    Joining,
}

/// What the group knows of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MemberRecord {
    /// The member.
    pub id: NodeId,
    /// Its data directory's identity; `None` until the member has published its record.
    pub incarnation: Option<Incarnation>,
    /// Its part in decisions.
    pub role: Role,
    /// Its advertised peer address, `host:port`.
    pub peer: String,
    /// Its advertised REST address; empty until the member has published its record.
    pub http: String,
    /// Its advertised gRPC address; empty until the member has published its record.
    pub grpc: String,
    /// Free labels (zone, rack, ...).
    pub labels: BTreeMap<String, String>,
    /// The version of its binary; empty until the member has published its record.
    pub version: String,
    /// The newest cluster version that its binary knows; 0 until the member has published its record.
    pub supports: u32,
}

/// A configuration of the group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// What all members' binaries understand: nothing newer is written or sent. Raised by the leader, never lowered.
    pub version: u32,
    /// How long a voter keeps to its leader for the sake of lease reads, in milliseconds; 0: there are none.
    pub lease_ms: u32,
    /// All members by id.
    pub members: BTreeMap<NodeId, MemberRecord>,
    /// While a joint configuration is in force: the voters of the configuration being left.
    pub outgoing: Option<BTreeSet<NodeId>>,
    /// Ids that were removed: never to be used again.
    pub retired: BTreeSet<NodeId>,
}

impl Membership {
    /// The first configuration of a cluster: these voters at these peer addresses, nothing else known yet.
    pub fn bootstrap(peers: impl IntoIterator<Item = (NodeId, String)>) -> Membership {
        let members = peers.into_iter().map(|(id, peer)| {
            let record = MemberRecord {
                id,
                incarnation: None,
                role: Role::Voter,
                peer,
                http: String::new(),
                grpc: String::new(),
                labels: BTreeMap::new(),
                version: String::new(),
                supports: 0,
            };
            (id, record)
        });
        Membership {
            version: CLUSTER_VERSION_FIRST,
            lease_ms: 0,
            members: members.collect(),
            outgoing: None,
            retired: BTreeSet::new(),
        }
    }

    /// Whether this is a configuration that a group can be in. See the module's invariants.
    pub fn validate(&self) -> Result<(), InvalidMembership> {
        let fail = |what| Err(InvalidMembership(what));
        let voters = self.voters().count();
        if self.version < CLUSTER_VERSION_FIRST {
            return fail("no cluster version");
        }
        if voters == 0 {
            return fail("no voter");
        }
        if voters > VOTERS_MAX || self.outgoing.as_ref().is_some_and(|outgoing| outgoing.len() > VOTERS_MAX) {
            return fail("too many voters");
        }
        for (&id, member) in &self.members {
            let is_outgoing = self.outgoing.as_ref().is_some_and(|outgoing| outgoing.contains(&id));
            if id != member.id {
                return fail("a member's record bears another id");
            }
            if id.0 == 0 {
                return fail("node ids begin at 1");
            }
            if self.retired.contains(&id) {
                return fail("a retired id is a member");
            }
            if member.role == Role::Leaving && !is_outgoing {
                return fail("a leaving member is no outgoing voter");
            }
        }
        if self.outgoing.as_ref().is_some_and(BTreeSet::is_empty) {
            return fail("a joint configuration without outgoing voters");
        }
        if self.outgoing.iter().flatten().any(|id| !self.members.contains_key(id)) {
            return fail("an outgoing voter has no record");
        }
        Ok(())
    }

    /// The configuration as bytes, in the module's layout.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![LAYOUT];
        out.extend(self.version.to_le_bytes());
        out.extend(self.lease_ms.to_le_bytes());
        put_len(&mut out, self.members.len());
        self.members.values().for_each(|member| member.put(&mut out));
        out.push(u8::from(self.outgoing.is_some()));
        if let Some(outgoing) = &self.outgoing {
            put_ids(&mut out, outgoing);
        }
        put_ids(&mut out, &self.retired);
        out.into()
    }

    /// The configuration that these bytes encode, validated.
    pub fn decode(bytes: &[u8]) -> Result<Membership, DecodeError> {
        let membership = Membership::decode_base(bytes)?;
        membership.validate().map_err(DecodeError::Invalid)?;
        Ok(membership)
    }

    /// The same, for what a log begins with: that of a node that comes begins with the empty configuration. No entry and no
    /// snapshot has that one.
    pub fn decode_base(bytes: &[u8]) -> Result<Membership, DecodeError> {
        let mut input = Input(bytes);
        match input.u8()? {
            LAYOUT => {}
            other => return Err(DecodeError::Version(other)),
        }
        let (version, lease_ms) = (input.u32()?, input.u32()?);
        let mut members = BTreeMap::new();
        for _ in 0..input.u32()? {
            let record = input.record()?;
            if members.last_key_value().is_some_and(|(&last, _)| last >= record.id) {
                return Err(DecodeError::Disorder);
            }
            members.insert(record.id, record);
        }
        let outgoing = if input.flag()? { Some(input.ids()?) } else { None };
        let membership = Membership { version, lease_ms, members, outgoing, retired: input.ids()? };
        if !input.0.is_empty() {
            return Err(DecodeError::Excess(input.0.len()));
        }
        if membership != Membership::default() {
            membership.validate().map_err(DecodeError::Invalid)?;
        }
        Ok(membership)
    }

    /// The voters of the (incoming) configuration, in id order.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.values().filter(|member| member.role == Role::Voter).map(|member| member.id)
    }

    /// All whose vote may be needed, those on their way out too. Some come twice while the configuration is joint.
    pub fn electors(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters().chain(self.outgoing.iter().flatten().copied())
    }

    /// Whether every member understands what came with cluster version `since`. What came later than the first version is
    /// proposed, written and sent only then.
    pub fn allows(&self, since: u32) -> bool {
        self.version >= since
    }

    /// The newest cluster version that every member's binary knows, learners' too: they apply the same log. 0 while one of
    /// them has not said.
    pub fn supported(&self) -> u32 {
        self.members.values().map(|member| member.supports).min().unwrap_or(0)
    }

    /// Whether `id` counts in any quorum of this configuration.
    pub fn is_voter(&self, id: NodeId) -> bool {
        let incoming = self.members.get(&id).is_some_and(|member| member.role == Role::Voter);
        incoming || self.outgoing.as_ref().is_some_and(|outgoing| outgoing.contains(&id))
    }
}

/// A record alone, as one node tells another: in the layout of [`Membership::encode`], which holds it the same way.
impl MemberRecord {
    /// The record as bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![LAYOUT];
        self.put(&mut out);
        out.into()
    }

    /// The record that these bytes encode.
    pub fn decode(bytes: &[u8]) -> Result<MemberRecord, DecodeError> {
        let mut input = Input(bytes);
        match input.u8()? {
            LAYOUT => {}
            other => return Err(DecodeError::Version(other)),
        }
        let record = input.record()?;
        match input.0.len() {
            0 => Ok(record),
            excess => Err(DecodeError::Excess(excess)),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.id.0.to_le_bytes());
        out.push(match self.role {
            Role::Voter => 1,
            Role::Learner => 2,
            Role::Leaving => 3,
            Role::Joining => 4,
        });
        out.push(u8::from(self.incarnation.is_some()));
        out.extend(self.incarnation.iter().flat_map(|incarnation| incarnation.0.to_le_bytes()));
        for text in [&self.peer, &self.http, &self.grpc] {
            put_str(out, text);
        }
        put_len(out, self.labels.len());
        for (key, value) in &self.labels {
            put_str(out, key);
            put_str(out, value);
        }
        put_str(out, &self.version);
        out.extend(self.supports.to_le_bytes());
    }
}

/// The layout that this version writes and reads.
const LAYOUT: u8 = 2;

/// The cluster version of the first configuration.
pub const CLUSTER_VERSION_FIRST: u32 = 1;

/// Why a configuration is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMembership(pub &'static str);

impl fmt::Display for InvalidMembership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid configuration: {}", self.0)
    }
}

impl std::error::Error for InvalidMembership {}

/// Why bytes are no encoded configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Another layout version: made by a newer binary.
    Version(u8),
    /// They end too early.
    Short,
    /// This many are left over.
    Excess(usize),
    /// Ids or keys do not ascend.
    Disorder,
    /// A role, flag or text that does not exist.
    Value,
    /// A configuration that cannot be.
    Invalid(InvalidMembership),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Version(version) => {
                write!(f, "configuration layout {version}, this binary knows {LAYOUT}")
            }
            DecodeError::Short => write!(f, "configuration ends too early"),
            DecodeError::Excess(bytes) => write!(f, "{bytes} bytes after the configuration"),
            DecodeError::Disorder => write!(f, "configuration is not in order"),
            DecodeError::Value => write!(f, "configuration has a value that does not exist"),
            DecodeError::Invalid(invalid) => invalid.fmt(f),
        }
    }
}

impl std::error::Error for DecodeError {}

fn put_len(out: &mut Vec<u8>, len: usize) {
    out.extend(u32::try_from(len).expect("configurations are small").to_le_bytes());
}

fn put_str(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_ids(out: &mut Vec<u8>, ids: &BTreeSet<NodeId>) {
    put_len(out, ids.len());
    for id in ids {
        out.extend(id.0.to_le_bytes());
    }
}

/// What is left to decode. Lengths in it are not trusted: nothing is allocated ahead of the bytes that are there.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Value),
        }
    }

    fn str(&mut self) -> Result<String, DecodeError> {
        let len = usize::try_from(self.u32()?).map_err(|_| DecodeError::Short)?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Value)?;
        Ok(text.to_owned())
    }

    fn ids(&mut self) -> Result<BTreeSet<NodeId>, DecodeError> {
        let mut ids = BTreeSet::new();
        for _ in 0..self.u32()? {
            let id = NodeId(self.u64()?);
            if ids.last().is_some_and(|&last| last >= id) {
                return Err(DecodeError::Disorder);
            }
            ids.insert(id);
        }
        Ok(ids)
    }

    fn record(&mut self) -> Result<MemberRecord, DecodeError> {
        let id = NodeId(self.u64()?);
        let role = match self.u8()? {
            1 => Role::Voter,
            2 => Role::Learner,
            3 => Role::Leaving,
            4 => Role::Joining,
            _ => return Err(DecodeError::Value),
        };
        let incarnation = if self.flag()? { Some(Incarnation(self.u64()?)) } else { None };
        let (peer, http, grpc) = (self.str()?, self.str()?, self.str()?);
        let mut labels = BTreeMap::new();
        for _ in 0..self.u32()? {
            let key = self.str()?;
            if labels.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(DecodeError::Disorder);
            }
            labels.insert(key, self.str()?);
        }
        let (version, supports) = (self.str()?, self.u32()?);
        Ok(MemberRecord { id, incarnation, role, peer, http, grpc, labels, version, supports })
    }
}
