//! The sentences of Ongaro's thesis that changes of the group (chapter 4) and handing over (section 3.10) rely on.

use super::script::Script;
use super::trace::kind;
use crate::raft::{ProposeError, RoleName, TransferError};
use crate::types::{Index, Monotonic, NodeId, Term};

fn voters(script: &Script, at: u64) -> Vec<u64> {
    script.raft(at).membership().voters().map(|id| id.0).collect()
}

/// Section 4.3: "Agreement (for elections and entry commitment) requires majorities from both the old and new
/// configurations."
#[test]
fn a_joint_configuration_needs_both_majorities() {
    // {1 2 3} become {1 2 3 4}: 1 and 2 are a majority of the old ones, and not of the new ones.
    let mut script = Script::play("cluster nodes=3 learners=1\nelect 1\nrun time=200\npartition 1,2 3,4");
    script.then("change 1 promote=4\nstabilize");
    assert_eq!(script.raft(1).commit(), Index(1));
    // 2 and 3 elect nobody without another of the new ones, though they are a majority of the old ones.
    let mut script = Script::play("cluster nodes=3 learners=1\nelect 1\nrun time=200");
    script.then(
        "change 1 promote=4\ndeliver type=Append\nstabilize\ncrash 1\ncrash 4\ntick time=2500 2 3\ndrop",
    );
    script.then("campaign 2\nstabilize");
    assert_ne!(script.raft(2).role(), RoleName::Leader);
    script.then("restart 4\ncampaign 2\nstabilize");
    assert_eq!(script.raft(2).role(), RoleName::Leader);
}

/// Section 4.1: "when a server in the cluster receives an AppendEntries from a leader that is not part of its latest
/// configuration", it processes it all the same; "servers process incoming RPC requests without consulting their current
/// configurations."
#[test]
fn requests_are_processed_whatever_the_configuration_says() {
    let mut script = Script::play("cluster nodes=1 spare=1\nelect 1\nchange 1 add=any\nstabilize");
    assert_eq!(script.raft(2).last_index(), Index(2));
    script.then("run time=3000\nchange 1 remove=2\nstabilize\nrun time=500");
    assert_eq!(voters(&script, 1), [1]);
}

/// Section 4.2.1: "a new server is caught up before the configuration changes": a joining member is promoted only once
/// it has what the group had an election timeout ago.
#[test]
fn a_new_member_is_caught_up_before_it_votes() {
    let mut script =
        Script::play("cluster nodes=1 spare=1\nelect 1\npropose 1 a b c\nstabilize\npartition 1 2");
    script.then("change 1 add=any\nrun time=10000");
    assert_eq!(voters(&script, 1), [1], "it has nothing");
    script.then("heal\nrun time=3000");
    assert_eq!(voters(&script, 1), [1, 2]);
    let learner = "cluster nodes=1 spare=1\nelect 1\nchange 1 add=any role=learner\nrun time=10000";
    assert_eq!(voters(&Script::play(learner), 1), [1], "a learner stays one");
}

/// Section 4.2.2: "a leader that is removed from the configuration steps down once the Cnew entry is committed", and
/// until then "it replicates log entries but does not count itself in majorities."
#[test]
fn a_removed_leader_leads_until_that_is_committed() {
    let mut script = Script::play("cluster nodes=2\nelect 1\nchange 1 remove=1\ndeliver type=Append");
    script.then("deliver type=AppendReply");
    assert_eq!((voters(&script, 1), script.raft(1).commit()), (vec![2], Index(2)));
    assert_eq!(script.raft(1).persisted_index(), Index(3));
    assert_eq!(script.raft(1).role(), RoleName::Leader);
    script.then("stabilize");
    assert_eq!(script.raft(2).role(), RoleName::Leader);
    assert_eq!(script.raft(1).role(), RoleName::Learner);
    script.then("run time=20000");
    assert_eq!(script.raft(1).counters().campaigns, 1, "it never campaigns again");
}

/// Section 4.2.2: "a server that is not part of its own latest configuration should still start new elections, as it
/// might still be needed until the Cnew entry is committed."
#[test]
fn a_node_outside_its_uncommitted_configuration_campaigns() {
    let mut script = Script::play("cluster nodes=2\nelect 1\nchange 1 remove=1\ndeliver type=Append");
    script.then("deliver type=AppendReply\ndrop\ncrash 1\nrestart 1");
    assert_eq!(voters(&script, 1), [2]);
    script.then("run time=5000");
    assert_eq!(script.raft(2).role(), RoleName::Leader);
    assert_eq!(voters(&script, 2), [2]);
}

