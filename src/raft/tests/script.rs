//! Golden scripts: one scenario a file in `src/raft/testscripts`, a prose header and then blocks of commands, each
//! followed by `----` and what it caused, up to an empty line. `UPDATE_GOLDEN=1` writes anew what they caused; read the
//! difference before you commit it. An unknown command or field is an error.
//!
//! | command | does |
//! |---|---|
//! | `cluster nodes=N [learners=N] [spare=N] [logN=1,1,2] [termN=T] [inflight=N] [batch=BYTES] [cache=BYTES] [uncommitted=BYTES] [apply=BYTES] [reads=N] [tail=N] [lease=MS]` | starts a group; `logN`: the terms of the entries that node N has on disk; `termN`: its term; `spare`: nodes that know of no group yet |
//! | `campaign N`, `propose N a b ...`, `publish N version=V [of=N]`, `read N` | calls that input on node N |
//! | `died N peer=P` | node N has evidence that the process of P has ended |
//! | `room N ample/short/full [lack=quota]` | what N's disk has room for, from now on |
//! | `admits N` | whether N, if it leads, takes what grows and what frees space |
//! | `lease N`, `set-lease N ms=MS` | shows the lease that N holds / N puts another one into the configuration |
//! | `change N add=N|any [role=learner] [incarnation=I] [supports=V]`, `promote=N`, `remove=N`, `version=V`, `lease=MS`, `[force=yes]` | asks node N to change the configuration |
//! | `transfer N [to=N]` | asks node N to hand over |
//! | `members N` | shows the configuration in force at node N |
//! | `tick time=MS [N ...]` | lets time pass in steps of 10 ms; only the nodes named look at the clock (all without names) |
//! | `deliver`, `drop`, `copy` `[from=N] [to=N] [type=T] [count=N] [order=reverse]` | delivers, loses, or delivers and keeps what is on the way now |
//! | `stabilize` | delivers until nothing is on the way |
//! | `elect N` | makes N the leader of those it can reach, without a trace |
//! | `run time=MS` | lets time pass on all nodes and delivers what they send at once; heartbeats are not shown |
//! | `partition 1,2 3` / `cut 1 3` / `heal` | messages between groups / from 1 to 3 are lost; all links work again |
//! | `slow N` / `persist N [count=N]` / `complete N seq=S` / `fast N` | the disk waits for `persist`; with `silent=yes` it tells nobody, until `complete` |
//! | `hold N` / `release N` | what the node wants done is collected only at its release |
//! | `damage N at=I` | node N's disk cannot read entry I back any more; nobody is told |
//! | `find N at=I` | a scrub of node N's disk finds that entry I is damaged |
//! | `lose N` / `begin N` | node N's state is lost, whether it is up or down / its driver begins an empty one |
//! | `lose N from=I` | the end of node N's log is lost from entry I on, and it cannot tell what stood there; it is down |
//! | `crash N [kept=N]` / `restart N` | stops a node; `kept` writes reach the disk first |
//! | `open N to=M [at=I]` | N's driver opens the snapshot that it was asked for, at its last applied entry, and sends it |
//! | `receive N [from=M] [again=yes]` | a snapshot on its way to N is there; with `again`, it will come once more |
//! | `sent N to=M ok=yes/no` | N's driver says how the transfer ended |
//! | `ship N to=M` | the three before in one |
//! | `busy N` / `idle N` | the state machine lets installed snapshots wait |
//! | `lag N` / `answer N` | what is read back from N's log is told to its core only by `answer`, which ends the lag |
//! | `purge N to=I`, `network`, `status`, `versions`, `log N`, `progress N`, `counters N` | |

mod fetches;
pub(super) mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::node::{Node, config, membership};
use super::trace::{describe_entry, describe_envelope, describe_write};
use crate::raft::raft::RoleState;
use crate::raft::{
    Change, Entry, EntryKind, Envelope, Fetch, Growth, Lack, Membership, Message, Raft, ReadId, ReadOutcome,
    Room, SessionId, SnapshotFor, WriteSeq,
};
use crate::types::{Index, Monotonic, NodeId, Term};

