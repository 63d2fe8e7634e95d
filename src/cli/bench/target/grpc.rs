//! Quorate's gRPC API without its client library: a call for each request, to whichever node the connection goes. What a node that
//! follows forwards to the leader is part of what is measured.

use bytes::Bytes;
use tonic::Status;

use super::super::draw::{Op, after_all};
use super::super::plan::{Freshness, KEY_PREFIX, Plan};
use super::channels::{Begin, Channels, Line, fault};
use super::{Fault, Target, Worker};
use crate::proto::v1::kv_client::KvClient;
use crate::proto::v1::{Consistency, GetRequest, KeyRange, Keys, ListRequest, PutRequest, ReadOptions, keys};

/// Its connections.
pub(crate) struct Grpc {
    channels: Channels,
    read: ReadOptions,
    /// Where lists end.
    end: Bytes,
}

impl Grpc {
    /// Connects.
    ///
    /// # Errors
    /// An endpoint cannot be reached.
    pub(crate) async fn connect(plan: &Plan) -> Result<Grpc, String> {
        let consistency = match plan.consistency {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Lease => Consistency::Lease,
            Freshness::Stale => Consistency::Stale,
        };
        let read = ReadOptions { consistency: consistency.into(), ..Default::default() };
        Ok(Grpc { channels: Channels::connect(plan).await?, read, end: after_all(KEY_PREFIX) })
    }
}

impl Target for Grpc {
    type Worker = Caller;

    fn worker(&self, at: usize) -> Caller {
        // How large a page is the server decides.
        let (line, origin) = self.channels.of(at);
        let kv = KvClient::with_origin(line, origin).max_decoding_message_size(usize::MAX);
        Caller { kv, begin: self.channels.begin(), read: self.read, end: self.end.clone() }
    }
}

/// One that calls.
pub(crate) struct Caller {
    kv: KvClient<Line>,
    begin: Begin,
    read: ReadOptions,
    end: Bytes,
}

impl Caller {
    async fn call(&mut self, op: Op) -> Result<u64, Status> {
        match op {
            Op::Put { key, value } => {
                let request = PutRequest { key, value, ..Default::default() };
                self.kv.put(self.begin.request(request)).await?;
                Ok(0)
            }
            Op::Get { key } => {
                let request = GetRequest { key, read: Some(self.read) };
                let answer = self.kv.get(self.begin.request(request)).await?;
                Ok(u64::from(answer.get_ref().kv.is_some()))
            }
            Op::List { from, limit } => {
                let range = KeyRange { from, to: Some(self.end.clone()) };
                let keys = Some(Keys { which: Some(keys::Which::Range(range)) });
                let request = ListRequest { keys, limit, read: Some(self.read), ..Default::default() };
                let mut pages = self.kv.list(self.begin.request(request)).await?.into_inner();
                let mut count = 0;
                while let Some(page) = pages.message().await? {
                    count += page.pairs.len() as u64;
                }
                Ok(count)
            }
        }
    }
}

impl Worker for Caller {
    async fn perform(&mut self, op: Op) -> Result<u64, Fault> {
        self.call(op).await.map_err(|status| fault(&status))
    }
}
