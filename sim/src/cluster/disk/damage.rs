//! Damage: synced bytes that change, writes that land elsewhere, a disk replaced by an empty one.

use std::path::{Path, PathBuf};

use super::{Disk, Entry, InodeId, SECTOR_BYTES, State};

/// What redb writes as a whole.
const BLOCK_BYTES: usize = 4 << 10;

/// What of a node a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its log.
    Log,
    /// Its state.
    State,
    /// Who it is.
    Identity,
}

impl Part {
    fn of(path: &Path) -> Part {
        match (is_log(path), is_state(path)) {
            (true, _) => Part::Log,
            (_, true) => Part::State,
            _ => Part::Identity,
        }
    }
}

impl Disk {
    /// Changes some synced bytes of one file that the node lives from. Returns where, unless nothing was synced yet.
    pub fn rot(&self, rng: &mut fastrand::Rng) -> Option<(Part, String)> {
        let mut state = self.lock();
        let (path, id) = state.victim(rng)?;
        let is_beyond_repair = is_log(&path) && rng.u32(..3) == 0;
        let inode = state.inodes.get_mut(&id)?;
        let sector_bytes = usize::try_from(SECTOR_BYTES).expect("small");
        if is_beyond_repair && inode.durable().len() >= 2 * sector_bytes {
            // What a segment begins with stands there twice: neither is what it was.
            let mut garble = |sector| {
                inode.garble(sector, sector_bytes, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 0xa5))
            };
            let did = [0, sector_bytes].map(&mut garble);
            return did
                .contains(&true)
                .then(|| (Part::Log, format!("{} both first sectors", path.display())));
        }
        let is_used = |sector: &usize| {
            let end = inode.durable().len().min(sector + sector_bytes);
            inode.durable()[*sector..end].iter().any(|byte| *byte != 0)
        };
        let used: Vec<usize> = (0..inode.durable().len()).step_by(sector_bytes).filter(is_used).collect();
        // Half of the time where the file was written last, for that is where an end could be mistaken.
        let recent = used.len().saturating_sub(if rng.bool() { 4 } else { used.len() });
        let sector = *used.get(rng.usize(recent..used.len().max(recent + 1)))?;
        let len = sector_bytes.min(inode.durable().len() - sector);
        let bits = [1, 1, 3, 100][rng.usize(..4)];
        let first = rng.usize(..len);
        let did = inode.garble(sector, len, |bytes| {
            for flip in 0..bits.min(len) {
                bytes[(first + flip) % len] ^= 1 << rng.u32(..8);
            }
            // A sector that is wholly zero could be one that was never written.
            if bytes.iter().all(|byte| *byte == 0) {
                bytes[first] = 0xff;
            }
        });
        did.then(|| (Part::of(&path), format!("{} sector at {sector}, {bits} bits", path.display())))
    }

    /// The last write that is not synced lands in another place of its file. The power must be cut. Returns where.
    pub fn misdirect(&self, rng: &mut fastrand::Rng) -> Option<(Part, String)> {
        let mut state = self.lock();
        let files: Vec<(PathBuf, InodeId)> =
            state.files().filter(|(path, _)| is_log(path) || is_state(path)).collect();
        files.into_iter().find_map(|(path, id)| {
            let align =
                if is_state(&path) { BLOCK_BYTES } else { usize::try_from(SECTOR_BYTES).expect("small") };
            let (from, to) = state.inodes.get_mut(&id)?.misdirect(align, rng)?;
            Some((Part::of(&path), format!("{} write at {from} landed at {to}", path.display())))
        })
    }

    /// Everything is gone but `directory`. The power must be cut.
    pub fn wipe(&self, directory: &Path) {
        let mut state = self.lock();
        let epoch = state.epoch;
        *state = State::empty(directory);
        state.epoch = epoch;
        state.release();
    }
}

impl State {
    fn files(&self) -> impl Iterator<Item = (PathBuf, InodeId)> + '_ {
        self.names.iter().filter_map(|(path, entry)| match entry {
            Entry::File(id) => Some((path.clone(), *id)),
            Entry::Directory => None,
        })
    }

    /// A file to damage: mostly of the log or the state, now and then the identity.
    fn victim(&self, rng: &mut fastrand::Rng) -> Option<(PathBuf, InodeId)> {
        let wanted: fn(&Path) -> bool =
            [is_log, is_log, is_log, is_state, is_state, is_identity][rng.usize(..6)];
        let files: Vec<(PathBuf, InodeId)> = self.files().filter(|(path, _)| wanted(path)).collect();
        // The newest segment twice as often as each of the others.
        let at = rng.usize(..=files.len()).min(files.len().saturating_sub(1));
        files.get(at).cloned()
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

fn is_state(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "redb")
}

fn is_identity(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "identity" || name == "identity.copy")
}
