//! A state file that is looked at while no node runs on it, and left as it is: whatever redb writes on its way stays in
//! memory (see `fsm/overlay.rs`). And a copy of one that becomes another cluster's, after the loss of a quorum.
//!
//! # What is verified
//!
//! Superblock and header; the sum of every block of the file; redb's own checksums over every page of every tree; and the
//! rows: each can be read, and their count and state hash are what the head says, which was kept by applying and not by
//! reading. A block whose sum fails is damage if anything of this comes upon it. One that nothing refers to is what a
//! crash leaves (see `fsm/backend.rs`), and only counted.

use super::backend::{Checked, io_error};
use super::base::{Base, Rows};
use super::overlay::Overlay;
use super::rewrite::{self, Visit};
use super::schema::{self, Table};
use super::sessions::Changes;
use super::stage::{Stage, staged};
use super::{Error, Options, RawFile, Store, hash};
use crate::codec;
use crate::types::{Index, Owner, Revision, Term};

use bytes::Bytes;

/// redb's cache while a file is looked at.
const CACHE_BYTES: usize = 32 << 20;

/// What a state file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Whether it was ever formed. One that was not holds nothing: a node that starts begins it anew.
    pub is_formed: bool,
    /// The last entry that is folded into it.
    pub folded: (Index, Term),
    /// The revision of the last write transaction.
    pub revision: Revision,
    /// Keys, in all keyspaces.
    pub keys: u64,
    /// See [`super::Store::state_hash`].
    pub state_hash: u128,
    /// Sessions held.
    pub sessions: usize,
    /// The last applied membership.
    pub membership: Option<Bytes>,
    /// Blocks that nothing refers to and whose sum does not match; 0 if they were not looked for.
    pub strays: u64,
}

/// Reads how far a state file of `owner` is, and no more of it than a start would.
///
/// # Errors
/// Those of [`super::Store::open`].
pub fn look(raw: RawFile, owner: Owner) -> Result<Examined, Error> {
    match open(raw, owner)? {
        Some(base) => examined(&base, 0),
        None => Ok(unformed()),
    }
}

/// Verifies a whole state file of `owner`. Memory is bounded by redb's cache, and by the sessions and the sums, as every
/// node holds them. Blocks on the disk.
///
/// # Errors
/// Those of [`super::Store::open`]; [`Error::Damaged`] for all that a reader would come upon sooner or later.
pub fn examine(raw: RawFile, owner: Owner) -> Result<Examined, Error> {
    let Some(mut base) = open(raw, owner)? else { return Ok(unformed()) };
    let strays = base.file.scan()?.strays;
    let is_sound = base.db.check_integrity();
    if !is_sound.map_err(|error| base.fault(error))? {
        let what = "a page fails redb's own checksum, or its account of free pages is wrong".to_owned();
        return Err(base.latch.set(Error::Damaged { offset: None, what }));
    }
    let found = examined(&base, strays)?;
    check_rows(&base, &found)?;
    Ok(found)
}

/// Copies the state in `from`, a file of `owner`, into `into`, a new and empty file of `options.owner`, and opens that.
/// The copy is durable, and checked on its way: its rows add up to what the head says. Blocks on the disk.
///
/// # Errors
/// Those of [`Store::open`] for `from`; [`Error::Staged`] if the new file's disk fails.
pub fn copy(from: RawFile, owner: Owner, into: RawFile, options: Options) -> Result<Store, Error> {
    let Some(source) = open(from, owner)? else { return Store::open(into, options) };
    let txn = source.begin_read()?;
    let head = source.head(&txn)?;
    let mut stage = Stage::begin(into, &options)?;
    let mut rows = Rows::of(txn, Table::Records);
    let next = |visit: Visit<'_>| match rows.next(&source)? {
        Some((table, key, row)) => visit(table, key.value(), row.value()).map(Some),
        None => Ok(None),
    };
    rewrite::copy(&source, next, &head, &mut stage)?;
    let base = stage.settle(&head)?;
    base.file.set_formed().map_err(staged)?;
    let loaded = base.load()?;
    Ok(Store::over(base, loaded, options))
}

