//! The operations of `quorate.v1.Kv`. A request by itself and one in a pipeline go the same way.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::counted::{Kind, Tab};
use super::error::Refusal;
use super::list::{self, Pages};
use super::pipeline::{self, Results};
use super::requests::KEYSPACE;
use super::{Front, answers, front, requests};
use crate::command::{
    Answer, Command, Found, Query, Reply, SessionSeq, TXN_ANSWER_BYTES_MAX, Txn, TxnAnswer, TxnAnswers,
};
use crate::proto::v1;
use crate::proto::v1::kv_server::Kv;
use crate::shard::Freshness;
use crate::types::{Monotonic, Revision};

/// The service.
pub struct Store(pub(super) Arc<Front>);

impl Front {
    pub(super) async fn get(
        &self,
        request: v1::GetRequest,
        deadline: Monotonic,
    ) -> Result<v1::GetResponse, Refusal> {
        let v1::GetRequest { key, read } = request;
        let freshness = front::freshness(read.as_ref())?;
        requests::check_key(&self.limits, &key)?;
        let query = Query::Get { keyspace: KEYSPACE, key: key.clone() };
        let Answer { revision, found, .. } = self.read(query, freshness, deadline).await?;
        let Found::Record(record) = found else { return Err(Refusal::unexpected_reply()) };
        let kv = record.map(|record| answers::key_value(key, record));
        Ok(v1::GetResponse { header: answers::header(revision), kv })
    }

    pub(super) async fn put(
        &self,
        request: v1::PutRequest,
        deadline: Monotonic,
    ) -> Result<v1::PutResponse, Refusal> {
        let key = request.key.clone();
        requests::check_key(&self.limits, &key)?;
        let (session, command) = requests::put(request)?;
        match self.write(session, command, deadline).await? {
            Reply::Written { revision, .. } => {
                Ok(v1::PutResponse { header: answers::header(revision), previous: None })
            }
            Reply::Txn { revision, answers } => match sole(session, revision, answers)? {
                TxnAnswer::Put { previous } => {
                    let previous = previous.map(|record| answers::key_value(key, record));
                    Ok(v1::PutResponse { header: answers::header(revision), previous })
                }
                _ => Err(Refusal::unexpected_reply()),
            },
            _ => Err(Refusal::unexpected_reply()),
        }
    }

    pub(super) async fn delete(
        &self,
        request: v1::DeleteRequest,
        deadline: Monotonic,
    ) -> Result<v1::DeleteResponse, Refusal> {
        let (session, command) = requests::delete(request)?;
        match self.write(session, command, deadline).await? {
            Reply::Written { revision, deleted } => {
                Ok(v1::DeleteResponse { header: answers::header(revision), deleted, previous: Vec::new() })
            }
            Reply::Txn { revision, answers } => match sole(session, revision, answers)? {
                TxnAnswer::Delete { deleted, previous } => {
                    let previous = answers::pairs(previous);
                    Ok(v1::DeleteResponse { header: answers::header(revision), deleted, previous })
                }
                _ => Err(Refusal::unexpected_reply()),
            },
            _ => Err(Refusal::unexpected_reply()),
        }
    }

    pub(super) async fn txn(
        &self,
        request: v1::TxnRequest,
        deadline: Monotonic,
    ) -> Result<v1::TxnResponse, Refusal> {
        let v1::TxnRequest { compares, success, failure, read, session } = request;
        let freshness = front::freshness(read.as_ref())?;
        let session = session.map(requests::session_seq).transpose()?;
        let txn = requests::txn(compares, success, failure)?;
        // Keys are shared, not copied; the answers to puts name theirs.
        let asked = txn.clone();
        // Nobody's state changes: a session has nothing to protect.
        let (revision, found) = if txn.is_read_only() {
            self.read_txn(txn, freshness, deadline).await?
        } else {
            match self.write(session, txn.into(), deadline).await? {
                Reply::Txn { revision, answers } => (revision, answers),
                _ => return Err(Refusal::unexpected_reply()),
            }
        };
        let answered = answers::txn(&asked, found).ok_or_else(Refusal::unexpected_reply)?;
        let v1::TxnAnswers { succeeded, answers } = answered;
        Ok(v1::TxnResponse { header: answers::header(revision), succeeded, answers })
    }

