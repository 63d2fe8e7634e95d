//! A core among peers that say anything, on a real log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use crate::raft::{
    Change, Config, Envelope, FetchFor, MemberRecord, Membership, Raft, ReadId, Restored, Role, Write,
};
use crate::transport::fuzzing::{frame_of, mend_frame_between, receive};
use crate::types::{ClusterId, GroupId, Incarnation, Index, Monotonic, NodeId, Owner, Term};
use crate::wal::fs::testing::MemFs;
use crate::wal::{self, GroupWrite, Options, Reader, Wal};

// An input is a run of node 1: steps, each a kind, a length in two bytes, and so many bytes.

/// A frame comes from node 2, 3 or 4; the last is no member.
const FRAME_OF_2: u8 = 0;
const FRAME_OF_4: u8 = 2;
/// Time passes, 10 ms for each unit of the first byte, and deadlines are judged.
const TICK: u8 = 3;
/// The disk has written all that it was given.
const DISK: u8 = 4;
/// The bytes are proposed.
const PROPOSE: u8 = 5;
/// A read is asked for.
const READ: u8 = 6;
/// The node is asked to campaign.
const CAMPAIGN: u8 = 7;

const GROUP: GroupId = GroupId::FIRST;

/// A core with a log, as the driver would run it.
struct Member {
    id: NodeId,
    raft: Raft,
    wal: Wal,
    reader: Reader,
    now: Monotonic,
    /// Given to the disk, not written yet.
    waiting: Vec<Write>,
    /// Sent.
    sent: Vec<Envelope>,
    applied: Index,
    /// Term and commit index, which never fall.
    seen: (Term, Index),
    reads: u64,
}

fn config(id: u64) -> Config {
    Config {
        id: NodeId(id),
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(250),
        disk_stall_timeout: Duration::from_millis(750),
        evidence_delay_max: Duration::from_millis(50),
        append_batch_bytes_max: 1_000,
        append_inflight_max: 4,
        append_inflight_bytes_max: 8_000,
        uncommitted_bytes_max: 16_000,
        cache_bytes_max: 500,
        apply_inflight_bytes_max: 4_000,
        reads_waiting_max: 8,
        seed: id,
        incarnation: Incarnation(100 + id),
        boot: 1,
    }
}

impl Member {
    fn new(id: u64) -> Member {
        let membership = Membership::bootstrap((1..=3).map(|id| (NodeId(id), format!("n{id}:7000"))));
        let owner = Owner { cluster: ClusterId(7), node: NodeId(id), incarnation: Incarnation(100 + id) };
        let options = Options { owner, segment_bytes: 16 << 10, bytes_max: 1 << 20, tail_bytes_max: 1 << 16 };
        let bootstrap = BTreeMap::from([(GROUP, membership.clone())]);
        let opened = Wal::open(MemFs::new().shared(), Path::new("/wal"), options, &bootstrap);
        let (wal, reader, _) = opened.expect("a new log");
        let now = Monotonic(1_000_000_000);
        let raft = Raft::new(config(id), Restored::bootstrap(membership), now);
        let (waiting, sent) = (Vec::new(), Vec::new());
        let seen = (raft.term(), raft.commit());
        Member { id: NodeId(id), raft, wal, reader, now, waiting, sent, applied: Index(0), seen, reads: 0 }
    }

    /// Does one step; false if something of it was rejected.
    fn step(&mut self, kind: u8, bytes: &[u8]) -> bool {
        let mut fine = true;
        match kind % 8 {
            kind @ FRAME_OF_2..=FRAME_OF_4 => {
                let received = receive(bytes, NodeId(2 + u64::from(kind)), self.id);
                fine = received.rejected == 0;
                for envelope in received.messages {
                    let before = self.raft.counters();
                    self.raft.step(self.now, envelope);
                    let after = self.raft.counters();
                    fine &= before.invalid == after.invalid;
                    assert!(before.stale <= after.stale && before.invalid <= after.invalid, "{after:?}");
                    self.raft.check_invariants();
                }
            }
            TICK => {
                let units = bytes.first().copied().unwrap_or(1);
                self.now = self.now.plus(Duration::from_millis(10) * u32::from(units));
                self.raft.tick(self.now);
            }
            DISK => self.write(),
            PROPOSE => {
                let _ = self.raft.propose(self.now, vec![Bytes::copy_from_slice(bytes)]);
            }
            READ => {
                self.reads += 1;
                self.raft.read(self.now, ReadId(self.reads));
            }
            _ => self.raft.campaign(self.now),
        }
        self.collect();
        self.check();
        fine
    }

