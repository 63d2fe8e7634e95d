//! Quorate by its client library: one client, whose clones all tasks share, as a program would.
//!
//! The library packs what is asked at the same time into few messages, goes to the leader by itself, and repeats what failed until the
//! plan's timeout has passed. So its `deadline` is what others call `timeout`.

use bytes::Bytes;

use super::super::draw::{Op, after_all};
use super::super::plan::{Freshness, KEY_PREFIX, Plan};
use super::{Fault, Target, Worker};
use crate::client::{Client, Consistency, Error, Keys};

/// The one client, and what its requests have in common. Each worker is a clone.
#[derive(Clone)]
pub(crate) struct Library {
    client: Client,
    consistency: Consistency,
    /// Where lists end.
    end: Bytes,
}

impl Library {
    /// Connects: one of the endpoints is enough.
    ///
    /// # Errors
    /// None answers, or one is no address.
    pub(crate) async fn connect(plan: &Plan) -> Result<Library, String> {
        let client = Client::builder().endpoints(plan.endpoints.iter().cloned()).deadline(plan.timeout());
        let client = client.connect().await.map_err(|error| error.to_string())?;
        let consistency = match plan.consistency {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Lease => Consistency::Lease,
            Freshness::Stale => Consistency::Stale { max_staleness: None },
        };
        Ok(Library { client, consistency, end: after_all(KEY_PREFIX) })
    }

    /// Pairs from there, page after page: a limit may be larger than a page.
    async fn list(&self, from: Bytes, limit: u64) -> Result<u64, Error> {
        let mut list = self.client.list_keys(Keys::range(from, self.end.clone()));
        list = list.consistency(self.consistency);
        let mut count = 0;
        loop {
            let page = list.clone().limit(limit - count).await?;
            count += page.pairs.len() as u64;
            match page.pairs.last() {
                Some(last) if page.more && count < limit => list = list.after(&last.key),
                _ => return Ok(count),
            }
        }
    }
}

impl Target for Library {
    type Worker = Library;

    fn worker(&self, _: usize) -> Library {
        self.clone()
    }
}

impl Worker for Library {
    async fn perform(&mut self, op: Op) -> Result<u64, Fault> {
        let answered = match op {
            Op::Put { key, value } => self.client.set(key, value).await.map(|_| 0),
            Op::Get { key } => {
                let found = self.client.get(key).consistency(self.consistency).await;
                found.map(|found| u64::from(found.is_some()))
            }
            Op::List { from, limit } => self.list(from, limit).await,
        };
        answered.map_err(|error| Fault::new(error.code().to_owned(), error.message()))
    }
}
