//! The store: what the state machine's parts share, and the way to open it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::base::{Base, Loaded};
use super::rewrite::Folding;
use super::schema::Head;
use super::sessions::Sessions;
use super::write_set::WriteSet;
use super::{Error, RawFile};
use crate::types::{Index, Owner, Revision, Term};

/// A store's owner and its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whose state it is. A new file is stamped with it, the file of another owner is refused.
    pub owner: Owner,
    /// The write set at which [`Store::is_full`]. There may be a second one, frozen, of the same size; both overshoot
    /// by what one batch changes.
    pub write_set_bytes_max: usize,
    /// redb's page cache.
    pub cache_bytes: usize,
    /// The width of a session's window. It decides replies, so it must be equal on all nodes.
    pub session_inflight_max: usize,
    /// Sessions held; to open one more evicts the one unused for longest. Must be equal on all nodes.
    pub sessions_max: usize,
    /// What the replies of all sessions may cost, in bytes. Must be equal on all nodes.
    pub session_replies_bytes_max: usize,
    /// Idempotency keys whose answers are kept, and those that are known to be spent. Must be equal on all nodes.
    pub idempotency_answers_max: u64,
    /// See there.
    pub idempotency_spent_max: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the set that is being written to.
    pub write_set_bytes: usize,
    /// Bytes of the set that is frozen: it waits to be folded, or is.
    pub frozen_bytes: usize,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes of the file that hold nothing, estimated from what the rows cost as of the last fold.
    pub free_bytes: u64,
    /// Keys, in all keyspaces; see [`Store::keys`] for those of clients.
    pub keys: u64,
    /// Sessions held.
    pub sessions: usize,
}

/// A state machine on a file. Clones are handles to the same one.
#[derive(Clone)]
pub struct Store {
    pub(super) shared: Arc<Shared>,
}

/// What the handles share. Locks are taken in the order of the fields that hold them.
pub(super) struct Shared {
    pub(super) options: Options,
    /// Held while a fold is under way: there is one at a time. Says whether a rewrite wants to know of it.
    pub(super) folding: Mutex<Folding>,
    /// Held while a batch is applied, and for the instant in which the write set is frozen: a batch never finds the
    /// set it is reading frozen under its hands.
    pub(super) applier: Mutex<Applier>,
    /// What readers see. Written for the instants in which a batch becomes visible, a set is frozen, a fold ends, or
    /// another base takes the place of the present one.
    pub(super) view: RwLock<View>,
}

/// What only applying knows.
pub(super) struct Applier {
    pub(super) sessions: Sessions,
}

/// What readers see.
pub(super) struct View {
    /// The file below the sets. It changes under the applier's lock *and* this one: while a batch is applied it stays,
    /// and a reader that takes it together with the sets has what belongs together.
    pub(super) base: Arc<Base>,
    /// Changes neither folded nor frozen.
    pub(super) active: WriteSet,
    /// Changes that wait to be folded, or are. They stay visible until the fold's transaction is durable *and* this is
    /// cleared, under the lock under which readers begin their redb transaction: whatever a reader finds here, redb before
    /// or after the fold gives the same merged content.
    pub(super) frozen: Option<Arc<Frozen>>,
    /// How far the active set is.
    pub(super) head: Head,
    /// Sessions held.
    pub(super) sessions: usize,
    /// Keys of the store's own, as far as somebody asked (see [`super::keyed`]): to look each time would read the file.
    pub(super) own_keys: Option<u64>,
    /// How far redb is: the index from which the log would be replayed. Monotone, at most `head.applied`.
    pub(super) folded: (Index, Term),
}

/// A write set that no longer changes, and how far it is.
pub(super) struct Frozen {
    pub(super) set: WriteSet,
    pub(super) head: Head,
}

impl Store {
    /// Opens the state machine on a raw file, or makes an empty one.
    ///
    /// # Errors
    /// [`Error::Damaged`] and [`Error::Version`] if the file is not as this program left it, [`Error::Foreign`] if it is
    /// another node's, [`Error::Io`] if the disk fails.
    ///
    /// # Panics
    /// If a session limit is 0.
    pub fn open(raw: RawFile, options: Options) -> Result<Store, Error> {
        assert!(options.sessions_max > 0, "sessions_max is 0");
        assert!(options.session_inflight_max > 0, "session_inflight_max is 0");
        let (base, loaded) = Base::open(raw, &options)?;
        Ok(Store::over(base, loaded, options))
    }

