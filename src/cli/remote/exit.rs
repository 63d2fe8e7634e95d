//! The exit codes of the commands that ask a cluster, in one place. They say what became of the request, which is what a
//! script needs to go on; those of `serve` and of the commands that read a directory say what is wrong with a node
//! ([`cli`](super::super)'s text has both).

use super::super::Failure;
use crate::client::{Error, ErrorKind, Outcome};

/// No such key or member, a condition that did not hold, or a change of the members that the cluster refused: nothing was
/// changed.
pub(super) const NOT_SO: u8 = 1;
/// The cluster could not do it now, and has not: later it may.
pub(super) const UNAVAILABLE: u8 = 3;
/// It may have been done, or may still be.
pub(super) const UNKNOWN: u8 = 4;
/// What the cluster has no part in: output that cannot be written.
pub(super) const LOCAL: u8 = 5;

/// What an answer that is none says to the caller, and with which code the process ends.
pub(super) fn failure(error: &Error) -> Failure {
    let text = error.to_string().replace(['\n', '\r'], " ");
    if error.outcome() == Outcome::Unknown {
        return Failure::new(UNKNOWN, format!("{text}: find out before you repeat it"));
    }
    match error.kind() {
        ErrorKind::ConditionFailed
        | ErrorKind::NoSuchMember
        | ErrorKind::MemberExists
        | ErrorKind::IdRetired
        | ErrorKind::QuorumAtRisk => Failure::new(NOT_SO, text),
        ErrorKind::Invalid | ErrorKind::TooLarge => Failure::usage(text),
        // A kind that is not known here is something that the cluster did not do.
        _ => Failure::new(UNAVAILABLE, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;

    #[test]
    fn an_endpoint_that_is_none_is_a_mistake_of_the_caller() {
        let error = Client::builder().endpoints(["no-port"]).connect_lazy().expect_err("no port");
        let failure = failure(&error);
        assert_eq!(failure.code, super::super::super::USAGE);
        assert!(failure.text.contains("no-port"), "{failure:?}");
    }
}
