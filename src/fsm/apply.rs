//! Applying: committed entries become changes of the write set, and replies.
//!
//! A batch is worked out beside the view, on an overlay of the keys it touches, and becomes visible at once at its
//! end. So readers are locked out only while finished changes are moved in, never while a key is looked up in redb,
//! and they never see half of it. A transaction that chooses (see [`super::txn`]) ends the batch before it and is one by
//! itself: a part. All that a part needs of the file is read before anything changes, sessions
//! included: where the file has to be opened again (see [`super::undo`]), the part begins anew.

mod keyed;
mod txn;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, RwLockReadGuard};

use bytes::Bytes;
use redb::ReadOnlyTable;

use super::base::Base;
use super::key::Key;
use super::schema::{self, Head, Table};
use super::sessions::{Admission, Changes};
use super::store::{Applier, Frozen, Shared, View};
use super::write_set::Change;
use super::{Body, Error, Input, Store, hash};
use crate::codec;
use crate::command::{Command, Condition, Envelope, Op, Record, Reply, Write};
use crate::types::{Index, Keyspace, Revision, Term};

impl Store {
    /// Applies committed entries in order and returns the reply of each. One owner calls this.
    ///
    /// # Errors
    /// [`Error::Undecodable`] if an entry's command cannot be decoded; then nothing of the batch is applied. Any
    /// error of the file. The node stops on each of them.
    ///
    /// # Panics
    /// If the first index is not the one after [`Store::applied`], an index is missing, or the term falls.
    pub fn apply(&self, batch: &[Input]) -> Result<Vec<Reply>, Error> {
        let mut replies = Vec::with_capacity(batch.len());
        while replies.len() < batch.len() {
            replies.extend(self.apply_some(&batch[replies.len()..])?);
        }
        Ok(replies)
    }

    /// The same of the first of them, one at least: as many as there are replies to, which are bounded in bytes. Whoever passes
    /// replies on comes back for the rest, and never has those of a whole batch in memory.
    ///
    /// # Errors
    /// As [`Store::apply`].
    ///
    /// # Panics
    /// As [`Store::apply`].
    pub fn apply_some(&self, batch: &[Input]) -> Result<Vec<Reply>, Error> {
        let base = self.shared.base();
        // Skipped by nobody: not by the next batch either.
        let steps = decode(batch).map_err(|error| base.latch.set(error))?;
        let (mut replies, mut bytes) = (Vec::with_capacity(batch.len()), 0);
        for part in steps.chunk_by(|left, right| !left.is_apart() && !right.is_apart()) {
            let inputs = &batch[replies.len()..replies.len() + part.len()];
            let more = self.shared.reading(|| self.apply_part(inputs, part))?;
            bytes += more.iter().map(Reply::bytes).sum::<usize>();
            replies.extend(more);
            if bytes >= REPLY_BYTES_MAX {
                break;
            }
        }
        Ok(replies)
    }

    /// Applies what becomes visible at once.
    fn apply_part(&self, inputs: &[Input], steps: &[Step]) -> Result<Vec<Reply>, Error> {
        let shared = &*self.shared;
        let mut applier = shared.applier();
        let base = shared.base();
        base.latch.check()?;
        let head = shared.view().head.clone();
        let mut run = Run::new(shared, &base, &mut applier, head)?;
        // All that is needed of the file is read before anything changes: so far the part may begin anew.
        for step in steps {
            run.fetch(step).map_err(|error| match error {
                // That has a way back; anything else is the end of this state.
                Error::NoRoom { .. } => error,
                error => base.latch.set(error),
            })?;
        }
        let mut replies = Vec::with_capacity(inputs.len());
        for (input, step) in inputs.iter().zip(steps) {
            // Half a part may have changed the sessions: after an error nothing must be applied any more.
            let reply = run.step(input.index, input.term, step);
            replies.push(reply.map_err(|error| base.latch.set(error))?);
        }
        run.finish();
        Ok(replies)
    }
}

/// Replies that are handed over at once, in bytes; those of the last part may exceed it.
const REPLY_BYTES_MAX: usize = 8 << 20;

