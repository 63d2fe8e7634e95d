//! `etcdserverpb.Cluster`: who is in it. Members come and go through `/api/members`.

use tonic::Status;

use crate::proto::etcd::etcdserverpb::{self as pb, MemberListRequest, MemberListResponse};
use crate::shard::MemberStatus;

use super::call::{Call, Unary, header};

/// The members and where they are reached.
pub(super) struct MemberList;

impl Unary for MemberList {
    const PATH: &'static str = "/etcdserverpb.Cluster/MemberList";
    type Request = MemberListRequest;
    type Answer = MemberListResponse;

    async fn execute(call: &mut Call<'_>, asked: MemberListRequest) -> Result<MemberListResponse, Status> {
        let router = call.router().await?;
        if asked.linearizable {
            call.confirm(&router).await?;
        }
        let members = router.members_here().members.into_iter().map(|member| shown(member.status)).collect();
        // etcd shows no revision here.
        let header = pb::ResponseHeader { revision: 0, ..header(&router, router.revision()) };
        Ok(MemberListResponse { header: Some(header), members })
    }
}

/// A member as etcd shows one: without a name and without client addresses it has not started yet.
fn shown(member: MemberStatus) -> pb::Member {
    let has_started = !member.grpc.is_empty();
    let url = |address: &String| format!("http://{address}");
    pb::Member {
        id: member.id.0,
        name: if has_started { format!("node{}", member.id) } else { String::new() },
        peer_ur_ls: vec![url(&member.peer)],
        client_ur_ls: if has_started { vec![url(&member.grpc)] } else { Vec::new() },
        is_learner: matches!(member.role, "learner" | "joining"),
    }
}
