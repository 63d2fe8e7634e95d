//! Calls through the client library, over the simulated network.
//!
//! A [`Library`] is one client of the library; who shares it shares its connections, its session and its streams, as the
//! threads of a program do. It asks whom it likes, and again, until its deadline. All of that is one call in the history:
//! however often it sent a write, the write was executed once at most, and it says whether it was. A write that it calls
//! unknown is sometimes kept, while others go on in the same session, and then asked after.
//!
//! It draws pauses and session ids from a seed of the run.

use std::time::Duration;

use quorate::client::testing::{Connector, Wire};
use quorate::client::{
    Client, Compare, Consistency, Error, ErrorKind, KeyValue, Outcome as Fate, Swap, TxnAnswer, TxnOp,
    TxnResult, WriteAnswer,
};
use quorate::transport::net::SharedNet;

use crate::Violation;
use crate::cluster::ask::Ask;
use crate::history::operations::{Delete, Get, List, Pair, Set, Txn};
use crate::history::{Answer, Found, Freshness, Key, Operation, Outcome, Value};
use crate::trace::SharedTrace;

/// How long a call may take, where nothing else was drawn.
const DEADLINE: Duration = Duration::from_secs(4);

/// How often an unknown write is asked after.
const RESUMES_MAX: usize = 3;

/// The longest that an unknown write is kept until it is asked after.
const KEPT_MS_MAX: u64 = 3_000;

/// After the last clone is gone a client closes its sessions, for at most so long.
pub(super) const LEAVES_WITHIN: Duration = Duration::from_millis(1_500);

/// A client of the library.
pub(super) struct Library {
    client: Client,
    trace: SharedTrace,
}

impl Library {
    /// A client that is given these of the nodes' gRPC addresses.
    pub(super) fn new(
        endpoints: Vec<String>,
        net: SharedNet,
        trace: SharedTrace,
        rng: &mut fastrand::Rng,
    ) -> Library {
        let connector = Connector::new(move |address| {
            let net = net.clone();
            Box::pin(async move {
                let stream = net.connect(&address).await?;
                Ok(Box::new(stream) as Box<dyn Wire>)
            })
        });
        let client = Client::builder()
            .endpoints(endpoints)
            .deadline(DEADLINE)
            .attempt_timeout(Duration::from_millis([300, 1_000][rng.usize(..2)]))
            // So few that a session's numbers are used up while one of them is kept.
            .writes_inflight_max([2, 16][rng.usize(..2)])
            .seed(rng.u64(..))
            .connector(connector)
            .connect_lazy();
        Library { client: client.expect("the options are in range, and there is a runtime"), trace }
    }

    /// Asks, until an answer or the end of the library's patience; sometimes longer.
    ///
    /// # Errors
    /// What no right cluster answers.
    pub(super) async fn call(&self, ask: &Ask, rng: &mut fastrand::Rng) -> Result<Outcome, Violation> {
        let wrong = |why: String| format!("form: {why}: {}", ask.operation);
        let told = match &ask.operation {
            Operation::Get(get) => self.get(get, ask.deadline, rng.bool()).await,
            Operation::List(list) => self.list(list, ask.deadline, rng.bool()).await,
            Operation::Set(_) | Operation::Delete(_) | Operation::Txn(_) => self.write(ask, rng).await,
        };
        match told {
            Ok(answer) => answer.map(Outcome::Done).map_err(wrong),
            Err(error) => {
                if error.kind() == ErrorKind::SessionGone {
                    self.trace.count("unknown for ever", 1);
                }
                outcome(&ask.operation, &error).map_err(wrong)
            }
        }
    }

    async fn get(&self, get: &Get, deadline: Option<Duration>, alone: bool) -> Told {
        let (key, deadline) = (get.key.0.as_slice(), deadline.unwrap_or(DEADLINE));
        let (consistency, from) = consistency(get.freshness);
        // What is stale is judged by the store's revision, which only a transaction tells.
        if alone && !get.freshness.is_stale() {
            let found = self.client.get(key).consistency(consistency).deadline(deadline).await?;
            return Ok(Ok(Answer::Got { found: found.as_ref().map(found_of), store: None }));
        }
        let txn = self.client.txn().then(TxnOp::get(key)).consistency(consistency).min_revision(from);
        let TxnResult { revision, answers, .. } = txn.deadline(deadline).await?;
        Ok(selected(answers).map(|found| Answer::Got { found, store: Some(revision) }))
    }