/// An entry, decoded.
enum Step {
    Noop,
    Command {
        envelope: Envelope,
        /// The command, as it is encoded.
        encoded: Bytes,
    },
    Membership(Bytes),
}

impl Step {
    /// Whether it is a part of a batch by itself: what it reads depends on all that is before it, and what it changes may have
    /// to be dropped.
    fn is_apart(&self) -> bool {
        match self {
            Step::Command { envelope, .. } => {
                matches!(envelope.command, Command::Txn(_) | Command::Keyed(_))
            }
            Step::Noop | Step::Membership(_) => false,
        }
    }
}

/// Decodes the whole batch before anything of it is applied.
fn decode(batch: &[Input]) -> Result<Vec<Step>, Error> {
    batch
        .iter()
        .map(|input| match &input.body {
            Body::Noop => Ok(Step::Noop),
            Body::Membership(bytes) => Ok(Step::Membership(bytes.clone())),
            Body::Command(payload) => codec::open_envelope(payload)
                .map(|(envelope, encoded)| Step::Command { envelope, encoded })
                .map_err(|error| Error::Undecodable { index: input.index, what: error.to_string() }),
        })
        .collect()
}

/// A part of a batch while it is being worked out.
pub(super) struct Run<'a> {
    applier: &'a mut Applier,
    head: Head,
    /// Records that the batch read or changed, as they are now.
    records: BTreeMap<Key, Touched>,
    /// Changes of the other tables.
    changes: Changes,
    below: Below<'a>,
    /// What has become of the one command that this part is, if it is apart.
    prepared: Option<txn::Prepared>,
    /// Keys of the store's own, if there are others now.
    own_keys: Option<u64>,
}

/// The records as they were before the batch.
struct Below<'a> {
    shared: &'a Shared,
    base: &'a Base,
    /// What redb holds. It was begun when the batch was, and the set that is being folded at that time, if any, is
    /// looked at first; so it does not matter whether it shows that fold.
    folded: ReadOnlyTable<&'static [u8], &'static [u8]>,
    frozen: Option<Arc<Frozen>>,
    /// The view, while a command that is apart is worked out: it reads many keys of the active set, without a copy.
    held: Option<RwLockReadGuard<'a, View>>,
}

/// A record that the batch read or changed.
struct Touched {
    row: Change,
    changed: bool,
}