/// A node that knows of no group has no vote in any: it campaigns never, though no quorum would stop it.
#[test]
fn a_node_without_a_group_does_not_campaign() {
    let mut script = Script::play("cluster nodes=1 spare=1");
    script.then("campaign 2\ntick time=20000 2");
    assert_eq!((script.raft(2).role(), script.raft(2).term()), (RoleName::Learner, Term(0)));
}

/// Raft-dev, 2015: "a leader may not append a new configuration entry until it has committed an entry from its current
/// term."
#[test]
fn no_change_before_an_entry_of_the_own_term() {
    let mut script =
        Script::play("cluster nodes=3\nelect 1\npartition 1 2,3\ntick time=2500 2 3\ndrop\ncampaign 2");
    script.then("deliver type=PreVote\ndeliver type=PreVoteReply\ndeliver type=Vote\ndeliver type=VoteReply");
    assert_eq!(script.raft(2).role(), RoleName::Leader);
    assert!(script.then("change 2 remove=1 force=yes").contains("Pending"));
    script.then("stabilize");
    assert!(script.then("change 2 remove=1").contains("appends"));
}

/// Section 3.10: "The prior leader stops accepting new client requests"; "fully updates the target server's log to match
/// its own"; "sends a TimeoutNow request to the target server".
#[test]
fn handing_over_updates_the_target_and_takes_no_proposals() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npropose 1 a\ntransfer 1 to=3");
    let asked = |script: &Script| script.network().iter().any(|it| kind(&it.message) == "TimeoutNow");
    assert!(!asked(&script), "3 lacks an entry");
    let mut raft = script.raft(1).clone();
    let refused = raft.propose(Monotonic(0), vec![bytes::Bytes::from("b")]);
    assert_eq!(refused, Err(ProposeError::Transferring { to: NodeId(3) }));
    script.then("deliver to=3 type=Append\ndeliver from=3 type=AppendReply");
    assert!(asked(&script));
    script.then("stabilize");
    assert_eq!(script.raft(3).role(), RoleName::Leader);
    assert_eq!(script.raft(3).counters().campaigns, 1);
}

/// Section 3.10: "If leadership transfer does not complete after about an election timeout, the current leader aborts the
/// transfer and resumes accepting client requests."
#[test]
fn a_transfer_that_fails_ends() {
    let mut script = Script::play("cluster nodes=3\nelect 1\ncrash 3\ntransfer 1 to=3\nrun time=990");
    assert_eq!(script.raft(1).transferring(), Some(NodeId(3)));
    script.then("run time=20");
    assert_eq!(script.raft(1).transferring(), None);
    assert!(script.then("propose 1 a").contains("appends"));
}

/// Section 3.10: the target "starts a new election (incrementing its term and becoming a candidate)". Only a voter of
/// the sender's term does; it is the leader of that term that asks.
#[test]
fn timeout_now_of_another_term_or_to_a_learner_is_ignored() {
    use crate::raft::Message;
    let mut script =
        Script::play("cluster nodes=2 learners=1\nelect 1\nrun time=100\ntransfer 1 to=2\nstabilize");
    let before = script.raft(1).term();
    let stale = script.raft(1).counters().stale;
    script.inject(2, 1, before.0 - 1, Message::TimeoutNow);
    assert_eq!((script.raft(1).term(), script.raft(1).counters().stale), (before, stale + 1));
    let stale = script.raft(3).counters().stale;
    script.inject(2, 3, before.0, Message::TimeoutNow);
    assert_eq!((script.raft(3).term(), script.raft(3).counters().stale), (before, stale + 1));
    let invalid = script.raft(1).counters().invalid;
    script.inject(3, 1, before.0, Message::TimeoutNow);
    assert_eq!((script.raft(1).term(), script.raft(1).counters().invalid), (before, invalid + 1));
    script.inject(2, 1, before.0, Message::TimeoutNow);
    assert_eq!(script.raft(1).term(), before.next());
}

/// The best target without a name is the one with the longest log that answers.
#[test]
fn without_a_target_the_longest_log_is_chosen() {
    let mut script = Script::play("cluster nodes=3\nelect 1\npartition 1,3 2\npropose 1 a\nstabilize");
    let mut raft = script.raft(1).clone();
    assert_eq!(raft.transfer(Monotonic(0), None), Ok(NodeId(3)));
    script.then("crash 3\nheal\nrun time=2500");
    let mut raft = script.raft(1).clone();
    assert_eq!(raft.transfer(Monotonic(0), None), Ok(NodeId(2)), "3 has the longer log and does not answer");
    let mut alone = Script::play("cluster nodes=1\nelect 1").raft(1).clone();
    assert_eq!(alone.transfer(Monotonic(0), None), Err(TransferError::NoTarget));
}
