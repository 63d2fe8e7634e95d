//! The encodings of why the state machine refuses a command.

use bincode::Encode;

use crate::command::{SessionRefusal, TxnRefusal};

#[derive(Encode, bincode::Decode)]
pub(super) enum TxnRefusalV1 {
    NoSuchKey,
    AnswerTooLarge,
    TooManyKeys,
    WritesTooMuch,
}

#[derive(Encode, bincode::Decode)]
pub(super) enum SessionRefusalV1 {
    Malformed,
    BelowWindow,
    BeyondWindow,
    RepliesFull,
    AnotherCommand,
}

impl From<TxnRefusal> for TxnRefusalV1 {
    fn from(why: TxnRefusal) -> TxnRefusalV1 {
        match why {
            TxnRefusal::NoSuchKey => TxnRefusalV1::NoSuchKey,
            TxnRefusal::AnswerTooLarge => TxnRefusalV1::AnswerTooLarge,
            TxnRefusal::TooManyKeys => TxnRefusalV1::TooManyKeys,
            TxnRefusal::WritesTooMuch => TxnRefusalV1::WritesTooMuch,
        }
    }
}

impl From<TxnRefusalV1> for TxnRefusal {
    fn from(why: TxnRefusalV1) -> TxnRefusal {
        match why {
            TxnRefusalV1::NoSuchKey => TxnRefusal::NoSuchKey,
            TxnRefusalV1::AnswerTooLarge => TxnRefusal::AnswerTooLarge,
            TxnRefusalV1::TooManyKeys => TxnRefusal::TooManyKeys,
            TxnRefusalV1::WritesTooMuch => TxnRefusal::WritesTooMuch,
        }
    }
}

impl From<SessionRefusal> for SessionRefusalV1 {
    fn from(why: SessionRefusal) -> SessionRefusalV1 {
        match why {
            SessionRefusal::Malformed => SessionRefusalV1::Malformed,
            SessionRefusal::BelowWindow => SessionRefusalV1::BelowWindow,
            SessionRefusal::BeyondWindow => SessionRefusalV1::BeyondWindow,
            SessionRefusal::RepliesFull => SessionRefusalV1::RepliesFull,
            SessionRefusal::AnotherCommand => SessionRefusalV1::AnotherCommand,
        }
    }
}

impl From<SessionRefusalV1> for SessionRefusal {
    fn from(why: SessionRefusalV1) -> SessionRefusal {
        match why {
            SessionRefusalV1::Malformed => SessionRefusal::Malformed,
            SessionRefusalV1::BelowWindow => SessionRefusal::BelowWindow,
            SessionRefusalV1::BeyondWindow => SessionRefusal::BeyondWindow,
            SessionRefusalV1::RepliesFull => SessionRefusal::RepliesFull,
            SessionRefusalV1::AnotherCommand => SessionRefusal::AnotherCommand,
        }
    }
}
