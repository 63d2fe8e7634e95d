//! The directory of a demo: `node<i>/` for each node, with its `node.log`. Other files in it are left alone.
//!
//! Two demos cannot share one: the directory itself is locked, without a file for it. A temporary one is removed when
//! the demo ends, in whatever way short of being killed, unless a node that was started by hand still lives in it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::super::Failure;
use crate::clock::SharedClock;

/// A demo's directory.
pub(super) struct Home {
    root: PathBuf,
    /// It was made for this run alone.
    temporary: bool,
    /// Held while the demo runs; absent only in between of a failed start.
    _lock: File,
}

impl Home {
    /// Makes or checks the directory, and all the nodes' ones in it.
    pub(super) fn prepare(dir: Option<&Path>, nodes: u16, clock: &SharedClock) -> Result<Home, Failure> {
        let temporary = dir.is_none();
        let root = dir.map_or_else(
            || std::env::temp_dir().join(format!("quorate-demo-{:016x}", clock.random())),
            Path::to_path_buf,
        );
        let unusable = |error: std::io::Error| unusable(&root, &error.to_string());
        fs::create_dir_all(&root).map_err(unusable)?;
        // Absolute, so that the lines that are printed work from anywhere.
        let absolute = root.canonicalize().map_err(unusable)?;
        let lock = File::open(&absolute).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self::unusable(&root, "another demo is using it")),
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let home = Home { root: absolute, temporary, _lock: lock };
        home.refuse_another_cluster(nodes)?;
        for id in 1..=nodes {
            // Proves that the node can write there, before any node is started.
            home.open_log(id)?;
        }
        Ok(home)
    }

    /// Where a node keeps everything.
    pub(super) fn node_dir(&self, id: u16) -> PathBuf {
        self.root.join(format!("node{id}"))
    }

    /// A node's output, from all its runs.
    pub(super) fn log_path(&self, id: u16) -> PathBuf {
        self.node_dir(id).join("node.log")
    }

    /// Opens a node's output for appending, making its directory if need be.
    pub(super) fn open_log(&self, id: u16) -> Result<File, Failure> {
        let (dir, log) = (self.node_dir(id), self.log_path(id));
        fs::create_dir_all(&dir).map_err(|error| unusable(&dir, &error.to_string()))?;
        let opened = OpenOptions::new().append(true).create(true).open(&log);
        opened.map_err(|error| unusable(&log, &error.to_string()))
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it goes away at the end.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Keeps it after all.
    pub(super) fn keep(&mut self) {
        self.temporary = false;
    }

    /// The members of a cluster are those of its first start. Nodes beyond them would found a cluster of their own
    /// beside it, and nobody could tell which of the two answers.
    fn refuse_another_cluster(&self, nodes: u16) -> Result<(), Failure> {
        let mut ids = 1..=crate::config::MEMBERS_MAX as u16;
        let held: Vec<u16> = ids.clone().filter(|id| self.node_dir(*id).join("identity").exists()).collect();
        if held.is_empty() || held.iter().copied().eq(1..=nodes) {
            return Ok(());
        }
        let count = held.len();
        let size = ids.rfind(|id| self.log_path(*id).exists() || held.contains(id)).unwrap_or_default();
        if usize::from(size) == count {
            let noun = if count == 1 { "node" } else { "nodes" };
            let text =
                format!("it holds a cluster of {count} {noun}, which cannot be changed: use --nodes {count}");
            return Err(unusable(&self.root, &text));
        }
        let held: Vec<String> = held.iter().map(u16::to_string).collect();
        let text =
            format!("of a cluster of {size} nodes it holds the data of node {} alone", held.join(", "));
        Err(unusable(&self.root, &text))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary {
            // Best effort: what cannot be removed is in the directory for temporary things.
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::usage(format!("cannot use {}: {why}; choose another directory with --dir", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn prepare(dir: Option<&Path>, nodes: u16) -> Result<Home, Failure> {
        Home::prepare(dir, nodes, &SystemClock::shared())
    }

    #[test]
    fn a_temporary_directory_goes_away_and_a_named_one_stays() {
        let home = prepare(None, 2).expect("there is room");
        let root = home.root().to_path_buf();
        assert!(root.join("node2/node.log").is_file());
        drop(home);
        assert!(!root.exists());

        let named = tempfile::tempdir().expect("a directory");
        fs::write(named.path().join("mine.txt"), "left alone").expect("a file");
        drop(prepare(Some(named.path()), 1).expect("it is usable"));
        assert!(named.path().join("node1/node.log").is_file() && named.path().join("mine.txt").is_file());
    }

    #[test]
    fn a_temporary_directory_that_is_kept_stays() {
        let mut home = prepare(None, 1).expect("there is room");
        let root = home.root().to_path_buf();
        home.keep();
        drop(home);
        assert!(root.exists());
        fs::remove_dir_all(root).expect("it can be removed");
    }

    #[test]
    fn two_demos_do_not_share_a_directory() {
        let named = tempfile::tempdir().expect("a directory");
        let first = prepare(Some(named.path()), 1).expect("it is free");
        let failure = prepare(Some(named.path()), 1).err().expect("it is in use");
        assert!(failure.text.contains("another demo is using it"), "{}", failure.text);
        drop(first);
        assert!(prepare(Some(named.path()), 1).is_ok());
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let named = tempfile::tempdir().expect("a directory");
        let file = named.path().join("file");
        fs::write(&file, "").expect("a file");
        assert_eq!(prepare(Some(&file), 1).err().expect("a file").code, super::super::USAGE);
        fs::write(named.path().join("node1"), "").expect("a file");
        assert_eq!(prepare(Some(named.path()), 1).err().expect("a file").code, super::super::USAGE);
    }

    #[test]
    fn a_cluster_keeps_its_number_of_nodes() {
        for held in [1, 3, 7] {
            let named = tempfile::tempdir().expect("a directory");
            for id in 1..=held {
                let dir = named.path().join(format!("node{id}"));
                fs::create_dir(&dir).expect("a directory");
                fs::write(dir.join("identity"), "").expect("a file");
            }
            for nodes in (1..=7).filter(|nodes| *nodes != held) {
                let failure = prepare(Some(named.path()), nodes).err().expect("another number");
                assert_eq!(failure.code, super::super::USAGE);
                assert!(failure.text.contains(&format!("use --nodes {held}")), "{}", failure.text);
                assert!(
                    nodes < held || !named.path().join(format!("node{nodes}")).exists(),
                    "nothing is made"
                );
            }
            assert!(prepare(Some(named.path()), held).is_ok());
        }
    }

    #[test]
    fn a_part_of_a_cluster_is_refused() {
        let named = tempfile::tempdir().expect("a directory");
        drop(prepare(Some(named.path()), 3).expect("it is free"));
        assert!(prepare(Some(named.path()), 2).is_ok(), "no node was ever started");
        for id in [1, 3] {
            fs::write(named.path().join(format!("node{id}/identity")), "").expect("a file");
        }
        for nodes in 1..=7 {
            let failure = prepare(Some(named.path()), nodes).err().expect("node 2 has lost its data");
            assert!(
                failure.text.contains("a cluster of 3 nodes it holds the data of node 1, 3"),
                "{}",
                failure.text
            );
        }
    }
}
