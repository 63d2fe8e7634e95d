//! What must hold at every step, one file each. A new invariant is a file and a line in [`all`].

mod election_safety;

use crate::events::RoleChange;
use crate::oracle::Violation;

/// What must hold after every step of a run.
pub trait Invariant {
    /// Looks at the role changes of one step.
    fn observe(&mut self, changes: &[RoleChange]) -> Result<(), Violation>;
}

/// All invariants, at the start of a run.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![Box::new(election_safety::ElectionSafety::default())]
}
