//! The sending end of a snapshot stream.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic_prost::ProstCodec;

use crate::clock;
use crate::types::NodeId;

use super::wire::{encode_begin, frame};
use super::{
    Begin, FRAME_BYTES_MAX, Failed, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNKS_INFLIGHT_MAX,
    SNAPSHOT_FINISH_MAX, SNAPSHOT_STALL_MAX,
};
use crate::transport::dial::{self, Call, DIAL_TIMEOUT, KEEP_ALIVE_BULK, Problem, Way, describe_status};
use crate::transport::grpc::SNAPSHOT_PATH;
use crate::transport::peers::Peer;
use crate::transport::proto::{self, snapshot_ack::Outcome, snapshot_frame::Body};
use crate::transport::shared::{Shared, raised};

/// A snapshot on its way to a peer: [`begin`](SnapshotSender::begin), [`send`](SnapshotSender::send) for each chunk,
/// [`finish`](SnapshotSender::finish). Each of them waits for the receiver, and fails as soon as it is known that the
/// receiver will not answer any more. After a failure there is nothing left to do but to drop it. Dropping it at any
/// time ends the stream and its connection.
pub struct SnapshotSender {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    /// The peer is not one any more, or the transport closed.
    stopped: watch::Receiver<bool>,
    /// There until it was sent.
    announcement: Option<proto::SnapshotFrame>,
    /// There from then on.
    open: Option<Open>,
    /// The number of the next chunk. Monotone.
    next: u64,
    /// All chunks with smaller numbers are taken care of. Monotone, `<= next`.
    stored: u64,
}

/// The call.
struct Open {
    frames: mpsc::Sender<proto::SnapshotFrame>,
    call: Call<proto::SnapshotAck>,
}

impl SnapshotSender {
    pub(in crate::transport) fn new(
        shared: &Arc<Shared>,
        to: NodeId,
        begin: Begin,
    ) -> Result<SnapshotSender, Failed> {
        let peer = shared.peer(to).ok_or_else(|| Failed::new(format!("node {to} is no peer")))?;
        let announcement = encode_begin(begin);
        let bytes = announcement.encoded_len();
        if bytes > FRAME_BYTES_MAX {
            return Err(Failed::new(format!(
                "{bytes} bytes before the first chunk, {FRAME_BYTES_MAX} at most"
            )));
        }
        let (shared, stopped) = (Arc::clone(shared), peer.stopped());
        let announcement = Some(announcement);
        Ok(SnapshotSender { shared, peer, stopped, announcement, open: None, next: 0, stored: 0 })
    }

    /// Connects and announces the snapshot. The number of the chunk that the receiver wants first.
    ///
    /// # Errors
    /// If there is no connection, or the receiver does not want it.
    pub async fn begin(&mut self) -> Result<u64, Failed> {
        let announcement = self.announcement.take().expect("a snapshot is begun once");
        let (frames, outgoing) = mpsc::channel(1);
        frames.try_send(announcement).expect("the channel is new");
        let address = self.peer.reached_at();
        let (path, keep_alive, message_bytes_max) = (SNAPSHOT_PATH, KEEP_ALIVE_BULK, FRAME_BYTES_MAX);
        let way = Way { peer: &self.peer, address: &address, path, keep_alive, message_bytes_max };
        let codec = ProstCodec::<proto::SnapshotFrame, proto::SnapshotAck>::default();
        let dial = dial::call(&self.shared, way, ReceiverStream::new(outgoing), codec);
        let mut stopped = self.stopped.clone();
        let dialed = bounded(&self.shared, &mut stopped, DIAL_TIMEOUT, dial).await?;
        let call = dialed.map_err(|problem: Problem| Failed::new(problem.text()))?;
        self.open = Some(Open { frames, call });
        self.shared.counters.snapshots_sent.increment();
        loop {
            let ack = self.hear(SNAPSHOT_STALL_MAX).await?;
            refuse_outcome(ack.outcome)?;
            if let Some(wanted) = ack.wanted {
                (self.next, self.stored) = (wanted, wanted);
                return Ok(wanted);
            }
        }
    }

