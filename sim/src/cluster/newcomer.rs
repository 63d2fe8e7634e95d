//! The newcomer: what an operator does about a node whose disk is lost, or that has to go. The group removes it, and it
//! stops; another node starts on the same host, with an empty disk, and asks to be let in; it catches up and gets a vote
//! without anybody's help.
//!
//! [`replace`] takes the next steps, as far as they can be taken just now, and is called again until it is done.

use crate::cluster::faults::damage::Damage;
use crate::cluster::handle::{Cluster, Session};
use crate::cluster::order::{Order, Said};

/// Goes on with replacing the node of a host. True once its successor votes.
pub async fn replace(cluster: &Cluster, lost: u64) -> bool {
    let sound = cluster.sound().await;
    let through = cluster.draw(|rng| sound[rng.usize(..sound.len())]);
    let mut session = cluster.session();
    cluster.restart(lost).await;
    if cluster.world(move |world| world.node(lost).is_lost()).await {
        // A sound node that was removed has to notice it.
        if !is_removed(cluster, &mut session, lost, through).await || !may_go(cluster, lost).await {
            return false;
        }
        cluster.world(move |world| world.replace(lost)).await;
        cluster.restart(lost).await;
    }
    let Some(id) = cluster.id(lost).await else {
        // Whom it asked may never answer it: it is started again, and asks another one.
        if cluster.draw(|rng| rng.u32(..8)) == 0 {
            cluster.crash_now(lost).await;
            cluster.world(move |world| world.ask_another(lost)).await;
        }
        return false;
    };
    let votes = voters(&mut session, through).await.is_some_and(|voters| voters.contains(&id));
    if votes {
        cluster.world(move |world| world.settle(lost)).await;
    }
    votes
}

/// Whether a node that was removed may make room: one that is sound stops by itself first.
async fn may_go(cluster: &Cluster, lost: u64) -> bool {
    cluster
        .world(move |world| {
            let node = world.node(lost);
            node.is_gone || node.damage == Some(Damage::Wiped)
        })
        .await
}

/// Whether the group has removed the node, now or before.
async fn is_removed(cluster: &Cluster, session: &mut Session, lost: u64, through: u64) -> bool {
    let Some(id) = cluster.id(lost).await else { return false };
    match session.order(through, Order::Remove(id)).await {
        Said::Done(_) => true,
        Said::Refused(why) => why.starts_with("no_such_member"),
        Said::Unknown(_) => false,
    }
}

/// Who votes, in the order of their ids; `None` if nobody says it, or a change is under way.
pub async fn voters(session: &mut Session, through: u64) -> Option<Vec<u64>> {
    let Said::Done(group) = session.order(through, Order::Members).await else { return None };
    if group["joint"] == true {
        return None;
    }
    let members = group["members"].as_array()?.iter();
    members.filter(|member| member["role"] == "voter").map(|member| member["id"].as_u64()).collect()
}
