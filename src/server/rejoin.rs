//! The way back of a node whose log is lost: it becomes a new member in place of its old self, by itself.
//!
//! What the log held were promises: the vote of each term, and every entry that was acknowledged. With both copies of the hard
//! state unreadable, a segment missing, or all of them, nobody can tell what was promised, so nobody may speak under that id
//! again (H35). What the node can do is to say so, and begin anew:
//!
//! ```text
//! start      the log is damaged beyond what `wal` heals, or gone      an error line; nothing is shortened or removed
//! 1          asks one member after the other whether the group can   `join`, under the incarnation that it still has; the log
//!            do without it, for as long as it takes                   is read again before each round
//! 2          identity: joining, a new incarnation, no id,             one replacement: from here on nobody is that member
//!            `replaces ID INCARNATION HOME`, the next home
//! 3          asks one member after the other to be let in             `join`; for as long as it takes
//! 4          the leader: Change::Replace, committed                   the old id is retired, the new one is a learner
//! 5          identity: joined, the new id; then log, state, ready     as any node that joins
//! 6          catches up, is promoted by itself                        the state files of the old home are removed
//! ```
//!
//! **Asked first.** What is given up is given up for good, and it may be nobody's but this node's: of three nodes that come up
//! without their disks none must give up a log that is mounted a minute later. So a leader has to say first that a majority of
//! the voters is there without this one, and that it has not heard it lately: then the replacement can be committed, and no
//! copy of a directory takes the place of a member that lives.
//!
//! A crash between any two steps leaves a directory that starts with the next one: before 2 it finds the same damage again;
//! after it, it asks under the incarnation that is on the disk, and hears the same answer as often as it asks.
//!
//! **Why this is safe.** The directory gave up the old id before it asked, durably, so nobody is ever heard under it again: for
//! the group this is a member that crashed and does not come back. It is removed as any such member is: the joint configuration
//! is committed by a majority of the voters before, the lost one among those counted, and silent, and by a majority of those
//! that stay. So whoever commits it holds all that was committed with the lost one's acknowledgements, and an election that
//! it voted in is over or was won by one of them. What comes in its place has another id, no vote, and acknowledges only what
//! it has; it is promoted by the ordinary rule. Votes and acknowledgements of the old id that are still on their way count
//! for the old id, which nobody counts once it is removed.
//!
//! **When it does not.** Where the other voters that a node knows of are no majority without it, nobody could let it in: it
//! refuses to start (exit 3), as it does where it knows nobody's address. What it knows of others is the newest configuration that its
//! state file, or its log as far as it can be read, tells; only where neither tells one it goes by `--initial-cluster` and
//! `--join`. A log or state file of *another* owner is never given up: somebody exchanged files, and can put them back.
//!
//! **The files of before** stay in the old home while the node has nothing better: were the others lost now, they would be the
//! last copy of what they hold. Once the node votes again (or, a read replica, has caught up) it removes the state files, since
//! a disk that holds one state with room to spare may not hold two. The log stays for whoever wants to look at it; nobody
//! reads it, and it may be removed at any time.

use std::path::Path;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::join::{Patience, Told, ask_each};
use super::{Exit, Seams, in_lane, own_record, store_exit};
use crate::clock::sleep;
use crate::config::Config;
use crate::fsm;
use crate::node::JoinRequest;
use crate::node::executor::Lane;
use crate::node::identity::{self, Former, Identity};
use crate::node::state_files;
use crate::node::{Fatal, FatalSender};
use crate::raft::{Membership, Role};
use crate::shard::Router;
use crate::types::{GroupId, Incarnation, Index, NodeId, Owner};
use crate::wal::fs::{Fs, is_out_of_room};
use crate::wal::inspect;

/// So often it is tried again what a full disk did not let be recorded.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// What it is that a node tells of its log; no address is written like that.
const THE_LOG: &str = "the log";

/// So often a node that came back looks whether it votes again.
const SETTLED_PAUSE: Duration = Duration::from_secs(5);

