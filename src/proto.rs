//! The protobuf messages and gRPC services that clients see, generated from `proto/` by `build.rs`. The peers' own are in
//! `transport`.

/// Quorate's own API: `proto/quorate/v1`.
pub mod v1 {
    #![allow(missing_docs, reason = "generated; the documents are in the .proto files, and come with them")]
    tonic::include_proto!("quorate.v1");

    /// The descriptors of the package, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quorate.v1.descriptors.bin"));
}

/// etcd's API, as far as it is served: `proto/etcd`. Its packages keep etcd's names.
pub mod etcd {
    /// What both the API and its events show of a key.
    pub mod mvccpb {
        #![allow(
            missing_docs,
            reason = "generated; the documents are in the .proto files, and come with them"
        )]
        tonic::include_proto!("mvccpb");
    }

    /// The services and their messages.
    pub mod etcdserverpb {
        #![allow(
            missing_docs,
            reason = "generated; the documents are in the .proto files, and come with them"
        )]
        tonic::include_proto!("etcdserverpb");
    }

    /// The descriptors of both packages, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd.descriptors.bin"));
}