/// The arguments of one command; every one must be consumed.
struct Args<'a> {
    words: Vec<&'a str>,
    fields: BTreeMap<&'a str, &'a str>,
}

impl<'a> Args<'a> {
    fn parse(words: impl Iterator<Item = &'a str>) -> Args<'a> {
        let mut args = Args { words: Vec::new(), fields: BTreeMap::new() };
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => {
                    assert!(args.fields.insert(key, value).is_none(), "field {key} comes twice")
                }
                None => args.words.push(word),
            }
        }
        args
    }

    fn node(&mut self) -> NodeId {
        assert!(!self.words.is_empty(), "a node is missing");
        NodeId(number(self.words.remove(0)))
    }

    fn number(&mut self, key: &str) -> Option<u64> {
        self.fields.remove(key).map(number)
    }

    fn size(&mut self, key: &str) -> Option<usize> {
        self.number(key).map(|number| usize::try_from(number).unwrap())
    }

    /// Whether the field says `yes`; so does not the field that is not there.
    fn yes(&mut self, key: &str) -> bool {
        match self.fields.remove(key) {
            Some("yes") => true,
            None | Some("no") => false,
            Some(other) => panic!("{key}={other} is neither yes nor no"),
        }
    }

    fn finish(self) {
        assert!(self.words.is_empty(), "superfluous words {:?}", self.words);
        assert!(self.fields.is_empty(), "unknown fields {:?}", self.fields);
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// A group of nodes that does what commands say. Other tests use it too.
#[derive(Default)]
pub(super) struct Script {
    nodes: BTreeMap<NodeId, Node>,
    network: Vec<Envelope>,
    cut: BTreeSet<(NodeId, NodeId)>,
    slow: BTreeSet<NodeId>,
    /// Nodes from which nothing is collected.
    held: BTreeSet<NodeId>,
    /// Nodes whose state machine takes no snapshot.
    busy: BTreeSet<NodeId>,
    /// Nodes whose log is read slowly.
    lagging: BTreeSet<NodeId>,
    /// What was read back and not told yet.
    fetched: BTreeMap<NodeId, Vec<(Fetch, Vec<Entry>)>>,
    /// For whom each node was asked for a snapshot last.
    asked: BTreeMap<(NodeId, NodeId), SessionId>,
    /// Snapshots on their way, with what the receiver will step.
    transfers: Vec<Envelope>,
    now: Monotonic,
    reads: u64,
    /// How much of the log a restart finds in memory.
    tail: usize,
    /// Heartbeats and their answers are not worth a line each.
    hides_heartbeats: bool,
    out: String,
}

impl Script {
    /// Runs commands, one a line.
    pub(super) fn play(commands: &str) -> Script {
        let mut script = Script::default();
        script.then(commands);
        script
    }

    /// Runs further commands and returns what they caused.
    pub(super) fn then(&mut self, commands: &str) -> String {
        self.out.clear();
        commands.lines().map(str::trim).filter(|line| !line.is_empty()).for_each(|line| self.run(line));
        std::mem::take(&mut self.out)
    }

    /// The core of node `id`, which is up.
    pub(super) fn raft(&self, id: u64) -> &Raft {
        self.nodes[&NodeId(id)].raft.as_ref().expect("the node is up")
    }

    /// What is on the way.
    pub(super) fn network(&self) -> &[Envelope] {
        &self.network
    }

    /// The log of node `id` as it is on its disk, as terms.
    pub(super) fn terms(&self, id: u64) -> Vec<u64> {
        self.nodes[&NodeId(id)].disk.entries.iter().map(|entry| entry.term.0).collect()
    }

    /// Delivers a made-up message.
    pub(super) fn inject(&mut self, from: u64, to: u64, term: u64, message: Message) {
        let (from, to, term) = (NodeId(from), NodeId(to), Term(term));
        if let Message::Snapshot(snapshot) = &message {
            self.node(to).disk.staged.insert(snapshot.index);
        }
        self.arrive(Envelope { from, to, term, message });
    }

    fn say(&mut self, line: impl AsRef<str>) {
        writeln!(self.out, "{}", line.as_ref()).unwrap();
    }

    fn lease(&mut self, args: &mut Args<'_>) {
        let (id, now) = (args.node(), self.now);
        let lease = self.node(id).raft().lease(now);
        let text = lease.map(|lease| format!("{:?} more, at {}", lease.until.since(now), lease.index));
        self.say(format!("{id} has {}", text.unwrap_or_else(|| "no lease".to_owned())));
    }

    fn room(&mut self, args: &mut Args<'_>) {
        let id = args.node();
        let lack = match args.fields.remove("lack") {
            None => Lack::Disk,
            Some("quota") => Lack::Quota,
            Some(other) => panic!("unknown lack {other:?}"),
        };
        let room = match args.words.remove(0) {
            "ample" => Room::Ample,
            "short" => Room::Short(lack),
            "full" => Room::Full(lack),
            other => panic!("unknown room {other:?}"),
        };
        let now = self.now;
        self.node(id).raft().set_room(now, room);
        self.process(id);
    }

    fn admits(&mut self, args: &mut Args<'_>) {
        let id = args.node();
        for growth in [Growth::Grows, Growth::Frees] {
            let admitted = self.node(id).raft().admits(growth);
            let text = admitted.map_or_else(|lack| format!("refuses: {lack:?}"), |()| "takes it".to_owned());
            self.say(format!("{id} {growth:?}: {text}"));
        }
    }

    fn run(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let command = words.next().expect("a command");
        let mut args = Args::parse(words);
        match command {
            "cluster" => self.cluster(&mut args),
            "campaign" => self.on_node(&mut args, |raft, now| raft.campaign(now)),
            "propose" => self.propose(&mut args),
            "publish" => self.publish(&mut args),
            "died" => {
                let peer = NodeId(args.number("peer").expect("peer="));
                self.on_node(&mut args, |raft, now| raft.died(now, peer));
            }
            "room" => self.room(&mut args),
            "admits" => self.admits(&mut args),
            "lease" => self.lease(&mut args),
            "set-lease" => {
                let ms = u32::try_from(args.number("ms").expect("ms=")).unwrap();
                self.on_node(&mut args, |raft, _| {
                    let mut membership = raft.membership().clone();
                    membership.lease_ms = ms;
                    raft.log.append_membership(raft.term, membership);
                    raft.refresh_quorum();
                });
            }
            "change" => self.change(&mut args),
            "transfer" => self.transfer(&mut args),
            "members" => self.members(&mut args),
            "read" => self.read(&mut args),
            "tick" => self.tick(&mut args),
            "deliver" | "drop" | "copy" => self.deliver(command, &mut args),
            "stabilize" => self.stabilize(),
            "elect" => self.elect(&mut args),
            "run" => self.run_for(&mut args),
            "partition" => self.partition(&mut args),
            "cut" => {
                let link = (args.node(), args.node());
                self.cut.insert(link);
            }
            "heal" => self.cut.clear(),
            "slow" => {
                let id = args.node();
                self.slow.insert(id);
            }
            "fast" => {
                let id = args.node();
                self.slow.remove(&id);
                self.process(id);
            }
            "hold" => {
                let id = args.node();
                self.held.insert(id);
            }
            "release" => {
                let id = args.node();
                self.held.remove(&id);
                self.process(id);
            }
            "busy" | "idle" | "open" | "receive" | "sent" | "ship" => self.snapshot(command, &mut args),
            "lag" => {
                let id = args.node();
                self.lagging.insert(id);
            }
            "answer" => {
                let id = args.node();
                self.answer(id);
            }
            "persist" => self.persist(&mut args),
            "complete" => {
                let id = args.node();
                let seq = WriteSeq(args.number("seq").expect("seq="));
                self.node(id).raft().persisted(seq);
                self.process(id);
            }
            "damage" | "find" => self.wound(command, &mut args),
            "lose" | "begin" => self.lose(command, &mut args),
            "crash" => {
                let id = args.node();
                let kept = args.size("kept").unwrap_or(0);
                self.node(id).crash(kept);
                self.fetched.remove(&id);
            }
            "restart" => {
                let (id, now, tail) = (args.node(), self.now, self.tail);
                self.node(id).restart(now, tail);
                self.process(id);
            }
            "purge" => {
                let (id, to) = (args.node(), Index(args.number("to").expect("to=")));
                let node = self.node(id);
                node.disk.folded = node.disk.folded.map(|folded| folded.max(to));
                node.disk.purge_to(to);
                node.raft().purge_to(to);
            }
            "network" => {
                let lines: Vec<String> = self.network.iter().map(describe_envelope).collect();
                lines.iter().for_each(|line| self.say(line));
            }
            "status" => self.status(),
            "versions" => self.versions(),
            "log" => self.log(&mut args),
            "progress" => self.progress(&mut args),
            "counters" => {
                let id = args.node();
                let counters = self.node(id).raft().counters();
                self.say(format!("{counters:?}"));
            }
            _ => panic!("unknown command {command:?}"),
        }
        args.finish();
        for node in self.nodes.values().filter_map(|node| node.raft.as_ref()) {
            node.check_invariants();
        }
    }

    /// The end of a log is lost, or a state, or an empty one begins.
    fn lose(&mut self, command: &str, args: &mut Args<'_>) {
        let id = args.node();
        let node = self.node(id);
        match args.number("from") {
            Some(from) => return node.disk.lose_from(Index(from)),
            None if command == "lose" => node.lose_state(),
            None => node.begin_state(),
        }
        if node.raft.is_some() {
            self.process(id);
        }
    }

    /// An entry is damaged.
    fn wound(&mut self, command: &str, args: &mut Args<'_>) {
        let id = args.node();
        let at = Index(args.number("at").expect("at="));
        self.node(id).disk.damaged.insert(at);
        if command == "find" {
            self.node(id).raft().damaged(at);
            self.process(id);
        }
    }

    /// The commands about snapshots.
    fn snapshot(&mut self, command: &str, args: &mut Args<'_>) {
        let id = args.node();
        let to = args.number("to").map(NodeId);
        match command {
            "busy" => {
                self.busy.insert(id);
            }
            "idle" => {
                self.busy.remove(&id);
                self.process(id);
            }
            "open" => {
                let at = args.number("at").map(Index);
                self.open(id, to.expect("to="), at);
            }
            "receive" => {
                let (from, again) = (args.number("from").map(NodeId), args.yes("again"));
                self.receive(id, from, again);
            }
            "sent" => {
                let ok = args.yes("ok");
                self.sent(id, to.expect("to="), ok);
            }
            _ => {
                let to = to.expect("to=");
                if self.open(id, to, None) {
                    self.receive(to, Some(id), false);
                    self.sent(id, to, true);
                }
            }
        }
    }

    /// Opens a snapshot and puts it on its way. False if it is not wanted.
    fn open(&mut self, id: NodeId, to: NodeId, at: Option<Index>) -> bool {
        let session = self.asked[&(id, to)];
        let node = self.node(id);
        let index = at.or(node.applied).expect("it has a state");
        let raft = node.raft();
        let (term, membership) = match raft.term_at(index) {
            Some(term) => (term, raft.membership_at(index).encode()),
            None => (Term(1), Bytes::new()),
        };
        let Some(envelope) = raft.snapshot_begun(to, session, index, term, membership) else {
            self.say(format!("{id} has no use for a snapshot at {index} for {to}"));
            return false;
        };
        self.say(format!("{id} sends {to} a snapshot at {index}@{term}"));
        self.transfers.push(envelope);
        self.process(id);
        true
    }

    /// The first snapshot on its way to a node is on its disk.
    fn receive(&mut self, id: NodeId, from: Option<NodeId>, again: bool) {
        let is_it = |envelope: &Envelope| envelope.to == id && from.is_none_or(|from| from == envelope.from);
        let at = self.transfers.iter().position(is_it).expect("a snapshot is on its way");
        let envelope = if again { self.transfers[at].clone() } else { self.transfers.remove(at) };
        let Message::Snapshot(snapshot) = &envelope.message else { panic!("a snapshot: {envelope:?}") };
        self.node(id).disk.staged.insert(snapshot.index);
        self.arrive(envelope);
    }

    /// A transfer has ended.
    fn sent(&mut self, id: NodeId, to: NodeId, ok: bool) {
        let session = self.asked[&(id, to)];
        self.node(id).raft().snapshot_sent(to, session, ok);
        self.process(id);
    }

    fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    fn cluster(&mut self, args: &mut Args<'_>) {
        *self = Script { now: Monotonic(1_000_000_000), tail: 1000, ..Script::default() };
        let voters = args.number("nodes").expect("nodes=");
        let learners = args.number("learners").unwrap_or(0);
        self.tail = args.size("tail").unwrap_or(self.tail);
        let mut membership = membership(voters, learners);
        membership.lease_ms = u32::try_from(args.number("lease").unwrap_or(0)).unwrap();
        let mut template = config(1);
        for (key, limit) in [
            ("inflight", &mut template.append_inflight_max),
            ("batch", &mut template.append_batch_bytes_max),
            ("cache", &mut template.cache_bytes_max),
            ("uncommitted", &mut template.uncommitted_bytes_max),
            ("apply", &mut template.apply_inflight_bytes_max),
            ("reads", &mut template.reads_waiting_max),
        ] {
            *limit = args.size(key).unwrap_or(*limit);
        }
        let spare = args.number("spare").unwrap_or(0);
        for id in 1..=voters + learners + spare {
            let own = config(id);
            let config = crate::raft::Config {
                id: own.id,
                seed: own.seed,
                incarnation: own.incarnation,
                ..template.clone()
            };
            let is_spare = id > voters + learners;
            let first = if is_spare { Membership::default() } else { membership.clone() };
            let mut node = Node::new(config, first, self.now);
            if let Some(terms) = args.fields.remove(format!("log{id}").as_str()) {
                for (at, term) in terms.split(',').enumerate() {
                    let (index, term) = (Index(at as u64 + 1), Term(number(term)));
                    node.disk.entries.push_back(Entry::new(
                        index,
                        term,
                        EntryKind::Command,
                        Bytes::from("old"),
                    ));
                    node.disk.hard_state.term = term;
                }
                node.crash(0);
                node.restart(self.now, self.tail);
            }
            if let Some(term) = args.number(format!("term{id}").as_str()) {
                node.disk.hard_state.term = Term(term);
                node.crash(0);
                node.restart(self.now, self.tail);
            }
            self.nodes.insert(NodeId(id), node);
        }
    }

    fn on_node(&mut self, args: &mut Args<'_>, input: impl FnOnce(&mut Raft, Monotonic)) {
        let (id, now) = (args.node(), self.now);
        input(self.node(id).raft(), now);
        self.process(id);
    }

    fn propose(&mut self, args: &mut Args<'_>) {
        let (id, now) = (args.node(), self.now);
        let batch = args.words.drain(..).map(|word| Bytes::from(word.to_owned())).collect();
        let result = self.node(id).raft().propose(now, batch);
        self.say_proposed(id, &result);
        self.process(id);
    }

    fn publish(&mut self, args: &mut Args<'_>) {
        let (id, now) = (args.node(), self.now);
        let of = args.number("of").map_or(id, NodeId);
        let version = args.fields.remove("version").expect("version=").to_owned();
        let raft = self.node(id).raft();
        let mut record = raft.membership().members.values().next().expect("a member").clone();
        record.id = of;
        record.version = version;
        let result = raft.change(now, Change::Update(record), false);
        self.say_proposed(id, &result);
        self.process(id);
    }

    fn say_proposed(
        &mut self,
        id: NodeId,
        result: &Result<crate::raft::Proposed, crate::raft::ProposeError>,
    ) {
        match result {
            Ok(proposed) => {
                self.say(format!("{id} appends {}..{} in {}", proposed.first, proposed.last, proposed.term))
            }
            Err(error) => self.say(format!("{id} refuses: {error:?}")),
        }
    }

    fn read(&mut self, args: &mut Args<'_>) {
        self.reads += 1;
        let read = ReadId(self.reads);
        self.on_node(args, |raft, now| raft.read(now, read));
    }

    fn tick(&mut self, args: &mut Args<'_>) {
        let total = args.number("time").expect("time=");
        assert_eq!(total % 10, 0, "time passes in steps of 10 ms");
        let named: Vec<NodeId> = args.words.drain(..).map(|word| NodeId(number(word))).collect();
        let ids: Vec<NodeId> = if named.is_empty() { self.nodes.keys().copied().collect() } else { named };
        self.advance(total, &ids);
    }

    fn advance(&mut self, total: u64, ids: &[NodeId]) {
        for _ in 0..total / 10 {
            self.now = self.now.plus(Duration::from_millis(10));
            for &id in ids {
                let now = self.now;
                if let Some(raft) = &mut self.node(id).raft {
                    raft.tick(now);
                    self.process(id);
                }
            }
        }
    }

    fn deliver(&mut self, command: &str, args: &mut Args<'_>) {
        let from = args.number("from").map(NodeId);
        let to = args.number("to").map(NodeId);
        let kind = args.fields.remove("type");
        let count = args.size("count").unwrap_or(usize::MAX);
        let is_reversed = match args.fields.remove("order") {
            None => false,
            Some("reverse") => true,
            Some(other) => panic!("unknown order {other:?}"),
        };
        if let Some(kind) = kind {
            assert!(super::trace::KINDS.contains(&kind), "unknown type {kind:?}");
        }
        let mut chosen = Vec::new();
        let mut kept = Vec::new();
        for envelope in std::mem::take(&mut self.network) {
            let is_meant = from.is_none_or(|from| from == envelope.from)
                && to.is_none_or(|to| to == envelope.to)
                && kind.is_none_or(|kind| kind == super::trace::kind(&envelope.message));
            if is_meant && chosen.len() < count { chosen.push(envelope) } else { kept.push(envelope) }
        }
        self.network = kept;
        if command == "copy" {
            self.network.extend(chosen.iter().cloned());
        }
        if is_reversed {
            chosen.reverse();
        }
        for envelope in chosen {
            if command == "drop" {
                self.say_message(&envelope, " (lost)");
            } else {
                self.arrive(envelope);
            }
        }
    }

    fn say_message(&mut self, envelope: &Envelope, what: &str) {
        let is_heartbeat =
            matches!(envelope.message, Message::Heartbeat { .. } | Message::HeartbeatReply { .. });
        if !(is_heartbeat && self.hides_heartbeats) {
            self.say(format!("{}{what}", describe_envelope(envelope)));
        }
    }

    fn arrive(&mut self, envelope: Envelope) {
        let (to, now) = (envelope.to, self.now);
        if self.node(to).raft.is_none() {
            self.say_message(&envelope, " (down)");
            return;
        }
        self.say_message(&envelope, "");
        self.node(to).raft().step(now, envelope);
        self.process(to);
    }

    fn stabilize(&mut self) {
        for _ in 0..10_000 {
            if self.network.is_empty() {
                return;
            }
            let envelope = self.network.remove(0);
            self.arrive(envelope);
        }
        panic!("it does not come to rest");
    }

    fn elect(&mut self, args: &mut Args<'_>) {
        let trace = std::mem::take(&mut self.out);
        let id = args.node();
        let now = self.now;
        self.node(id).raft().campaign(now);
        self.process(id);
        self.stabilize();
        self.advance(10, &[id]);
        self.stabilize();
        self.out = trace;
        assert_eq!(self.node(id).raft().leader(), Some(id), "{id} was not elected");
    }

    fn run_for(&mut self, args: &mut Args<'_>) {
        let total = args.number("time").expect("time=");
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.hides_heartbeats = true;
        for _ in 0..total / 10 {
            self.advance(10, &ids);
            self.stabilize();
        }
        self.hides_heartbeats = false;
    }

    fn partition(&mut self, args: &mut Args<'_>) {
        let groups: Vec<Vec<NodeId>> =
            args.words.drain(..).map(|word| word.split(',').map(|id| NodeId(number(id))).collect()).collect();
        for (at, group) in groups.iter().enumerate() {
            for (other_at, other) in groups.iter().enumerate() {
                for &from in group {
                    self.cut.extend(other.iter().filter(|_| at != other_at).map(|&to| (from, to)));
                }
            }
        }
    }

    fn persist(&mut self, args: &mut Args<'_>) {
        let id = args.node();
        let count = args.size("count").unwrap_or_else(|| self.nodes[&id].writing.len());
        let is_silent = args.yes("silent");
        self.persist_writes(id, count, is_silent);
        self.process(id);
    }

    fn persist_writes(&mut self, id: NodeId, count: usize, is_silent: bool) {
        let node = self.node(id);
        let messages = node.persist(count);
        let completed = std::mem::take(&mut node.completed);
        if let (Some(&seq), false) = (completed.last(), is_silent) {
            node.raft().persisted(seq);
        }
        self.send(messages);
    }

    fn send(&mut self, messages: Vec<Envelope>) {
        for envelope in messages {
            if self.cut.contains(&(envelope.from, envelope.to)) {
                self.say_message(&envelope, " (cut)");
            } else {
                self.network.push(envelope);
            }
        }
    }

    /// Does what a node wants done, until it wants nothing more.
    fn process(&mut self, id: NodeId) {
        loop {
            let (is_held, is_busy) = (self.held.contains(&id), self.busy.contains(&id));
            let node = self.node(id);
            if !is_busy && let Some(index) = node.install() {
                self.say(format!("  {id} is at snapshot {index}"));
            }
            let node = self.node(id);
            if is_held || !node.raft.as_ref().is_some_and(Raft::has_ready) {
                return;
            }
            let ready = node.raft().ready();
            let commit = node.raft().commit();
            for change in &ready.changes {
                let leader =
                    change.leader.map_or_else(|| "no leader".to_owned(), |id| format!("leader {id}"));
                let (role, term, reason) = (change.role.name(), change.term, change.reason);
                self.say(format!("  {id} is {role} in term {term}, {leader}: {reason}"));
            }
            self.send(ready.messages);
            for write in ready.writes {
                self.say(format!("  {id} {}", describe_write(&write)));
                self.node(id).writing.push_back(write);
            }
            if !ready.apply.is_empty() {
                let entries: Vec<String> = ready.apply.iter().map(describe_entry).collect();
                self.say(format!("  {id} applies {} (commit {commit})", entries.join(" ")));
                self.node(id).apply(&ready.apply);
            }
            ready.fetches.into_iter().for_each(|fetch| self.fetch(id, fetch));
            for SnapshotFor { to, session, at_least } in ready.snapshots {
                let at_least = (at_least.0 > 0).then(|| format!(" at {at_least} or beyond"));
                self.say(format!("  {id} wants a snapshot for {to}{}", at_least.unwrap_or_default()));
                self.asked.insert((id, to), session);
            }
            for (read, outcome) in ready.reads {
                match outcome {
                    ReadOutcome::At(index) => self.say(format!("  {id} read {} at {index}", read.0)),
                    ReadOutcome::Lost => self.say(format!("  {id} read {} lost", read.0)),
                }
            }
            if !self.slow.contains(&id) {
                let count = self.node(id).writing.len();
                self.persist_writes(id, count, false);
            }
        }
    }

    fn status(&mut self) {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let Some(raft) = &node.raft else {
                lines.push(format!("{id} down"));
                continue;
            };
            let some = |id: Option<NodeId>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
            lines.push(format!(
                "{id} {} term {} vote {} leader {} | {}{}{}{}applied {} commit {} persisted {} last {}@{}",
                raft.role().name(),
                raft.term(),
                some(raft.vote),
                some(raft.leader()),
                if raft.is_in_doubt() { "in doubt " } else { "" },
                raft.installing().map_or_else(String::new, |index| format!("installing {index} ")),
                if raft.has_state() { "" } else { "stateless " },
                raft.first_damaged().map_or_else(String::new, |index| match raft.irreparable() {
                    Some(index) => format!("irreparable {index} "),
                    None => format!("damaged {index} "),
                }),
                raft.applied_index(),
                raft.commit(),
                raft.persisted_index(),
                raft.last_index(),
                raft.log.last_term(),
            ));
        }
        lines.iter().for_each(|line| self.say(line));
    }

    fn versions(&mut self) {
        let mut lines = Vec::new();
        for (id, node) in &self.nodes {
            let Some(raft) = &node.raft else { continue };
            let versions = raft.membership().members.values().map(|member| format!("{:?}", member.version));
            lines.push(format!("{id}: {}", versions.collect::<Vec<_>>().join(" ")));
        }
        lines.iter().for_each(|line| self.say(line));
    }

    fn log(&mut self, args: &mut Args<'_>) {
        let ids: Vec<NodeId> =
            if args.words.is_empty() { self.nodes.keys().copied().collect() } else { vec![args.node()] };
        for id in ids {
            let disk = &self.nodes[&id].disk;
            let (purged, term) = disk.purged;
            let purged = (purged.0 > 0).then(|| format!("({purged}@{term})"));
            let entries: Vec<String> =
                purged.into_iter().chain(disk.entries.iter().map(describe_entry)).collect();
            self.say(format!("{id}: {}", entries.join(" ")));
        }
    }

    fn progress(&mut self, args: &mut Args<'_>) {
        let id = args.node();
        let RoleState::Leader(leader) = &self.node(id).raft().role else { panic!("{id} does not lead") };
        let lines: Vec<String> = leader
            .peers
            .iter()
            .map(|(peer, progress)| {
                let (matched, next) = (progress.matched(), progress.next());
                format!("{peer} {:?} matched {matched} next {next} told {}", progress.pace, progress.told)
            })
            .collect();
        lines.iter().for_each(|line| self.say(line));
    }
}

