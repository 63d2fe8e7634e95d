//! Evidence that a peer's process died, as far as this node itself can have any.
//!
//! ```text
//! the control connection is up -- the peer closes it --> inquest -- dialed again, the same address:
//!                                                           nobody listens there, or the name stands for nothing,
//!                                                           or another incarnation answers          -> died
//!                                                           the same incarnation answers            -> closed
//!                                                           anything else (no answer, unreachable,
//!                                                           reset, refused by the handshake)        -> goes on
//! ```
//!
//! Both halves are needed. A connection that this side gave up for want of an answer says nothing of the process
//! behind it, and neither does a fresh attempt that nobody answers: a partition looks like that. A connection that the
//! other side closed says that its kernel, at least, is there; a refusal then says that the process is not. It is
//! believed of the address only at which the connection had been. A node that stops in good order closes its
//! connections and its listener, too, and is as dead as any other. It is said once a connection: what comes later is
//! no news. That the peer is back is not said at all: it makes itself heard.

use crate::types::Incarnation;

use super::dial::Problem;

/// How one attempt to connect, and the connection if it came up, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub problem: Problem,
    /// Whom it reached, if it was up.
    pub reached: Option<Incarnation>,
    /// Whether it was up and the other side closed it.
    pub by_peer: bool,
}

/// What became of the connections to one peer, so far. See the module doc.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inquest {
    open: Option<Suspicion>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspicion {
    address: String,
    incarnation: Incarnation,
}

impl Inquest {
    /// One more attempt or connection ended. The incarnation whose process is known to be dead from now on, if that is
    /// new.
    pub fn on_end(&mut self, address: &str, ended: &Ended) -> Option<Incarnation> {
        if let Some(incarnation) = ended.reached {
            let suspicion = Suspicion { address: address.to_owned(), incarnation };
            self.open = ended.by_peer.then_some(suspicion);
            return None;
        }
        let is_proven = |open: &mut Suspicion| open.address == address && ended.problem.is_evidence();
        self.open.take_if(is_proven).map(|open| open.incarnation)
    }

    /// Where to look first.
    pub fn address(&self) -> Option<&str> {
        self.open.as_ref().map(|open| &*open.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::handshake::{Reason, Refusal};

    const OLD: Incarnation = Incarnation(7);

    fn up(by_peer: bool) -> Ended {
        Ended { problem: Problem::Broken("gone".to_owned()), reached: Some(OLD), by_peer }
    }

    fn failed(problem: Problem) -> Ended {
        Ended { problem, reached: None, by_peer: false }
    }

    fn absent() -> Ended {
        failed(Problem::Absent("refused".to_owned()))
    }

    fn stranger(reason: Reason) -> Ended {
        failed(Problem::Stranger(Refusal::new(reason, "other")))
    }

    #[test]
    fn a_closed_connection_and_a_refusal_are_evidence_once() {
        for proof in [absent(), stranger(Reason::Incarnation)] {
            let mut inquest = Inquest::default();
            assert_eq!(inquest.on_end("a:1", &absent()), None, "never met");
            assert_eq!(inquest.on_end("a:1", &up(true)), None);
            assert_eq!(inquest.address(), Some("a:1"));
            assert_eq!(inquest.on_end("a:1", &proof), Some(OLD));
            assert_eq!(inquest.on_end("a:1", &proof), None, "said once");
        }
    }

    #[test]
    fn what_this_side_gave_up_is_none() {
        let mut inquest = Inquest::default();
        inquest.on_end("a:1", &up(false));
        assert_eq!(inquest.on_end("a:1", &absent()), None);
        // Nor is it after one that the peer closed, if the peer answered since.
        inquest.on_end("a:1", &up(true));
        inquest.on_end("a:1", &up(false));
        assert_eq!(inquest.on_end("a:1", &absent()), None);
    }

    #[test]
    fn what_tells_nothing_leaves_the_question_open() {
        let mut inquest = Inquest::default();
        inquest.on_end("a:1", &up(true));
        let refused = Refusal::new(Reason::Incarnation, "you are another");
        let mute = [
            failed(Problem::Broken("no answer in time".to_owned())),
            failed(Problem::Superseded),
            failed(Problem::Refused(refused)),
            stranger(Reason::To),
            stranger(Reason::Cluster),
        ];
        for ended in mute {
            assert_eq!(inquest.on_end("a:1", &ended), None, "{ended:?}");
        }
        assert_eq!(inquest.on_end("b:1", &absent()), None, "another address");
        assert_eq!(inquest.on_end("a:1", &absent()), Some(OLD));
    }
}
