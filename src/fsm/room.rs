//! Room: what the rows need on disk, and what folds may write before they free anything (H18).
//!
//! redb changes nothing in place: a fold writes each page that it touches anew, and the old ones are free only when it is
//! durable. So it needs more room than it adds, and one that finds none in the middle is undone, with all that it wrote
//! ([`super::undo`]). These are estimates, on the large side, from counts that are kept anyway; nothing is walked. Whoever starts
//! folds compares them with what is free.

use super::Store;
use super::layout::BLOCK_BYTES;
use super::rewrite::Folding;
use super::store::View;
use super::write_set::WriteSet;

/// What redb writes with each of a fold's commits besides rows: its header, the allocator's state, its own tables.
const COMMIT_BYTES: u64 = 64 << 10;

/// redb's allocator keeps less than a byte for so many bytes of its file, and writes that with each commit.
const ALLOCATED_BYTES_PER_BYTE: u64 = 8 << 10;

/// A state file's need of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What the rows in the file take.
    pub rows_bytes: u64,
    /// What the changes that are not folded yet may add to that.
    pub added_bytes: u64,
    /// What folding them writes at the most, until it frees what it replaces.
    pub folds_bytes: u64,
}

impl Store {
    /// What this state needs on disk.
    pub fn needs(&self) -> Needs {
        let view = self.shared.view();
        let active = (view.head.applied != view.folded).then_some(&view.active);
        let sets = view.frozen.iter().map(|frozen| &frozen.set).chain(active);
        let (added, folds) = sets.map(|set| (added_bytes(set), view.fold_bytes(set))).fold((0, 0), plus);
        Needs { rows_bytes: view.base.needed_bytes(), added_bytes: added, folds_bytes: folds }
    }

    /// What the next [`Store::fold`] writes at the most: pages that go into any free ones, and rows that need room in one piece,
    /// which free pages that lie scattered do not give. Waits for one that is under way.
    pub fn next_fold_bytes(&self) -> (u64, u64) {
        let folding = self.shared.folding();
        let view = self.shared.view();
        let set = match &view.frozen {
            Some(frozen) => &frozen.set,
            None if view.head.applied == view.folded => return (0, 0),
            // How far the state is, is written too, though no row has changed.
            None => &view.active,
        };
        // While a file is rewritten, folds may go into both.
        let files = if Folding::is_twofold(&folding) { 2 } else { 1 };
        let added = added_bytes(set);
        (files * (view.fold_bytes(set) - added), files * added)
    }
}

impl View {
    /// What folding this set writes at the most.
    fn fold_bytes(&self, set: &WriteSet) -> u64 {
        let rows = self.base.needed_bytes();
        // A leaf for each row, and of the pages above them an eighth as many; but no more than there are.
        let touched = (set.len() as u64 * BLOCK_BYTES as u64).min(rows);
        let commit = 2 * (COMMIT_BYTES + self.base.file.raw_bytes() / ALLOCATED_BYTES_PER_BYTE);
        touched + touched / 8 + added_bytes(set) + commit
    }
}

/// What a set may add: a row that is large has pages of its own, of a power of two.
fn added_bytes(set: &WriteSet) -> u64 {
    2 * set.bytes() as u64
}

fn plus(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0 + other.0, one.1 + other.1)
}

/// What the file of a snapshot takes whose rows cost so much, while it is written and afterwards.
pub fn staged_bytes(rows_cost_bytes: u64) -> u64 {
    rows_cost_bytes.saturating_mul(2).saturating_add(16 * COMMIT_BYTES)
}