    async fn list(&self, list: &List, deadline: Option<Duration>, by_page: bool) -> Told {
        let (consistency, from) = consistency(list.freshness);
        let mut asked =
            self.client.list(list.prefix.0.as_slice()).consistency(consistency).min_revision(from);
        if !list.after.0.is_empty() {
            asked = asked.after(list.after.0.as_slice());
        }
        if let Some(limit) = list.limit {
            asked = if by_page {
                asked.page_size(u32::try_from(limit).unwrap_or(u32::MAX))
            } else {
                asked.limit(limit as u64)
            };
        }
        let page = asked.deadline(deadline.unwrap_or(DEADLINE)).await?;
        let pair = |kv: &KeyValue| Pair { key: Key(kv.key.to_vec()), found: found_of(kv) };
        let pairs = page.pairs.iter().map(pair).collect();
        Ok(Ok(Answer::Listed { pairs, more: page.more, store: page.revision }))
    }

    /// A write, and what becomes of it later where the call does not tell.
    async fn write(&self, ask: &Ask, rng: &mut fastrand::Rng) -> Told {
        let mut told = self.write_once(ask, rng.bool()).await;
        for _ in 0..RESUMES_MAX {
            let error = match told {
                Err(error) if error.attempt().is_some() && rng.bool() => error,
                told => return Ok(answer(&ask.operation, told?)),
            };
            let attempt = error.into_attempt().expect("it was there one line above");
            tokio::time::sleep(Duration::from_millis(rng.u64(..KEPT_MS_MAX))).await;
            told = attempt.resume(DEADLINE).await;
            self.trace.count(if told.is_ok() { "known by resuming" } else { "resumed in vain" }, 1);
        }
        Ok(answer(&ask.operation, told?))
    }

    /// A write. One with a condition can be asked in two ways.
    async fn write_once(&self, ask: &Ask, as_swap: bool) -> Result<WriteAnswer, Error> {
        let deadline = ask.deadline.unwrap_or(DEADLINE);
        match &ask.operation {
            Operation::Set(Set { key, condition: Some(revision), .. }) if as_swap => {
                let swap = self.client.compare_and_set(&key.0, *revision, &ask.value);
                swap.deadline(deadline).await.map(WriteAnswer::Swap)
            }
            Operation::Set(Set { key, condition, .. }) => {
                let mut set = self.client.set(&key.0, &ask.value);
                if let Some(revision) = condition {
                    set = set.if_revision(*revision);
                }
                set.deadline(deadline).await.map(WriteAnswer::Written)
            }
            Operation::Delete(Delete { key, condition }) => {
                let mut delete = self.client.delete(&key.0);
                if let Some(revision) = condition {
                    delete = delete.if_revision(*revision);
                }
                delete.deadline(deadline).await.map(WriteAnswer::Deleted)
            }
            Operation::Txn(Txn { key, condition, changes, otherwise }) => {
                let keys = quorate::client::Keys::one(&key.0);
                let mut txn = self.client.txn().when(Compare::mod_revision(keys).equals(*condition));
                for (key, value) in changes {
                    txn = txn.then(match value {
                        Some(_) => TxnOp::put(&key.0, &ask.value),
                        None => TxnOp::delete(quorate::client::Keys::one(&key.0)),
                    });
                }
                if let Some(key) = otherwise {
                    txn = txn.otherwise(TxnOp::get(&key.0));
                }
                txn.deadline(deadline).await.map(WriteAnswer::Txn)
            }
            Operation::Get(_) | Operation::List(_) => unreachable!("reads are no writes"),
        }
    }
}

/// An answer, which may be one that no right cluster gives; or the library's error.
type Told = Result<Result<Answer, String>, Error>;

