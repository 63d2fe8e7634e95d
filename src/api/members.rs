//! What the front doors tell of the members, alike.

use crate::error::Error;
use crate::shard::{Members, Router};
use crate::types::Monotonic;

/// The members: as the leader knows them, once a quorum has confirmed that it leads; or, if `is_local`, as this node does.
///
/// # Errors
/// See [`Router::confirm`] and [`Router::members`].
pub async fn known(router: &Router, is_local: bool, deadline: Monotonic) -> Result<Members, Error> {
    if is_local {
        return Ok(router.members_here());
    }
    // Who believes to lead may have been voted out of office and not know it.
    router.confirm(deadline).await?;
    router.members(deadline).await
}

/// A member's role as clients are told: one that leaves still counts, one that joins does not yet.
pub fn shown_role(role: &str) -> &'static str {
    match role {
        "learner" | "joining" => "learner",
        _ => "voter",
    }
}