    /// A store over a file that is open.
    pub(super) fn over(base: Base, Loaded { head, sessions }: Loaded, options: Options) -> Store {
        let folded = head.applied;
        let (active, frozen) = (WriteSet::default(), None);
        let (base, sessions_held) = (Arc::new(base), sessions.len());
        let view = View { base, active, frozen, head, sessions: sessions_held, own_keys: None, folded };
        Store {
            shared: Arc::new(Shared {
                options,
                folding: Mutex::new(Folding::default()),
                applier: Mutex::new(Applier { sessions }),
                view: RwLock::new(view),
            }),
        }
    }

    /// The last applied entry. Monotone.
    pub fn applied(&self) -> (Index, Term) {
        self.shared.view().head.applied
    }

    /// The last entry whose effect is durable in the file: the log is needed from the one after it. Monotone, at most
    /// [`Store::applied`].
    pub fn folded(&self) -> (Index, Term) {
        self.shared.view().folded
    }

    /// The revision of the last write transaction.
    pub fn revision(&self) -> Revision {
        self.shared.view().head.revision
    }

    /// Group time: the greatest of all applied envelopes, 0 if there was none.
    pub fn group_time_ms(&self) -> u64 {
        self.shared.view().head.group_time_ms
    }

    /// A number that two nodes at the same applied index share exactly if they hold the same keys and records.
    pub fn state_hash(&self) -> u128 {
        self.shared.view().head.hash
    }

    /// The last applied membership, as its entry carried it.
    pub fn membership(&self) -> Option<Bytes> {
        self.shared.view().head.membership.clone()
    }

    /// Whether it is time to fold: the write set is about half full and no other is frozen.
    pub fn fold_due(&self) -> bool {
        let view = self.shared.view();
        view.frozen.is_none() && view.active.bytes() >= self.shared.fold_bytes(view.folded.0)
    }

    /// Whether the write set is at its limit: nothing may be applied until it is frozen.
    pub fn is_full(&self) -> bool {
        self.shared.view().active.bytes() >= self.shared.options.write_set_bytes_max
    }

    /// What the store holds.
    pub fn sizes(&self) -> Sizes {
        let view = self.shared.view();
        Sizes {
            write_set_bytes: view.active.bytes(),
            frozen_bytes: view.frozen.as_ref().map_or(0, |frozen| frozen.set.bytes()),
            file_bytes: view.base.file.raw_bytes(),
            free_bytes: view.base.free_bytes(),
            keys: view.head.keys,
            sessions: view.sessions,
        }
    }

    /// Whether it is time for [`Store::rewrite`]: more than half of the file is free, and the file is worth the trouble.
    pub fn is_mostly_free(&self) -> bool {
        self.shared.view().base.is_mostly_free()
    }
}

impl View {
    /// Up to where all changes are folded or frozen: the active set has those of the entries behind it.
    pub(super) fn set_aside(&self) -> Index {
        self.frozen.as_ref().map_or(self.folded, |frozen| frozen.head.applied).0
    }

    /// The frozen set is durable, up to this entry: from now on the file is read for it. Returns what is to be freed, not
    /// under the locks.
    pub(super) fn take_frozen(&mut self, folded: (Index, Term)) -> Option<Arc<Frozen>> {
        let frozen = self.frozen.take();
        let end = frozen.as_ref().map(|frozen| frozen.head.applied);
        assert_eq!(end, Some(folded), "what is in the file is not what was set aside");
        assert!(folded > self.folded, "a fold of {folded:?} after one of {:?}", self.folded);
        self.folded = folded;
        frozen
    }
}

impl Shared {
    // A lock is poisoned when an assertion failed while it was held, and then this node is stopping. Nothing is
    // half done under these locks at a point that can panic, so the other threads may finish what they are at.

    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn applier(&self) -> MutexGuard<'_, Applier> {
        self.applier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn folding(&self) -> MutexGuard<'_, Folding> {
        self.folding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How large the set may get before it is folded: half of what there may be, or up to a quarter of that more or less.
    ///
    /// Nodes apply the same entries. Were it the same for all, all would fold at the same moment, and no write would find a quorum
    /// that does nothing else. So each has its own for each fold, and no two of them keep in step for long.
    fn fold_bytes(&self, folded: Index) -> usize {
        let Owner { node, .. } = self.options.owner;
        let drawn = crc32fast::hash(&[node.0.to_le_bytes(), folded.0.to_le_bytes()].concat());
        let share = 768 + drawn as usize % 513;
        let half = self.options.write_set_bytes_max / 2;
        half / 1024 * share + half % 1024 * share / 1024
    }

    /// Whether so much has been written since a set was frozen that another fold is due, or almost.
    pub(super) fn is_half_full(&self, view: &View) -> bool {
        view.active.bytes() >= self.options.write_set_bytes_max / 2
    }

    /// The file below the sets.
    pub(super) fn base(&self) -> Arc<Base> {
        self.view().base.clone()
    }
}
