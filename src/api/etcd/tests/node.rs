//! What a node says about itself: headers, members, status, alarms.

use std::collections::BTreeMap;

use tonic::Code;

use super::{Asked, Desk, assert_status};
use crate::api::etcd::cluster::MemberList;
use crate::api::etcd::maintenance::{Alarm, Status};
use crate::error::{Error, ErrorKind};
use crate::proto::etcd::etcdserverpb::{
    self as pb, AlarmMember, AlarmRequest, AlarmType, MemberListRequest, ResponseHeader, StatusRequest,
};
use crate::shard::{self, Member, MemberStatus, Members};
use crate::telemetry;
use crate::types::{ClusterId, GroupId, Index, NodeId, Revision, Term};

fn member(id: u64, role: &'static str) -> MemberStatus {
    MemberStatus {
        id: NodeId(id),
        incarnation: None,
        role,
        peer: format!("n{id}:7001"),
        http: String::new(),
        grpc: if role == "joining" { String::new() } else { format!("n{id}:9001") },
        labels: BTreeMap::new(),
        version: String::new(),
    }
}

/// The node of every test: number 3, a follower of 1, at revision 7 in term 5.
pub(super) fn status() -> shard::Status {
    shard::Status {
        id: NodeId(3),
        group: GroupId::FIRST,
        state: "follower",
        leader: Some(NodeId(1)),
        leader_http: String::new(),
        term: Term(5),
        commit_index: Index(21),
        applied_index: Index(20),
        last_index: Index(22),
        persisted_index: Index(22),
        folded_index: Index(5),
        purged_index: Index(2),
        revision: Revision(7),
        members: Vec::new(),
        cluster_id: ClusterId(0xdead_beef_0000_0001),
        counters: BTreeMap::from([
            (telemetry::STATE_FILE_BYTES, 1_000),
            (telemetry::STATE_FILE_FREE_BYTES, 400),
            (telemetry::HAS_STATE, 1),
        ]),
        storage: "ample",
        poisoned: false,
    }
}

pub(super) fn members() -> Members {
    let member = |id, role| Member { status: member(id, role), is_leader: id == 1, match_index: None };
    Members {
        members: vec![member(1, "voter"), member(2, "leaving"), member(3, "learner"), member(4, "joining")],
        config_index: Index(7),
        is_joint: false,
        lease_ms: 0,
        version: 1,
    }
}

pub(super) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { cluster_id: 0xdead_beef_0000_0001, member_id: 3, revision, raft_term: 5 })
}

#[tokio::test]
async fn members_are_shown_as_etcd_shows_them() {
    let desk = Desk::open();
    let answer = desk.call::<MemberList>(MemberListRequest { linearizable: false }).await.unwrap();
    assert_eq!(answer.header, header(0), "it shows no revision");
    let urls = |text: &str| vec![text.to_owned()];
    let shown = |id: u64, is_learner| pb::Member {
        id,
        name: format!("node{id}"),
        peer_ur_ls: urls(&format!("http://n{id}:7001")),
        client_ur_ls: urls(&format!("http://n{id}:9001")),
        is_learner,
    };
    let announced = pb::Member { name: String::new(), client_ur_ls: Vec::new(), ..shown(4, true) };
    assert_eq!(answer.members, [shown(1, false), shown(2, false), shown(3, true), announced]);
    assert_eq!(desk.asked(), [], "nobody is asked");
}

#[tokio::test]
async fn a_linearizable_list_of_members_is_confirmed() {
    let desk = Desk::open();
    let asked = MemberListRequest { linearizable: true };
    desk.call::<MemberList>(asked).await.unwrap();
    assert_eq!(desk.asked(), [Asked::Confirm]);
    desk.fails(Error::new(ErrorKind::Unavailable, "no quorum"));
    assert_status(desk.call::<MemberList>(asked).await, Code::Unavailable, "etcdserver: request timed out");
}

#[tokio::test]
async fn the_status_says_where_the_node_is() {
    let desk = Desk::open();
    let answer = desk.call::<Status>(StatusRequest {}).await.unwrap();
    let expected = pb::StatusResponse {
        header: header(7),
        version: "3.5.0".to_owned(),
        db_size: 1_000,
        leader: 1,
        raft_index: 21,
        raft_term: 5,
        raft_applied_index: 20,
        errors: Vec::new(),
        db_size_in_use: 600,
        is_learner: false,
    };
    assert_eq!(answer, expected);
    desk.set_status(|status| {
        (status.leader, status.state, status.storage) = (None, "learner", "full");
        status.counters.insert(telemetry::HAS_STATE, 0);
    });
    let answer = desk.call::<Status>(StatusRequest {}).await.unwrap();
    assert_eq!((answer.leader, answer.is_learner), (0, true));
    let expected = [
        "etcdserver: no leader",
        "memberID:3 alarm:NOSPACE ",
        "this node's state is lost and is being rebuilt",
    ];
    assert_eq!(answer.errors, expected);
}

#[tokio::test]
async fn an_alarm_is_told_while_there_is_no_room() {
    let desk = Desk::open();
    let ask =
        |action: i32, member_id, alarm: AlarmType| AlarmRequest { action, member_id, alarm: alarm.into() };
    let any = || ask(0, 0, AlarmType::None);
    assert_eq!(desk.call::<Alarm>(any()).await.unwrap().alarms, []);
    desk.set_status(|status| status.storage = "short");
    let alarm = AlarmMember { member_id: 3, alarm: AlarmType::Nospace.into() };
    for asked in [any(), ask(0, 3, AlarmType::None), ask(0, 0, AlarmType::Nospace)] {
        let answer = desk.call::<Alarm>(asked).await.unwrap();
        assert_eq!((answer.header, answer.alarms), (header(7), vec![alarm]));
    }
    for other in [ask(0, 1, AlarmType::None), ask(0, 0, AlarmType::Corrupt)] {
        assert_eq!(desk.call::<Alarm>(other).await.unwrap().alarms, []);
    }
    for by_hand in [1, 2] {
        let status = desk.call::<Alarm>(ask(by_hand, 0, AlarmType::Nospace)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains("once there is room"), "{status}");
    }
}
