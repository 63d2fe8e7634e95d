//! What the demo's status line says, from what the watches found last.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::watch::Stats;
use crate::types::Monotonic;

/// How a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Its process runs and has not answered yet.
    Starting,
    /// It answers.
    Up,
    /// Its process runs and has stopped answering.
    Silent,
    /// Its process ended.
    Down,
    /// It answers from a process that is not the demo's.
    ByHand,
}

/// The state of the cluster at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The leader of the highest term, if one answers.
    pub(super) leader: Option<u64>,
    /// The highest term.
    pub(super) term: u64,
    /// The highest commit index.
    pub(super) commit: u64,
    /// Each node by id.
    pub(super) nodes: Vec<(u16, Presence)>,
    /// Entries committed a second, lately.
    pub(super) rate: u64,
}

impl Status {
    /// Sums up the nodes; `stats` are the fresh answers.
    pub(super) fn new(
        nodes: Vec<(u16, Presence)>,
        stats: &[Stats],
        rates: &mut Rates,
        now: Monotonic,
    ) -> Status {
        // A leader that was deposed may not know yet: the one of the highest term is it.
        let leader = stats.iter().filter(|stats| stats.state == "leader").max_by_key(|stats| stats.term);
        let commit = stats.iter().map(|stats| stats.commit_index).max().unwrap_or(0);
        Status {
            leader: leader.map(|stats| stats.id),
            term: stats.iter().map(|stats| stats.term).max().unwrap_or(0),
            commit,
            nodes,
            rate: rates.observe(now, commit),
        }
    }

    /// Whether a person should be told: all but the rate, which never rests.
    pub(super) fn differs_from(&self, other: &Status) -> bool {
        (self.leader, self.term, self.commit) != (other.leader, other.term, other.commit)
            || self.nodes != other.nodes
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.leader {
            Some(id) => write!(f, "leader node {id}")?,
            None => f.write_str("no leader")?,
        }
        write!(f, ", term {}, commit index {}, {} ops/s", self.term, self.commit, self.rate)?;
        let groups = [
            ("up", [Presence::Up, Presence::ByHand]),
            ("starting", [Presence::Starting; 2]),
            ("not answering", [Presence::Silent; 2]),
            ("down", [Presence::Down; 2]),
        ];
        for (name, presences) in groups {
            let ids = self.nodes.iter().filter(|(_, presence)| presences.contains(presence));
            let ids: Vec<String> = ids.map(|(id, _)| id.to_string()).collect();
            if !ids.is_empty() {
                write!(f, " | {name} {}", ids.join(" "))?;
            }
        }
        Ok(())
    }
}

/// The commit indexes of the last seconds.
#[derive(Default)]
pub(super) struct Rates(VecDeque<(Monotonic, u64)>);

impl Rates {
    const WINDOW: Duration = Duration::from_secs(2);

    /// Notes an index and returns how fast it has been growing. A cluster that cannot be asked has no rate.
    fn observe(&mut self, now: Monotonic, commit: u64) -> u64 {
        if commit == 0 || self.0.back().is_some_and(|(_, last)| commit < *last) {
            self.0.clear();
        }
        if commit == 0 {
            return 0;
        }
        self.0.push_back((now, commit));
        // One observation older than the window stays: the window is never shorter than asked for.
        while self.0.get(1).is_some_and(|(at, _)| now.since(*at) >= Self::WINDOW) {
            self.0.pop_front();
        }
        let (since, from) = self.0[0];
        let elapsed_ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        (commit - from).saturating_mul(1_000).checked_div(elapsed_ms).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::default().plus(Duration::from_millis(ms))
    }

    fn stats(id: u64, state: &str, term: u64, commit_index: u64) -> Stats {
        Stats { id, state: state.to_owned(), term, commit_index }
    }

    fn status(nodes: &[(u16, Presence)], stats: &[Stats]) -> Status {
        Status::new(nodes.to_vec(), stats, &mut Rates::default(), at(0))
    }

    #[test]
    fn the_leader_of_the_highest_term_is_shown() {
        let nodes = [(1, Presence::Up), (2, Presence::ByHand), (3, Presence::Down)];
        let two = status(&nodes, &[stats(1, "leader", 4, 9), stats(2, "leader", 5, 8)]);
        assert_eq!(two.to_string(), "leader node 2, term 5, commit index 9, 0 ops/s | up 1 2 | down 3");
    }

    #[test]
    fn no_answers_no_leader() {
        let none = status(&[(1, Presence::Starting), (2, Presence::Silent)], &[]);
        assert_eq!(
            none.to_string(),
            "no leader, term 0, commit index 0, 0 ops/s | starting 1 | not answering 2"
        );
    }

    #[test]
    fn the_rate_alone_is_no_change() {
        let first = status(&[(1, Presence::Up)], &[stats(1, "leader", 1, 5)]);
        let mut second = first.clone();
        second.rate = 7;
        assert!(!second.differs_from(&first));
        second.commit = 6;
        assert!(second.differs_from(&first));
    }

    #[test]
    fn the_rate_covers_two_seconds() {
        let mut rates = Rates::default();
        assert_eq!(rates.observe(at(0), 100), 0);
        assert_eq!(rates.observe(at(500), 150), 100);
        assert_eq!(rates.observe(at(2_000), 300), 100);
        // 100 at 0 ms is older than the window by now and leaves.
        assert_eq!(rates.observe(at(2_500), 350), 100);
        assert_eq!(rates.observe(at(4_500), 350), 0);
        // All nodes gone, then back with a large index: no burst.
        assert_eq!(rates.observe(at(5_000), 0), 0);
        assert_eq!(rates.observe(at(5_500), 400), 0);
        assert_eq!(rates.observe(at(6_000), 450), 100);
    }
}
