//! `etcdserverpb.Maintenance`: what a node says about itself.

use tonic::Status as Refusal;

use crate::proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcd::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, StatusRequest, StatusResponse,
};
use crate::shard;
use crate::telemetry;

use super::ETCD_API_VERSION;
use super::answer::signed;
use super::call::{Call, Unary, header};
use super::error;

/// The state of the node.
pub(super) struct Status;

impl Unary for Status {
    const PATH: &'static str = "/etcdserverpb.Maintenance/Status";
    type Request = StatusRequest;
    type Answer = StatusResponse;

    async fn execute(call: &mut Call<'_>, _: StatusRequest) -> Result<StatusResponse, Refusal> {
        let router = call.router().await?;
        let status = router.status();
        let figure = |name| status.counters.get(name).copied().unwrap_or(0);
        let file_bytes = figure(telemetry::STATE_FILE_BYTES);
        Ok(StatusResponse {
            header: Some(header(&router, status.revision)),
            version: ETCD_API_VERSION.to_owned(),
            db_size: signed(file_bytes),
            leader: status.leader.map_or(0, |leader| leader.0),
            raft_index: status.commit_index.0,
            raft_term: status.term.0,
            raft_applied_index: status.applied_index.0,
            errors: errors(&status),
            db_size_in_use: signed(file_bytes.saturating_sub(figure(telemetry::STATE_FILE_FREE_BYTES))),
            is_learner: status.state == "learner",
        })
    }
}

/// What is wrong with the node, in etcd's words where etcd has any.
fn errors(status: &shard::Status) -> Vec<String> {
    let mut errors = Vec::new();
    if status.leader.is_none() {
        errors.push("etcdserver: no leader".to_owned());
    }
    if !has_room(status) {
        errors.push(format!("memberID:{} alarm:NOSPACE ", status.id));
    }
    if status.counters.get(telemetry::HAS_STATE) == Some(&0) {
        errors.push("this node's state is lost and is being rebuilt".to_owned());
    }
    errors
}

/// Whether writes that need room are taken, as far as this node's own disk goes.
fn has_room(status: &shard::Status) -> bool {
    status.storage == "ample"
}

/// Tells this node's alarms: one, if its disk has no room but its reserve. `etcdctl endpoint health` asks for them.
pub(super) struct Alarm;

impl Unary for Alarm {
    const PATH: &'static str = "/etcdserverpb.Maintenance/Alarm";
    type Request = AlarmRequest;
    type Answer = AlarmResponse;

    async fn execute(call: &mut Call<'_>, asked: AlarmRequest) -> Result<AlarmResponse, Refusal> {
        if asked.action() != AlarmAction::Get {
            return Err(error::unimplemented(
                "alarms are neither raised nor dropped by hand here: NOSPACE goes once there is room",
            ));
        }
        let router = call.router().await?;
        let status = router.status();
        let is_meant = [0, status.id.0].contains(&asked.member_id)
            && matches!(asked.alarm(), AlarmType::None | AlarmType::Nospace);
        let alarm = AlarmMember { member_id: status.id.0, alarm: AlarmType::Nospace.into() };
        let alarms = if is_meant && !has_room(&status) { vec![alarm] } else { Vec::new() };
        Ok(AlarmResponse { header: Some(header(&router, status.revision)), alarms })
    }
}
