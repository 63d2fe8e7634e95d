//! Who this data directory is, and which data directories it has met.
//!
//! A node that lost its disk has forgotten its votes and acknowledgements; letting it back under its old id can lose
//! committed writes (H35). So each directory draws a random incarnation when it is created, and each node durably
//! records the first incarnation it meets of every member and refuses any other under that id.
//!
//! ```text
//! identity (text, replaced as a whole: temporary file, fsync, rename, directory fsync)
//!
//!   quorate identity 1            format version
//!   node 1
//!   cluster 9c1f5e0b7a3d2846      16 hex digits
//!   token-hash 51ab03c9f4d2e607   of --cluster-token, so that a wrong token is told from a changed member list
//!   incarnation 3f9a6d1c20b4e785
//!   state ready                   or `creating`, until log and state file exist; who joins another cluster is first
//!                                 `joining` (node and cluster are 0, or the id that it asks for), then `joined`
//!   recovered 1                   only where a quorum, or the log, was lost: log and state file lie below `recovered-1`
//!   replaces 3 3f9a6d1c20b4e785 0 a line for each log that had to be given up, oldest first: which member this directory
//!                                 was, under which incarnation, and in which home its files stayed (0: this directory)
//!   peer 2 71c60a9d5e8f4b32       one line a member met, in id order
//!   crc 5d8c2f10                  CRC-32 of all lines before
//! ```
//!
//! **After the loss of a quorum** (`quorate recover`) log and state file of the new cluster lie in a directory of their own,
//! `recovered-N` below this one. The identity file names it: its replacement is what makes the new cluster be, and the old
//! one no longer. What was there before stays as it was, and the old identity as `identity.before-recovered-N`.
//!
//! **After the loss of the log** ([`Identity::give_up`]) a directory is a new one in all but its place: it has an incarnation
//! of its own, no id, and asks to be let into the cluster that it knows; log and state file will lie in the next
//! `recovered-N`. All of this is one replacement of this file, so a crash leaves a directory that was never given up, or one
//! that asks (`server/rejoin.rs` tells the whole story). The line `replaces` stays for ever: whoever starts the node with the
//! id that it once had means this directory. Whom it had met it still knows.
//!
//! **Two copies.** The file stands in the directory twice, as `identity` and `identity.copy`, and the copy is replaced first.
//! One that is not what was written is taken from the other, and written anew: the copy is never older, and what it has
//! that `identity` had not was recorded and is true. With both damaged the node does not start.
//!
//! **Order at the first start**: identity `creating`, log, state file, identity `ready`. A crash in between starts
//! over. A `ready` identity without its log is damage: the log held the vote.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Fatal, FatalSender};
use crate::transport::{Admission, NotAdmitted};
use crate::types::{ClusterId, Incarnation, NodeId, Owner};
use crate::wal::fs::{self, Fs, SharedFs};

const FILE: &str = "identity";
/// The same once more, written first.
const COPY: &str = "identity.copy";
const HEADER: &str = "quorate identity 1";
/// What the identity of before a recovery is called, up to its number.
const BEFORE: &str = "identity.before-recovered-";

/// Why a directory's identity could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system failed.
    #[error("{}: {source}; check the disk, or use another --data-dir", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{}: {what}; the node does not start from it, for nothing else says who it is and what it may have promised. The \
         other members serve on. Put back `identity` or `identity.copy` if one of them exists elsewhere; else remove this \
         member from the cluster, and let a new node join it in another, empty --data-dir with --join and without its old \
         id. Keep this directory as it is until that one has caught up",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The directory is another node's or another cluster's.
    #[error("{}: {what}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

