//! `List`: page by page, each read only when the one before has been taken.
//!
//! A page is one read of its own: pages show the store at rising revisions, not at one.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use tonic::{Request, Status};

use super::counted::Tab;
use super::error::Refusal;
use super::requests::{KEYSPACE, check_bound, check_keys};
use super::{Front, answers, front, requests};
use crate::command::{Answer, Found, Keys, Query};
use crate::proto::v1;
use crate::shard::Freshness;
use crate::types::Monotonic;

/// The pages of a list.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<v1::ListResponse, Status>> + Send>>;

/// What is left of a list.
struct Rest {
    keys: Keys,
    after: Option<bytes::Bytes>,
    /// `None`: no limit.
    limit: Option<u64>,
    page: usize,
    keys_only: bool,
    freshness: Freshness,
}

impl Rest {
    fn of(front: &Front, request: v1::ListRequest) -> Result<Rest, Refusal> {
        let v1::ListRequest { keys, after, limit, page, keys_only, read } = request;
        let keys = requests::keys(keys)?;
        check_keys(&front.limits, &keys)?;
        // Every key comes after the empty one, so a client's loop may begin with it.
        let after = after.filter(|after| !after.is_empty());
        after.as_ref().map_or(Ok(()), |after| check_bound(&front.limits, after))?;
        let pairs_max = front.limits.list_pairs_max;
        let page = match usize::try_from(page) {
            Ok(page) if page > 0 => page.min(pairs_max),
            _ => pairs_max,
        };
        let freshness = front::freshness(read.as_ref())?;
        Ok(Rest { keys, after, limit: (limit > 0).then_some(limit), page, keys_only, freshness })
    }

    /// The next page; and `None` if it is the last one, or where the next begins.
    async fn read(
        mut self,
        front: &Front,
        deadline: Monotonic,
    ) -> Result<(v1::ListResponse, Option<Rest>), Refusal> {
        let left = self.limit.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let query = Query::List {
            keyspace: KEYSPACE,
            keys: self.keys.clone(),
            after: self.after.clone(),
            keys_only: self.keys_only,
            limit: self.page.min(left),
            bytes_max: front.limits.list_bytes_max,
        };
        let Answer { revision, found, .. } = front.read(query, self.freshness, deadline).await?;
        let Found::Page { pairs, more } = found else { return Err(Refusal::unexpected_reply()) };
        let last = pairs.last().map(|(key, _)| key.clone());
        self.limit = self.limit.map(|left| left.saturating_sub(pairs.len() as u64));
        let page = v1::ListResponse { header: answers::header(revision), pairs: answers::pairs(pairs), more };
        let is_last = !more || self.limit == Some(0) || last.is_none();
        self.after = last;
        // What was once reached is not lost again: pages go forward.
        self.freshness.min_revision = Some(revision);
        Ok((page, (!is_last).then_some(self)))
    }
}

impl Front {
    /// One page, for a pipeline.
    pub(super) async fn list_page(
        &self,
        request: v1::ListRequest,
        deadline: Monotonic,
    ) -> Result<v1::ListResponse, Refusal> {
        let (page, _) = Rest::of(self, request)?.read(self, deadline).await?;
        Ok(page)
    }
}

/// All pages. Each has as long as the request may take, from when it is asked for.
pub(super) fn pages(front: Arc<Front>, request: Request<v1::ListRequest>) -> Result<Pages, Refusal> {
    let tab = Tab::of(request.extensions());
    let rest = Rest::of(&front, request.into_inner())?;
    let pages = stream::unfold(Some(rest), move |rest| {
        let (front, tab) = (front.clone(), tab.clone());
        async move {
            let rest = rest?;
            let deadline = front.clock.now().plus(tab.timeout());
            match next(&front, &tab, rest, deadline).await {
                Ok((page, rest)) => Some((Ok(page), rest)),
                Err(refusal) => Some((Err(refusal.into_status()), None)),
            }
        }
    });
    Ok(Box::pin(pages.fuse()))
}

/// Reads a page, which counts from before it is read until it has left.
async fn next(
    front: &Front,
    tab: &Tab,
    rest: Rest,
    deadline: Monotonic,
) -> Result<(v1::ListResponse, Option<Rest>), Refusal> {
    if *front.draining.borrow() {
        return Err(Refusal::stopping("the node stops: ask another one for what comes after the last page"));
    }
    let mut held = tab.enter()?;
    if !held.grow(front.limits.list_bytes_max) {
        return Err(Refusal::too_large_together());
    }
    let (page, rest) = rest.read(front, deadline).await?;
    // One that is larger is so by its last pair.
    if !held.resize(page.encoded_len()) {
        return Err(Refusal::too_large_together());
    }
    tab.leave(held);
    Ok((page, rest))
}
