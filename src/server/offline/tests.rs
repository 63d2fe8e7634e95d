//! A directory on a disk in memory, recovered: what comes of it, what is refused, and what a crash at each step leaves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::*;
use crate::clock::SystemClock;
use crate::codec;
use crate::command::{Answer, Command, Envelope, Found, Keys, Op, Query, Write};
use crate::fsm::Store;
use crate::fsm::testing::{CrashFile, Loss};
use crate::node::executor::ThreadExecutor;
use crate::node::identity::{Expected, Identity};
use crate::raft::{Entry, EntryKind, HardState, Membership};
use crate::server::Seams;
use crate::transport::net::TcpNet;
use crate::types::{CLUSTER_VERSION, GroupId, Index, Keyspace, NodeId, Owner, Revision, Term};
use crate::wal::fs::Fs;
use crate::wal::fs::testing::{Fault, MemFs};
use crate::wal::{self, GroupWrite, Wal};

const DIR: &str = "/data";

/// A disk: the log's and the identity's in one part, the state files in another, and the names of both in the first.
#[derive(Clone, Default)]
struct Machine {
    fs: MemFs,
    states: Arc<Mutex<BTreeMap<PathBuf, CrashFile>>>,
}

impl Machine {
    fn state_file(&self) -> OpenRaw {
        let (fs, states) = (self.fs.clone(), self.states.clone());
        Arc::new(move |path: &Path| {
            let failed = |error: io::Error| fsm::Error::Io { what: error.to_string() };
            let mut states = states.lock().expect("no panic under it");
            if fs.open(path).is_err() {
                fs.create(path).map_err(failed)?;
                fs.sync_dir(path.parent().expect("below a directory")).map_err(failed)?;
                states.insert(path.to_owned(), CrashFile::new());
            }
            Ok(Box::new(states[path].clone()))
        })
    }

    fn disk(&self) -> Disk {
        Disk { fs: self.fs.shared(), state_file: self.state_file() }
    }

    fn seams(&self) -> Seams {
        Seams {
            fs: self.fs.shared(),
            net: Arc::new(TcpNet),
            executor: Arc::new(ThreadExecutor),
            clock: SystemClock::shared(),
            state_file: self.state_file(),
            http_date: false,
            probe: None,
            supports: CLUSTER_VERSION,
        }
    }

    /// The same disk, apart.
    fn fork(&self) -> Machine {
        let states = self.states.lock().expect("no panic under it");
        let states = states.iter().map(|(path, file)| (path.clone(), CrashFile::with_bytes(file.bytes())));
        Machine { fs: self.fs.fork(), states: Arc::new(Mutex::new(states.collect())) }
    }

    /// Power goes: all that was not synced is lost.
    fn crash(&self) -> Machine {
        self.fs.crash(&mut |_| false);
        let states = self.states.lock().expect("no panic under it");
        let states = states.iter().map(|(path, file)| (path.clone(), file.reboot(Loss::All, 0)));
        Machine { fs: self.fs.clone(), states: Arc::new(Mutex::new(states.collect())) }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        check(&self.disk(), Path::new(DIR), &mut |finding| findings.push(finding)).expect("readable");
        findings
    }

    fn recover(&self, wish: &Wish) -> Result<NewCluster, Exit> {
        recover(&self.disk(), &self.seams(), Path::new(DIR), wish, &mut |_| {})
    }

    fn survey(&self) -> Result<Survivor, Exit> {
        survey(&self.disk(), Path::new(DIR))
    }
}

fn wish(id: u64) -> Wish {
    Wish { id: NodeId(id), peer: "a:7001".to_owned(), revision_jump: REVISION_JUMP_MIN }
}

fn entry(index: u64, term: u64, kind: EntryKind, payload: Bytes) -> Entry {
    Entry { index: Index(index), term: Term(term), kind, crc: crc32fast::hash(&payload), payload }
}

fn put(index: u64, term: u64) -> Entry {
    let (key, value) = (Bytes::from(format!("k{index:03}")), Bytes::from(format!("v{index}")));
    let ops = vec![Op::Put { key, value }];
    let command = Command::Write(Write { keyspace: Keyspace(0), conditions: vec![], ops });
    let envelope =
        Envelope { term: Term(term), group_time_ms: index, session: None, principal: String::new(), command };
    entry(index, term, EntryKind::Command, codec::encode_envelope(&envelope))
}

const LAST: u64 = 40;

/// Where the new log begins.
const BEGINS: Index = Index(LAST + REVISION_JUMP_MIN);