/// What a directory is asked to be.
#[derive(Clone, Debug)]
pub struct Expected<'a> {
    /// This node; 0: whichever the directory is of.
    pub node: NodeId,
    /// The cluster's token.
    pub token: &'a str,
    /// The members of a new cluster.
    pub members: Vec<NodeId>,
    /// Whether a new directory is to join a cluster instead of founding one.
    pub joins: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    node: NodeId,
    cluster: ClusterId,
    token_hash: u64,
    incarnation: Incarnation,
    stage: Stage,
    /// How often a quorum was lost and one survivor's data made a new cluster.
    recovered: u64,
    /// Which members it was until a log had to be given up, oldest first.
    formers: Vec<Former>,
    peers: BTreeMap<NodeId, Incarnation>,
}

/// A member that a directory was until its log had to be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// Its id.
    pub node: NodeId,
    /// The directory's incarnation of that time.
    pub incarnation: Incarnation,
    /// The number of the home in which its files stayed.
    pub recovered: u64,
}

impl Former {
    /// Where its log and state file are.
    pub fn home(&self, dir: &Path) -> PathBuf {
        home(dir, self.recovered)
    }
}

/// How far a directory's first start has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It founds a cluster with others.
    Creating,
    /// It asks to be let into a cluster.
    Joining,
    /// It was let in: its log begins without a configuration.
    Joined,
    /// Log and state file exist.
    Ready,
}

impl Stage {
    const ALL: [(Stage, &'static str); 4] = [
        (Stage::Creating, "creating"),
        (Stage::Joining, "joining"),
        (Stage::Joined, "joined"),
        (Stage::Ready, "ready"),
    ];

    fn name(self) -> &'static str {
        Stage::ALL.into_iter().find(|(stage, _)| *stage == self).map_or("", |(_, name)| name)
    }

    fn parse(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|(_, known)| *known == name).map(|(stage, _)| stage)
    }
}

/// What a directory's identity says, for who only looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose log and state file lie beside it; the cluster and the node are 0 while it asks to be let into one.
    pub owner: Owner,
    /// How far its first start has come, as the file has it.
    pub stage: &'static str,
    /// Whether that is done: log and state file must be there.
    pub is_ready: bool,
    /// The number of the home that log and state file are in: the directory itself is 0.
    pub recovered: u64,
    /// Which member it was before it had to give up its last log.
    pub replaces: Option<Former>,
    /// The file's length.
    pub bytes: u64,
    /// Which of its two files is damaged, and how, if one is: the next start makes it anew from the other.
    pub damaged: Option<(&'static str, &'static str)>,
}

impl Facts {
    /// Where log and state file are.
    pub fn home(&self, dir: &Path) -> PathBuf {
        home(dir, self.recovered)
    }

    /// Where those of the next recovery would be.
    pub fn next_home(&self, dir: &Path) -> PathBuf {
        home(dir, self.recovered + 1)
    }
}

fn home(dir: &Path, recovered: u64) -> PathBuf {
    match recovered {
        0 => dir.to_path_buf(),
        number => dir.join(format!("recovered-{number}")),
    }
}

