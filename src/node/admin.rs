//! Questions about the group itself on their way: to the leader, into its log, and back.
//!
//! ```text
//! Handle::change -> Ask -> waits until a leader is known -> this node leads:  core -> waits for the commit -> members
//!                                                       -> another one does: forward ------------------> its answer
//! ```
//!
//! An ask that certainly reached nobody waits for the next leader; one that may have been carried out is never repeated.
//! What a change asks for is refused while another asked-for change, or a joint configuration, is under way. What nodes
//! publish of themselves is not in anybody's way for longer than a commit takes: an ask waits for that.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::forward;
use super::members::MemberChange;
use crate::codec;
use crate::command::Forwarded;
use crate::error::{Error, ErrorKind};
use crate::raft::{MemberRecord, Membership};
use crate::types::{ClusterId, Incarnation, Index, NodeId, Owner, Term};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Who is in the group, and how far everyone is.
    Members,
    /// A change.
    Change { change: MemberChange, force: bool },
    /// Another leader.
    Transfer { to: NodeId },
    /// A node wants to be let in.
    Join(JoinRequest),
}

/// What a node that wants to be let in says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The hash of its cluster token.
    pub token_hash: u64,
    /// The id that it asks for; the one that its record was announced under, or the first free one, if none.
    pub id: Option<NodeId>,
    /// Which member it was until it lost its log: that one goes, and it comes in its place. If its record still has that
    /// member's incarnation, it only asks whether that could be done: nothing is, and the answer names the old id.
    pub replaces: Option<Owner>,
    /// Its record. Its role says whether it is to stay a learner.
    pub record: MemberRecord,
}

/// Where a node that was let in belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's id in it.
    pub id: NodeId,
}

/// Who asked.
#[derive(Debug)]
pub(super) enum Asker {
    /// A caller on this node: gets the leader's answer as it is.
    Local(oneshot::Sender<Result<Bytes, Error>>),
    /// Another node, on behalf of its caller; or a node that wants to join. Gets an encoded answer.
    Remote(oneshot::Sender<Bytes>),
}

impl Asker {
    pub fn is_gone(&self) -> bool {
        match self {
            Asker::Local(reply) => reply.is_closed(),
            Asker::Remote(reply) => reply.is_closed(),
        }
    }

    pub async fn gone(&mut self) {
        match self {
            Asker::Local(reply) => reply.closed().await,
            Asker::Remote(reply) => reply.closed().await,
        }
    }

    /// Answers; who asked may be gone, then nobody hears it.
    pub fn answer(self, result: Result<Bytes, Error>) {
        match self {
            Asker::Local(reply) => drop(reply.send(result)),
            Asker::Remote(reply) => drop(reply.send(encode_answer(&result))),
        }
    }
}

/// What this leader began for an ask and has not seen done.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub asker: Asker,
    pub goal: Goal,
    /// What to answer when it is done; the members if nothing.
    pub answer: Option<Bytes>,
}

/// When it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// This entry is committed, and the configuration is not joint.
    Committed(Index, Term),
    /// This node leads.
    Leads(NodeId),
}

// Answers on the wire: 0 and the body, or 1 and an encoded `Forwarded`.

const DONE: u8 = 0;
const FAILED: u8 = 1;

fn encode_answer(result: &Result<Bytes, Error>) -> Bytes {
    let mut out = BytesMut::new();
    match result {
        Ok(body) => {
            out.put_u8(DONE);
            out.put_slice(body);
        }
        Err(error) => {
            out.put_u8(FAILED);
            out.put_slice(&codec::encode_forwarded(&forward::failed(error)));
        }
    }
    out.freeze()
}

/// What another node answered: its body, its refusal, or that it does not lead.
pub(super) fn decode_answer(mut bytes: Bytes) -> Result<Result<Bytes, Error>, NotLeader> {
    let unreadable = || {
        let text = "the leader's answer cannot be understood: do all nodes run one version?";
        Ok(Err(Error::unknown(ErrorKind::Internal, text)))
    };
    if bytes.is_empty() {
        return unreadable();
    }
    match bytes.get_u8() {
        DONE => Ok(Ok(bytes)),
        FAILED => match codec::decode_forwarded(&bytes) {
            Ok(Forwarded::NotLeader) => Err(NotLeader),
            Ok(Forwarded::Failed { kind, outcome, message }) => {
                Ok(Err(forward::error_of(kind, outcome, message)))
            }
            _ => unreadable(),
        },
        _ => unreadable(),
    }
}

/// The one that was asked does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotLeader;

/// The answer of a node that does not lead.
pub(super) fn encode_not_leader() -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(FAILED);
    out.put_slice(&codec::encode_forwarded(&Forwarded::NotLeader));
    out.freeze()
}

// Asks on the wire: a kind, then as below; an absent id is 0, an absent address is empty. Whom a node that joins replaces:
// the id, and only where that is not 0 the incarnation and the cluster.

const MEMBERS: u8 = 1;
const ADD: u8 = 2;
const REMOVE: u8 = 3;
const UPDATE: u8 = 4;
const PROMOTE: u8 = 5;
const LEASE: u8 = 6;
const TRANSFER: u8 = 7;
const JOIN: u8 = 8;

