//! Breaks a cluster, step by step, and mends it again.
//!
//! Nothing here waits for time to pass: a step goes on when the clients have been answered often enough by those who
//! must go on serving, and refused often enough by those who must not.

use nix::sys::signal::Signal;

use super::activity::{Board, Counts};
use super::plan::{Fault, Step};
use crate::harness::Cluster;
use crate::harness::poll::{PATIENCE, poll_until};

/// By those that go on, together, while a fault lasts.
const DURING: Counts = Counts { acknowledged: 20, reads: 10, stale: 3, refused: 0 };
/// The same for each node that is restarted in turn.
const BETWEEN: Counts = Counts { acknowledged: 8, reads: 4, stale: 1, refused: 0 };
/// By each node that runs and reaches no majority. It is refused to whoever asks it for the truth; what it holds, old
/// as it may be, it shows to those who ask for no more.
const CUT_OFF: Counts = Counts { acknowledged: 0, reads: 0, stale: 2, refused: 2 };
/// By all, together, when nothing is broken (any more).
const WHOLE: Counts = Counts { acknowledged: 30, reads: 15, stale: 0, refused: 0 };
/// And by each of them.
const WHOLE_EACH: Counts = Counts { acknowledged: 2, reads: 2, stale: 1, refused: 0 };

/// What a fault has done.
struct Struck {
    /// They must go on serving; none if nobody can.
    able: Vec<u64>,
    /// They run, and must not.
    cut_off: Vec<u64>,
    /// Stopped with SIGSTOP.
    paused: Vec<u64>,
}

impl Struck {
    fn leaves(able: Vec<u64>) -> Struck {
        Struck { able, cut_off: Vec::new(), paused: Vec::new() }
    }
}

/// Waits until every node serves reads and writes again.
pub fn wait_whole(cluster: &mut Cluster, board: &Board, when: &str) {
    board.check();
    cluster.wait_ready();
    board.next_turn();
    board.wait(when, &cluster.ids(), &WHOLE, &WHOLE_EACH);
}

/// One step: breaks, sees that the clients notice, mends, and sees that they notice that, too.
pub fn run(cluster: &mut Cluster, board: &Board, step: Step) {
    match step.fault {
        Fault::RestartInTurn => restart_in_turn(cluster, board, step),
        _ => {
            let leader = cluster.wait_leader();
            let struck = strike(cluster, leader, step);
            see(board, step, &struck);
            mend(cluster, step, &struck);
        }
    }
    wait_whole(cluster, board, &format!("after {step}"));
}

fn restart_in_turn(cluster: &mut Cluster, board: &Board, step: Step) {
    for id in cluster.ids() {
        let status = cluster.node_mut(id).stop();
        assert!(status.success(), "node {id} was asked to end and ended with {status:?}");
        board.next_turn();
        let others = cluster.ids_without(&[id]);
        board.wait(&format!("during {step}, without node {id}"), &others, &BETWEEN, &Counts::default());
        cluster.start_node(id);
        let client = cluster.client(id);
        poll_until(&format!("node {id} to be ready again"), PATIENCE, || client.is_ready().then_some(()));
    }
}

/// Waits until the clients have met the fault.
fn see(board: &Board, step: Step, struck: &Struck) {
    board.next_turn();
    if !struck.able.is_empty() {
        board.wait(&format!("during {step}"), &struck.able, &DURING, &Counts::default());
    }
    if !struck.cut_off.is_empty() {
        board.wait(&format!("during {step}, cut off"), &struck.cut_off, &Counts::default(), &CUT_OFF);
    }
}

/// Followers of `leader`, the one whose turn it is first.
fn followers(cluster: &Cluster, leader: u64, step: Step) -> Vec<u64> {
    let mut followers = cluster.ids_without(&[leader]);
    let turn = step.turn % followers.len();
    followers.rotate_left(turn);
    followers
}

fn strike(cluster: &mut Cluster, leader: u64, step: Step) -> Struck {
    let followers = followers(cluster, leader, step);
    let spare = (cluster.ids().len() - 1) / 2;
    match step.fault {
        Fault::KillLeader => kill(cluster, &[leader]),
        Fault::KillFollowers => kill(cluster, &followers[..spare]),
        Fault::KillAll => {
            let all = cluster.ids();
            kill(cluster, &all)
        }
        Fault::PauseLeader => pause(cluster, vec![leader]),
        Fault::PauseFollowers => pause(cluster, followers[..spare].to_vec()),
        Fault::IsolateLeader => split(cluster, vec![leader]),
        Fault::IsolateFollower => split(cluster, vec![followers[0]]),
        Fault::SplitWithoutLeader => {
            let minority = [&[leader], &followers[..spare - 1]].concat();
            split(cluster, minority)
        }
        Fault::SplitWithLeader => split(cluster, followers[..spare].to_vec()),
        Fault::MuteLeader => one_way(cluster, leader, true),
        Fault::DeafLeader => one_way(cluster, leader, false),
        Fault::MuteFollower => one_way(cluster, followers[0], true),
        Fault::DeafFollower => one_way(cluster, followers[0], false),
        Fault::BreakLink => {
            cluster.network().isolate(leader, &followers[..1]);
            Struck::leaves(cluster.ids_without(&followers[..1]))
        }
        Fault::IsolateAndKill => {
            let mut struck = split(cluster, vec![leader]);
            let victim = if spare > 1 { followers[0] } else { leader };
            cluster.node_mut(victim).kill();
            struck.able.retain(|id| *id != victim);
            struck.cut_off.retain(|id| *id != victim);
            struck
        }
        Fault::RestartInTurn => unreachable!("restarts have steps of their own"),
    }
}

fn kill(cluster: &mut Cluster, ids: &[u64]) -> Struck {
    for &id in ids {
        cluster.node(id).signal(Signal::SIGKILL);
    }
    for &id in ids {
        cluster.node_mut(id).wait_exit(PATIENCE);
    }
    Struck::leaves(cluster.ids_without(ids))
}

fn pause(cluster: &Cluster, ids: Vec<u64>) -> Struck {
    for &id in &ids {
        cluster.node(id).pause();
    }
    Struck { able: cluster.ids_without(&ids), cut_off: Vec::new(), paused: ids }
}

fn split(cluster: &Cluster, minority: Vec<u64>) -> Struck {
    let majority = cluster.ids_without(&minority);
    cluster.network().split(&minority, &majority);
    Struck { able: majority, cut_off: minority, paused: Vec::new() }
}

/// Cuts one direction between `id` and all others.
fn one_way(cluster: &Cluster, id: u64, outgoing: bool) -> Struck {
    let others = cluster.ids_without(&[id]);
    for &other in &others {
        let (from, to) = if outgoing { (id, other) } else { (other, id) };
        cluster.network().cut(from, to);
    }
    Struck { able: others, cut_off: vec![id], paused: Vec::new() }
}

fn mend(cluster: &mut Cluster, step: Step, struck: &Struck) {
    if step.forgets {
        cluster.network().reset();
    }
    cluster.network().heal();
    for &id in &struck.paused {
        cluster.node(id).resume();
    }
    cluster.start_all();
}
