//! The scripted cluster's store: one for all its nodes, with sessions as the real one has them.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::proto::v1::compare::Target;
use crate::proto::v1::keys::Which;
use crate::proto::v1::operation::Request;
use crate::proto::v1::operation_result::Result as Reply;
use crate::proto::v1::txn_answer::Answer;
use crate::proto::v1::txn_op::Op;
use crate::proto::v1::*;

/// The numbers of a session that are kept, as in a server of default settings.
pub(super) const WINDOW: u64 = 1_024;

#[derive(Default)]
pub(super) struct Store {
    pub revision: u64,
    pub keys: BTreeMap<Bytes, KeyValue>,
    pub sessions: BTreeMap<Bytes, Session>,
    /// Writes that were executed.
    pub executed: usize,
    /// Sessions that were opened, and that were closed.
    pub opened: usize,
    pub closed: usize,
}

#[derive(Default)]
pub(super) struct Session {
    done_below: u64,
    replies: BTreeMap<u64, Reply>,
}

pub(super) fn error(code: &str, retryable: bool, outcome: operation_error::Outcome) -> OperationError {
    OperationError {
        status: 14,
        code: code.to_owned(),
        message: format!("scripted {code}"),
        retryable,
        outcome: outcome.into(),
        ..Default::default()
    }
}

pub(super) fn refusal(code: &str) -> OperationError {
    error(
        code,
        matches!(code, "unavailable" | "overloaded" | "stopping"),
        operation_error::Outcome::NotApplied,
    )
}

impl Store {
    fn header(&self) -> Option<Header> {
        Some(Header { group: 1, revision: self.revision })
    }

    pub(super) fn execute(&mut self, request: Request) -> Reply {
        let session = match &request {
            Request::Put(put) => put.session.clone(),
            Request::Delete(delete) => delete.session.clone(),
            Request::Txn(txn) => txn.session.clone(),
            _ => None,
        };
        let Some(at) = session else { return self.run(request) };
        let Some(session) = self.sessions.get_mut(&at.client) else {
            return Reply::Error(error("session_gone", false, operation_error::Outcome::Unknown));
        };
        session.done_below = session.done_below.max(at.done_below);
        session.replies = session.replies.split_off(&session.done_below);
        if at.seq < session.done_below || at.seq >= session.done_below + WINDOW {
            return Reply::Error(refusal("invalid"));
        }
        if let Some(reply) = session.replies.get(&at.seq) {
            return reply.clone();
        }
        self.executed += 1;
        let mut reply = self.run(request);
        if let Reply::Error(refusal) = &mut reply {
            refusal.r#final = true;
        }
        let session = self.sessions.get_mut(&at.client).expect("it was there");
        session.replies.insert(at.seq, reply.clone());
        reply
    }

    fn run(&mut self, request: Request) -> Reply {
        match request {
            Request::Get(get) => {
                let kv = self.keys.get(&get.key).cloned();
                Reply::Get(GetResponse { header: self.header(), kv })
            }
            Request::Put(put) => self.put(put),
            Request::Delete(delete) => self.delete(delete),
            Request::List(list) => self.list(list),
            Request::Txn(txn) => self.txn(txn),
            Request::OpenSession(open) => {
                self.opened += usize::from(!self.sessions.contains_key(&open.client));
                self.sessions.entry(open.client).or_default();
                Reply::OpenSession(OpenSessionResponse {})
            }
            Request::CloseSession(close) => {
                self.closed += usize::from(self.sessions.remove(&close.client).is_some());
                Reply::CloseSession(CloseSessionResponse {})
            }
        }
    }

    fn write(&mut self, key: Bytes, value: Bytes, revision: u64) {
        let old = self.keys.get(&key);
        let create_revision = old.map_or(revision, |old| old.create_revision);
        let version = old.map_or(0, |old| old.version) + 1;
        let kv =
            KeyValue { key: key.clone(), value, create_revision, mod_revision: revision, version, lease: 0 };
        self.keys.insert(key, kv);
    }

    fn put(&mut self, put: PutRequest) -> Reply {
        let old = self.keys.get(&put.key).cloned();
        let found = old.as_ref().map_or(0, |old| old.mod_revision);
        if put.if_revision.is_some_and(|wanted| wanted != found) {
            return Reply::Error(refusal("condition_failed"));
        }
        self.revision += 1;
        self.write(put.key, put.value, self.revision);
        Reply::Put(PutResponse { header: self.header(), previous: old.filter(|_| put.previous) })
    }