/// Runs a script and returns it with what its commands caused.
fn rewrite(text: &str) -> String {
    let mut script = Script::default();
    let mut result = String::new();
    let mut is_output = false;
    for line in text.lines() {
        if is_output {
            is_output = !line.is_empty();
        } else if line == "----" {
            is_output = true;
            result.push_str("----\n");
            result.push_str(&std::mem::take(&mut script.out));
            result.push('\n');
        } else {
            result.push_str(line);
            result.push('\n');
            if !line.is_empty() && !line.starts_with('#') {
                script.run(line);
            }
        }
    }
    assert!(script.out.is_empty(), "the last block lacks its ----");
    result.truncate(result.trim_end().len());
    result.push('\n');
    result
}

#[test]
fn scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/raft/testscripts");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut paths: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut failures = Vec::new();
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.starts_with("# "), "{name} does not begin with prose");
        let result = std::panic::catch_unwind(|| rewrite(&text)).unwrap_or_else(|_| panic!("{name} failed"));
        if update {
            std::fs::write(path, &result).unwrap();
        } else if result != text {
            let at = result.lines().zip(text.lines()).position(|(new, old)| new != old);
            let at = at.unwrap_or_else(|| result.lines().count().min(text.lines().count()));
            let (new, old) = (result.lines().nth(at), text.lines().nth(at));
            failures.push(format!("{name}:{}: expected {old:?}, got {new:?}", at + 1));
        }
    }
    assert!(paths.len() >= 20, "only {} scripts were found", paths.len());
    assert!(failures.is_empty(), "scripts changed (see UPDATE_GOLDEN):\n{}", failures.join("\n"));
}

#[test]
#[should_panic(expected = "unknown command")]
fn unknown_commands_are_errors() {
    rewrite("cluster nodes=1\nelevate 1\n----\n");
}

#[test]
#[should_panic(expected = "unknown fields")]
fn unknown_fields_are_errors() {
    rewrite("cluster nodes=1 colour=2\n----\n");
}
