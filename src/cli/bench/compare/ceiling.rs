//! What a call costs where nothing is stored: etcd's calls over a map in memory, in one process, without disks and without consensus, by
//! tonic's own server, the usual way to serve gRPC in Rust.
//!
//! It is a measure and no bound: nodes serve these calls past that server and its router (`server/grpc.rs`), so that what one of them
//! spends on a call may be less.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tonic::{Request, Response, Status};

use super::super::super::{Failure, UNEXPECTED};
use crate::proto::etcd::etcdserverpb::kv_server::{Kv, KvServer};
use crate::proto::etcd::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse,
};
use crate::proto::etcd::mvccpb::KeyValue;

/// Serve the ceiling of `compare`
#[derive(Debug, clap::Args)]
pub(in super::super) struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDR")]
    listen: SocketAddr,
}

/// Serves until it is killed.
pub(in super::super) async fn run(args: Args) -> Result<(), Failure> {
    let server =
        tonic::transport::Server::builder().tcp_nodelay(true).add_service(KvServer::new(Ceiling::default()));
    let served = server.serve(args.listen).await;
    served.map_err(|error| Failure::new(UNEXPECTED, format!("{}: {error}", args.listen)))
}

#[derive(Default)]
struct Ceiling(Mutex<HashMap<Bytes, Bytes>>);

impl Ceiling {
    fn data(&self) -> MutexGuard<'_, HashMap<Bytes, Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_measured() -> Status {
    Status::unimplemented("this server stands for the cost of a call: it puts and gets, and no more")
}

#[tonic::async_trait]
impl Kv for Ceiling {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let RangeRequest { key, .. } = request.into_inner();
        let value = self.data().get(&key).cloned();
        let kvs = value.map(|value| KeyValue { key, value, ..Default::default() });
        Ok(Response::new(RangeResponse { kvs: kvs.into_iter().collect(), ..Default::default() }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let PutRequest { key, value, .. } = request.into_inner();
        // Copies, as a store makes them: a piece would keep the whole buffer that it was read into.
        let (key, value) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
        self.data().insert(key, value);
        Ok(Response::new(PutResponse::default()))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(not_measured())
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(not_measured())
    }
}
