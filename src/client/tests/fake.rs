//! A scripted cluster: nodes that share a store, fail as they are told, and write down what they were asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::store::{Store, refusal};
use super::wires::Wires;
use crate::client::{Client, ClientBuilder};
use crate::proto::v1::admin_server::{Admin, AdminServer};
use crate::proto::v1::kv_server::{Kv, KvServer};
use crate::proto::v1::operation::Request as Asked;
use crate::proto::v1::operation_result::Result as Reply;
use crate::proto::v1::*;

/// What a node does instead of what it should, once. Sessions are opened and closed without faults.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Answers so.
    Refuse(OperationError),
    /// Executes, and answers so.
    ExecuteAndRefuse(OperationError),
    /// Ends the stream without an answer, having executed it or not.
    Lose { executed: bool },
    /// Ends the stream in good order, without having executed it.
    Stop,
    /// The same, and forgets all sessions.
    StopAndForget,
    /// Executes it, forgets all sessions, and ends the stream.
    LoseAndForget,
    /// Executes it, and never answers.
    Swallow,
    /// Executes it once the gate of the node is opened.
    Wait,
}

/// A cluster. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fake {
    pub wires: Wires,
    state: Arc<Mutex<State>>,
    /// Operations that arrived, in all.
    pub arrived: watch::Sender<usize>,
    gate: watch::Sender<bool>,
}

#[derive(Default)]
pub(super) struct State {
    pub store: Store,
    pub members: Vec<Member>,
    pub config_index: u64,
    /// Faults by the node's id.
    pub faults: BTreeMap<u64, VecDeque<Fault>>,
    /// Nodes that never answer.
    pub hung: BTreeSet<u64>,
    pub seen: Vec<Seen>,
    /// Operations of each message.
    pub batches: Vec<usize>,
    /// By session, the numbers whose answers left.
    answered: BTreeMap<Bytes, BTreeSet<u64>>,
    pub violations: Vec<String>,
    under_way: usize,
    pub under_way_max: usize,
    /// What changes of the members answer, instead of being made.
    pub refuse_changes: VecDeque<Status>,
    pub changes: usize,
}

/// An operation as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub node: u64,
    pub request: Asked,
    pub timeout_ms: u32,
}

impl Seen {
    pub(super) fn session(&self) -> Option<SessionSeq> {
        session_of(&self.request)
    }
}

fn session_of(request: &Asked) -> Option<SessionSeq> {
    match request {
        Asked::Put(put) => put.session.clone(),
        Asked::Delete(delete) => delete.session.clone(),
        Asked::Txn(txn) => txn.session.clone(),
        _ => None,
    }
}

pub(super) fn address(id: u64) -> String {
    format!("node{id}:9001")
}

impl Fake {
    /// Nodes 1 to `count`; 1 leads.
    pub(super) fn start(count: u64) -> Fake {
        let fake = Fake {
            wires: Wires::default(),
            state: Arc::default(),
            arrived: watch::Sender::new(0),
            gate: watch::Sender::new(false),
        };
        fake.state().store.revision = 1;
        (1..=count).for_each(|id| fake.add(id, &address(id)));
        fake.set_members(&(1..=count).collect::<Vec<_>>(), 1);
        fake
    }

    /// Serves a node under an address.
    pub(super) fn add(&self, id: u64, address: &str) {
        let accepted = ReceiverStream::new(self.wires.listen(address)).map(Ok::<_, std::io::Error>);
        let node = Node { id, fake: self.clone() };
        let server = tonic::transport::Server::builder()
            .add_service(KvServer::new(node.clone()))
            .add_service(AdminServer::new(node))
            .serve_with_incoming(accepted);
        tokio::spawn(server);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_members(&self, ids: &[u64], leader: u64) {
        let member = |id: &u64| Member {
            id: *id,
            role: "voter".to_owned(),
            grpc: address(*id),
            leader: *id == leader,
            ..Default::default()
        };
        let mut state = self.state();
        state.members = ids.iter().map(member).collect();
        state.config_index += 1;
    }

    pub(super) fn fault(&self, node: u64, fault: Fault) {
        self.state().faults.entry(node).or_default().push_back(fault);
    }

    pub(super) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Waits until so many operations arrived in all.
    pub(super) async fn arrived(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        arrived.wait_for(|seen| *seen >= count).await.expect("the sender lives here");
    }

    /// Waits until so many sessions were closed.
    pub(super) async fn closed(&self, count: usize) {
        let mut arrived = self.arrived.subscribe();
        let is_closed = |_: &usize| self.state().store.closed >= count;
        arrived.wait_for(is_closed).await.expect("the sender lives here");
    }

    /// A builder of a client that is given these nodes.
    pub(super) fn builder(&self, ids: &[u64]) -> ClientBuilder {
        Client::builder()
            .endpoints(ids.iter().map(|id| address(*id)))
            .connector(self.wires.connector())
            .seed(7)
    }

    pub(super) async fn client(&self, ids: &[u64]) -> Client {
        self.builder(ids).connect().await.expect("a node answers")
    }

    /// Writes that were executed, and sessions that were opened.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.store.executed, state.store.opened)
    }

