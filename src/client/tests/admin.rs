//! Members and single nodes.

use super::fake::{Fake, address, status};
use crate::client::{ErrorKind, NewAddresses, NewMember, Outcome};

#[tokio::test(start_paused = true)]
async fn members_and_nodes_are_asked() {
    let fake = Fake::start(2);
    let client = fake.client(&[1]).await;
    assert_eq!(client.members().await.expect("members").members.len(), 2);
    client.add_member(NewMember::at("node3:7001").id(3).learner()).await.expect("added");
    client.promote_member(3, false).await.expect("promoted");
    client.update_member(3, NewAddresses::new().grpc("node3:9002")).await.expect("updated");
    client.remove_member(3, true).await.expect("removed");
    client.transfer_leader(2).await.expect("transferred");
    assert_eq!(client.leader(), Some(address(2)));
    assert_eq!(client.status(&address(2)).await.expect("status").id, 2);
    assert_eq!(client.compact(&address(1)).await.expect("compacted"), 1);
    assert_eq!(fake.state().changes, 5);
    assert_eq!(client.status("nowhere").await.expect_err("no address").kind(), ErrorKind::Invalid);
    client.status("unknown:9001").await.expect_err("nobody is there");
}

#[tokio::test(start_paused = true)]
async fn a_change_is_repeated_only_if_it_was_not_executed() {
    let fake = Fake::start(1);
    let client = fake.client(&[1]).await;
    let refuse = |status| fake.state().refuse_changes.push_back(status);
    refuse(status("change_in_progress", true, "not_applied"));
    client.remove_member(2, false).await.expect("the second time");
    refuse(status("quorum_at_risk", false, "not_applied"));
    let error = client.remove_member(2, false).await.expect_err("refused");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::QuorumAtRisk, Outcome::NotApplied));
    assert!(!error.is_retryable());
    refuse(status("unavailable", true, "unknown"));
    let error = client.remove_member(2, false).await.expect_err("nobody knows");
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
    refuse(tonic::Status::unavailable("the connection is lost"));
    let error = client.remove_member(2, false).await.expect_err("nobody knows");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert_eq!(fake.state().changes, 1);
}