impl Ask {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Ask::Members => out.put_u8(MEMBERS),
            Ask::Change { change, force } => {
                let force = u8::from(*force);
                match change {
                    MemberChange::Add { id, peer, is_learner } => {
                        out.put_slice(&[ADD, force, u8::from(*is_learner)]);
                        out.put_u64_le(id.map_or(0, |id| id.0));
                        put_text(&mut out, peer);
                    }
                    MemberChange::Remove(id) => {
                        out.put_slice(&[REMOVE, force]);
                        out.put_u64_le(id.0);
                    }
                    MemberChange::Update { id, peer, http, grpc } => {
                        out.put_slice(&[UPDATE, force]);
                        out.put_u64_le(id.0);
                        for text in [peer, http, grpc] {
                            put_text(&mut out, text.as_deref().unwrap_or_default());
                        }
                    }
                    MemberChange::Promote(id) => {
                        out.put_slice(&[PROMOTE, force]);
                        out.put_u64_le(id.0);
                    }
                    MemberChange::Lease(lease_ms) => {
                        out.put_slice(&[LEASE, force]);
                        out.put_u32_le(*lease_ms);
                    }
                }
            }
            Ask::Transfer { to } => {
                out.put_u8(TRANSFER);
                out.put_u64_le(to.0);
            }
            Ask::Join(request) => {
                out.put_u8(JOIN);
                request.put(&mut out);
            }
        }
        out.freeze()
    }

    /// Decodes an ask; `None` if no correct node makes it.
    pub fn decode(mut input: &[u8]) -> Option<Ask> {
        let input = &mut input;
        let ask = match take_u8(input)? {
            MEMBERS => Ask::Members,
            TRANSFER => Ask::Transfer { to: take_id(input)? },
            JOIN => Ask::Join(JoinRequest::take(input)?),
            kind => {
                let force = take_flag(input)?;
                let change = match kind {
                    ADD => {
                        let is_learner = take_flag(input)?;
                        let id = take_u64(input)?;
                        let id = (id > 0).then_some(NodeId(id));
                        MemberChange::Add { id, peer: take_text(input)?, is_learner }
                    }
                    REMOVE => MemberChange::Remove(take_id(input)?),
                    UPDATE => MemberChange::Update {
                        id: take_id(input)?,
                        peer: take_some_text(input)?,
                        http: take_some_text(input)?,
                        grpc: take_some_text(input)?,
                    },
                    PROMOTE => MemberChange::Promote(take_id(input)?),
                    LEASE => MemberChange::Lease(u32::from_le_bytes(take(input)?)),
                    _ => return None,
                };
                Ask::Change { change, force }
            }
        };
        input.is_empty().then_some(ask)
    }
}

impl JoinRequest {
    /// As bytes, for [`crate::transport::join`].
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.put(&mut out);
        out.freeze()
    }

    /// Decodes a request; `None` if no correct node makes it.
    pub(super) fn decode(mut input: &[u8]) -> Option<JoinRequest> {
        JoinRequest::take(&mut input)
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.token_hash);
        out.put_u64_le(self.id.map_or(0, |id| id.0));
        match &self.replaces {
            Some(Owner { cluster, node, incarnation }) => {
                out.put_u64_le(node.0);
                out.put_u64_le(incarnation.0);
                out.put_u64_le(cluster.0);
            }
            None => out.put_u64_le(0),
        }
        out.put_slice(&self.record.encode());
    }

    fn take(input: &mut &[u8]) -> Option<JoinRequest> {
        let (token_hash, id) = (take_u64(input)?, take_u64(input)?);
        let replaces = match take_u64(input)? {
            0 => None,
            node => {
                let (incarnation, cluster) = (Incarnation(take_u64(input)?), ClusterId(take_u64(input)?));
                Some(Owner { cluster, node: NodeId(node), incarnation })
            }
        };
        let record = MemberRecord::decode(std::mem::take(input)).ok()?;
        Some(JoinRequest { token_hash, id: (id > 0).then_some(NodeId(id)), replaces, record })
    }
}

impl Joined {
    pub(super) fn encode(self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.cluster.0);
        out.put_u64_le(self.id.0);
        out.freeze()
    }

    /// What a member answered to a [`JoinRequest`].
    ///
    /// # Errors
    /// Why this node was not let in; `Unavailable` and the like if it may try again.
    pub fn decode(answer: Bytes) -> Result<Joined, Error> {
        let body = match decode_answer(answer) {
            Ok(body) => body?,
            Err(NotLeader) => return Err(Error::new(ErrorKind::Unavailable, "it knows no leader")),
        };
        let mut input = &body[..];
        match (take_u64(&mut input), take_u64(&mut input)) {
            (Some(cluster), Some(id)) if id > 0 => Ok(Joined { cluster: ClusterId(cluster), id: NodeId(id) }),
            _ => Err(Error::new(ErrorKind::Internal, "its answer cannot be understood")),
        }
    }
}

