//! Joining: a node with a new directory asks a member to be let in, before it opens anything else.
//!
//! The directory's incarnation is durable before the first question (see `identity`), and the question carries it: if the
//! answer is lost, or the process dies, the same node asks again and is told what it was told before. What a member
//! refuses for good ends the node; what may pass is tried again, for as long as it takes.
//!
//! A directory that lost its log ([`rejoin`]) asks in the same way, all members whose addresses it knows in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Exit, ExitCode, Seams, rejoin};
use crate::clock::sleep;
use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::node::identity::{Former, Identity};
use crate::node::{JoinRequest, Joined};
use crate::transport::{self, JoinError};
use crate::types::{NodeId, Owner};

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
    let (addresses, request) = match identity.formers().last() {
        Some(former) => of_rejoin(config, seams, &identity, *former).await?,
        None => of_join(config, seams, &identity)?,
    };
    let joined = ask(&addresses, &request, seams).await?;
    info!(id = joined.id.0, cluster = format!("{:016x}", joined.cluster.0), "joined a cluster");
    rejoin::record_when_there_is_room(config, seams, identity, "that it was let in", move |identity| {
        identity.set_joined(joined.cluster, joined.id)
    })
    .await
}

/// Whom a new directory asks, and what.
fn of_join(config: &Config, seams: &Seams, identity: &Identity) -> Result<(Vec<String>, JoinRequest), Exit> {
    let Some(address) = &config.join else {
        let text = format!(
            "{}: this directory was about to join a cluster: name a member of it with --join, or use another directory",
            config.data_dir.display()
        );
        return Err(Exit::new(ExitCode::Usage, text));
    };
    let id = (config.id != NodeId(0)).then_some(config.id);
    let (token_hash, record) = (identity.token_hash(), rejoin::record(config, identity, seams.supports));
    Ok((vec![address.clone()], JoinRequest { token_hash, id, replaces: None, record }))
}

/// Whom a directory asks that was a member before, and what.
async fn of_rejoin(
    config: &Config,
    seams: &Seams,
    identity: &Identity,
    former: Former,
) -> Result<(Vec<String>, JoinRequest), Exit> {
    let Former { node, incarnation, .. } = former;
    let lost = Owner { cluster: identity.cluster(), node, incarnation };
    let known = move |config: &Config, seams: &Seams| rejoin::others(config, seams, former, lost);
    let addresses = super::in_lane(seams, config, known).await?;
    if addresses.is_empty() {
        let text = format!(
            "{}: this directory was {lost}, lost its log, and has to be let in again: name a member of the cluster with --join",
            config.data_dir.display()
        );
        return Err(Exit::new(ExitCode::Usage, text));
    }
    info!(was = %lost, asks = addresses.join(","), "this node lost its log: it asks to be let in as a new member");
    let (token_hash, record) = (identity.token_hash(), rejoin::record(config, identity, seams.supports));
    Ok((addresses, JoinRequest { token_hash, id: None, replaces: Some(lost), record }))
}

/// Asks one after the other until there is an answer that counts.
async fn ask(addresses: &[String], request: &JoinRequest, seams: &Seams) -> Result<Joined, Exit> {
    let mut patience = Patience::new();
    loop {
        if let Some(joined) = ask_each(addresses, request, seams, &mut patience).await? {
            return Ok(joined);
        }
    }
}

/// What a node that asks has heard so far, and what it has said of that: it may ask for days.
pub(super) struct Patience {
    pause: Duration,
    /// How often each address has refused in a row, and those that said that it may be otherwise later (0).
    said: BTreeMap<String, u32>,
    /// What was told last of each subject.
    told: BTreeMap<String, String>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { pause: PAUSE_MIN, said: BTreeMap::new(), told: BTreeMap::new() }
    }

    /// What is told of this subject now, and whether that is news.
    pub(super) fn tell(&mut self, subject: &str, text: &str) -> Told {
        match self.told.insert(subject.to_owned(), text.to_owned()) {
            None => Told::First,
            Some(before) if before == text => Told::Again,
            Some(_) => Told::Changed,
        }
    }

    /// A refusal from there. It is believed once it was repeated, unless another one that answers gives hope: of several
    /// addresses one may be another cluster's by now.
    fn is_believed(&mut self, address: &str) -> bool {
        let refusals = self.said.entry(address.to_owned()).or_default();
        *refusals += 1;
        *refusals >= REFUSALS_BELIEVED && self.said.values().all(|refusals| *refusals > 0)
    }

    fn hopes(&mut self, address: &str) {
        self.said.insert(address.to_owned(), 0);
    }

    fn hears_nothing(&mut self, address: &str) {
        self.said.remove(address);
    }
}

/// Whether somebody who reads what a node says has read this already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    First,
    Changed,
    Again,
}

/// Asks each once, with a pause behind it; `None` if nobody had an answer that counts.
pub(super) async fn ask_each(
    addresses: &[String],
    request: &JoinRequest,
    seams: &Seams,
    patience: &mut Patience,
) -> Result<Option<Joined>, Exit> {
    assert!(!addresses.is_empty(), "whoever asks knows an address");
    for address in addresses {
        let deadline = seams.clock.now().plus(ANSWER_MAX);
        let answer = transport::join(&seams.net, &*seams.clock, address, request.encode(), deadline).await;
        let passing = match answer.map(Joined::decode) {
            Ok(Ok(joined)) => return Ok(Some(joined)),
            Ok(Err(error)) if is_final(&error) => {
                if patience.is_believed(address) {
                    return Err(refused(address, error.message()));
                }
                error.to_string()
            }
            Ok(Err(error)) => {
                patience.hopes(address);
                error.to_string()
            }
            // Where only one is known there is nobody else to ask.
            Err(JoinError::Refused(text)) if addresses.len() == 1 => return Err(refused(address, &text)),
            Err(error) => {
                patience.hears_nothing(address);
                error.to_string()
            }
        };
        match patience.tell(address, &passing) {
            Told::Again => debug!(member = address, error = passing, "could not join yet: asking again"),
            _ => warn!(member = address, error = passing, "could not join yet: asking again"),
        }
        sleep(&*seams.clock, patience.pause).await;
        patience.pause = (patience.pause * 2).min(PAUSE_MAX);
    }
    Ok(None)
}

fn is_final(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::MemberExists | ErrorKind::IdRetired)
}

fn refused(address: &str, text: &str) -> Exit {
    Exit::new(ExitCode::Identity, format!("the cluster of {address} does not let this node in: {text}"))
}