    fn collect(&mut self) {
        loop {
            let ready = self.raft.ready();
            self.sent.extend(ready.messages);
            self.waiting.extend(ready.writes);
            for entry in &ready.apply {
                assert_eq!(entry.index, self.applied.next(), "applied out of order");
                self.applied = entry.index;
            }
            for (read, _) in ready.reads {
                assert!(read.0 <= self.reads, "an answer to no question");
            }
            if ready.apply.is_empty() && ready.fetches.is_empty() {
                return;
            }
            self.raft.applied(self.applied);
            for fetch in ready.fetches {
                if let FetchFor::Peer(peer) = fetch.purpose {
                    assert_ne!(peer, self.id, "entries for itself");
                }
                let entries =
                    self.reader.read(GROUP, fetch.first, fetch.last, fetch.bytes_max).expect("well");
                self.raft.fetched(fetch, entries);
            }
        }
    }

    /// What the core gives to the disk, the log must take.
    fn write(&mut self) {
        for write in std::mem::take(&mut self.waiting) {
            assert_eq!(write.install, None, "no snapshot came by a lane");
            assert_eq!(write.repairs, [], "nothing was ever damaged");
            let (hard_state, entries) = (write.hard_state, write.entries);
            let batch =
                [GroupWrite { group: GROUP, hard_state, install: None, repairs: Vec::new(), entries }];
            match self.wal.append(&batch) {
                Ok(()) => {}
                // The node would stop here.
                Err(wal::Error::Full) => return,
                Err(error) => panic!("the disk is well: {error}"),
            }
            self.raft.persisted(write.seq);
            self.sent.extend(write.messages);
        }
    }

    fn check(&mut self) {
        self.raft.check_invariants();
        let seen = (self.raft.term(), self.raft.commit());
        assert!(seen.0 >= self.seen.0 && seen.1 >= self.seen.1, "{:?} falls to {seen:?}", self.seen);
        self.seen = seen;
        assert!(self.applied <= seen.1, "applied {} of {}", self.applied, seen.1);
        for envelope in &self.sent {
            assert!(envelope.from == self.id && envelope.to != self.id, "{envelope:?}");
        }
    }
}

/// Runs node 1 through an input: whatever its peers say, its state stays one that a core can be in, and its log
/// takes what it writes. Accepted is a run of which nothing was rejected.
pub(crate) fn check(input: &[u8]) -> bool {
    let mut member = Member::new(1);
    let mut fine = !input.is_empty();
    for (kind, bytes) in steps(input) {
        fine &= member.step(kind, bytes);
        member.sent.clear();
    }
    fine
}

fn steps(input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (head, body) = rest.split_first_chunk::<3>()?;
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(body.len());
        let (bytes, after) = body.split_at(len);
        rest = after;
        Some((head[0], bytes))
    })
}

fn put(script: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    script.push(kind);
    script.extend(len.to_le_bytes());
    script.extend(&bytes[..usize::from(len)]);
}

/// Gives every message its right addresses and every payload its right checksum.
pub(crate) fn mend(input: &mut Vec<u8>) {
    let mut mended = Vec::new();
    for (kind, bytes) in steps(input) {
        let mut bytes = bytes.to_vec();
        if kind % 8 <= FRAME_OF_4 {
            mend_frame_between(&mut bytes, NodeId(2 + u64::from(kind % 8)), NodeId(1));
        }
        put(&mut mended, kind, &bytes);
    }
    *input = mended;
}

/// Three nodes, and what happened to the first of them.
struct Cluster {
    members: Vec<Member>,
    script: Vec<u8>,
}