/// Node 2 of three, with 40 entries of which 20 are folded; node 9 was a member once.
fn survivor() -> Machine {
    let machine = Machine::default();
    let dir = Path::new(DIR);
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    let expected = Expected { node: NodeId(2), token: "t", members: members.clone(), joins: false };
    let identity = Identity::open(machine.fs.shared(), dir, &expected, 0xabc).expect("a new directory");
    let owner = Owner { cluster: identity.cluster(), node: NodeId(2), incarnation: identity.incarnation() };
    let options = wal::Options { owner, segment_bytes: 1 << 20, bytes_max: 1 << 30, tail_bytes_max: 0 };
    let mut membership = Membership::bootstrap(members.into_iter().map(|id| (id, format!("n{id}:7001"))));
    let bootstrap = BTreeMap::from([(GroupId::FIRST, membership.clone())]);
    let (mut log, _, _) =
        Wal::open(machine.fs.shared(), &dir.join("wal"), options, &bootstrap).expect("a new log");
    membership.retired.insert(NodeId(9));
    let entries: Vec<Entry> = (1..=LAST)
        .map(|index| match index {
            5 => entry(5, 1, EntryKind::Membership, membership.encode()),
            _ => put(index, 1 + index / 30),
        })
        .collect();
    let hard_state = HardState { term: Term(7), vote: Some(NodeId(3)), commit: Index(30), in_doubt: false };
    let write = GroupWrite {
        group: GroupId::FIRST,
        hard_state: Some(hard_state),
        install: None,
        entries: entries.clone(),
        repairs: Vec::new(),
    };
    log.append(&[write]).expect("the disk is well");
    let files = crate::server::state_files(
        &crate::config::Limits::default(),
        &machine.seams(),
        dir.to_path_buf(),
        owner,
    );
    let store = files.open(0).expect("a new state file");
    let inputs: Vec<fsm::Input> = entries[..20].iter().map(fsm::Input::from).collect();
    store.apply(&inputs).expect("applied");
    store.fold().expect("folded");
    identity.set_ready().expect("recorded");
    drop((log, store));
    machine
}

fn keys(store: &Store) -> Vec<Bytes> {
    let query = Query::List {
        keyspace: Keyspace(0),
        keys: Keys::all(),
        after: None,
        keys_only: false,
        limit: usize::MAX,
        bytes_max: usize::MAX,
    };
    let Answer { found: Found::Page { pairs, .. }, .. } = store.query(&query).expect("readable") else {
        panic!("a list is a page")
    };
    pairs.into_iter().map(|(key, _)| key).collect()
}

/// Checks that the directory is a new cluster's, with all that the survivor had.
fn assert_recovered(machine: &Machine, id: u64) {
    let findings = machine.findings();
    assert!(findings.iter().all(|finding| !finding.is_damaged), "{findings:?}");
    let survivor = machine.survey().expect("sound");
    assert_eq!((survivor.owner.node, survivor.term), (NodeId(id), Term(8)));
    assert_eq!((survivor.last, survivor.folded), ((BEGINS, Term(8)), BEGINS));
    assert_eq!(survivor.members, [NodeId(id)]);
    let files = crate::server::state_files(
        &crate::config::Limits::default(),
        &machine.seams(),
        Path::new(DIR).join("recovered-1"),
        survivor.owner,
    );
    let store = files.open(0).expect("sound");
    // Revision 1 is the empty store's, and one entry was no write.
    assert_eq!(store.revision(), Revision(LAST + REVISION_JUMP_MIN));
    assert_eq!(store.group_time_ms(), LAST);
    let all: Vec<Bytes> =
        (1..=LAST).filter(|index| *index != 5).map(|index| Bytes::from(format!("k{index:03}"))).collect();
    assert_eq!(keys(&store), all);
    let membership = Membership::decode(&store.membership().expect("there is one")).expect("sound");
    let retired: Vec<u64> = membership.retired.iter().map(|id| id.0).collect();
    let others: Vec<u64> = [1, 2, 3, 9].into_iter().filter(|other| *other != id).collect();
    assert_eq!(retired, others);
    assert_eq!(membership.members[&NodeId(id)].peer, "a:7001");
}

