//! Installing: a state that came from another node takes the place of the one that is here.

use bytes::Bytes;

use crate::fsm::Store;
use crate::fsm::base::{Base, Loaded};
use crate::fsm::schema::Head;
use crate::fsm::sessions::Sessions;
use crate::types::{Index, Term};

/// A whole state in a file of its own, durable and ready to be installed.
pub struct Fresh {
    base: Base,
    head: Head,
    sessions: Sessions,
}

impl std::fmt::Debug for Fresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fresh").field("head", &self.head).finish()
    }
}

impl Fresh {
    pub(in crate::fsm) fn new(base: Base, Loaded { head, sessions }: Loaded) -> Fresh {
        Fresh { base, head, sessions }
    }

    pub(in crate::fsm) fn into_parts(self) -> (Base, Loaded) {
        let Fresh { base, head, sessions } = self;
        (base, Loaded { head, sessions })
    }

    /// How far the state is.
    pub fn applied(&self) -> (Index, Term) {
        self.head.applied
    }

    /// The last applied membership, as its entry carried it.
    pub fn membership(&self) -> Option<Bytes> {
        self.head.membership.clone()
    }
}

impl Store {
    /// Puts a state in place of all that the store holds: file, sets and sessions. To be called when the pointer to its
    /// file is durable. A reader sees the old state or the new one, whole; a batch is applied to one of them; a fold
    /// that is under way ends in the old file, and changes nothing of the new one (H26). Waits for the batch that is
    /// being applied, not for a fold, and for the old file to be closed, unless a fold or a reader still has it.
    ///
    /// # Panics
    /// If the state is not beyond [`Store::applied`], unless what the store holds is lost.
    pub fn install(&self, fresh: Fresh) {
        self.replace(fresh);
    }
}