impl Cluster {
    fn new() -> Cluster {
        Cluster { members: (1..=3).map(Member::new).collect(), script: Vec::new() }
    }

    fn step(&mut self, id: u64, kind: u8, bytes: &[u8]) {
        if id == 1 {
            put(&mut self.script, kind, bytes);
        }
        assert!(self.members[id as usize - 1].step(kind, bytes), "an honest message was rejected");
    }

    /// Writes and delivers until nothing is under way.
    fn settle(&mut self) {
        loop {
            for id in 1..=3 {
                if !self.members[id as usize - 1].waiting.is_empty() {
                    self.step(id, DISK, &[]);
                }
            }
            let sent: Vec<Envelope> =
                self.members.iter_mut().flat_map(|member| std::mem::take(&mut member.sent)).collect();
            if sent.is_empty() {
                return;
            }
            for envelope in sent {
                // To each its peers are numbered as to node 1: the kind of a frame says from whom it is.
                let (from, to) = (envelope.from, envelope.to);
                let frame = frame_of([envelope]);
                if to == NodeId(1) {
                    self.step(1, (from.0 - 2) as u8, &frame);
                } else {
                    let member = &mut self.members[to.0 as usize - 1];
                    for envelope in receive(&frame, from, to).messages {
                        member.raft.step(member.now, envelope);
                    }
                    member.collect();
                    member.check();
                }
            }
        }
    }

    fn tick(&mut self, units: u8) {
        (1..=3).for_each(|id| self.step(id, TICK, &[units]));
        self.settle();
    }
}

/// Node 1 as a follower, as a leader, and as one that is deposed.
pub(crate) fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let mut cluster = Cluster::new();
    cluster.step(2, CAMPAIGN, &[]);
    cluster.settle();
    for len in [0, 30, 700] {
        cluster.step(2, PROPOSE, &vec![7; len]);
        cluster.settle();
    }
    cluster.tick(5);
    cluster.step(1, READ, &[]);
    cluster.settle();
    let record = MemberRecord {
        id: NodeId(3),
        incarnation: Some(Incarnation(103)),
        role: Role::Voter,
        peer: "n3:7000".to_owned(),
        http: "http://n3:8080".to_owned(),
        grpc: "n3:9000".to_owned(),
        labels: BTreeMap::new(),
        version: "0.1.0".to_owned(),
        supports: 1,
    };
    let leader = &mut cluster.members[1];
    leader.raft.change(leader.now, Change::Update(record), false).expect("it leads and has committed");
    leader.collect();
    cluster.settle();
    let follower = cluster.script.clone();
    // From here on node 3 leads; node 2 had an entry that nobody else got.
    (0..4).for_each(|_| cluster.tick(5));
    let deposed = {
        let mut cluster = Cluster::new();
        cluster.step(1, CAMPAIGN, &[]);
        cluster.settle();
        for len in [10, 400] {
            cluster.step(1, PROPOSE, &vec![9; len]);
            cluster.step(1, READ, &[]);
            cluster.settle();
        }
        cluster.tick(5);
        let leader = cluster.script.clone();
        // The others hear nothing of this one, elect another leader, and it comes back.
        cluster.step(1, PROPOSE, b"lost");
        cluster.members[0].sent.clear();
        for _ in 0..12 {
            for id in 2..=3 {
                cluster.step(id, TICK, &[5]);
            }
            let sent: Vec<Envelope> = cluster.members[1..]
                .iter_mut()
                .flat_map(|member| {
                    member.write();
                    member.collect();
                    std::mem::take(&mut member.sent)
                })
                .filter(|envelope| envelope.to != NodeId(1))
                .collect();
            for envelope in sent {
                let member = &mut cluster.members[envelope.to.0 as usize - 1];
                member.raft.step(member.now, envelope);
                member.collect();
            }
        }
        cluster.settle();
        cluster.tick(5);
        vec![("leader", leader), ("deposed", cluster.script)]
    };
    let mut samples = vec![("follower", follower)];
    samples.extend(deposed);
    samples
}