/// The peer addresses of the other members that a directory knows, newest knowledge first; none where it knows that the other
/// voters are no majority.
///
/// # Errors
/// If the disk fails; what is damaged on it tells nothing.
pub(super) fn others(
    config: &Config,
    seams: &Seams,
    former: Former,
    owner: Owner,
) -> Result<Vec<String>, Exit> {
    let known = configuration(seams, &former.home(&config.data_dir), owner)?;
    let mut addresses: Vec<String> = Vec::new();
    // Before it has the log, a node that joins knows of no member.
    if let Some(membership) = known.filter(|membership| !membership.members.is_empty()) {
        let others = membership.voters().filter(|id| *id != former.node).count();
        if others <= membership.voters().count() / 2 {
            return Ok(Vec::new());
        }
        let members = membership.members.values().filter(|member| member.id != former.node);
        addresses.extend(members.map(|member| member.peer.clone()));
    }
    let founders = config.initial_cluster.iter().filter(|(id, _)| **id != former.node);
    addresses.extend(founders.map(|(_, address)| address.clone()));
    addresses.extend(config.join.clone());
    let mut seen = std::collections::BTreeSet::new();
    addresses.retain(|address| *address != config.advertise_peer && seen.insert(address.clone()));
    Ok(addresses)
}

/// The newest configuration that a home tells of, as far as its files can be read at all.
fn configuration(seams: &Seams, home: &Path, owner: Owner) -> Result<Option<Membership>, Exit> {
    let mut newest: Option<(Index, Membership)> = None;
    let mut hear = |told: Option<(Index, Membership)>| {
        let is_newer = |told: &(Index, Membership)| newest.as_ref().is_none_or(|known| known.0 <= told.0);
        if let Some(told) = told.filter(is_newer) {
            newest = Some(told);
        }
    };
    let log = home.join("wal");
    if !names(&*seams.fs, &log)?.is_empty() {
        hear(inspect::configuration(&*seams.fs, &log, GroupId::FIRST)?);
    }
    for number in names(&*seams.fs, home)?.iter().filter_map(|name| state_files::number_of(name)) {
        let path = home.join(state_files::name(number));
        match (seams.state_file)(&path).and_then(|raw| fsm::offline::look(raw, owner)) {
            Ok(found) => {
                let membership = found.membership.and_then(|bytes| Membership::decode(&bytes).ok());
                hear(membership.map(|membership| (found.folded.0, membership)));
            }
            Err(error @ (fsm::Error::Io { .. } | fsm::Error::Lost)) => return Err(store_exit(&path, &error)),
            Err(error) => {
                warn!(file = %path.display(), %error, "this state file does not tell who the members are")
            }
        }
    }
    Ok(newest.map(|(_, membership)| membership))
}

/// The files in a directory; none where there is no such directory.
pub(super) fn names(fs: &dyn Fs, dir: &Path) -> Result<Vec<String>, Exit> {
    match fs.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(identity::Error::Io { path: dir.to_path_buf(), source }.into()),
        Ok(names) => Ok(names),
    }
}

/// Gives up a log that is lost, once the leader has said that the group can do without this member; `lost` says what is wrong
/// with it, and comes back if there is nobody who could say so. The identity is as it was if nobody has said so yet: then the
/// caller looks whether the log is still lost, and tries again.
pub(super) async fn give_up(
    config: &Config,
    seams: &Seams,
    identity: Identity,
    lost: Exit,
    patience: &mut Patience,
) -> Result<Identity, Exit> {
    let former = identity.current();
    let owner = Owner { cluster: identity.cluster(), node: former.node, incarnation: former.incarnation };
    let known = in_lane(seams, config, move |config, seams| others(config, seams, former, owner)).await?;
    if known.is_empty() {
        let text = format!(
            "{} The voters that this node knows of are no majority without it, and could not let it in again: it does not give \
             its log up by itself",
            lost.message
        );
        return Err(Exit::new(lost.code, text));
    }
    let (error, asks) = (lost.message, known.join(","));
    match patience.tell(THE_LOG, &format!("{error} {asks}")) {
        Told::First => error!(
            error,
            was = %owner,
            asks,
            "THE LOG IS LOST, and with it what this node promised: it asks whether the group can do without it"
        ),
        Told::Changed => warn!(error, was = %owner, asks, "the log is still lost"),
        Told::Again => debug!(error, was = %owner, asks, "the log is still lost"),
    }
    let (token_hash, record) = (identity.token_hash(), record(config, &identity, seams.supports));
    let question = JoinRequest { token_hash, id: None, replaces: Some(owner), record };
    if ask_each(&known, &question, seams, patience).await?.is_none() {
        return Ok(identity);
    }
    error!(was = %owner, "it gives up its id and asks to be let in as a new member; the files stay where they are");
    let incarnation = Incarnation(seams.clock.random());
    let given_up =
        record_when_there_is_room(config, seams, identity, "that the log is given up", move |identity| {
            identity.give_up(incarnation).map(drop)
        });
    given_up.await
}

