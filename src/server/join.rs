//! Joining: a node with a new directory asks a member to be let in, before it opens anything else.
//!
//! The directory's incarnation is durable before the first question (see `identity`), and the question carries it: if the
//! answer is lost, or the process dies, the same node asks again and is told what it was told before. What a member
//! refuses for good ends the node; what may pass is tried again, for as long as it takes.

use std::time::Duration;

use tracing::{info, warn};

use super::{Exit, ExitCode, Seams, own_record};
use crate::clock::sleep;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::node::identity::Identity;
use crate::node::{JoinRequest, Joined};
use crate::raft::{MemberRecord, Role};
use crate::transport::{self, JoinError};
use crate::types::NodeId;

/// How long one question may take: the leader answers when the change is committed.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// So often a refusal is heard before it is believed: the first may come from a leader that was deposed and does not know
/// it, and goes by members that are no more; with the pauses between, check-quorum has ended its office by then.
const REFUSALS_BELIEVED: u32 = 5;
/// The pause before the second question, doubled before each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Sees to it that the directory belongs to a cluster.
pub(super) async fn ensure(config: &Config, seams: &Seams, identity: Identity) -> Result<Identity, Exit> {
    if !identity.is_joining() {
        if config.join.is_some() && (identity.is_ready() || identity.has_joined()) {
            info!(id = identity.node().0, "this directory belongs to a cluster already: --join is ignored");
        }
        return Ok(identity);
    }
    let Some(address) = &config.join else {
        let text = format!(
            "{}: this directory was about to join a cluster: name a member of it with --join, or use another directory",
            config.data_dir.display()
        );
        return Err(Exit::new(ExitCode::Usage, text));
    };
    let role = if config.learner { Role::Learner } else { Role::Joining };
    let record = MemberRecord { role, ..own_record(config, identity.incarnation(), seams.supports) };
    let id = (config.id != NodeId(0)).then_some(config.id);
    let request = JoinRequest { token_hash: identity.token_hash(), id, record };
    let joined = ask(address, &request, seams).await?;
    info!(id = joined.id.0, cluster = format!("{:016x}", joined.cluster.0), by = address, "joined a cluster");
    let recorded = super::in_lane(seams, config, move |_, _| {
        identity.set_joined(joined.cluster, joined.id)?;
        Ok(identity)
    });
    recorded.await
}

/// Asks until there is an answer that counts.
async fn ask(address: &str, request: &JoinRequest, seams: &Seams) -> Result<Joined, Exit> {
    let (mut pause, mut refusals) = (PAUSE_MIN, 0);
    loop {
        let deadline = seams.clock.now().plus(ANSWER_MAX);
        let answer = transport::join(&seams.net, &*seams.clock, address, request.encode(), deadline).await;
        let passing = match answer.map(Joined::decode) {
            Ok(Ok(joined)) => return Ok(joined),
            Ok(Err(error)) if is_final(&error) => {
                refusals += 1;
                if refusals == REFUSALS_BELIEVED {
                    return Err(refused(address, error.message()));
                }
                error.to_string()
            }
            Ok(Err(error)) => error.to_string(),
            Err(JoinError::Refused(text)) => return Err(refused(address, &text)),
            Err(error) => error.to_string(),
        };
        warn!(member = address, error = passing, "could not join yet: asking again");
        sleep(&*seams.clock, pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::MemberExists | ErrorKind::IdRetired)
}

fn refused(address: &str, text: &str) -> Exit {
    Exit::new(ExitCode::Identity, format!("the cluster of {address} does not let this node in: {text}"))
}