/// Whether anything lies in a home: a try at `quorate recover` that came to nothing may have left something there.
fn is_used(fs: &dyn Fs, home: &Path) -> io::Result<bool> {
    for dir in [home.join("wal"), home.to_path_buf()] {
        match fs.list(&dir) {
            Ok(names) if !names.is_empty() => return Ok(true),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(false)
}

/// Makes the directory `owner`'s, in one step: from now on its log and state file are those in [`Facts::next_home`], which
/// must be durable. It has met nobody. The token stays.
///
/// # Errors
/// If that cannot be recorded; the directory may be either then.
pub fn recover(fs: &dyn Fs, dir: &Path, owner: Owner) -> Result<(), Error> {
    let path = dir.join(FILE);
    let io = |source| Error::Io { path: path.clone(), source };
    let (content, _) = load(fs, &path)?;
    let before = content.encode();
    let content = Content {
        node: owner.node,
        cluster: owner.cluster,
        token_hash: content.token_hash,
        incarnation: owner.incarnation,
        stage: Stage::Ready,
        recovered: content.recovered + 1,
        formers: Vec::new(),
        peers: BTreeMap::new(),
    };
    let kept = dir.join(format!("{BEFORE}{}", content.recovered));
    fs::replace(fs, &kept, before.as_bytes()).map_err(io)?;
    put(fs, &path, &content).map_err(io)
}

/// Reads the identity of a directory and changes nothing; `None` if it has none.
///
/// # Errors
/// [`Error::Io`] and [`Error::Damaged`].
pub fn read(fs: &dyn Fs, dir: &Path) -> Result<Option<Facts>, Error> {
    let path = dir.join(FILE);
    match load(fs, &path) {
        Ok((content, stale)) => {
            let damaged = stale.and_then(|stale| Some((stale.file, stale.damage?)));
            Ok(Some(content.facts(content.encode().len() as u64, damaged)))
        }
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// One of the two files is not what it should be.
struct Stale {
    file: &'static str,
    /// What is wrong with it. `None` if a crash explains it: between the two, only one of them is replaced.
    damage: Option<&'static str>,
}

/// Reads an identity; also says which of its two files is not what it should be, if one is not. A directory without
/// `identity` has none, whatever else is there.
fn load(fs: &dyn Fs, path: &Path) -> Result<(Content, Option<Stale>), Error> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let first = Content::decode(&fs::read_all(fs, path).map_err(io)?);
    let second = match fs::read_all(fs, &path.with_file_name(COPY)) {
        Ok(bytes) => Some(Content::decode(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(io(source)),
    };
    let stale = |file, damage| Some(Stale { file, damage });
    match (first, second) {
        (Ok(first), Some(Ok(second))) if first == second => Ok((first, None)),
        (Ok(first), Some(Err(damage))) => Ok((first, stale(COPY, Some(damage)))),
        // The copy is ahead where its writer was interrupted: nobody was told of that.
        (Ok(first), _) => Ok((first, stale(COPY, None))),
        (Err(damage), Some(Ok(second))) => Ok((second, stale(FILE, Some(damage)))),
        (Err(what), _) => Err(Error::Damaged { path: path.to_path_buf(), what: what.to_owned() }),
    }
}

/// Replaces both files, the copy first.
fn put(fs: &dyn Fs, path: &Path, content: &Content) -> io::Result<()> {
    let text = content.encode();
    fs::replace(fs, &path.with_file_name(COPY), text.as_bytes())?;
    fs::replace(fs, path, text.as_bytes())
}

/// A directory's identity, and the record of those it has met.
pub struct Identity {
    fs: SharedFs,
    path: PathBuf,
    content: Mutex<Content>,
}

impl Identity {
    /// Takes a directory's identity, or gives a new directory one.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the directory is another node's or of a cluster with another token.
    pub fn open(fs: SharedFs, dir: &Path, expected: &Expected<'_>, random: u64) -> Result<Identity, Error> {
        let path = dir.join(FILE);
        let io = |source| Error::Io { path: path.clone(), source };
        let of_dir = |source| Error::Io { path: dir.to_path_buf(), source };
        fs::make_dirs(&*fs, dir).map_err(of_dir)?;
        let names = fs.list(dir).map_err(of_dir)?;
        let content = if names.iter().any(|name| name == FILE) {
            let (content, stale) = load(&*fs, &path)?;
            // A process that died between rename and directory fsync left a name that a power cut may still take back
            // (H14): what was read is acted upon from now on.
            fs.sync_dir(dir).map_err(of_dir)?;
            content.check(expected).map_err(|what| Error::Foreign { path: path.clone(), what })?;
            if let Some(stale) = stale {
                let file = path.with_file_name(stale.file);
                tracing::warn!(file = %file.display(), "not what was written, or behind: made anew from the other copy");
                match put(&*fs, &path, &content) {
                    // The other copy is as good as it was (H18).
                    Err(error) if fs::is_out_of_room(&error) => {
                        tracing::warn!(file = %file.display(), %error, "there is no room for it: it is made anew at a later start");
                    }
                    done => done.map_err(io)?,
                }
            }
            content
        } else {
            let of_a_node =
                |name: &&String| ["wal", "state.redb"].contains(&name.as_str()) || name.starts_with(BEFORE);
            if let Some(found) = names.iter().find(of_a_node) {
                let what = format!("the identity file is missing beside {found}");
                return Err(Error::Damaged { path, what });
            }
            let content = match expected.joins {
                true => Content::joining(expected, Incarnation(random)),
                false => Content::new(expected, Incarnation(random)),
            };
            put(&*fs, &path, &content).map_err(io)?;
            content
        };
        Ok(Identity { fs, path, content: Mutex::new(content) })
    }

    /// Whether log and state file were created: if so, they must be there.
    pub fn is_ready(&self) -> bool {
        self.lock().stage == Stage::Ready
    }

    /// Whether it still has to be let into its cluster.
    pub fn is_joining(&self) -> bool {
        self.lock().stage == Stage::Joining
    }

    /// Whether it came into its cluster by joining, and its log does not exist yet.
    pub fn has_joined(&self) -> bool {
        self.lock().stage == Stage::Joined
    }

    /// Where log and state file are.
    pub fn home(&self, dir: &Path) -> PathBuf {
        home(dir, self.lock().recovered)
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.lock().node
    }

    /// It was let into a cluster, under this id.
    ///
    /// # Errors
    /// If that cannot be recorded.
    pub fn set_joined(&self, cluster: ClusterId, node: NodeId) -> Result<(), Error> {
        let mut content = self.lock();
        assert_eq!(content.stage, Stage::Joining, "only who asks is let in");
        let changed = Content { stage: Stage::Joined, cluster, node, ..content.clone() };
        self.store(&mut content, changed)
    }

    /// The log is lost, and with it what this member promised: from now on the directory is nobody's, and asks under this
    /// incarnation to be let in for the one that it was, which is returned. Its files stay where they are; the next ones
    /// will lie in a home that nobody used before.
    ///
    /// # Errors
    /// If that cannot be recorded; the directory may be either then.
    pub fn give_up(&self, incarnation: Incarnation) -> Result<Former, Error> {
        let mut content = self.lock();
        assert_ne!(content.stage, Stage::Joining, "who asks to be let in has no log");
        assert_ne!(content.incarnation, incarnation, "it would be taken for the node that it was");
        let io = |source| Error::Io { path: self.path.clone(), source };
        let dir = self.path.parent().ok_or_else(|| io(io::Error::other("a file needs a directory")))?;
        let mut number = content.recovered + 1;
        while is_used(&*self.fs, &home(dir, number)).map_err(io)? {
            number += 1;
        }
        let kept = dir.join(format!("{BEFORE}{number}"));
        fs::replace(&*self.fs, &kept, content.encode().as_bytes()).map_err(io)?;
        let former =
            Former { node: content.node, incarnation: content.incarnation, recovered: content.recovered };
        let mut formers = content.formers.clone();
        formers.push(former);
        let (stage, node) = (Stage::Joining, NodeId(0));
        let changed = Content { stage, node, incarnation, recovered: number, formers, ..content.clone() };
        self.store(&mut content, changed)?;
        Ok(former)
    }

    /// Which member it is now, and where its files are.
    pub fn current(&self) -> Former {
        let content = self.lock();
        Former { node: content.node, incarnation: content.incarnation, recovered: content.recovered }
    }

    /// Which members this directory was until a log had to be given up, oldest first.
    pub fn formers(&self) -> Vec<Former> {
        self.lock().formers.clone()
    }

    /// Log and state file exist from now on.
    ///
    /// # Errors
    /// If that cannot be recorded.
    pub fn set_ready(&self) -> Result<(), Error> {
        let mut content = self.lock();
        let changed = Content { stage: Stage::Ready, ..content.clone() };
        self.store(&mut content, changed)
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.lock().cluster
    }

    /// The hash of its token.
    pub fn token_hash(&self) -> u64 {
        self.lock().token_hash
    }

    /// This directory's incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.lock().incarnation
    }

    /// The first incarnation met of `peer`: this one, durably from now on, if there was none.
    fn first_met(&self, peer: NodeId, incarnation: Incarnation) -> Result<Incarnation, Error> {
        // One lock from the look to the record: of two that come at once under one id, one is the first.
        let mut content = self.lock();
        if let Some(known) = content.peers.get(&peer) {
            return Ok(*known);
        }
        let mut changed = content.clone();
        changed.peers.insert(peer, incarnation);
        self.store(&mut content, changed)?;
        Ok(incarnation)
    }

    fn store(&self, content: &mut Content, changed: Content) -> Result<(), Error> {
        put(&*self.fs, &self.path, &changed)
            .map_err(|source| Error::Io { path: self.path.clone(), source })?;
        *content = changed;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity at the peers' door.
pub struct Gate {
    identity: Identity,
    fatal: FatalSender,
}

impl Gate {
    /// A gate that reports to `fatal` when it cannot record whom it met.
    pub fn new(identity: Identity, fatal: FatalSender) -> Gate {
        Gate { identity, fatal }
    }
}

impl Admission for Gate {
    fn admit(&self, peer: NodeId, incarnation: Incarnation) -> Result<(), NotAdmitted> {
        let known = self.identity.first_met(peer, incarnation).map_err(|error| {
            // The peer is not to blame, and must not be told that it is. On a full disk what was there is still there (H18):
            // this peer has to wait.
            if matches!(&error, Error::Io { source, .. } if fs::is_out_of_room(source)) {
                return NotAdmitted::Failed(format!("this node has no room to record whom it met: {error}"));
            }
            // Else it is this node that has to go.
            self.fatal.report(Fatal::Disk(error.to_string()));
            NotAdmitted::Failed(format!("this node cannot record whom it met and stops: {error}"))
        })?;
        if known == incarnation {
            return Ok(());
        }
        Err(NotAdmitted::Other(format!(
            "node {peer} was known with the data directory {:016x}, this one is {:016x}: its disk was replaced or wiped, \
             and with it its votes; it cannot come back under this id",
            known.0, incarnation.0
        )))
    }
}

/// The id of a cluster that starts with these members: no addresses, so that they may differ between nodes.
fn cluster_id(token: &str, members: &[NodeId]) -> ClusterId {
    let mut sorted: Vec<u64> = members.iter().map(|id| id.0).collect();
    sorted.sort_unstable();
    let mut text = format!("{}:{token}", token.len());
    for id in sorted {
        let _ = write!(text, ",{id}");
    }
    ClusterId(hash(&text))
}

/// XXH3: the same on every platform and in every version.
fn hash(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

impl Content {
    fn new(expected: &Expected<'_>, incarnation: Incarnation) -> Content {
        Content {
            node: expected.node,
            cluster: cluster_id(expected.token, &expected.members),
            token_hash: hash(expected.token),
            incarnation,
            stage: Stage::Creating,
            recovered: 0,
            formers: Vec::new(),
            peers: BTreeMap::new(),
        }
    }

    fn joining(expected: &Expected<'_>, incarnation: Incarnation) -> Content {
        let stage = Stage::Joining;
        Content { stage, cluster: ClusterId(0), ..Content::new(expected, incarnation) }
    }

    fn facts(&self, bytes: u64, damaged: Option<(&'static str, &'static str)>) -> Facts {
        let owner = Owner { cluster: self.cluster, node: self.node, incarnation: self.incarnation };
        Facts {
            owner,
            stage: self.stage.name(),
            is_ready: self.stage == Stage::Ready,
            recovered: self.recovered,
            replaces: self.formers.last().copied(),
            bytes,
            damaged,
        }
    }

    fn check(&self, expected: &Expected<'_>) -> Result<(), String> {
        let asks_anew = self.stage == Stage::Joining && self.node == NodeId(0) && self.formers.is_empty();
        let was = self.formers.iter().any(|former| former.node == expected.node);
        if expected.node != NodeId(0) && self.node != expected.node && !asks_anew && !was {
            return Err(format!("this directory is node {}'s, not node {}'s", self.node, expected.node));
        }
        if self.token_hash != hash(expected.token) {
            let text = "this directory belongs to a cluster with another --cluster-token; use that token, or another \
                        directory";
            return Err(text.into());
        }
        Ok(())
    }

    fn encode(&self) -> String {
        let state = self.stage.name();
        let mut text = format!(
            "{HEADER}\nnode {}\ncluster {:016x}\ntoken-hash {:016x}\nincarnation {:016x}\nstate {state}\n",
            self.node, self.cluster.0, self.token_hash, self.incarnation.0
        );
        if self.recovered > 0 {
            let _ = writeln!(text, "recovered {}", self.recovered);
        }
        for Former { node, incarnation, recovered } in &self.formers {
            let _ = writeln!(text, "replaces {node} {:016x} {recovered}", incarnation.0);
        }
        for (peer, incarnation) in &self.peers {
            let _ = writeln!(text, "peer {peer} {:016x}", incarnation.0);
        }
        let crc = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "crc {crc:08x}");
        text
    }

    fn decode(bytes: &[u8]) -> Result<Content, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text")?;
        let body_len = text.trim_end_matches('\n').rfind('\n').ok_or("too short")? + 1;
        let (body, last) = text.split_at(body_len);
        if !body.starts_with(HEADER) {
            return Err("not an identity file of a version this binary knows");
        }
        let crc = last.strip_prefix("crc ").ok_or("the checksum line is missing")?;
        if format!("{:08x}\n", crc32fast::hash(body.as_bytes())) != crc {
            return Err("the checksum does not match");
        }
        let hex = |word: &str| u64::from_str_radix(word, 16).map_err(|_| "a number is malformed");
        let decimal = |word: &str| word.parse::<u64>().map_err(|_| "a number is malformed");
        let (mut node, mut cluster, mut token, mut incarnation, mut stage) = (None, None, None, None, None);
        let (mut recovered, mut formers, mut peers) = (0, Vec::new(), BTreeMap::new());
        for line in body.lines().skip(1) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["node", id] => node = Some(NodeId(decimal(id)?)),
                ["cluster", id] => cluster = Some(ClusterId(hex(id)?)),
                ["token-hash", value] => token = Some(hex(value)?),
                ["incarnation", value] => incarnation = Some(Incarnation(hex(value)?)),
                ["state", name] => stage = Some(Stage::parse(name).ok_or("a state is unknown")?),
                ["recovered", number] => recovered = decimal(number)?,
                ["replaces", id, value, home] => formers.push(Former {
                    node: NodeId(decimal(id)?),
                    incarnation: Incarnation(hex(value)?),
                    recovered: decimal(home)?,
                }),
                ["peer", id, value] => {
                    peers.insert(NodeId(decimal(id)?), Incarnation(hex(value)?));
                }
                _ => return Err("a line is unknown"),
            }
        }
        let content = match (node, cluster, token, incarnation, stage) {
            (Some(node), Some(cluster), Some(token_hash), Some(incarnation), Some(stage)) => {
                Content { node, cluster, token_hash, incarnation, stage, recovered, formers, peers }
            }
            _ => return Err("a line is missing"),
        };
        // One identity has one file: a line said twice, a number written in another way or the header of a later
        // version that begins like this one's is not something that this program wrote.
        if content.encode() != text {
            return Err("not in the form that this binary writes");
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests;