#[test]
fn a_survivor_becomes_a_cluster_of_its_own() {
    for id in [2, 4] {
        let machine = survivor();
        let before = machine.survey().expect("sound");
        assert_eq!((before.last, before.term), ((Index(LAST), Term(2)), Term(7)));
        assert_eq!((before.folded, before.committed), (Index(20), Index(30)));
        assert_eq!(before.members, [NodeId(1), NodeId(2), NodeId(3)]);
        let files = machine.fs.files();
        let new = machine.recover(&wish(id)).expect("recovered");
        assert_ne!(new.owner.cluster, before.owner.cluster);
        assert_ne!(new.owner.incarnation, before.owner.incarnation);
        assert_eq!((new.begins, new.keys), ((BEGINS, Term(8)), LAST - 1));
        assert_recovered(&machine, id);
        // What was there is there still.
        let is_identity = |path: &Path| path.ends_with("identity") || path.ends_with("identity.copy");
        for (path, bytes) in files.into_iter().filter(|(path, _)| !is_identity(path)) {
            assert!(machine.fs.files().contains(&(path.clone(), bytes)), "{} is gone", path.display());
        }
        // And once more, from there.
        let again = machine.recover(&wish(id)).expect("recovered");
        assert_eq!(again.begins, (Index(BEGINS.0 + REVISION_JUMP_MIN), Term(9)));
        assert!(again.home.ends_with("recovered-2"));
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let machine = survivor();
    let files = machine.fs.files();
    for (id, part) in [(1, "another member"), (9, "a removed member's")] {
        let exit = machine.recover(&wish(id)).expect_err("refused");
        assert!(exit.code == ExitCode::Usage && exit.message.contains(part), "{exit}");
    }
    let lock = machine.fs.lock(&Path::new(DIR).join("wal").join("lock")).expect("nobody has it");
    for exit in [machine.recover(&wish(2)).expect_err("locked"), machine.survey().expect_err("locked")] {
        assert!(exit.code == ExitCode::Usage && exit.message.contains("is this node running"), "{exit}");
    }
    drop(lock);
    let segment = Path::new(DIR).join("wal").join("0000000000000001.wal");
    let flip = || [80, 592].iter().for_each(|offset| machine.fs.flip(&segment, *offset, 1));
    flip();
    assert_eq!(machine.recover(&wish(2)).expect_err("damaged").code, ExitCode::Damaged);
    flip();
    let state = machine.states.lock().expect("no panic")[&Path::new(DIR).join("state.redb")].clone();
    state.flip(8, 1);
    assert_eq!(machine.recover(&wish(2)).expect_err("damaged").code, ExitCode::Damaged);
    state.flip(8, 1);
    assert_eq!(machine.fs.files(), files);
    machine.recover(&wish(2)).expect("recovered");
}

/// A crash at any call leaves the survivor as it was or the new cluster whole; then it is done once more, and is whole.
#[test]
fn a_crash_leaves_the_old_or_the_new() {
    let whole = survivor();
    let before = whole.survey().expect("sound");
    let calls = {
        let machine = whole.fork();
        let from = machine.fs.calls();
        machine.recover(&wish(2)).expect("recovered");
        machine.fs.calls() - from
    };
    let (mut old, mut new) = (0, 0);
    let ends = (0..60.min(calls)).chain(calls.saturating_sub(60).max(60)..calls);
    for call in ends.step_by(2).chain(calls.saturating_sub(12)..calls) {
        for fault in [Fault::Error, Fault::Stop] {
            let machine = whole.fork();
            machine.fs.fail_at(machine.fs.calls() + call, fault);
            let result = machine.recover(&wish(2));
            let machine = machine.crash();
            let survivor = machine.survey().unwrap_or_else(|exit| panic!("call {call}: {exit}"));
            if survivor.owner == before.owner {
                assert!(result.is_err(), "call {call}: done, and not durable");
                assert_eq!(survivor, before, "call {call}");
                old += 1;
                machine.recover(&wish(2)).unwrap_or_else(|exit| panic!("after call {call}: {exit}"));
            } else {
                new += 1;
            }
            assert_recovered(&machine, 2);
        }
    }
    assert!(old > 10 && new > 0, "{old} old, {new} new");
}

#[test]
fn the_best_survivor_has_the_highest_last_term_then_the_longest_log() {
    let machine = survivor();
    let one = machine.survey().expect("sound");
    let with = |dir: &str, index, term| Survivor {
        dir: dir.into(),
        last: (Index(index), Term(term)),
        ..one.clone()
    };
    let all = [with("a", 90, 2), with("b", 50, 3), with("c", 51, 3), with("d", 51, 3)];
    assert_eq!(best(&all).map(|best| best.dir.clone()), Some("c".into()));
    assert_eq!(best(&[]), None);
}
