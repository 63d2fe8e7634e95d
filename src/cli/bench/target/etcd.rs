//! etcd's API, of etcd or of Quorate: both are sent the same bytes.

use bytes::Bytes;
use tonic::Status;

use super::super::draw::{Op, after_all};
use super::super::plan::{Freshness, KEY_PREFIX, Plan};
use super::channels::{Begin, Channels, Line, fault};
use super::{Fault, Target, Worker};
use crate::proto::etcd::etcdserverpb::kv_client::KvClient;
use crate::proto::etcd::etcdserverpb::{PutRequest, RangeRequest};

/// Its connections.
pub(crate) struct Etcd {
    channels: Channels,
    /// Whether what the node has is fresh enough.
    serializable: bool,
    /// Where lists end.
    end: Bytes,
}

impl Etcd {
    /// Connects.
    ///
    /// # Errors
    /// An endpoint cannot be reached.
    pub(crate) async fn connect(plan: &Plan) -> Result<Etcd, String> {
        let serializable = match plan.consistency {
            // etcd has no leases of this kind: a plan with one is refused, and would get what it promises.
            Freshness::Linearizable | Freshness::Lease => false,
            Freshness::Stale => true,
        };
        Ok(Etcd { channels: Channels::connect(plan).await?, serializable, end: after_all(KEY_PREFIX) })
    }
}

impl Target for Etcd {
    type Worker = Caller;

    fn worker(&self, at: usize) -> Caller {
        // A range comes in one message, however large it is.
        let (line, origin) = self.channels.of(at);
        let kv = KvClient::with_origin(line, origin).max_decoding_message_size(usize::MAX);
        Caller { kv, begin: self.channels.begin(), serializable: self.serializable, end: self.end.clone() }
    }
}

/// One that calls.
pub(crate) struct Caller {
    kv: KvClient<Line>,
    begin: Begin,
    serializable: bool,
    end: Bytes,
}

impl Caller {
    async fn call(&mut self, op: Op) -> Result<u64, Status> {
        let range = match op {
            Op::Put { key, value } => {
                let request = PutRequest { key, value, ..Default::default() };
                self.kv.put(self.begin.request(request)).await?;
                return Ok(0);
            }
            Op::Get { key } => RangeRequest { key, ..Default::default() },
            Op::List { from, limit } => RangeRequest {
                key: from,
                range_end: self.end.clone(),
                limit: i64::try_from(limit).unwrap_or(i64::MAX),
                ..Default::default()
            },
        };
        let range = RangeRequest { serializable: self.serializable, ..range };
        let answer = self.kv.range(self.begin.request(range)).await?;
        Ok(answer.get_ref().kvs.len() as u64)
    }
}

impl Worker for Caller {
    async fn perform(&mut self, op: Op) -> Result<u64, Fault> {
        self.call(op).await.map_err(|status| fault(&status))
    }
}
