//! The client's one task of its own: it follows the membership and the leader, and closes sessions.
//!
//! It asks when a node failed, every now and then besides, and more often while no leader is known. When the last clone of
//! the client is gone it closes what is open, as far as that takes a moment, and ends.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use tracing::Instrument;

use super::backoff;
use super::calls::Core;
use super::edge::{self, Instant};
use super::error::{Error, ErrorKind, Failure};

/// How often the members are asked for while all is well.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// How long one node has to answer.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);
/// At least so long between two rounds: failures come in crowds.
const ROUND_PAUSE: Duration = Duration::from_millis(50);

/// Contacts all nodes at once, until one answers.
pub(super) async fn meet(core: &Arc<Core>, deadline: Instant) -> Result<(), Error> {
    contact(core, deadline).instrument(tracing::debug_span!("quorate.connect")).await
}

async fn contact(core: &Arc<Core>, deadline: Instant) -> Result<(), Error> {
    let mut rounds = 0;
    loop {
        let by = edge::after(NODE_TIMEOUT).min(deadline);
        let nodes = core.cluster.nodes(edge::now());
        let asked = nodes.iter().map(|node| Box::pin(core.ask_members(node, by)));
        let failure = match select_ok(asked).await {
            Ok((members, _)) => {
                core.cluster.on_members(&members);
                return Ok(());
            }
            Err(failure) => failure,
        };
        rounds += 1;
        let pause = edge::after(backoff::pause(&core.entropy, rounds));
        if pause >= deadline {
            let text = format!("none of the endpoints answered; last: {failure}");
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        edge::sleep_until(pause).await;
    }
}

/// Follows the cluster until the last clone of the client is gone.
pub(super) async fn follow(core: Arc<Core>) {
    let mut is_over = core.is_over.subscribe();
    tokio::select! {
        biased;
        _ = is_over.wait_for(|is_over| *is_over) => {}
        () = run(&core) => {}
    }
    core.close_sessions(core.sessions.take_all()).await;
}

async fn run(core: &Core) {
    let mut rounds_without_leader = 0;
    loop {
        round(core).instrument(tracing::debug_span!("quorate.follow")).await;
        core.close_sessions(core.sessions.take_drained()).await;
        let pause = if core.cluster.has_leader() {
            rounds_without_leader = 0;
            // Not all clients at the same time.
            REFRESH_INTERVAL / 2 + core.entropy.up_to(REFRESH_INTERVAL)
        } else {
            rounds_without_leader += 1;
            backoff::ceiling(rounds_without_leader)
        };
        let (earliest, latest) = (edge::after(ROUND_PAUSE), edge::after(pause));
        edge::by(latest, core.nudge.notified()).await;
        edge::sleep_until(earliest).await;
    }
}

/// Asks one node after the other for the members, until one answers, then all whose ids are not known.
async fn round(core: &Core) {
    for node in core.cluster.nodes(edge::now()) {
        let answer = core.ask_members(&node, edge::after(NODE_TIMEOUT)).await;
        match answer {
            Ok(members) => {
                core.cluster.on_members(&members);
                break;
            }
            Err(failure) => note(core, &failure),
        }
    }
    let by = edge::after(NODE_TIMEOUT);
    let strangers = core.cluster.strangers();
    let asked = strangers.iter().map(|node| core.ask_identity(node, by));
    for (node, answer) in strangers.iter().zip(join_all(asked).await) {
        match answer {
            Ok(id) => core.cluster.on_identity(node, id),
            Err(failure) => note(core, &failure),
        }
    }
}

fn note(core: &Core, failure: &Failure) {
    if let Failure::Refused(error) = failure {
        core.cluster.on_hint(error);
    }
    tracing::trace!(%failure, "a node did not say who the members are");
}