    /// The writes that arrived, under their numbers.
    pub(super) fn writes(&self) -> Vec<(u64, SessionSeq)> {
        self.state().seen.iter().filter_map(|seen| Some((seen.node, seen.session()?))).collect()
    }

    /// The nodes that were asked to read.
    pub(super) fn readers(&self) -> Vec<u64> {
        let state = self.state();
        let reads = state.seen.iter().filter(|seen| matches!(seen.request, Asked::Get(_) | Asked::List(_)));
        reads.map(|seen| seen.node).collect()
    }
}

#[derive(Clone)]
struct Node {
    id: u64,
    fake: Fake,
}

type Answers = mpsc::Sender<Result<PipelineResponse, Status>>;

impl Node {
    /// Serves a stream until it ends.
    async fn serve(self, mut requests: Streaming<PipelineRequest>, answers: Answers) {
        while let Ok(Some(message)) = requests.message().await {
            self.fake.state().batches.push(message.operations.len());
            let mut results = Vec::new();
            for operation in message.operations {
                let id = operation.id;
                match self.on_operation(operation, &answers) {
                    Some(Ok(reply)) => results.push(OperationResult { id, result: Some(reply) }),
                    Some(Err(status)) => return drop(answers.send(Err(status)).await),
                    None => {}
                }
            }
            if !results.is_empty() && answers.send(Ok(PipelineResponse { results })).await.is_err() {
                return;
            }
        }
    }

    /// `None`: it is answered later, or never. An error ends the stream.
    fn on_operation(&self, operation: Operation, answers: &Answers) -> Option<Result<Reply, Status>> {
        let answer = self.script(operation, answers);
        // Told when all that it did can be seen.
        self.fake.arrived.send_modify(|arrived| *arrived += 1);
        answer
    }

    fn script(&self, operation: Operation, answers: &Answers) -> Option<Result<Reply, Status>> {
        let request = operation.request.expect("a request");
        let mut state = self.fake.state();
        let seen = Seen { node: self.id, request: request.clone(), timeout_ms: operation.timeout_ms };
        state.judge(&seen);
        state.seen.push(seen);
        let is_session = matches!(request, Asked::OpenSession(_) | Asked::CloseSession(_));
        if state.hung.contains(&self.id) {
            return None;
        }
        let fault = state.faults.get_mut(&self.id).filter(|_| !is_session).and_then(VecDeque::pop_front);
        let lost = || Some(Err(Status::unavailable("scripted loss")));
        match fault {
            None => Some(Ok(state.answer(request))),
            Some(Fault::Refuse(error)) => Some(Ok(Reply::Error(error))),
            Some(Fault::ExecuteAndRefuse(error)) => {
                state.store.execute(request);
                Some(Ok(Reply::Error(error)))
            }
            Some(Fault::Lose { executed }) => {
                if executed {
                    state.store.execute(request);
                }
                lost()
            }
            Some(Fault::Stop) => Some(Err(status("stopping", true, "not_applied"))),
            Some(Fault::StopAndForget) => {
                state.store.sessions.clear();
                Some(Err(status("stopping", true, "not_applied")))
            }
            Some(Fault::LoseAndForget) => {
                state.store.execute(request);
                state.store.sessions.clear();
                lost()
            }
            Some(Fault::Swallow) => {
                state.store.execute(request);
                None
            }
            Some(Fault::Wait) => {
                state.under_way += 1;
                state.under_way_max = state.under_way_max.max(state.under_way);
                tokio::spawn(self.clone().answer_later(operation.id, request, answers.clone()));
                None
            }
        }
    }