impl Store {
    /// Makes the state the first one of a new cluster, at an index and in a term that its old cluster's log did not reach:
    /// keys, records and group time stay, sessions go, and the revision jumps ahead, so that none that the old cluster has
    /// given out, even beyond what is known here, is given out again for something else. Durable when it returns. Nobody
    /// else may use the store.
    ///
    /// # Errors
    /// Any error of the file.
    ///
    /// # Panics
    /// If the index is not beyond [`Store::applied`] by the jump at least, the term is not beyond it, or revisions end.
    /// (A revision after the first was an entry, so revisions never run ahead of indexes: see `snapshot::format`.)
    pub fn begin_anew(
        &self,
        at: (Index, Term),
        membership: Bytes,
        revision_jump: u64,
    ) -> Result<Revision, Error> {
        let revision = {
            let mut applier = self.shared.applier();
            let mut view = self.shared.view_mut();
            view.base.latch.check()?;
            let (index, term) = view.head.applied;
            let jumped = index.0.checked_add(revision_jump.max(1));
            assert!(jumped.is_some_and(|jumped| at.0.0 >= jumped), "index {} after {index}", at.0);
            assert!(at.1 > term, "a new cluster at term {} after term {term}", at.1);
            let mut changes = Changes::default();
            applier.sessions.clear(&mut changes);
            let set_aside = view.set_aside();
            applier.sessions.write(changes, set_aside, &mut view.active);
            view.sessions = 0;
            let revision = view.head.revision.0.checked_add(revision_jump);
            let revision = revision.unwrap_or_else(|| panic!("revisions end: {revision_jump} more"));
            view.head.revision = Revision(revision);
            view.head.applied = at;
            view.head.membership = Some(membership);
            view.head.revision
        };
        // What was set aside before comes first.
        while self.folded() < at {
            self.fold()?;
        }
        Ok(revision)
    }
}

/// Opens a file over memory; `None` if it was never formed.
fn open(raw: RawFile, owner: Owner) -> Result<Option<Base>, Error> {
    let overlay = Overlay::over(raw).map_err(|error| io_error("len", 0, &error))?;
    let file = Checked::open(Box::new(overlay), owner)?;
    if !file.is_formed() {
        return Ok(None);
    }
    Base::over(file, options(owner).cache_bytes).map(Some)
}

/// What it takes to read a file. Nothing is applied to it: the limits do not matter.
fn options(owner: Owner) -> Options {
    Options {
        owner,
        write_set_bytes_max: 1 << 20,
        cache_bytes: CACHE_BYTES,
        session_inflight_max: 1,
        sessions_max: 1,
        session_replies_bytes_max: 0,
        idempotency_answers_max: 1,
        idempotency_spent_max: 1,
    }
}

fn examined(base: &Base, strays: u64) -> Result<Examined, Error> {
    let loaded = base.load()?;
    let head = loaded.head;
    Ok(Examined {
        is_formed: true,
        folded: head.applied,
        revision: head.revision,
        keys: head.keys,
        state_hash: head.hash,
        sessions: loaded.sessions.len(),
        membership: head.membership,
        strays,
    })
}

fn unformed() -> Examined {
    Examined {
        is_formed: false,
        folded: (Index(0), Term(0)),
        revision: Revision::EMPTY,
        keys: 0,
        state_hash: 0,
        sessions: 0,
        membership: None,
        strays: 0,
    }
}

/// Reads all records, and adds them up.
fn check_rows(base: &Base, found: &Examined) -> Result<(), Error> {
    let damaged = |what: String| base.latch.set(Error::Damaged { offset: None, what });
    let mut rows = Rows::of(base.begin_read()?, Table::Records);
    let (mut keys, mut sum) = (0, 0_u128);
    while let Some((Table::Records, key, row)) = rows.next(base)? {
        let (key, row) = (key.value(), row.value());
        if key.len() < schema::KEYSPACE_BYTES {
            return Err(damaged(format!("a record under a key of {} bytes", key.len())));
        }
        codec::decode_record_header(row)
            .map_err(|error| damaged(format!("a record cannot be read: {error}")))?;
        keys += 1;
        sum = sum.wrapping_add(hash::pair(key, row));
    }
    if (keys, sum) != (found.keys, found.state_hash) {
        return Err(damaged(format!(
            "{keys} keys with the state hash {sum:032x} were read, {} with {:032x} are noted",
            found.keys, found.state_hash
        )));
    }
    Ok(())
}
