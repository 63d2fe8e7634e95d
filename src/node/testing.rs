//! A request of forwarded writes without a cluster, for benches: what a follower makes of the writes of a turn, and its leader takes
//! apart. There is no other way to it: a node sends such a request only to a leader, over a connection.

use bytes::Bytes;

use super::forward::{self, Request};
use crate::command::Forward;

/// The request that passes these writes on.
pub fn encode_forwards(writes: &[Forward]) -> Bytes {
    forward::encode_writes(writes.iter())
}

/// The writes of a request.
///
/// # Errors
/// What is wrong with it.
pub fn decode_forwards(request: &Bytes) -> Result<Vec<Forward>, String> {
    match forward::decode(request)? {
        Request::Writes(writes) => Ok(writes),
        _ => Err("a request that passes no writes on".to_owned()),
    }
}
