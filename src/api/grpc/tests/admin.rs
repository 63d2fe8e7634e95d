use tonic::Code;

use super::store::Asked;
use super::{Desk, refused, said};
use crate::error::{Error, ErrorKind};
use crate::proto::v1;
use crate::shard::MemberChange;
use crate::types::NodeId;

#[tokio::test]
async fn members_are_the_leaders_or_this_nodes() {
    let desk = Desk::open();
    let ask = |consistency: v1::Consistency| v1::MembersRequest { consistency: consistency.into() };
    let answer = desk.admin().members(ask(v1::Consistency::Linearizable)).await.unwrap().into_inner();
    assert_eq!(desk.store.state().asked, [Asked::Confirm, Asked::Members], "a leader may be one no more");
    assert_eq!(
        (answer.config_index, answer.joint, answer.lease_ms, answer.cluster_version),
        (7, true, 400, 1)
    );
    let roles: Vec<&str> = answer.members.iter().map(|member| &*member.role).collect();
    assert_eq!(roles, ["voter", "voter", "learner", "learner"]);
    let first = v1::Member {
        id: 1,
        role: "voter".to_owned(),
        peer: "n1:7001".to_owned(),
        http: "n1:8081".to_owned(),
        grpc: "n1:9001".to_owned(),
        leader: true,
        match_index: Some(8),
        version: "0.1.0".to_owned(),
    };
    assert_eq!(answer.members[0], first);
    let answer = desk.admin().members(ask(v1::Consistency::Stale)).await.unwrap().into_inner();
    assert_eq!(desk.store.state().asked.last(), Some(&Asked::MembersHere));
    assert!(answer.members.iter().all(|member| member.match_index.is_none()));
    refused(desk.admin().members(ask(v1::Consistency::Lease)).await, Code::InvalidArgument, "invalid");
    let unknown = v1::MembersRequest { consistency: 5 };
    refused(desk.admin().members(unknown).await, Code::InvalidArgument, "invalid");
}

#[tokio::test]
async fn changes_reach_the_group() {
    let desk = Desk::open();
    let mut admin = desk.admin();
    let add = |id, learner| v1::AddMemberRequest { id, peer: "n4:7001".to_owned(), learner };
    let peer = || "n4:7001".to_owned();
    admin.add_member(add(0, true)).await.unwrap();
    admin.add_member(add(4, false)).await.unwrap();
    admin.remove_member(v1::RemoveMemberRequest { id: 4, force: true }).await.unwrap();
    let update = v1::UpdateMemberRequest { id: 4, http: Some("n4:8081".to_owned()), ..Default::default() };
    admin.update_member(update).await.unwrap();
    admin.promote_member(v1::PromoteMemberRequest { id: 4, force: false }).await.unwrap();
    admin.transfer_leader(v1::TransferLeaderRequest { id: 2 }).await.unwrap();
    let change = |change, force| Asked::Change(change, force);
    let expected = [
        change(MemberChange::Add { id: None, peer: peer(), is_learner: true }, false),
        change(MemberChange::Add { id: Some(NodeId(4)), peer: peer(), is_learner: false }, false),
        change(MemberChange::Remove(NodeId(4)), true),
        change(
            MemberChange::Update { id: NodeId(4), peer: None, http: Some("n4:8081".to_owned()), grpc: None },
            false,
        ),
        change(MemberChange::Promote(NodeId(4)), false),
        Asked::Transfer(NodeId(2)),
    ];
    assert_eq!(desk.store.state().asked, expected);
}

#[tokio::test]
async fn what_nobody_could_do_is_refused_at_the_door() {
    let desk = Desk::open();
    let mut admin = desk.admin();
    let invalid = Code::InvalidArgument;
    for peer in ["", "n4", "http://n4:7001", "0.0.0.0:7001"] {
        let add = v1::AddMemberRequest { id: 0, peer: peer.to_owned(), learner: false };
        let status = refused(admin.add_member(add).await, invalid, "invalid");
        assert!(status.message().contains("HOST:PORT"), "{status:?}");
        let update = v1::UpdateMemberRequest { id: 1, grpc: Some(peer.to_owned()), ..Default::default() };
        refused(admin.update_member(update).await, invalid, "invalid");
    }
    refused(admin.remove_member(v1::RemoveMemberRequest::default()).await, invalid, "invalid");
    refused(admin.promote_member(v1::PromoteMemberRequest::default()).await, invalid, "invalid");
    refused(admin.transfer_leader(v1::TransferLeaderRequest::default()).await, invalid, "invalid");
    refused(admin.update_member(v1::UpdateMemberRequest::default()).await, invalid, "invalid");
    let nothing = v1::UpdateMemberRequest { id: 3, ..Default::default() };
    refused(admin.update_member(nothing).await, invalid, "invalid");
    assert!(desk.store.state().asked.is_empty());
}

#[tokio::test]
async fn a_change_that_fails_says_why() {
    let desk = Desk::open();
    desk.store.fail(Error::new(ErrorKind::NoSuchMember, "there is no such member"));
    let asked = v1::RemoveMemberRequest { id: 9, force: false };
    refused(desk.admin().remove_member(asked).await, Code::NotFound, "no_such_member");
    desk.store.fail(Error::unknown(ErrorKind::Unavailable, "it may still be"));
    let asked = v1::TransferLeaderRequest { id: 2 };
    assert_eq!(said(&desk.admin().transfer_leader(asked).await.unwrap_err()).outcome, "unknown");
    desk.store.fail(Error::new(ErrorKind::DiskFull, "no room for a fold"));
    let compacted = desk.admin().compact(v1::CompactRequest {}).await;
    refused(compacted, Code::ResourceExhausted, "disk_full");
}

#[tokio::test]
async fn a_node_tells_of_itself_and_folds() {
    let desk = Desk::open();
    desk.store.state().leader = Some(3);
    let status = desk.admin().status(v1::StatusRequest {}).await.unwrap().into_inner();
    let expected = v1::StatusResponse {
        id: 1,
        cluster_id: 0xdead_beef_0000_0001,
        group: 1,
        state: "follower".to_owned(),
        leader: 3,
        term: 3,
        last_index: 10,
        commit_index: 9,
        applied_index: 8,
        folded_index: 5,
        revision: 7,
        keys: 11,
        state_bytes: 12,
        log_bytes: 13,
        storage: "short".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    assert_eq!(status, expected);
    let answer = desk.admin().compact(v1::CompactRequest {}).await.unwrap().into_inner();
    assert_eq!((answer.folded_index, desk.store.state().asked.last()), (8, Some(&Asked::Compact)));
}
