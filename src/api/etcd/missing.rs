//! What etcd has and this door does not: one answer for all of it, which says what there is instead.
//!
//! It is the status alone, sent before the request has ended: so it is the answer to streams as well.

use axum::extract::Request;
use axum::response::Response;
use tonic::Status;

use super::error;

/// What is answered here, unless a method is mounted: all methods of etcd's packages.
pub(super) const PATHS: &[&str] =
    &["/etcdserverpb.{service}/{method}", "/v3lockpb.{service}/{method}", "/v3electionpb.{service}/{method}"];

/// By the beginning of the path: what to do. The first that fits counts.
const INSTEAD: &[(&str, &str)] = &[
    (
        "/etcdserverpb.Watch/",
        "changes cannot be watched yet: ask again from time to time, with min_mod_revision",
    ),
    ("/etcdserverpb.Lease/", "there are no leases yet: delete what must not stay"),
    (
        "/v3lockpb.",
        "locks need leases, which there are not yet: put a key in a transaction that compares its version with 0",
    ),
    (
        "/v3electionpb.",
        "elections need leases, which there are not yet: put a key in a transaction that compares its version with 0",
    ),
    ("/etcdserverpb.KV/Compact", "no history is kept, so there is nothing to compact"),
    ("/etcdserverpb.Cluster/", "members come and go through the REST API, /api/members"),
    ("/etcdserverpb.Maintenance/MoveLeader", "the REST API hands leadership over: POST /api/leader"),
    (
        "/etcdserverpb.Maintenance/Defragment",
        "a state file that is mostly free is rewritten by the node itself",
    ),
    (
        "/etcdserverpb.Maintenance/Hash",
        "the members compare the hashes of their states by themselves: see state_divergences_total in /metrics",
    ),
    ("/etcdserverpb.Maintenance/Snapshot", "backups cannot be taken through this API yet"),
    ("/etcdserverpb.Auth/", "there are no users and roles yet: keep the port to a network that is trusted"),
];

pub(super) async fn answer(request: Request) -> Response {
    status(request.uri().path()).into_http()
}

fn status(path: &str) -> Status {
    let method = path.trim_start_matches('/').replace('/', ".");
    match INSTEAD.iter().find(|(begin, _)| path.starts_with(begin)) {
        Some((_, instead)) => error::unimplemented(&format!("quorate does not serve {method}: {instead}")),
        None => error::unimplemented(&format!("quorate does not serve {method}")),
    }
}