/// Changes an identity. On a full disk what was there is still there (H18), so it is tried again until there is room: a node
/// that went on without the record would be another one after the next start.
pub(super) async fn record_when_there_is_room(
    config: &Config,
    seams: &Seams,
    mut identity: Identity,
    what: &str,
    change: impl Fn(&mut Identity) -> Result<(), identity::Error> + Clone + Send + 'static,
) -> Result<Identity, Exit> {
    loop {
        let change = change.clone();
        let record = move |_: &Config, _: &Seams| {
            let recorded = change(&mut identity);
            Ok((identity, recorded))
        };
        let (back, recorded) = in_lane(seams, config, record).await?;
        identity = back;
        match recorded {
            Ok(()) => return Ok(identity),
            Err(identity::Error::Io { path, source }) if is_out_of_room(&source) => {
                warn!(file = %path.display(), "no room to record {what}: trying again");
                room_pause(seams).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until it is worth while to look for room again.
pub(super) async fn room_pause(seams: &Seams) {
    sleep(&*seams.clock, ROOM_PAUSE).await;
}

/// Says which id a node goes by now that was given another one on the command line.
pub(super) fn tell_id(config: &Config, identity: &Identity) {
    let was = identity.formers().iter().any(|former| former.node == config.id);
    if was && identity.node() != config.id && !identity.is_joining() {
        info!(
            was = config.id.0,
            id = identity.node().0,
            "this node lost its log once: it goes by another id since then"
        );
    }
}

/// Removes the state files of the homes that were given up, once this node is what it was before.
pub(super) async fn clear(
    config: Config,
    seams: Seams,
    formers: Vec<Former>,
    router: Router,
    fatal: FatalSender,
) {
    loop {
        sleep(&*seams.clock, SETTLED_PAUSE).await;
        let status = router.status();
        let own = status.members.iter().find(|member| member.id == status.id);
        let is_settled = own.is_some_and(|own| matches!(own.role, "voter" | "learner"));
        let deadline = seams.clock.now().plus(SETTLED_PAUSE);
        if is_settled && router.confirm(deadline).await.is_ok() {
            break;
        }
    }
    let lane = Lane::open(&*seams.executor, "given-up");
    let removed =
        lane.run(move || formers.iter().try_for_each(|former| clear_home(&config, &seams, *former)));
    if let Some(Err(exit)) = removed.await {
        fatal.report(Fatal::Disk(exit.message));
    }
}

fn clear_home(config: &Config, seams: &Seams, former: Former) -> Result<(), Exit> {
    let (fs, home) = (&*seams.fs, former.home(&config.data_dir));
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Exit::from(identity::Error::Io { path, source })
    };
    let mut states = names(fs, &home)?;
    states.retain(|name| state_files::is_ours(name));
    // It was done before, or somebody has removed all of it.
    if states.is_empty() {
        return Ok(());
    }
    for name in &states {
        let path = home.join(name);
        fs.remove(&path).map_err(io(&path))?;
        info!(file = %path.display(), "the state of a log that was given up is not needed any more: removed");
    }
    fs.sync_dir(&home).map_err(io(&home))
}

/// What a node that lost its log says of itself: the leader knows better whether it had a vote.
pub(super) fn record(config: &Config, identity: &Identity, supports: u32) -> crate::raft::MemberRecord {
    let role = if config.learner { Role::Learner } else { Role::Joining };
    crate::raft::MemberRecord { id: NodeId(0), role, ..own_record(config, identity.incarnation(), supports) }
}
