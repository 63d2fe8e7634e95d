//! Transactions, which REST does not have: through the client library, which asks whom it likes, and again.

use std::time::Duration;

use quorate::client::{
    Compare, Error, ErrorKind, Keys, Outcome as Fate, TxnAnswer, TxnOp, TxnResult, blocking,
};

use super::history::operations::Txn;
use super::history::{Answer, Found, Outcome, Value};

/// How long the library may try.
const DEADLINE: Duration = Duration::from_secs(2);

/// A client of the library, for all that have transactions.
#[derive(Clone)]
pub struct Library(blocking::Client);

impl Library {
    /// A client of the nodes at these gRPC addresses.
    pub fn connect(endpoints: Vec<String>) -> Library {
        let builder = quorate::client::Client::builder().endpoints(endpoints);
        Library(blocking::Client::connect(builder).expect("the cluster is up"))
    }

    /// Carries out a transaction that writes `bytes`, and says what became of it.
    ///
    /// # Errors
    /// An answer that the library does not have.
    pub fn send(&self, txn: &Txn, bytes: &[u8]) -> Result<Outcome, String> {
        let compare = Compare::mod_revision(Keys::one(&txn.key.0)).equals(txn.condition);
        let mut call = self.0.txn().when(compare);
        for (key, value) in &txn.changes {
            call = call.then(match value {
                Some(_) => TxnOp::put(&key.0, bytes),
                None => TxnOp::delete(Keys::one(&key.0)),
            });
        }
        if let Some(key) = &txn.otherwise {
            call = call.otherwise(TxnOp::get(&key.0));
        }
        match call.deadline(DEADLINE).call() {
            Ok(result) => {
                answer(&result).map(Outcome::Done).ok_or_else(|| format!("{txn} was answered {result:?}"))
            }
            Err(error) => refused(&error).ok_or_else(|| format!("{txn} was refused with {error}")),
        }
    }
}

fn answer(TxnResult { revision, succeeded, answers, .. }: &TxnResult) -> Option<Answer> {
    if *succeeded {
        let changed = answers.iter().map(|answer| match answer {
            TxnAnswer::Put { .. } => Some(true),
            TxnAnswer::Deleted { count, .. } => (*count <= 1).then_some(*count == 1),
            _ => None,
        });
        return Some(Answer::Committed { changed: changed.collect::<Option<_>>()?, revision: *revision });
    }
    let found = match answers.as_slice() {
        [] => None,
        [TxnAnswer::Selected { pairs, .. }] if pairs.len() <= 1 => pairs.first(),
        _ => return None,
    };
    let found = found.map(|kv| Found { value: Value::of(&kv.value), revision: kv.mod_revision });
    Some(Answer::Otherwise { found, store: *revision })
}

fn refused(error: &Error) -> Option<Outcome> {
    if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Internal) {
        return None;
    }
    Some(match error.outcome() {
        Fate::NotApplied => Outcome::NotApplied(error.to_string()),
        Fate::Unknown => Outcome::Unknown(error.to_string()),
    })
}
