//! What the product may do today that it must not do for ever: the fixed outcomes of faults whose cure is not built yet.
//!
//! * A disk call that fails stops the node with the disk error. It is started again later; a hung disk comes back when the
//!   faults end. A disk that is full stops no node.
//! * A node whose log or identity was damaged refuses to start, or stops when it meets the damage, with the error that names
//!   it. It stays down, as a member of the minority that is down. Damage that it never meets it may live with. (One whose state
//!   file was damaged has no such excuse: it gets another state.)
//! * A node whose disk was wiped is refused by the others under its id, and stops. It stays down until another one, with an
//!   id of its own, takes its place; that one has to start like any other.
//! * A node that the group has removed is told so, and stops. It stays down in the same way.
//!
//! Any other stop of a node's own is a violation.

use crate::Violation;
use crate::cluster::disk::damage::Part;
use crate::cluster::faults::damage::Damage;
use crate::cluster::world::host;

/// What a node that stopped by itself was up against.
#[derive(Clone, Copy, Debug)]
pub struct Plight {
    /// A disk call failed, on purpose, since it started.
    pub disk_failed: bool,
    /// Its disk was damaged at some time.
    pub damage: Option<Damage>,
    /// The group has removed it, or is about to.
    pub is_removed: bool,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may be started again.
    Down,
    /// It stays down.
    Gone,
}

/// Judges why a node stopped: its exit code by name, a colon, its message.
pub fn judge(node: u64, why: &str, plight: Plight) -> Result<Fate, Violation> {
    let (code, _) = why.split_once(": ").unwrap_or((why, ""));
    match (code, plight) {
        ("Damaged", Plight { damage: Some(Damage::Changed(Part::Log | Part::Identity)), .. }) => {
            Ok(Fate::Gone)
        }
        ("Identity", Plight { damage: Some(Damage::Wiped), .. } | Plight { is_removed: true, .. }) => {
            Ok(Fate::Gone)
        }
        ("Disk", Plight { disk_failed: true, .. }) => Ok(Fate::Down),
        _ => Err(format!("{} stopped: {why}", host(node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_needs_a_reason() {
        let well = Plight { disk_failed: false, damage: None, is_removed: false };
        let failed = Plight { disk_failed: true, ..well };
        let changed = Plight { damage: Some(Damage::Changed(Part::Log)), ..well };
        let stateless = Plight { damage: Some(Damage::Changed(Part::State)), ..well };
        let wiped = Plight { damage: Some(Damage::Wiped), ..well };
        for code in ["Disk", "Damaged", "Identity", "Unexpected", "Usage"] {
            assert!(judge(1, &format!("{code}: it says"), well).is_err(), "{code}");
        }
        assert_eq!(judge(1, "Disk: fsync failed", failed), Ok(Fate::Down));
        assert!(judge(1, "Usage: the disk is to blame", failed).is_err());
        assert_eq!(judge(1, "Damaged: at byte 7", changed), Ok(Fate::Gone));
        assert_eq!(judge(1, "Identity: another directory", wiped), Ok(Fate::Gone));
        assert_eq!(judge(1, "Identity: removed", Plight { is_removed: true, ..well }), Ok(Fate::Gone));
        assert!(judge(1, "Damaged: after a crash", failed).is_err());
        assert!(judge(1, "Damaged: at byte 7", stateless).is_err());
        assert!(judge(1, "Unexpected: a task ended", changed).is_err());
    }
}