/// The members as the leader answers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Roll {
    pub leader: Option<NodeId>,
    pub config_index: Index,
    pub membership: Membership,
    /// How far each member is known to be.
    pub matched: Vec<(NodeId, Index)>,
}

impl Roll {
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.leader.map_or(0, |id| id.0));
        out.put_u64_le(self.config_index.0);
        out.put_u32_le(u32::try_from(self.matched.len()).unwrap_or(u32::MAX));
        for (id, index) in &self.matched {
            out.put_u64_le(id.0);
            out.put_u64_le(index.0);
        }
        out.put_slice(&self.membership.encode());
        out.freeze()
    }

    pub fn decode(mut input: &[u8]) -> Option<Roll> {
        let input = &mut input;
        let (leader, config_index) = (take_u64(input)?, Index(take_u64(input)?));
        let count = u32::from_le_bytes(take(input)?);
        let mut matched = Vec::new();
        for _ in 0..count {
            matched.push((NodeId(take_u64(input)?), Index(take_u64(input)?)));
        }
        let membership = Membership::decode_base(input).ok()?;
        Some(Roll { leader: (leader > 0).then_some(NodeId(leader)), config_index, membership, matched })
    }
}

/// The record of a member that is announced and does not run yet.
pub(super) fn announced(peer: String, is_learner: bool) -> MemberRecord {
    MemberRecord {
        id: NodeId(0),
        incarnation: None::<Incarnation>,
        role: if is_learner { crate::raft::Role::Learner } else { crate::raft::Role::Joining },
        peer,
        http: String::new(),
        grpc: String::new(),
        labels: std::collections::BTreeMap::new(),
        version: String::new(),
        supports: 0,
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

fn take_u8(input: &mut &[u8]) -> Option<u8> {
    take(input).map(|[byte]| byte)
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    take(input).map(u64::from_le_bytes)
}

fn take_id(input: &mut &[u8]) -> Option<NodeId> {
    take_u64(input).filter(|&id| id > 0).map(NodeId)
}

fn take_flag(input: &mut &[u8]) -> Option<bool> {
    match take_u8(input)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn take_text(input: &mut &[u8]) -> Option<String> {
    let len = usize::try_from(u32::from_le_bytes(take(input)?)).ok()?;
    let (head, rest) = input.split_at_checked(len)?;
    *input = rest;
    String::from_utf8(head.to_vec()).ok()
}

fn take_some_text(input: &mut &[u8]) -> Option<Option<String>> {
    take_text(input).map(|text| (!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks() -> Vec<Ask> {
        let change = |change| Ask::Change { change, force: true };
        let record = MemberRecord { id: NodeId(4), ..announced("n4:7001".to_owned(), true) };
        let join =
            |id, replaces| Ask::Join(JoinRequest { token_hash: 7, id, replaces, record: record.clone() });
        vec![
            Ask::Members,
            change(MemberChange::Add { id: None, peer: "a:1".to_owned(), is_learner: false }),
            change(MemberChange::Add { id: Some(NodeId(9)), peer: "a:1".to_owned(), is_learner: true }),
            change(MemberChange::Remove(NodeId(3))),
            change(MemberChange::Update {
                id: NodeId(3),
                peer: None,
                http: Some("b:2".to_owned()),
                grpc: None,
            }),
            change(MemberChange::Promote(NodeId(3))),
            change(MemberChange::Lease(400)),
            Ask::Transfer { to: NodeId(2) },
            join(Some(NodeId(4)), None),
            join(None, None),
            join(None, Some(Owner { cluster: ClusterId(5), node: NodeId(3), incarnation: Incarnation(9) })),
        ]
    }

    #[test]
    fn every_ask_comes_back_and_none_that_is_cut_or_longer() {
        for ask in asks() {
            let bytes = ask.encode();
            assert_eq!(Ask::decode(&bytes), Some(ask.clone()));
            for cut in 0..bytes.len() {
                assert_ne!(Ask::decode(&bytes[..cut]), Some(ask.clone()), "cut at {cut}");
            }
            assert_eq!(Ask::decode(&[&bytes[..], &[0]].concat()), None, "{ask:?}");
        }
    }

    #[test]
    fn answers_come_back() {
        let body = Bytes::from_static(b"body");
        assert_eq!(decode_answer(encode_answer(&Ok(body.clone()))), Ok(Ok(body)));
        let error = Error::new(ErrorKind::IdRetired, "gone");
        assert_eq!(decode_answer(encode_answer(&Err(error.clone()))), Ok(Err(error)));
        assert_eq!(decode_answer(encode_not_leader()), Err(NotLeader));
        assert!(decode_answer(Bytes::from_static(b"\x09")).is_ok_and(|answer| answer.is_err()));
        let joined = Joined { cluster: ClusterId(5), id: NodeId(6) };
        assert_eq!(Joined::decode(encode_answer(&Ok(joined.encode()))), Ok(joined));
        let roll = Roll {
            leader: Some(NodeId(1)),
            config_index: Index(3),
            membership: Membership::bootstrap([(NodeId(1), "a:1".to_owned())]),
            matched: vec![(NodeId(1), Index(9))],
        };
        assert_eq!(Roll::decode(&roll.encode()), Some(roll));
    }
}
