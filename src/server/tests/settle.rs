//! A log that ends before its state file does begins anew behind it, once there is room for the record (covers H17, H18).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::run::config;
use crate::config::Limits;
use crate::fsm::testing::CrashFile;
use crate::fsm::{Body, Input, Store};
use crate::node::executor::{Executor, Haste, RunJobs, ThreadExecutor};
use crate::node::state_files::StateFiles;
use crate::raft::{Entry, EntryKind, Membership};
use crate::server::{Data, Seams, Unsettled, settle_when_there_is_room, state_files};
use crate::types::{ClusterId, GroupId, Incarnation, Index, NodeId, Owner, Term};
use crate::wal::fs::testing::MemFs;
use crate::wal::{self, GroupWrite, Wal};

const OWNER: Owner = Owner { cluster: ClusterId(1), node: NodeId(1), incarnation: Incarnation(2) };
const DIR: &str = "/wal";
const FOLDED: (Index, Term) = (Index(9), Term(1));

fn open(fs: &MemFs) -> (Wal, wal::Reader, wal::RecoveredGroup) {
    let options =
        wal::Options { owner: OWNER, segment_bytes: 8 << 10, bytes_max: 1 << 20, tail_bytes_max: 1 << 20 };
    let peers = [(NodeId(1), "a".to_owned()), (NodeId(2), "b".to_owned())];
    let bootstrap = [(GroupId::FIRST, Membership::bootstrap(peers))].into();
    let (wal, reader, mut recovered) =
        Wal::open(fs.shared(), Path::new(DIR), options, &bootstrap).expect("a log");
    (wal, reader, recovered.groups.remove(&GroupId::FIRST).expect("the group"))
}

/// A log of a few entries, its last segment full and the disk too, whose end was lost; and a state that has seen more.
fn behind(fs: &MemFs, seams: &Seams) -> Data {
    let (mut wal, reader, mut group) = open(fs);
    let entry = |index| Entry::new(Index(index), Term(1), EntryKind::Noop, bytes::Bytes::new());
    let hard_state = Some(crate::raft::HardState { term: Term(1), ..group.hard_state });
    let write = |hard_state, index| GroupWrite {
        group: GroupId::FIRST,
        hard_state,
        install: None,
        repairs: Vec::new(),
        entries: vec![entry(index)],
    };
    wal.append(&[write(hard_state, 1)]).expect("there is room");
    let used = fs.files().iter().map(|(_, bytes)| bytes).sum();
    fs.set_capacity(Some(used));
    let mut last = 1;
    while wal.append(&[write(None, last)]).is_ok() {
        last = last % 3 + 1;
    }
    // What is kept of the segment goes to votes.
    let vote = GroupWrite { hard_state, entries: Vec::new(), ..write(None, 1) };
    while wal.append(std::slice::from_ref(&vote)).is_ok() {}
    (group.hard_state.term, group.hard_state.in_doubt, group.last) = (Term(1), true, Index(3));
    let store = Store::open(Box::new(CrashFile::new()), files(seams).options).expect("a state");
    let noop = |index| Input { index: Index(index), term: Term(1), body: Body::Noop };
    store.apply(&(1..=FOLDED.0.0).map(noop).collect::<Vec<_>>()).expect("applied");
    assert_eq!(store.fold(), Ok(FOLDED));
    Data { wal, reader, group, store, files: files(seams), lost_state: false }
}

fn files(seams: &Seams) -> StateFiles {
    state_files(&Limits::default(), seams, DIR.into(), OWNER)
}

/// Threads; before the second lane is opened there is room on the disk.
struct RoomLater {
    fs: MemFs,
    lanes: AtomicUsize,
}

impl Executor for RoomLater {
    fn lane(&self, name: &str, haste: Haste) -> Box<dyn RunJobs> {
        if self.lanes.fetch_add(1, Ordering::AcqRel) == 1 {
            self.fs.set_capacity(None);
        }
        ThreadExecutor.lane(name, haste)
    }
}

#[tokio::test]
async fn a_log_that_begins_anew_waits_for_room() {
    let fs = MemFs::new();
    let executor = Arc::new(RoomLater { fs: fs.clone(), lanes: AtomicUsize::new(0) });
    let seams = Seams { fs: fs.shared(), executor: executor.clone(), ..Seams::production() };
    let mut data = behind(&fs, &seams);
    let before = fs.files();
    assert!(matches!(data.settle(), Err(Unsettled::NoRoom(wal::Error::NoRoom { .. }))));
    assert_eq!((fs.files(), data.group.last), (before, Index(3)), "nothing has changed");
    let settled = settle_when_there_is_room(&config(Path::new(DIR), Limits::default()), &seams, data).await;
    let Ok(Ok(data)) = settled else { panic!("it waits for room") };
    assert_eq!(executor.lanes.load(Ordering::Acquire), 2, "once without room, and once with it");
    assert_eq!((data.group.purged, data.group.last), (FOLDED, FOLDED.0));
    drop(data);
    let (.., group) = open(&fs);
    assert_eq!((group.purged, group.last), (FOLDED, FOLDED.0), "the next start goes on from there");
}
