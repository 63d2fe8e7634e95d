//! Events as lines of text.
//!
//! A line says when, on which node, what kind, and the rest in words. Columns are aligned so that the eye finds a node or a
//! kind; nothing in a line depends on how the run was started, so two traces can be compared with `diff`.

use std::fmt;

use super::event::{Fate, What};

/// The column of a node: 0 is the world.
pub fn node_name(node: u64) -> String {
    if node == 0 { "world".to_owned() } else { format!("node{node}") }
}

impl What {
    /// The kind, as the text trace names it.
    pub fn kind(&self) -> &'static str {
        match self {
            What::Sent { .. } => "sent",
            What::Delivered { .. } => "delivered",
            What::Lost { .. } => "lost",
            What::State { .. } => "state",
            What::Booted => "boot",
            What::Down { .. } => "down",
            What::Fault { .. } => "fault",
            What::Cured { .. } => "cured",
            What::Disk { call, .. } => call,
            What::Log { .. } => "log",
            What::Begun { .. } => "begun",
            What::Ended { .. } => "ended",
            What::Violation { .. } => "violation",
        }
    }
}

/// All but the kind.
impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Sent { message, to, name, term, fields } => {
                write!(f, "#{message} to node{to}, term {term}: {name}: {fields}")
            }
            What::Delivered { message } => write!(f, "#{message}"),
            What::Lost { message, why } => write!(f, "#{message}: {why}"),
            What::State { role, term, leader, last, persisted, commit, applied, why } => {
                write!(f, "{role}, term {term}, leader ")?;
                match leader {
                    Some(leader) => write!(f, "{leader}")?,
                    None => write!(f, "unknown")?,
                }
                write!(f, ", last {last}, persisted {persisted}, commit {commit}, applied {applied}")?;
                why.map_or(Ok(()), |why| write!(f, " ({why})"))
            }
            What::Booted => Ok(()),
            What::Down { why: text } | What::Log { text } | What::Violation { text } => f.write_str(text),
            What::Fault { fault, text } | What::Cured { fault, text } => {
                write!(f, "{fault}")?;
                if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
            }
            What::Disk { call: _, text, bytes } => write!(f, "{text} len={bytes}"),
            What::Begun { request, client, to: 0, operation } => {
                write!(f, "request {request} of client{client} to any node: {operation}")
            }
            What::Begun { request, client, to, operation } => {
                write!(f, "request {request} of client{client} to node{to}: {operation}")
            }
            What::Ended { request, outcome, answer } => write!(f, "request {request}: {outcome}: {answer}"),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fate::Done => "done",
            Fate::NotApplied => "not applied",
            Fate::Unknown => "unknown",
        })
    }
}
