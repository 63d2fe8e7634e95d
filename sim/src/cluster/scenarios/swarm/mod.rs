//! The swarm: what ordinary seeds play, and no two of them alike.
//!
//! Each seed draws which kinds of faults there are and how often, how long they last, how many clients there are and how
//! the nodes are set up ([`plan`]). Faults come in storms, many at a time and over each other (`storm`), with rests
//! between in which the cluster gets on; clients work throughout, and a steward (`steward`) gives the group its orders. Where that was not enough for the seed to count, fair
//! weather follows until it is, and one more storm. That was the *safety phase*.
//!
//! In the *liveness phase* all faults end, every node starts again, clients rest, and with nothing to push it the cluster
//! must come to agree within a bound, and then serve everything that it ever acknowledged, whatever was damaged. A node
//! whose disk was wiped must not take part ([`crate::cluster::ends`]), and another takes its place ([`newcomer`]).

pub mod plan;
mod steward;
mod storm;

use std::time::Duration;

use self::plan::Plan;
use self::steward::Steward;
use self::storm::Storm;
use crate::Violation;
use crate::cluster::faults::damage::Damage;
use crate::cluster::handle::{Cluster, Load, PATIENCE};
use crate::cluster::newcomer;
use crate::cluster::order::{Order, Said};
use crate::cluster::scenarios::{Playing, elect};
use crate::cluster::world::{Node, World, host};

/// What a seed must have had to count.
pub const QUOTAS: &[(&str, u64)] = &[WORK[0], WORK[1], ("leader changes", 1)];

/// What of it clients do.
const WORK: [(&str, u64); 2] = [("acked", 200), ("reads", 100)];

/// How long the clients of a cluster without faults may need to do what they should have done by then.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// How often a leader is crashed until another leads.
const DEPOSITIONS_MAX: usize = 20;

/// Plays it.
pub fn play(cluster: Cluster) -> Playing {
    Box::pin(async move {
        let plan = cluster.draw(|rng| Plan::draw(rng, cluster.nodes().count() as u64));
        // Where it does not wait for the first leader, the first storm meets data directories that are being made.
        if cluster.draw(|rng| rng.u32(..3)) > 0 {
            elect::play(cluster.clone()).await?;
        }
        let load = Load::start(&cluster, plan.clients);
        let steward = Steward::begin(&cluster, &plan);
        let before = leaders(&cluster);
        for number in 0..plan.storms {
            Storm::blow(&cluster, &plan, number).await;
            if number + 1 < plan.storms {
                rest(&cluster, &plan).await?;
            }
        }
        if !has_enough(&cluster, before) {
            catch_up(&cluster, before).await?;
            // What follows is to find the cluster as a storm leaves it.
            Storm::blow(&cluster, &plan, plan.storms).await;
        }
        cluster.count_more("leader changes", leaders(&cluster) - before);
        load.stop().await;
        steward.end().await;
        recover(&cluster).await
    })
}

/// How often another node came to lead; in a cluster of one, how often it came to lead again.
fn leaders(cluster: &Cluster) -> u64 {
    match cluster.nodes().count() {
        1 => cluster.counted("leaders elected").saturating_sub(1),
        _ => cluster.counted("other leaders elected"),
    }
}

/// Whether enough has happened, where there had been `before` changes of leaders before there was any load.
fn has_enough(cluster: &Cluster, before: u64) -> bool {
    QUOTAS.iter().all(|(counter, quota)| match *counter {
        "leader changes" => leaders(cluster) - before >= *quota,
        counter => cluster.counted(counter) >= *quota,
    })
}

/// Some seconds in which nothing new goes wrong, so that something is acknowledged that can then be lost.
async fn rest(cluster: &Cluster, plan: &Plan) -> Result<(), Violation> {
    let rest = cluster.draw(|rng| plan.rest(rng));
    if cluster.draw(|rng| rng.u32(..3)) == 0 {
        // What is left over from the storm stays as it is.
        tokio::time::sleep(rest).await;
        return Ok(());
    }
    cluster.end_faults().await;
    let _keeper = cluster.keep_up();
    let sound = cluster.sound().await;
    cluster.leader_of(&sound).await?;
    tokio::time::sleep(rest).await;
    Ok(())
}

