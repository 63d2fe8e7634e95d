use tonic::Code;

use super::pipeline::{Pipe, write};
use super::{Desk, prefix, put, refused};
use crate::proto::v1;
use crate::proto::v1::operation_result::Result as Done;

#[tokio::test]
async fn an_idle_pipeline_ends_when_the_node_drains() {
    let desk = Desk::open();
    let mut pipe = Pipe::open(&desk).await;
    pipe.send(vec![write(1)]).await;
    pipe.take(1).await;
    desk.draining.send_replace(true);
    let status = refused(pipe.results.message().await, Code::Unavailable, "stopping");
    assert!(status.message().contains("not executed"), "{status:?}");
}

#[tokio::test]
async fn what_is_under_way_is_answered_first() {
    let desk = Desk::open();
    desk.store.busy.send_replace(true);
    let mut pipe = Pipe::open(&desk).await;
    pipe.send(vec![write(1)]).await;
    while desk.store.state().submitted.is_empty() {
        tokio::task::yield_now().await;
    }
    desk.draining.send_replace(true);
    // What comes then is refused by itself.
    pipe.send(vec![write(2)]).await;
    let Done::Error(error) = &pipe.take(1).await[&2] else { panic!("it is taken no more") };
    assert_eq!((&*error.code, error.retryable, error.outcome), ("stopping", true, 0));
    desk.store.busy.send_replace(false);
    assert!(matches!(pipe.take(1).await[&1], Done::Put(_)));
    refused(pipe.results.message().await, Code::Unavailable, "stopping");
    assert_eq!(desk.store.state().written.len(), 1);
}

#[tokio::test]
async fn a_list_ends_between_two_pages() {
    let desk = Desk::open();
    for key in ["a", "b", "c"] {
        desk.kv().put(put(key, "v")).await.unwrap();
    }
    let list = v1::ListRequest { keys: prefix(""), page: 1, ..v1::ListRequest::default() };
    desk.draining.send_replace(true);
    let mut stream = desk.kv().list(list).await.unwrap().into_inner();
    refused(stream.message().await, Code::Unavailable, "stopping");
}