impl<'a> Run<'a> {
    fn new(
        shared: &'a Shared,
        base: &'a Base,
        applier: &'a mut Applier,
        head: Head,
    ) -> Result<Run<'a>, Error> {
        let (frozen, txn) = {
            let view = shared.view();
            (view.frozen.clone(), base.begin_read()?)
        };
        let folded = txn.open_table(Table::Records.definition()).map_err(|error| base.fault(error))?;
        let below = Below { shared, base, folded, frozen, held: None };
        let (records, changes) = (BTreeMap::new(), Changes::default());
        Ok(Run { applier, head, records, changes, below, prepared: None, own_keys: None })
    }

    /// Makes the batch visible.
    fn finish(self) {
        let shared = self.below.shared;
        let mut view = shared.view_mut();
        for (key, touched) in self.records {
            if touched.changed {
                view.active.insert(Table::Records, key, touched.row);
            }
        }
        let set_aside = view.set_aside();
        self.applier.sessions.write(self.changes, set_aside, &mut view.active);
        view.head = self.head;
        view.sessions = self.applier.sessions.len();
        view.own_keys = self.own_keys.or(view.own_keys);
        // The next fold is due before this one is done: from now on it matters how long it takes.
        if view.frozen.is_some() && shared.is_half_full(&view) {
            view.base.file.set_hurried(true);
        }
    }

    /// Reads what the entry may ask for or change.
    fn fetch(&mut self, step: &Step) -> Result<(), Error> {
        let Step::Command { envelope, .. } = step else { return Ok(()) };
        let write = match &envelope.command {
            Command::Write(write) => write,
            Command::Txn(txn) => {
                self.below.hold();
                self.prepared = Some(self.prepare(txn)?);
                self.below.held = None;
                return Ok(());
            }
            Command::Keyed(keyed) => {
                let now_ms = self.head.group_time_ms.max(envelope.group_time_ms);
                self.below.hold();
                self.prepared = Some(self.prepare_keyed(keyed, now_ms)?);
                self.below.held = None;
                return Ok(());
            }
            Command::OpenSession { .. } | Command::CloseSession { .. } | Command::HashMark => return Ok(()),
        };
        let conditions = write.conditions.iter().map(|Condition::ModRevision { key, .. }| key);
        let ops = write.ops.iter().map(|(Op::Put { key, .. } | Op::Delete { key })| key);
        for key in conditions.chain(ops) {
            self.touch(schema::record_key(write.keyspace, key))?;
        }
        Ok(())
    }

    /// A record as the batch left it so far.
    fn touch(&mut self, key: Key) -> Result<&mut Touched, Error> {
        self.below.touch(&mut self.records, key)
    }

    fn step(&mut self, index: Index, term: Term, step: &Step) -> Result<Reply, Error> {
        let (last_index, last_term) = self.head.applied;
        assert_eq!(index, last_index.next(), "entries are applied without a gap");
        assert!(term >= last_term, "the entry at {index} has term {term}, the one before it {last_term}");
        self.head.applied = (index, term);
        match step {
            Step::Noop => Ok(Reply::Void),
            Step::Membership(bytes) => {
                // A copy: the slice would keep the whole frame it came in.
                self.head.membership = Some(Bytes::copy_from_slice(bytes));
                Ok(Reply::Void)
            }
            Step::Command { envelope, encoded } => self.on_command(index, term, envelope, encoded),
        }
    }

    fn on_command(
        &mut self,
        index: Index,
        term: Term,
        envelope: &Envelope,
        encoded: &[u8],
    ) -> Result<Reply, Error> {
        // A deposed leader's own command must not take effect in its successor's term (H23), nor may its clock.
        if envelope.command.is_leader_made() && envelope.term != term {
            return Ok(Reply::Void);
        }
        self.head.group_time_ms = self.head.group_time_ms.max(envelope.group_time_ms);
        let sessions = &mut self.applier.sessions;
        match (&envelope.command, envelope.session) {
            (command @ (Command::Write(_) | Command::Txn(_)), None) => self.execute(command),
            (command @ (Command::Write(_) | Command::Txn(_)), Some(at)) => {
                let digest = hash::digest(encoded);
                let inflight_max = self.below.shared.options.session_inflight_max;
                match sessions.admit(at, digest, index, inflight_max, &mut self.changes) {
                    Admission::Answer(reply) => {
                        self.drop_prepared();
                        Ok(reply)
                    }
                    Admission::Execute => {
                        let reply = self.execute(command)?;
                        let bytes_max = self.below.shared.options.session_replies_bytes_max;
                        let (sessions, changes) = (&mut self.applier.sessions, &mut self.changes);
                        sessions.record(at, digest, reply.clone(), bytes_max, changes);
                        Ok(reply)
                    }
                }
            }
            // To open, to close and to report the hash are harmless when repeated: they take no place in a session.
            (Command::OpenSession { client }, _) => {
                let sessions_max = self.below.shared.options.sessions_max;
                Ok(sessions.open(*client, index, sessions_max, &mut self.changes))
            }
            (Command::CloseSession { client }, _) => Ok(sessions.close(*client, &mut self.changes)),
            (Command::HashMark, _) => Ok(Reply::Hash(self.head.hash)),
            (Command::Keyed(_), _) => Ok(self.take_prepared()),
        }
    }

    /// What changes keys.
    fn execute(&mut self, command: &Command) -> Result<Reply, Error> {
        match command {
            Command::Write(write) => self.on_write(write),
            Command::Txn(_) => Ok(self.take_prepared()),
            other => unreachable!("{other:?} changes no keys"),
        }
    }

    fn on_write(&mut self, write: &Write) -> Result<Reply, Error> {
        let keyspace = write.keyspace;
        for Condition::ModRevision { key, revision } in &write.conditions {
            let found = self.touch(schema::record_key(keyspace, key))?.header()?;
            let found = found.map_or(Revision(0), |record| record.mod_revision);
            if found != *revision {
                return Ok(Reply::ConditionFailed { revision: self.head.revision });
            }
        }
        let revision = self.head.revision.next();
        let mut changed = false;
        let mut deleted = 0;
        for op in &write.ops {
            match op {
                Op::Put { key, value } => {
                    self.put(keyspace, key, value.clone(), revision)?;
                    changed = true;
                }
                Op::Delete { key } => {
                    let existed = self.delete(keyspace, key)?;
                    deleted += u64::from(existed);
                    changed |= existed;
                }
            }
        }
        if changed {
            self.head.revision = revision;
        }
        Ok(Reply::Written { revision: self.head.revision, deleted })
    }

    fn put(&mut self, keyspace: Keyspace, key: &[u8], value: Bytes, revision: Revision) -> Result<(), Error> {
        let key = schema::record_key(keyspace, key);
        let touched = self.below.touch(&mut self.records, key.clone())?;
        let old = touched.header()?;
        let (create_revision, version) =
            old.as_ref().map_or((revision, 1), |old| (old.create_revision, old.version + 1));
        if old.is_none() {
            self.head.keys += 1;
        }
        let record = Record { create_revision, mod_revision: revision, version, lease: 0, value };
        touched.change(&key, Some(codec::encode_record(&record)), &mut self.head);
        Ok(())
    }

    /// Says whether the key was there.
    fn delete(&mut self, keyspace: Keyspace, key: &[u8]) -> Result<bool, Error> {
        let key = schema::record_key(keyspace, key);
        let touched = self.below.touch(&mut self.records, key.clone())?;
        if touched.row.is_none() {
            return Ok(false);
        }
        self.head.keys -= 1;
        touched.change(&key, None, &mut self.head);
        Ok(true)
    }
}