    async fn answer_later(self, id: u64, request: Asked, answers: Answers) {
        let mut gate = self.fake.gate.subscribe();
        gate.wait_for(|is_open| *is_open).await.expect("the sender lives in the fake");
        let reply = {
            let mut state = self.fake.state();
            state.under_way -= 1;
            state.answer(request)
        };
        let results = vec![OperationResult { id, result: Some(reply) }];
        // The client may be gone by now.
        _ = answers.send(Ok(PipelineResponse { results })).await;
    }

    fn change(&self) -> Result<Response<MembersResponse>, Status> {
        if let Some(status) = self.fake.state().refuse_changes.pop_front() {
            return Err(status);
        }
        self.fake.state().changes += 1;
        Ok(Response::new(self.members_now()))
    }

    fn members_now(&self) -> MembersResponse {
        let state = self.fake.state();
        MembersResponse {
            members: state.members.clone(),
            config_index: state.config_index,
            ..Default::default()
        }
    }
}

impl State {
    fn answer(&mut self, request: Asked) -> Reply {
        if let Some(at) = session_of(&request) {
            self.answered.entry(at.client).or_default().insert(at.seq);
        }
        self.store.execute(request)
    }

    /// What a client says is done must be: it was answered before.
    fn judge(&mut self, seen: &Seen) {
        let Some(at) = seen.session() else { return };
        let answered = self.answered.entry(at.client.clone()).or_default();
        if let Some(seq) = (1..at.done_below).find(|seq| !answered.contains(seq)) {
            self.violations.push(format!("{at:?} says that {seq} is done, and it was not answered"));
        }
    }
}

/// A status as a node makes it.
pub(super) fn status(code: &str, retryable: bool, outcome: &str) -> Status {
    let metadata = [("retryable", retryable.to_string()), ("outcome", outcome.to_owned())];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value));
    let details = ErrorDetails::with_error_info(code, "quorate", metadata);
    Status::with_error_details(tonic::Code::Unavailable, format!("scripted {code}"), details)
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("the client has its pipeline"))
}

#[tonic::async_trait]
impl Kv for Node {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        not_here()
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        not_here()
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        not_here()
    }

    type ListStream = std::pin::Pin<Box<dyn Stream<Item = Result<ListResponse, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        not_here()
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        not_here()
    }

    type PipelineStream = ReceiverStream<Result<PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        tokio::spawn(self.clone().serve(request.into_inner(), answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn open_session(
        &self,
        _: Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        not_here()
    }

    async fn close_session(
        &self,
        _: Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        not_here()
    }
}

#[tonic::async_trait]
impl Admin for Node {
    async fn members(&self, _: Request<MembersRequest>) -> Result<Response<MembersResponse>, Status> {
        if self.fake.state().hung.contains(&self.id) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(self.members_now()))
    }

    async fn add_member(&self, _: Request<AddMemberRequest>) -> Result<Response<MembersResponse>, Status> {
        self.change()
    }

    async fn remove_member(
        &self,
        _: Request<RemoveMemberRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.change()
    }

    async fn update_member(
        &self,
        _: Request<UpdateMemberRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.change()
    }

    async fn promote_member(
        &self,
        _: Request<PromoteMemberRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.change()
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        let ids: Vec<u64> = self.fake.state().members.iter().map(|member| member.id).collect();
        self.fake.set_members(&ids, request.get_ref().id);
        self.change()
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        if self.fake.state().hung.contains(&self.id) {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(StatusResponse { id: self.id, ..Default::default() }))
    }

    async fn compact(&self, _: Request<CompactRequest>) -> Result<Response<CompactResponse>, Status> {
        Ok(Response::new(CompactResponse { folded_index: self.id }))
    }
}

/// A refusal by a node that names the leader.
pub(super) fn hint(leader: u64) -> OperationError {
    OperationError { leader_id: leader, leader_grpc: address(leader), ..refusal("unavailable") }
}
