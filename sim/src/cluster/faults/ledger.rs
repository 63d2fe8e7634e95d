//! The book of faults: what fired, what is in force, and whether a network and a disk fault ever met.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use super::kind::{Area, Kind};
use crate::cluster::world::label;
use crate::run::Counters;
use crate::trace::SharedTrace;
use crate::trace::event::What;

/// The book. What is armed (a power cut, a failing call, a hang, a late or slow disk) is entered here when something runs
/// into it; what changes links, clocks or machines when it is done.
#[derive(Debug)]
pub struct Ledger {
    trace: SharedTrace,
    state: Mutex<State>,
}

/// A ledger, shared by the world and the disks.
pub type SharedLedger = Arc<Ledger>;

#[derive(Debug, Default)]
struct State {
    fired: Counters,
    in_force: BTreeSet<(Kind, u64, String)>,
    overlapped: bool,
}

impl Ledger {
    /// An empty book whose entries appear in `trace`, too.
    pub fn new(trace: SharedTrace) -> SharedLedger {
        Arc::new(Ledger { trace, state: Mutex::default() })
    }

    /// A fault of an instant. `node` 0 is the network, or all nodes.
    pub fn fire(&self, kind: Kind, node: u64, text: &str) {
        self.trace.record(&label(node), "fault", format_args!("{}: {text}", kind.name()), &[]);
        self.trace.event(node, || What::Fault { fault: kind.name(), text: text.to_owned() });
        let mut state = self.lock();
        *state.fired.entry(kind.name()).or_default() += 1;
        let met = match kind.area() {
            Area::Network => Area::Disk,
            Area::Disk => Area::Network,
            Area::Node => return,
        };
        state.overlapped |= state.in_force.iter().any(|(other, ..)| other.area() == met);
    }

    /// A fault that lasts begins.
    pub fn begin(&self, kind: Kind, node: u64, text: &str) {
        self.fire(kind, node, text);
        self.lock().in_force.insert((kind, node, text.to_owned()));
    }

    /// It is over. Nothing if it was not in force.
    pub fn end(&self, kind: Kind, node: u64, text: &str) {
        if !self.lock().in_force.remove(&(kind, node, text.to_owned())) {
            return;
        }
        self.trace.record(&label(node), "cured", format_args!("{}: {text}", kind.name()), &[]);
        self.trace.event(node, || What::Cured { fault: kind.name(), text: text.to_owned() });
    }

    /// All faults of this kind are over.
    pub fn end_all(&self, kind: Kind) {
        let all: Vec<(u64, String)> = {
            let state = self.lock();
            let mine = state.in_force.iter().filter(|(other, ..)| *other == kind);
            mine.map(|(_, node, text)| (*node, text.clone())).collect()
        };
        all.iter().for_each(|(node, text)| self.end(kind, *node, text));
    }

    /// How often each kind fired.
    pub fn fired(&self) -> Counters {
        self.lock().fired.clone()
    }

    /// Whether a network fault and a disk fault were ever in force together.
    pub fn overlapped(&self) -> bool {
        self.lock().overlapped
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;

    fn ledger() -> SharedLedger {
        Ledger::new(Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail"))
    }

    #[test]
    fn a_network_and_a_disk_fault_that_meet_overlap() {
        let ledger = ledger();
        ledger.begin(Kind::Isolation, 1, "all");
        ledger.fire(Kind::Crash, 2, "");
        ledger.end(Kind::Isolation, 1, "all");
        ledger.fire(Kind::DiskError, 1, "write");
        assert!(!ledger.overlapped(), "one after the other");
        ledger.begin(Kind::SlowDisk, 1, "");
        ledger.fire(Kind::Reset, 0, "");
        assert!(ledger.overlapped());
        assert_eq!(ledger.fired()["isolation"], 1);
    }
}
