//! The terms of the log's entries, run by run.
//!
//! Terms never fall along a log, so a few numbers say the term of every position, cached or on disk: enough for
//! every consistency check (section 5.3) and every vote (section 5.4.1) without reading an entry back.

use std::collections::VecDeque;

use crate::types::{Index, Term};

/// The run-length index of the terms from `purged` to `last`.
///
/// Invariants: runs ascend strictly in index and in term; the first begins right after `purged`; there is one exactly
/// if the log has an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    purged: (Index, Term),
    runs: VecDeque<(Index, Term)>,
    last: Index,
}

impl Terms {
    pub(super) fn new(purged: (Index, Term), runs: Vec<(Index, Term)>, last: Index) -> Terms {
        let terms = Terms { purged, runs: runs.into(), last };
        terms.check();
        terms
    }

    pub(super) fn purged(&self) -> (Index, Term) {
        self.purged
    }

    pub(super) fn last(&self) -> Index {
        self.last
    }

    pub(super) fn last_term(&self) -> Term {
        self.runs.back().map_or(self.purged.1, |&(_, term)| term)
    }

    /// The term of the entry at `index`: none if it was purged (but for the last purged one) or is not there yet.
    pub(super) fn at(&self, index: Index) -> Option<Term> {
        if index == self.purged.0 {
            return Some(self.purged.1);
        }
        if index < self.purged.0 || index > self.last {
            return None;
        }
        // The position asked for is nearly always in one of the last runs.
        self.runs.iter().rev().find(|&&(first, _)| first <= index).map(|&(_, term)| term)
    }

    /// The largest position at or below `index` whose term is at most `term`, with its term; none if that is before
    /// the purge point.
    ///
    /// Both sides of a failed consistency check use it, so that one probe is enough for each term in which the logs
    /// differ (the optimization at the end of section 5.3, in both directions).
    pub(super) fn last_at_most(&self, index: Index, term: Term) -> Option<(Index, Term)> {
        let mut end = index.min(self.last);
        for &(first, run) in self.runs.iter().rev() {
            if first > end {
                continue;
            }
            if run <= term {
                return Some((end, run));
            }
            end = first.prev();
        }
        (self.purged.0 <= end && self.purged.1 <= term).then_some(self.purged)
    }

    pub(super) fn push(&mut self, index: Index, term: Term) {
        assert_eq!(index, self.last.next(), "entry {index} leaves a gap after {}", self.last);
        assert!(term >= self.last_term(), "term {term} at {index} is below {}", self.last_term());
        if self.runs.is_empty() || term > self.last_term() {
            self.runs.push_back((index, term));
        }
        self.last = index;
    }

    /// Forgets the entries at `from` and beyond.
    pub(super) fn truncate(&mut self, from: Index) {
        assert!(from > self.purged.0 && from <= self.last, "truncation at {from}, log ends at {}", self.last);
        while self.runs.back().is_some_and(|&(first, _)| first >= from) {
            self.runs.pop_back();
        }
        self.last = from.prev();
    }

    /// Forgets the entries up to `to`.
    pub(super) fn purge(&mut self, to: Index) {
        let term = self.at(to).expect("the purge point is in the log");
        while self.runs.get(1).is_some_and(|&(first, _)| first <= to.next()) {
            self.runs.pop_front();
        }
        if to == self.last {
            self.runs.clear();
        } else if let Some(run) = self.runs.front_mut() {
            run.0 = run.0.max(to.next());
        }
        self.purged = (to, term);
    }

    /// Forgets everything: the log begins anew after `purged`.
    pub(super) fn reset(&mut self, purged: (Index, Term)) {
        self.runs.clear();
        self.purged = purged;
        self.last = purged.0;
    }

    pub(super) fn check(&self) {
        assert!(self.purged.0 <= self.last, "purged {} beyond last {}", self.purged.0, self.last);
        assert_eq!(self.runs.is_empty(), self.purged.0 == self.last, "runs of an empty log: {self:?}");
        assert!(
            self.runs
                .front()
                .is_none_or(|&(first, term)| first == self.purged.0.next() && term >= self.purged.1),
            "first run does not follow the purge point: {self:?}"
        );
        let ascending = self.runs.iter().zip(self.runs.iter().skip(1)).all(|(a, b)| a.0 < b.0 && a.1 < b.1);
        assert!(ascending && self.runs.back().is_none_or(|&(first, _)| first <= self.last), "runs: {self:?}");
    }
}