fn consistency(freshness: Freshness) -> (Consistency, u64) {
    match freshness {
        Freshness::Linearizable => (Consistency::Linearizable, 0),
        Freshness::Leased => (Consistency::Lease, 0),
        Freshness::Stale => (Consistency::Stale { max_staleness: None }, 0),
        Freshness::StaleFrom(revision) => (Consistency::Stale { max_staleness: None }, revision),
    }
}

fn found_of(kv: &KeyValue) -> Found {
    Found { value: Value::of(&kv.value), revision: kv.mod_revision }
}

/// What a transaction found that reads one key.
fn selected(answers: Vec<TxnAnswer>) -> Result<Option<Found>, String> {
    match answers.as_slice() {
        [] => Ok(None),
        [TxnAnswer::Selected { pairs, more: false, .. }] if pairs.len() <= 1 => {
            Ok(pairs.first().map(found_of))
        }
        other => Err(format!("{other:?} is no answer to a read of one key")),
    }
}

/// What a write's answer means.
fn answer(operation: &Operation, answer: WriteAnswer) -> Result<Answer, String> {
    match (operation, answer) {
        (Operation::Set(_), WriteAnswer::Written(written)) => {
            Ok(Answer::Written { revision: written.revision })
        }
        (Operation::Set(_), WriteAnswer::Swap(Swap::Set { revision })) => Ok(Answer::Written { revision }),
        (Operation::Set(Set { condition, .. }), WriteAnswer::Swap(Swap::Changed { current })) => {
            if current.as_ref().map_or(0, |kv| kv.mod_revision) == condition.unwrap_or(0) {
                return Err(format!("refused, with {current:?}, for which it was to be done"));
            }
            Ok(Answer::ConditionFailed { store: None })
        }
        (Operation::Delete(_), WriteAnswer::Deleted(deleted)) if deleted.count <= 1 => {
            Ok(Answer::Deleted { existed: deleted.count == 1, revision: deleted.revision })
        }
        (Operation::Txn(_), WriteAnswer::Txn(TxnResult { revision, succeeded: true, answers, .. })) => {
            let changed = answers.iter().map(|answer| match answer {
                TxnAnswer::Put { .. } => Ok(true),
                TxnAnswer::Deleted { count: count @ (0 | 1), .. } => Ok(*count == 1),
                other => Err(format!("{other:?} is no answer to a change of one key")),
            });
            Ok(Answer::Committed { changed: changed.collect::<Result<_, _>>()?, revision })
        }
        (Operation::Txn(_), WriteAnswer::Txn(TxnResult { revision, answers, .. })) => {
            Ok(Answer::Otherwise { found: selected(answers)?, store: revision })
        }
        (_, other) => Err(format!("{other:?} is no answer to it")),
    }
}

/// What an error means.
fn outcome(operation: &Operation, error: &Error) -> Result<Outcome, String> {
    let is_conditional = match operation {
        Operation::Set(Set { condition, .. }) | Operation::Delete(Delete { condition, .. }) => {
            condition.is_some()
        }
        Operation::Get(_) | Operation::List(_) | Operation::Txn(_) => false,
    };
    match error.kind() {
        ErrorKind::ConditionFailed if is_conditional && error.outcome() == Fate::NotApplied => {
            Ok(Outcome::Done(Answer::ConditionFailed { store: None }))
        }
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::ConditionFailed | ErrorKind::Internal => {
            Err(format!("a valid request was refused with {error}"))
        }
        _ if !operation.is_write() => Ok(Outcome::NotApplied(error.to_string())),
        kind => match error.outcome() {
            Fate::NotApplied => Ok(Outcome::NotApplied(error.to_string())),
            // The library asks on under the write's number as long as it may.
            Fate::Unknown if matches!(kind, ErrorKind::Deadline | ErrorKind::SessionGone) => {
                Ok(Outcome::Unknown(error.to_string()))
            }
            Fate::Unknown => {
                Err(format!("a write was given up, and nobody knows what became of it: {error}"))
            }
        },
    }
}