    async fn read_txn(
        &self,
        txn: Txn,
        freshness: Freshness,
        deadline: Monotonic,
    ) -> Result<(Revision, TxnAnswers), Refusal> {
        let query = Query::Txn { txn, bytes_max: TXN_ANSWER_BYTES_MAX };
        let Answer { revision, found, .. } = self.read(query, freshness, deadline).await?;
        match found {
            Found::Txn(answers) => Ok((revision, answers)),
            Found::TooLarge => Err(Refusal::of_txn(crate::command::TxnRefusal::AnswerTooLarge)),
            _ => Err(Refusal::unexpected_reply()),
        }
    }

    pub(super) async fn open_session(
        &self,
        request: v1::OpenSessionRequest,
        deadline: Monotonic,
    ) -> Result<v1::OpenSessionResponse, Refusal> {
        let client = requests::client_id(&request.client)?;
        match self.write(None, Command::OpenSession { client }, deadline).await? {
            Reply::SessionOpened => Ok(v1::OpenSessionResponse {}),
            _ => Err(Refusal::unexpected_reply()),
        }
    }

    pub(super) async fn close_session(
        &self,
        request: v1::CloseSessionRequest,
        deadline: Monotonic,
    ) -> Result<v1::CloseSessionResponse, Refusal> {
        let client = requests::client_id(&request.client)?;
        match self.write(None, Command::CloseSession { client }, deadline).await? {
            Reply::SessionClosed => Ok(v1::CloseSessionResponse {}),
            _ => Err(Refusal::unexpected_reply()),
        }
    }

    /// Writes; replies that are refusals are told apart here, for every operation alike.
    async fn write(
        &self,
        session: Option<SessionSeq>,
        command: Command,
        deadline: Monotonic,
    ) -> Result<Reply, Refusal> {
        let written = self.router(deadline).await?.write(session, command, deadline).await;
        let session = session.as_ref();
        match written.map_err(|error| self.refusal(error, deadline))? {
            Reply::ConditionFailed { revision } => {
                Err(Refusal::condition_failed(revision).into_reply_of(session))
            }
            Reply::SessionGone => Err(Refusal::session_gone()),
            Reply::SessionRefused { why } => Err(Refusal::session_refused(why)),
            Reply::TxnRefused { why } => Err(Refusal::of_txn(why).into_reply_of(session)),
            reply => Ok(reply),
        }
    }

    pub(super) async fn read(
        &self,
        query: Query,
        freshness: Freshness,
        deadline: Monotonic,
    ) -> Result<Answer, Refusal> {
        let answer = self.router(deadline).await?.read(query, freshness, deadline).await;
        answer.map_err(|error| self.refusal(error, deadline))
    }
}

/// The answer of a transaction with one operation and no other way, made of a write with a condition.
fn sole(session: Option<SessionSeq>, revision: Revision, answers: TxnAnswers) -> Result<TxnAnswer, Refusal> {
    let TxnAnswers { succeeded, answers } = answers;
    if !succeeded {
        return Err(Refusal::condition_failed(revision).into_reply_of(session.as_ref()));
    }
    let answer = <[TxnAnswer; 1]>::try_from(answers).map_err(|_| Refusal::unexpected_reply())?;
    let [answer] = answer;
    Ok(answer)
}

/// Answers a request of its own: its deadline, its operation, and what its answer counts for.
async fn unary<Q, A: Message>(
    store: &Store,
    request: Request<Q>,
    kind: Kind,
    operation: impl AsyncFnOnce(&Front, Q, Monotonic) -> Result<A, Refusal>,
) -> Result<Response<A>, Status> {
    let tab = Tab::of(request.extensions());
    let answer = operation(&store.0, request.into_inner(), tab.deadline()).await;
    let answer = answer.map_err(Refusal::into_status)?;
    tab.answer(answer.encoded_len(), kind).map_err(Refusal::into_status)?;
    Ok(Response::new(answer))
}

#[tonic::async_trait]
impl Kv for Store {
    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        unary(self, request, Kind::Read, Front::get).await
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        unary(self, request, Kind::Write, Front::put).await
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        unary(self, request, Kind::Write, Front::delete).await
    }

    type ListStream = Pages;

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<Pages>, Status> {
        list::pages(self.0.clone(), request).map(Response::new).map_err(Refusal::into_status)
    }

    async fn txn(&self, request: Request<v1::TxnRequest>) -> Result<Response<v1::TxnResponse>, Status> {
        let kind = Kind::of_txn(request.get_ref());
        unary(self, request, kind, Front::txn).await
    }

    type PipelineStream = Results;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Results>, Status> {
        Ok(Response::new(pipeline::results(self.0.clone(), request)))
    }

    async fn open_session(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        unary(self, request, Kind::Write, Front::open_session).await
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        unary(self, request, Kind::Write, Front::close_session).await
    }
}
