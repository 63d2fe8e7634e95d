//! The peer protocol's messages, generated from `proto/raft.proto`.

tonic::include_proto!("quorate.raft.v1");