    fn selected(&self, keys: &Keys) -> Vec<KeyValue> {
        let holds = |key: &Bytes| match keys.which.as_ref().expect("keys are named") {
            Which::Key(one) => key == one,
            Which::Prefix(prefix) => key.starts_with(prefix),
            Which::Range(range) => *key >= range.from && range.to.as_ref().is_none_or(|to| key < to),
        };
        self.keys.iter().filter(|(key, _)| holds(key)).map(|(_, kv)| kv.clone()).collect()
    }

    fn delete(&mut self, delete: DeleteRequest) -> Reply {
        let found = self.selected(&delete.keys.expect("keys are named"));
        let revision = found.first().map_or(0, |kv| kv.mod_revision);
        if delete.if_revision.is_some_and(|wanted| wanted != revision) {
            return Reply::Error(refusal("condition_failed"));
        }
        found.iter().for_each(|kv| drop(self.keys.remove(&kv.key)));
        self.revision += u64::from(!found.is_empty());
        let deleted = found.len() as u64;
        let previous = if delete.previous { found } else { Vec::new() };
        Reply::Delete(DeleteResponse { header: self.header(), deleted, previous })
    }

    fn list(&self, list: ListRequest) -> Reply {
        let after = list.after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind: Vec<&Bytes> = self.keys.range((after, Bound::Unbounded)).map(|(key, _)| key).collect();
        let mut pairs = self.selected(&list.keys.expect("keys are named"));
        pairs.retain(|kv| behind.contains(&&kv.key));
        let page = if list.page == 0 { 100 } else { list.page as usize };
        let most = if list.limit == 0 { page } else { page.min(list.limit as usize) };
        let more = pairs.len() > most;
        pairs.truncate(most);
        if list.keys_only {
            pairs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Reply::List(ListResponse { header: self.header(), pairs, more })
    }

    fn txn(&mut self, txn: TxnRequest) -> Reply {
        let succeeded = txn.compares.iter().all(|compare| {
            let key = match &compare.keys.as_ref().expect("keys are named").which {
                Some(Which::Key(key)) => key,
                other => panic!("only single keys are compared here: {other:?}"),
            };
            let kv = self.keys.get(key);
            let (found, wanted) = match compare.target {
                Some(Target::ModRevision(wanted)) => (kv.map_or(0, |kv| kv.mod_revision), wanted),
                Some(Target::Version(wanted)) => (kv.map_or(0, |kv| kv.version), wanted),
                ref other => panic!("only revisions and versions are compared here: {other:?}"),
            };
            match compare.relation() {
                compare::Relation::Equal => found == wanted,
                compare::Relation::NotEqual => found != wanted,
                compare::Relation::Greater => found > wanted,
                compare::Relation::Less => found < wanted,
            }
        });
        let ops = if succeeded { txn.success } else { txn.failure };
        let writes = ops.iter().any(|op| !matches!(op.op, Some(Op::Range(_))));
        let revision = self.revision + u64::from(writes);
        let answers = ops.into_iter().map(|op| self.op(op.op.expect("an operation"), revision)).collect();
        self.revision = revision;
        Reply::Txn(TxnResponse { header: self.header(), succeeded, answers })
    }

    fn op(&mut self, op: Op, revision: u64) -> TxnAnswer {
        let answer = match op {
            Op::Range(range) => {
                let pairs = self.selected(&range.keys.expect("keys are named"));
                let count = pairs.len() as u64;
                Answer::Range(TxnSelection { pairs, more: false, count })
            }
            Op::Put(put) => {
                let previous = self.keys.get(&put.key).cloned().filter(|_| put.previous);
                self.write(put.key, put.value.expect("a value"), revision);
                Answer::Put(TxnPutAnswer { previous })
            }
            Op::Delete(delete) => {
                let found = self.selected(&delete.keys.expect("keys are named"));
                found.iter().for_each(|kv| drop(self.keys.remove(&kv.key)));
                Answer::Delete(TxnDeleteAnswer { deleted: found.len() as u64, previous: Vec::new() })
            }
            Op::Txn(_) => panic!("no transactions in transactions here"),
        };
        TxnAnswer { answer: Some(answer) }
    }
}