impl Touched {
    /// The record without its value.
    fn header(&self) -> Result<Option<Record>, Error> {
        let record = self.row.as_ref().map(|row| codec::decode_record_header(row)).transpose();
        record.map_err(|error| schema::broken("record", &error.to_string()))
    }

    /// Another row takes the place of this one, in the state hash too.
    fn change(&mut self, key: &[u8], row: Change, head: &mut Head) {
        if let Some(old) = &self.row {
            head.hash = head.hash.wrapping_sub(hash::pair(key, old));
        }
        if let Some(new) = &row {
            head.hash = head.hash.wrapping_add(hash::pair(key, new));
        }
        *self = Touched { row, changed: true };
    }
}

impl<'a> Below<'a> {
    /// Keeps the view from changing for a while, and from being asked for again and again.
    fn hold(&mut self) {
        self.held = Some(self.shared.view());
    }

    /// A record as the batch left it in `records`, or else as it was before.
    fn touch<'r>(&self, records: &'r mut BTreeMap<Key, Touched>, key: Key) -> Result<&'r mut Touched, Error> {
        match records.entry(key) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let row = self.look_up(entry.key())?;
                Ok(entry.insert(Touched { row, changed: false }))
            }
        }
    }

    /// A record's row before the batch.
    fn look_up(&self, key: &[u8]) -> Result<Change, Error> {
        // A thread that has the lock already must not ask for it again: somebody may wait to write.
        let change = match &self.held {
            Some(view) => view.active.get(Table::Records, key).cloned(),
            None => self.shared.view().active.get(Table::Records, key).cloned(),
        };
        if let Some(change) = change {
            return Ok(change);
        }
        if let Some(change) = self.frozen.as_ref().and_then(|frozen| frozen.set.get(Table::Records, key)) {
            return Ok(change.clone());
        }
        let row = self.folded.get(key).map_err(|error| self.base.fault(error))?;
        Ok(row.map(|row| Bytes::copy_from_slice(row.value())))
    }
}
