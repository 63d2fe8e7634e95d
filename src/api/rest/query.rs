//! Query strings, strictly: every parameter is known and given once, and every value means something.
//!
//! Names and values are decoded as HTML forms are (`+` is a space, `%xx` a byte) and must be UTF-8. A wrong escape is
//! refused, not passed through: a client that forgot to escape learns it here and not from a key that is not found.

use std::borrow::Cow;

use bytes::Bytes;

use crate::config::Limits;
use crate::shard::{Consistency, Freshness};
use crate::types::{NodeId, Revision};

use super::encoding::{self, Encoding};
use super::problem::{Code, Problem};

/// The parameters that exist. Each endpoint names the ones it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter {
    Key,
    Prefix,
    After,
    Limit,
    IfRevision,
    Consistency,
    MaxStalenessMs,
    MinRevision,
    /// Of what the leader knows: there is no lease for that.
    LeaderConsistency,
    Encoding,
    Force,
    Verbose,
}

const PARAMETERS_COUNT: usize = 12;

impl Parameter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Parameter::Key => "key",
            Parameter::Prefix => "prefix",
            Parameter::After => "after",
            Parameter::Limit => "limit",
            Parameter::IfRevision => "if_revision",
            Parameter::Consistency | Parameter::LeaderConsistency => "consistency",
            Parameter::MaxStalenessMs => "max_staleness_ms",
            Parameter::MinRevision => "min_revision",
            Parameter::Encoding => "encoding",
            Parameter::Force => "force",
            Parameter::Verbose => "verbose",
        }
    }
}

/// A query string, decoded but not yet understood.
#[derive(Debug)]
pub(super) struct Query<'a> {
    values: [Option<Cow<'a, str>>; PARAMETERS_COUNT],
}

impl<'a> Query<'a> {
    /// Splits and decodes `query`, which may hold the parameters `known`, each at most once.
    pub(super) fn parse(query: Option<&'a str>, known: &[Parameter]) -> Result<Query<'a>, Problem> {
        let mut values = [const { None }; PARAMETERS_COUNT];
        // An empty piece (`a=1&&b=2`, a trailing `&`) is no parameter, as in HTML forms.
        for piece in query.unwrap_or("").split('&').filter(|piece| !piece.is_empty()) {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            let name = decode(name)?;
            let Some(parameter) = known.iter().find(|parameter| parameter.name() == name) else {
                return Err(unknown(&name, known));
            };
            let value = decode(value)?;
            if values[*parameter as usize].replace(value).is_some() {
                let detail = format!("The query parameter {name} is given more than once: give it once.");
                return Err(Problem::new(Code::RepeatedParameter, detail));
            }
        }
        Ok(Query { values })
    }

    fn take(&mut self, parameter: Parameter) -> Option<Cow<'a, str>> {
        self.values[parameter as usize].take()
    }

    /// `encoding`, if given.
    pub(super) fn encoding(&mut self) -> Result<Option<Encoding>, Problem> {
        self.take(Parameter::Encoding).map(|name| Encoding::parse(&name)).transpose()
    }

    /// `consistency` (linearizable if not given), `max_staleness_ms` and `min_revision`: what a read may show.
    pub(super) fn freshness(&mut self) -> Result<Freshness, Problem> {
        let max_staleness_ms = self.whole(Parameter::MaxStalenessMs)?;
        let min_revision = self.whole(Parameter::MinRevision)?.map(Revision);
        let consistency = match self.take(Parameter::Consistency).as_deref() {
            None | Some("linearizable") => Consistency::Linearizable,
            Some("lease") => Consistency::Lease,
            Some("stale") => Consistency::Stale { max_staleness_ms },
            Some(other) => {
                let detail = format!(
                    "consistency is {other:?}: give linearizable (the default), lease or stale, or leave it out."
                );
                return Err(Problem::new(Code::InvalidParameter, detail));
            }
        };
        if max_staleness_ms.is_some() && !matches!(consistency, Consistency::Stale { .. }) {
            let detail = "max_staleness_ms only means something with consistency=stale: add that, or leave it out. \
                          Other reads are never stale.";
            return Err(Problem::new(Code::InvalidParameter, detail));
        }
        Ok(Freshness { consistency, min_revision })
    }

    /// `consistency` where there is no lease: whether this node alone is to answer.
    pub(super) fn is_local(&mut self) -> Result<bool, Problem> {
        match self.take(Parameter::LeaderConsistency).as_deref() {
            None | Some("linearizable") => Ok(false),
            Some("stale") => Ok(true),
            Some(other) => {
                let detail = format!(
                    "consistency is {other:?}: give linearizable (the default) or stale, or leave it out."
                );
                Err(Problem::new(Code::InvalidParameter, detail))
            }
        }
    }

