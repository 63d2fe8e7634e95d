//! The language in which `quorate txn` is told what to do.
//!
//! ```text
//! transaction = [ "if" comparison { and comparison } ] [ "then" ] { operation } [ "else" { operation } ] [ "end" ]
//! and         = "and" | end of line | ";"
//!
//! comparison  = ("value" | "version" | "revision" | "created" | "lease") keys ("=" | "!=" | ">" | "<") operand
//!             | ("exists" | "absent") keys
//! operation   = "put" key value [ "previous" ]
//!             | "touch" key [ "previous" ]
//!             | "get" keys { "limit" number | "by" ("key" | "version" | "revision" | "created" | "value") | "desc" | "keys" | "count" }
//!             | "del" keys [ "previous" ]
//!             | transaction "end"                       one that begins with "if", in a transaction
//! keys        = key | "prefix" key | "range" key key
//! ```
//!
//! An operation ends with its line, or with `;`. `#` begins a comment. A word is anything up to a space; `"..."` has the escapes
//! of the command line (`\n`, `\xNN`, `\"`), `'...'` has none. What is quoted is never a word of the language, so a key
//! named `prefix` is written `"prefix"`. Nothing has to be text.
//!
//! A mistake is told with its line and column, and nothing is sent.

use std::fmt;

use crate::client::blocking;
use crate::client::{Branch, Compare, TxnOp};

#[cfg(any(test, feature = "testing"))]
pub(crate) mod fuzzing;
mod parser;
mod tokens;

pub(super) use parser::parse;

/// A transaction, as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Script {
    /// What must hold.
    pub compares: Vec<Compare>,
    /// What is done then.
    pub success: Vec<TxnOp>,
    /// What is done otherwise.
    pub failure: Vec<TxnOp>,
}

impl Script {
    /// As the client's call.
    pub(super) fn fill(self, txn: blocking::Txn) -> blocking::Txn {
        let txn = self.compares.into_iter().fold(txn, blocking::Txn::when);
        let txn = self.success.into_iter().fold(txn, blocking::Txn::then);
        self.failure.into_iter().fold(txn, blocking::Txn::otherwise)
    }
}

impl From<Script> for TxnOp {
    fn from(script: Script) -> TxnOp {
        let branch = script.compares.into_iter().fold(Branch::new(), Branch::when);
        let branch = script.success.into_iter().fold(branch, Branch::then);
        script.failure.into_iter().fold(branch, Branch::otherwise).into()
    }
}

/// What is wrong with a transaction, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    at: Place,
    text: String,
}

/// A place in the text, from line 1 and column 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    /// What is wrong here.
    fn mistake(self, text: impl Into<String>) -> Mistake {
        Mistake { at: self, text: text.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.at;
        write!(f, "line {line}, column {column}: {}", self.text)
    }
}

#[cfg(test)]
mod tests;
