use bytes::Bytes;
use futures_util::FutureExt;
use tonic::{Code, Status};

use super::{Desk, bytes, one, prefix, range, refused};
use crate::command::{Found, Keys, Query};
use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::proto::v1;
use crate::shard::Consistency;
use crate::types::Revision;

/// Keys `k000` and so on.
fn fill(desk: &Desk, count: u64, value_bytes: usize) {
    let mut state = desk.store.state();
    state.revision = count;
    for n in 0..count {
        let record = super::store::record(n + 1, &Bytes::from(vec![b'v'; value_bytes]));
        state.pairs.insert(Bytes::from(format!("k{n:03}")), record);
    }
}

fn list(keys: Option<v1::Keys>, page: u32) -> v1::ListRequest {
    v1::ListRequest { keys, page, ..v1::ListRequest::default() }
}

async fn pages(desk: &Desk, request: v1::ListRequest) -> Result<Vec<v1::ListResponse>, Status> {
    let mut stream = desk.kv().list(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

fn shape(pages: &[v1::ListResponse]) -> Vec<(usize, bool)> {
    pages.iter().map(|page| (page.pairs.len(), page.more)).collect()
}

#[tokio::test]
async fn all_keys_come_in_order_and_in_pages() {
    let desk = Desk::open();
    fill(&desk, 25, 1);
    let all = pages(&desk, list(prefix(""), 10)).await.unwrap();
    assert_eq!(shape(&all), [(10, true), (10, true), (5, false)]);
    let keys: Vec<Bytes> = all.iter().flat_map(|page| &page.pairs).map(|pair| pair.key.clone()).collect();
    let expected: Vec<Bytes> = desk.store.state().pairs.keys().cloned().collect();
    assert_eq!(keys, expected);
    assert!(all.iter().all(|page| page.header == Some(v1::Header { group: 1, revision: 25 })));
}

#[tokio::test]
async fn a_list_is_as_long_as_it_is_asked_to_be() {
    let desk = Desk::open();
    fill(&desk, 25, 1);
    let limited = v1::ListRequest { limit: 12, ..list(prefix("k"), 10) };
    assert_eq!(shape(&pages(&desk, limited).await.unwrap()), [(10, true), (2, true)]);
    let exactly = v1::ListRequest { limit: 25, ..list(prefix("k"), 0) };
    assert_eq!(shape(&pages(&desk, exactly).await.unwrap()), [(25, false)]);
    let behind = v1::ListRequest { after: Some(bytes("k020")), ..list(range("k0", None), 0) };
    assert_eq!(shape(&pages(&desk, behind).await.unwrap()), [(4, false)]);
    let none = pages(&desk, list(range("x", Some("y")), 0)).await.unwrap();
    assert_eq!(shape(&none), [(0, false)], "there is a page, and it is empty");
    assert_eq!(shape(&pages(&desk, list(one("k001"), 0)).await.unwrap()), [(1, false)]);
}

#[tokio::test]
async fn a_page_has_the_servers_bounds() {
    let desk = Desk::with_limits(Limits { list_pairs_max: 10, list_bytes_max: 100, ..Limits::default() });
    fill(&desk, 20, 16);
    for page in [0, 11, u32::MAX] {
        let pages = pages(&desk, v1::ListRequest { limit: 5, ..list(prefix("k"), page) }).await.unwrap();
        assert_eq!(shape(&pages), [(5, true)]);
        let Some((Query::List { limit, bytes_max, .. }, _)) = desk.store.state().queries.pop() else {
            panic!()
        };
        assert_eq!((limit, bytes_max), (5, 100));
    }
    assert_eq!(
        shape(&pages(&desk, list(prefix("k"), 0)).await.unwrap()),
        [(5, true), (5, true), (5, true), (5, false)]
    );
    let Some((Query::List { limit, .. }, _)) = desk.store.state().queries.pop() else { panic!() };
    assert_eq!(limit, 10);
}

#[tokio::test]
async fn what_is_asked_reaches_the_store() {
    let desk = Desk::open();
    fill(&desk, 3, 1);
    let read =
        v1::ReadOptions { consistency: v1::Consistency::Stale.into(), min_revision: 2, ..Default::default() };
    let asked = v1::ListRequest { keys_only: true, read: Some(read), ..list(prefix("k"), 2) };
    pages(&desk, asked).await.unwrap();
    let state = desk.store.state();
    let Query::List { keys, keys_only, .. } = &state.queries[0].0 else { panic!() };
    assert_eq!((keys, *keys_only), (&Keys::prefix(bytes("k")), true));
    let freshness: Vec<_> = state.queries.iter().map(|(_, freshness)| *freshness).collect();
    assert!(freshness.iter().all(|f| f.consistency == Consistency::Stale { max_staleness_ms: None }));
    let min: Vec<_> = freshness.iter().map(|f| f.min_revision).collect();
    assert_eq!(min, [Some(Revision(2)), Some(Revision(3))], "later pages show no earlier state");
}

#[tokio::test]
async fn bad_bounds_are_refused() {
    let desk = Desk::open();
    let long = Bytes::from(vec![b'k'; Limits::default().key_bytes_max + 1]);
    let prefix = Some(v1::Keys { which: Some(v1::keys::Which::Prefix(long.clone())) });
    let after = v1::ListRequest { after: Some(long), ..list(super::prefix("k"), 0) };
    for asked in [list(prefix, 0), after, list(one(""), 0)] {
        refused(pages(&desk, asked).await, Code::InvalidArgument, "invalid");
    }
}

#[tokio::test]
async fn a_page_is_read_when_the_one_before_was_taken() {
    let desk = Desk::with_limits(Limits { list_bytes_max: 100_000, ..Limits::default() });
    fill(&desk, 10, 100_000);
    let mut stream = desk.kv().list(list(prefix("k"), 0)).await.unwrap().into_inner();
    for read in 1..=10 {
        assert!(stream.message().now_or_never().is_some());
        assert_eq!(desk.store.state().queries.len(), read);
    }
}

#[tokio::test]
async fn a_list_that_fails_says_so_behind_its_pages() {
    let desk = Desk::open();
    fill(&desk, 25, 1);
    let mut stream = desk.kv().list(list(prefix("k"), 10)).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().pairs.len(), 10);
    drop(stream);
    desk.store.fail(Error::new(ErrorKind::Overloaded, "lists"));
    refused(pages(&desk, list(prefix("k"), 10)).await, Code::ResourceExhausted, "overloaded");
    desk.store.find(Found::TooLarge);
    let status = pages(&desk, list(prefix("k"), 10)).await.unwrap_err();
    assert_eq!(super::said(&status).reason, "internal");
}