    /// A whole number, if given.
    fn whole(&mut self, parameter: Parameter) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(parameter) else { return Ok(None) };
        digits(&text).map(Some).ok_or_else(|| {
            let detail = format!("{} is {text:?}: give a whole number, 0 or more.", parameter.name());
            Problem::new(Code::InvalidParameter, detail)
        })
    }

    /// `key`, which must be given.
    pub(super) fn key(&mut self, encoding: Encoding, limits: &Limits) -> Result<Bytes, Problem> {
        let Some(text) = self.take(Parameter::Key) else {
            let detail = "The query parameter key is missing: add ?key=... to the path.";
            return Err(Problem::new(Code::MissingParameter, detail));
        };
        let key = encoding.decode(text, "key")?;
        encoding::check_key(&key, limits)?;
        Ok(key)
    }

    /// `prefix`, empty if not given.
    pub(super) fn prefix(&mut self, encoding: Encoding, limits: &Limits) -> Result<Bytes, Problem> {
        let Some(text) = self.take(Parameter::Prefix) else { return Ok(Bytes::new()) };
        let prefix = encoding.decode(text, "prefix")?;
        encoding::check_bound(&prefix, "prefix", limits)?;
        Ok(prefix)
    }

    /// `after`. An empty one is none: every key comes after the empty one, so a client's loop may begin with it.
    pub(super) fn after(&mut self, encoding: Encoding, limits: &Limits) -> Result<Option<Bytes>, Problem> {
        let Some(text) = self.take(Parameter::After) else { return Ok(None) };
        let after = encoding.decode(text, "after")?;
        encoding::check_bound(&after, "after", limits)?;
        Ok((!after.is_empty()).then_some(after))
    }

    /// `limit`, never clamped.
    pub(super) fn limit(&mut self, limits: &Limits) -> Result<usize, Problem> {
        let Some(text) = self.take(Parameter::Limit) else { return Ok(limits.list_pairs_default) };
        let limit = digits(&text).and_then(|limit| usize::try_from(limit).ok());
        limit.filter(|limit| (1..=limits.list_pairs_max).contains(limit)).ok_or_else(|| {
            let max = limits.list_pairs_max;
            let detail = format!(
                "limit is {text:?}: give a whole number, 1 to {max}; for more pairs ask page after page."
            );
            Problem::new(Code::InvalidParameter, detail)
        })
    }

    /// `if_revision`, if given.
    pub(super) fn if_revision(&mut self) -> Result<Option<Revision>, Problem> {
        let Some(text) = self.take(Parameter::IfRevision) else { return Ok(None) };
        let revision = digits(&text).ok_or_else(|| {
            let detail =
                format!("if_revision is {text:?}: give a whole number, 0 or more (0: only if absent).");
            Problem::new(Code::InvalidParameter, detail)
        })?;
        Ok(Some(Revision(revision)))
    }

    /// `verbose` or `force`: a flag.
    pub(super) fn flag(&mut self, parameter: Parameter) -> Result<bool, Problem> {
        match self.take(parameter).as_deref() {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => {
                let name = parameter.name();
                let detail = format!("{name} is {other:?}: give it without a value, or leave it out.");
                Err(Problem::new(Code::InvalidParameter, detail))
            }
        }
    }
}

/// The `{id}` of a path whose template is `template`: a member's id.
pub(super) fn path_id(template: &str, path: &str) -> Result<NodeId, Problem> {
    let mut segments = template.split('/').zip(path.split('/'));
    let segment = segments.find(|(name, _)| *name == ID_SEGMENT).map_or("", |(_, segment)| segment);
    let text = decode(segment)?;
    digits(&text).filter(|id| *id > 0).map(NodeId).ok_or_else(|| {
        let detail = format!("The path names member {text:?}: a member's id is a whole number, 1 or more.");
        Problem::new(Code::InvalidParameter, detail)
    })
}

/// The part of a path's template that stands for a member's id.
pub(super) const ID_SEGMENT: &str = "{id}";

/// Whether `path` is one of those that `template` stands for. As the router has it: an id may be empty, but not at the
/// end.
pub(super) fn is_path(template: &str, path: &str) -> bool {
    let fits = |(name, segment): (&str, &str)| name == ID_SEGMENT || name == segment;
    let is_whole = template.split('/').count() == path.split('/').count() && !path.ends_with('/');
    is_whole && template.split('/').zip(path.split('/')).all(fits)
}

/// A whole number in decimal digits alone: `u64::from_str` would let a `+` through.
pub(super) fn digits(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn unknown(name: &str, known: &[Parameter]) -> Problem {
    let names: Vec<&str> = known.iter().map(|parameter| parameter.name()).collect();
    let takes = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let detail = format!("The query parameter {name:?} is not known here: this path takes {takes}.");
    Problem::new(Code::UnknownParameter, detail)
}

/// Undoes the form encoding of a name or value.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.bytes().any(|byte| byte == b'%' || byte == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match (bytes.next().and_then(hex), bytes.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => {
                    return Err(Problem::new(
                        Code::InvalidEncoding,
                        "The query has a % that is not followed by two hexadecimal digits: write a % itself as %25.",
                    ));
                }
            },
            other => other,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| {
        let detail = "The query is not UTF-8 once its % escapes are undone: for other bytes add encoding=base64 and \
                      give keys in base64.";
        Problem::new(Code::InvalidEncoding, detail)
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