/// Fair weather until enough has happened for the seed to count.
async fn catch_up(cluster: &Cluster, before: u64) -> Result<(), Violation> {
    cluster.end_faults().await;
    let _keeper = cluster.keep_up();
    let sound = cluster.sound().await;
    let mut leader = cluster.leader_of(&sound).await?;
    for _ in 0..DEPOSITIONS_MAX {
        if leaders(cluster) > before {
            break;
        }
        // Nothing that was drawn has moved the leader.
        let elected = cluster.counted("leaders elected");
        cluster.crash_now(leader).await;
        // Until then those that are left still follow the one that is gone.
        let is_elected = async || (cluster.counted("leaders elected") > elected).then_some(());
        cluster.eventually("a leader after the last", PATIENCE, is_elected).await?;
        leader = cluster.leader_of(&sound).await?;
    }
    let done = async || WORK.iter().all(|(counter, quota)| cluster.counted(counter) >= *quota).then_some(());
    cluster.eventually("clients are served", CATCH_UP_MAX, done).await
}

/// The liveness phase.
async fn recover(cluster: &Cluster) -> Result<(), Violation> {
    cluster.end_faults().await;
    let _keeper = cluster.keep_up();
    let sound = cluster.sound().await;
    cluster.leader_of(&sound).await?;
    for node in &sound {
        cluster.ready(*node).await?;
    }
    cluster.agree(&sound).await?;
    hand_over(cluster, &sound).await?;
    refused(cluster).await?;
    replace_all(cluster).await?;
    cluster.converge().await
}

/// A group in which nothing is wrong hands leadership over to whom it is told to.
async fn hand_over(cluster: &Cluster, sound: &[u64]) -> Result<(), Violation> {
    let to = cluster.draw(|rng| sound[rng.usize(..sound.len())]);
    let id = cluster.id(to).await.ok_or("a sound node has an id")?;
    let mut session = cluster.session();
    let leads = async || {
        let through = cluster.draw(|rng| sound[rng.usize(..sound.len())]);
        matches!(session.order(through, Order::Lead(id)).await, Said::Done(_)).then_some(())
    };
    cluster.eventually(&format!("{} leads, as it was told to", host(to)), PATIENCE, leads).await
}

/// The group is whole: who is lost gives way to a newcomer, and all vote.
async fn replace_all(cluster: &Cluster) -> Result<(), Violation> {
    for lost in cluster.lost().await {
        let is_replaced = async || newcomer::replace(cluster, lost).await.then_some(());
        cluster
            .eventually(&format!("another node takes the place of {}", host(lost)), PATIENCE, is_replaced)
            .await?;
    }
    come_back(cluster).await?;
    let hosts = cluster.world(|world| world.hosts()).await;
    let sound = cluster.sound().await;
    let mut session = cluster.session();
    let all_vote = async || {
        let through = cluster.draw(|rng| sound[rng.usize(..sound.len())]);
        let voters = newcomer::voters(&mut session, through).await?;
        voters.iter().eq(hosts.keys()).then_some(())
    };
    cluster.eventually(&format!("the voters are {:?}", hosts.keys()), PATIENCE, all_vote).await
}

/// Who gave up a log votes again, under another id, without anybody's help.
async fn come_back(cluster: &Cluster) -> Result<(), Violation> {
    let mut session = cluster.session();
    for node in cluster.rejoined().await {
        let sound = cluster.sound().await;
        let votes = async || {
            let through = cluster.draw(|rng| sound[rng.usize(..sound.len())]);
            let id = cluster.id(node).await?;
            newcomer::voters(&mut session, through).await?.contains(&id).then_some(())
        };
        cluster.eventually(&format!("{} votes again, as another node", host(node)), PATIENCE, votes).await?;
        cluster.world(move |world| world.settle(node)).await;
    }
    Ok(())
}

/// Waits until every node whose disk was wiped, and that came back, has been turned away.
async fn refused(cluster: &Cluster) -> Result<(), Violation> {
    let all_gone = async || {
        let is_left = |world: &mut World| {
            let is_wiped = |node: &Node| node.damage == Some(Damage::Wiped) && node.is_lost();
            world.nodes.values().any(|node| is_wiped(node) && !node.is_gone)
        };
        (!cluster.world(is_left).await).then_some(())
    };
    cluster.eventually("a node whose disk was wiped is refused", PATIENCE, all_gone).await
}

/// How many nodes the cluster of a seed has, where nobody says it.
pub fn nodes(seed: u64) -> u64 {
    let mut rng = crate::seed::generator(seed, "nodes", 0);
    [1, 3, 3, 3, 3, 5, 5][rng.usize(..7)]
}

/// The longest that anything that lasts may last.
const LENGTH_MAX: Duration = Duration::from_secs(12);
