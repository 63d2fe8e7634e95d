//! The wait for the node to open: the listeners are bound before that.

use tokio::sync::watch;

use crate::clock::{Clock, timeout_at};
use crate::error::{Error, ErrorKind};
use crate::shard::Router;
use crate::types::Monotonic;

/// The router, as soon as the node is open and before `deadline`.
///
/// # Errors
/// [`ErrorKind::Unavailable`] at the deadline, [`ErrorKind::Stopping`] if the node stops instead. Nothing was done.
pub async fn opened(
    router: &watch::Receiver<Option<Router>>,
    clock: &dyn Clock,
    deadline: Monotonic,
) -> Result<Router, Error> {
    if let Some(router) = router.borrow().clone() {
        return Ok(router);
    }
    let mut watched = router.clone();
    // The guard that `wait_for` returns must not live across an await: the clone leaves it at once.
    let opened = async { watched.wait_for(Option::is_some).await.ok().and_then(|router| router.clone()) };
    match timeout_at(clock, deadline, opened).await {
        Some(Some(router)) => Ok(router),
        Some(None) => Err(Error::new(ErrorKind::Stopping, "the node stopped before it was open")),
        None => {
            let text = "the node was not open within the request's deadline";
            Err(Error::new(ErrorKind::Unavailable, text))
        }
    }
}