    /// Sends the next chunk, once the window has room for it. Numbers go up by one, from the one that
    /// [`SnapshotSender::begin`] gave.
    ///
    /// # Errors
    /// If the stream ended, or the receiver gave up.
    pub async fn send(&mut self, number: u64, chunk: Bytes) -> Result<(), Failed> {
        assert_eq!(number, self.next, "a chunk out of order");
        let bytes = chunk.len();
        assert!((1..=SNAPSHOT_CHUNK_BYTES_MAX).contains(&bytes), "a chunk of {bytes} bytes");
        while self.next - self.stored >= SNAPSHOT_CHUNKS_INFLIGHT_MAX {
            let ack = self.hear(SNAPSHOT_STALL_MAX).await?;
            self.on_stored(ack.stored)?;
            refuse_outcome(ack.outcome)?;
        }
        self.push(Body::Chunk(proto::SnapshotChunk { number, data: chunk })).await?;
        self.shared.counters.snapshot_bytes_sent.add(bytes as u64);
        self.next += 1;
        Ok(())
    }

    /// The receiver has taken care of all chunks with smaller numbers, as far as this end has heard.
    pub fn acked(&self) -> u64 {
        self.stored
    }

    /// Says that this was the last chunk, and waits until the receiver has all of them in safe keeping.
    ///
    /// # Errors
    /// If the stream ended before that, or the receiver says that it failed.
    pub async fn finish(mut self) -> Result<(), Failed> {
        self.push(Body::Finish(proto::SnapshotFinish { chunks: self.next })).await?;
        loop {
            let ack = self.hear(SNAPSHOT_FINISH_MAX).await?;
            self.on_stored(ack.stored)?;
            match ack.outcome {
                None => {}
                Some(Outcome::Done(true)) => return Ok(()),
                outcome => return refuse_outcome(outcome),
            }
        }
    }

    async fn push(&mut self, body: Body) -> Result<(), Failed> {
        let open = self.open.as_mut().expect("the snapshot was begun");
        let Open { frames, call } = open;
        let pushed = frames.send(frame(body));
        if bounded(&self.shared, &mut self.stopped, SNAPSHOT_STALL_MAX, pushed).await?.is_ok() {
            return Ok(());
        }
        // The call ended, and says why.
        let last = call.replies.message();
        match bounded(&self.shared, &mut self.stopped, SNAPSHOT_STALL_MAX, last).await? {
            Err(status) => Err(Failed::new(describe_status(&status))),
            Ok(ack) => {
                refuse_outcome(ack.and_then(|ack| ack.outcome))?;
                Err(Failed::new("the receiver gave it up"))
            }
        }
    }

    /// The next thing that the receiver says.
    async fn hear(&mut self, limit: Duration) -> Result<proto::SnapshotAck, Failed> {
        let open = self.open.as_mut().expect("the snapshot was begun");
        let message = open.call.replies.message();
        let ack = bounded(&self.shared, &mut self.stopped, limit, message).await?;
        let ack = ack.map_err(|status| Failed::new(describe_status(&status)))?;
        ack.ok_or_else(|| Failed::new("the receiver gave it up"))
    }

    fn on_stored(&mut self, stored: u64) -> Result<(), Failed> {
        if !(self.stored..=self.next).contains(&stored) {
            self.shared.counters.rejected.increment();
            let text = format!("the receiver has {stored} chunks, after {} of {}", self.stored, self.next);
            return Err(Failed::new(text));
        }
        self.stored = stored;
        Ok(())
    }
}

/// An outcome, before it is time for one, is a failure.
fn refuse_outcome(outcome: Option<Outcome>) -> Result<(), Failed> {
    match outcome {
        None => Ok(()),
        Some(Outcome::Failed(reason)) => Err(Failed::new(reason)),
        Some(Outcome::Done(_)) => Err(Failed::new("the receiver says that it is done, and is not")),
    }
}

/// Waits, but not for ever, and not for a peer that is none any more.
async fn bounded<T>(
    shared: &Shared,
    stopped: &mut watch::Receiver<bool>,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Failed> {
    let deadline = shared.clock.now().plus(limit);
    tokio::select! {
        biased;
        () = raised(stopped) => Err(Failed::new("the peer was taken out, or this node stops")),
        value = clock::timeout_at(&*shared.clock, deadline, future) => {
            value.ok_or_else(|| Failed::new("the receiver does not go on"))
        }
    }
}
