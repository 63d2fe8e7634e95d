//! The frames of a snapshot stream, and the order in which they may come.

use bytes::Bytes;

use crate::types::{GroupId, NodeId};

use super::{Begin, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_INFLIGHT_MAX};
use crate::transport::codec::{self, Reject};
use crate::transport::proto::{self, snapshot_frame::Body};

/// The first frame.
pub(in crate::transport) fn encode_begin(begin: Begin) -> proto::SnapshotFrame {
    let Begin { group, id, envelope, manifest } = begin;
    let envelope = Some(codec::encode(envelope));
    frame(Body::Begin(proto::SnapshotBegin { group: group.0, id, envelope, manifest }))
}

pub(super) fn frame(body: Body) -> proto::SnapshotFrame {
    proto::SnapshotFrame { body: Some(body) }
}

/// What the first frame says, if it comes from `from`, is for `to` and keeps all rules.
pub(in crate::transport) fn decode_begin(
    frame: proto::SnapshotFrame,
    from: NodeId,
    to: NodeId,
) -> Result<Begin, Reject> {
    let Some(Body::Begin(begin)) = frame.body else {
        return Err(Reject::UnknownKind("first snapshot frame"));
    };
    let envelope = begin.envelope.ok_or(Reject::Field("envelope"))?;
    // Neither keeps the connection's buffer: they stay until the last chunk is there.
    let envelope = codec::decode(envelope, from, to, usize::MAX)?;
    let manifest = Bytes::copy_from_slice(&begin.manifest);
    Ok(Begin { group: GroupId(begin.group), id: begin.id, envelope, manifest })
}

/// What a frame behind the first one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Step {
    /// The next chunk.
    Chunk(u64, Bytes),
    /// There are no more.
    Finish,
}

/// Keeps count of the chunks of one stream, at the receiving end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::transport) struct Chunks {
    /// `None`: nothing was asked for yet.
    wanted: Option<u64>,
    /// The number of the next chunk. Monotone; `stored ..= stored + window`.
    next: u64,
    /// All chunks with smaller numbers are taken care of. Monotone.
    stored: u64,
    is_finished: bool,
}

impl Chunks {
    /// The stream shall begin with this chunk. Once.
    pub fn ask_from(&mut self, number: u64) {
        assert!(self.wanted.is_none(), "asked from {number}, after {:?}", self.wanted);
        self.wanted = Some(number);
        (self.next, self.stored) = (number, number);
    }

    /// This chunk and all before it are taken care of.
    pub fn ack(&mut self, number: u64) {
        assert!(self.wanted.is_some() && number < self.next, "chunk {number} is not there: {self:?}");
        self.stored = self.stored.max(number + 1);
    }

    /// What the sender is told.
    pub fn to_ack(&self) -> proto::SnapshotAck {
        proto::SnapshotAck { wanted: self.wanted, stored: self.stored, outcome: None }
    }

    /// One more frame.
    pub fn on_frame(&mut self, frame: proto::SnapshotFrame) -> Result<Step, Reject> {
        if self.wanted.is_none() || self.is_finished {
            return Err(Reject::Field("frame that nobody asked for"));
        }
        match frame.body {
            Some(Body::Chunk(chunk)) => {
                if chunk.number != self.next {
                    return Err(Reject::Gap { index: chunk.number });
                }
                let is_within = self.next - self.stored < SNAPSHOT_CHUNKS_INFLIGHT_MAX;
                if !is_within || chunk.data.is_empty() || chunk.data.len() > SNAPSHOT_CHUNK_BYTES_MAX {
                    return Err(Reject::Field("chunk"));
                }
                self.next = self.next.checked_add(1).ok_or(Reject::Gap { index: chunk.number })?;
                Ok(Step::Chunk(chunk.number, chunk.data))
            }
            Some(Body::Finish(finish)) if finish.chunks == self.next => {
                self.is_finished = true;
                Ok(Step::Finish)
            }
            Some(Body::Finish(_)) => Err(Reject::Field("chunks")),
            Some(Body::Begin(_)) | None => Err(Reject::UnknownKind("snapshot frame")),
        }
    }
}
