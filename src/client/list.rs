//! Lists: keys in order, page by page.
//!
//! Each page is asked for by itself, behind the last key of the one before. So a list goes on at another node when the one
//! that it began at fails; and each page names the revision of the one before as the least that it shows, so a list never
//! goes back in time, whichever node answers.

use std::fmt;
use std::future::IntoFuture;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tracing::Instrument;

use super::calls::unexpected;
use super::options::{Call, ReadOptions, option};
use super::values::{KeyValue, Keys, Page};
use super::{Client, Error, ErrorKind};
use crate::proto::v1;
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;

/// Reads keys in order; see [`Client::list`]. Awaited, it is one [`Page`]; [`List::stream`] goes through all.
///
/// Each page shows the store at one revision. Keys that change between two pages show as they are when theirs is read.
///
/// ```no_run
/// # async fn f(client: quorate::client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::TryStreamExt;
///
/// let mut users = client.list("user:").stream();
/// while let Some(user) = users.try_next().await? {
///     println!("{}: {}", user.key_text()?, user.text()?);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a list does nothing until it is awaited or streamed"]
#[derive(Clone)]
pub struct List {
    pub(super) client: Client,
    request: v1::ListRequest,
    /// In all; 0: no limit.
    limit: u64,
    read: ReadOptions,
}

impl List {
    pub(super) fn new(client: &Client, keys: Keys) -> List {
        let request = v1::ListRequest { keys: Some(keys.0), ..Default::default() };
        List { client: client.clone(), request, limit: 0, read: ReadOptions::default() }
    }

    /// Without values.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let users = client.list("user:").keys_only().await?.pairs;
    /// assert!(users.iter().all(|user| user.value.is_empty()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys_only(mut self) -> Self {
        self.request.keys_only = true;
        self
    }

    /// At most so many pairs in all; 0: no limit, which is the default.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// // Ten in all, also where a page has fewer.
    /// let ten: Vec<_> = client.list("user:").limit(10).page_size(4).stream().try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// At most so many pairs on a page. Without it, or beyond the server's limit, that limit.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// // Values are large here: 20 of them are enough for one answer.
    /// let mut pages = client.list("image/").page_size(20).pages();
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} images", page.pairs.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn page_size(mut self, pairs: u32) -> Self {
        self.request.page = pairs;
        self
    }

    /// Only keys behind this one.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// let page = client.list("user:").limit(20).await?;
    /// if let Some(last) = page.pairs.last().filter(|_| page.more) {
    ///     let next = client.list("user:").after(&last.key).limit(20).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(mut self, key: impl super::IntoBytes) -> Self {
        self.request.after = Some(key.into_bytes());
        self
    }

    option!(read of client.list("user:"));

    /// Pair by pair. The deadline is of each page. After an error it ends.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut jobs = client.list("job/").stream();
    /// while let Some(job) = jobs.try_next().await? {
    ///     client.delete(job.key).if_revision(job.mod_revision).await?; // unless it changed meanwhile
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn stream(self) -> BoxStream<'static, Result<KeyValue, Error>> {
        let pairs = self.pages().map_ok(|page| stream::iter(page.pairs.into_iter().map(Ok)));
        pairs.try_flatten().boxed()
    }

    /// Page by page. The deadline is of each page. After an error it ends.
    ///
    /// ```no_run
    /// # async fn f(client: quorate::client::Client) -> Result<(), quorate::client::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut pages = client.list("user:").pages();
    /// while let Some(page) = pages.try_next().await? {
    ///     println!("{} users, as of revision {}", page.pairs.len(), page.revision);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn pages(self) -> BoxStream<'static, Result<Page, Error>> {
        stream::try_unfold(Some(self), |list| async move {
            let Some(list) = list else { return Ok(None) };
            let (page, rest) = list.page().await?;
            Ok(Some((page, rest)))
        })
        .boxed()
    }

    /// The first page, and the list of what follows it.
    async fn page(mut self) -> Result<(Page, Option<List>), Error> {
        let mut request = self.request.clone();
        request.limit = self.limit;
        request.read = Some(self.read.to_wire());
        let deadline = self.client.deadline(self.read.deadline);
        let span = tracing::debug_span!("quorate.list");
        let asked = self.client.core().read(Request::List(request), self.read.target(), deadline);
        let reply = asked.instrument(span).await?;
        self.client.saw(&reply);
        let page = match reply {
            Reply::List(page) => Page::from(page),
            reply => return Err(unexpected(&reply)),
        };
        let count = page.pairs.len() as u64;
        let is_enough = self.limit != 0 && count >= self.limit;
        let last: Option<Bytes> = page.pairs.last().map(|pair| pair.key.clone());
        if page.more && !is_enough && last.is_none() {
            let text = "the node gave an empty page and says that more follows";
            return Err(Error::new(ErrorKind::Internal, text));
        }
        let rest = last.filter(|_| page.more && !is_enough).map(|last| {
            self.request.after = Some(last);
            self.limit = self.limit.saturating_sub(count);
            self.read.min_revision = self.read.min_revision.max(page.revision);
            self
        });
        Ok((page, rest))
    }
}

impl IntoFuture for List {
    type Output = Result<Page, Error>;
    type IntoFuture = Call<Page>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { Ok(self.page().await?.0) })
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("request", &self.request).finish_non_exhaustive()
    }
}
