//! How a node may end by itself: rules of the product, each stated in its documents. Any other stop is a violation.
//!
//! * A disk call that failed stops the node with the disk error, at once (H15). It is started again later. A disk that is
//!   full, or hangs, stops no node.
//! * A node whose disk was wiped is refused by the others under its id, and stops (H35): an empty directory says nothing of who
//!   it was, so nobody can tell it from a stranger. It stays down until another one, with an id of its own, takes its place;
//!   that one has to start like any other.
//! * A node that the group has removed is told so, and stops. It stays down in the same way.
//!
//! No damage is among them: whatever is damaged of one disk, the node heals, or comes back as another one by itself. Both
//! copies of the identity at once would be an exception, and are not damaged here: nothing else says who the node was, and a
//! person has to replace it.

use crate::Violation;
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
    use crate::cluster::disk::damage::Part;

    #[test]
    fn a_stop_needs_a_reason() {
        let well = Plight { disk_failed: false, damage: None, is_removed: false };
        let failed = Plight { disk_failed: true, ..well };
        let wiped = Plight { damage: Some(Damage::Wiped), ..well };
        for code in ["Disk", "Damaged", "Identity", "Unexpected", "Usage"] {
            assert!(judge(1, &format!("{code}: it says"), well).is_err(), "{code}");
            for part in [Part::Log, Part::State, Part::Identity] {
                let changed = Plight { damage: Some(Damage::Changed(part)), ..well };
                assert!(judge(1, &format!("{code}: it says"), changed).is_err(), "{code}");
            }
        }
        assert_eq!(judge(1, "Disk: fsync failed", failed), Ok(Fate::Down));
        assert!(judge(1, "Usage: the disk is to blame", failed).is_err());
        assert_eq!(judge(1, "Identity: another directory", wiped), Ok(Fate::Gone));
        assert_eq!(judge(1, "Identity: removed", Plight { is_removed: true, ..well }), Ok(Fate::Gone));
        assert!(judge(1, "Damaged: after a crash", failed).is_err());
    }
}
