//! Chaos: real processes, killed, paused, restarted and cut off from each other while many clients use all of the API
//! on all nodes; and then the question whether all that they were told can be true.
//!
//! ```text
//! plan       which faults, in which order: drawn from a seed
//! nemesis    breaks and mends the cluster; a step goes on when the clients have met the fault
//! clients    ask, and record what they were told; requests: one request and what its answer means; transactions: these
//! activity   counts answers by node: no fault passes unnoticed, or the test fails
//! history    the judge: the same checker that the simulation uses
//! ```
//!
//! Each test runs one short round with a plan of its own. `QUORATE_CHAOS_SECONDS=600` makes it begin new rounds, each
//! with every kind of fault, until the time is over; `QUORATE_CHAOS_SEED=N` names the first of them. A failure names
//! the seed of its round and the file with the history.
//!
//! The seed repeats the plan and what each client asks; when it is asked and how the kernel schedules it is as it is.

mod activity;
mod clients;
#[path = "../../../sim/src/history/mod.rs"]
mod history;
mod nemesis;
mod plan;
mod requests;
mod transactions;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::activity::Board;
use self::clients::{Clients, Recorder};
use self::history::operations::List;
use self::history::{Answer, Freshness, Key, Operation, Outcome};
use self::plan::{Fault, Step};
use self::requests::Request;
use self::transactions::Library;
use crate::harness::Cluster;
use crate::harness::poll::{PATIENCE, poll_until};

/// Clients for each node.
const CLIENTS_PER_NODE: u64 = 4;
/// Together with the threads of the relays this is as much as a small machine serves.
const CLIENTS_MAX: u64 = 16;
/// The reader of the final scan.
const SCANNER: u64 = 1_000;
/// Pairs on a page of the final scan.
const PAGE: usize = 100;

#[test]
fn three_nodes_stay_linearizable() {
    use Fault::*;
    let kinds = [KillLeader, PauseLeader, RestartInTurn, IsolateLeader, DeafLeader, MuteFollower];
    chaos("chaos-three", 3, 3_000, &kinds);
}

#[test]
fn five_nodes_stay_linearizable() {
    use Fault::*;
    let kinds = [SplitWithoutLeader, MuteLeader, IsolateAndKill];
    chaos("chaos-five", 5, 5_000, &kinds);
}

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: give a whole number")))
}

/// One round with these kinds of faults; or, as long as is asked for, rounds with all of them.
fn chaos(name: &str, nodes: u64, seed: u64, kinds: &[Fault]) {
    let Some(seconds) = setting("QUORATE_CHAOS_SECONDS") else {
        return Round::new(name, nodes, seed, kinds).run();
    };
    let begin = Instant::now();
    let mut seed = setting("QUORATE_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    while begin.elapsed() < Duration::from_secs(seconds) {
        Round::new(name, nodes, seed, &plan::ALL).run();
        seed += 1;
    }
}

/// A cluster from its first start to the verdict. Dropped in a failing test, it keeps the history.
struct Round {
    name: String,
    nodes: u64,
    seed: u64,
    steps: Vec<Step>,
    recorder: Recorder,
}

impl Round {
    fn new(name: &str, nodes: u64, seed: u64, kinds: &[Fault]) -> Round {
        let steps = plan::draw(seed, kinds);
        Round { name: name.to_owned(), nodes, seed, steps, recorder: Recorder::default() }
    }

    fn run(self) {
        let begin = Instant::now();
        let mut cluster = Cluster::start_relayed(&self.name, self.nodes);
        cluster.wait_ready();
        let board = Board::default();
        let addresses: BTreeMap<u64, String> =
            cluster.ids().into_iter().map(|id| (id, cluster.node(id).http.clone())).collect();
        let library =
            Library::connect(cluster.ids().into_iter().map(|id| cluster.node(id).grpc.clone()).collect());
        let count = (self.nodes * CLIENTS_PER_NODE).min(CLIENTS_MAX);
        let clients = Clients::start(count, self.seed, &addresses, &library, &board, &self.recorder);
        nemesis::wait_whole(&mut cluster, &board, "before the first fault");
        for step in &self.steps {
            eprintln!("{}: {:5.1} s: {step}", self.name, begin.elapsed().as_secs_f64());
            nemesis::run(&mut cluster, &board, *step);
        }
        clients.finish();
        board.check();
        self.scan(&mut cluster);
        let judged = Instant::now();
        let history = self.recorder.history();
        if let Err(why) = history.check().into_result() {
            drop(history);
            panic!("{why}");
        }
        eprintln!(
            "{}: seed {}: {} calls in {:.1} s, judged in {:.2} s: {:?}",
            self.name,
            self.seed,
            history.calls().len(),
            begin.elapsed().as_secs_f64(),
            judged.elapsed().as_secs_f64(),
            history.totals()
        );
    }

    /// Reads everything on every node, as clients do, so that the checker judges that, too; and once all have applied
    /// the same, looks whether they hold the same.
    fn scan(&self, cluster: &mut Cluster) {
        let leader = cluster.wait_ready();
        for id in cluster.ids() {
            self.read_all(cluster, id, Freshness::Linearizable);
        }
        let commit = cluster.client(leader).stats()["commit_index"].as_u64().expect("an index");
        let held: Vec<(u64, Vec<String>)> = cluster
            .ids()
            .into_iter()
            .map(|id| {
                cluster.wait_applied(id, commit);
                (id, self.read_all(cluster, id, Freshness::Stale))
            })
            .collect();
        for (id, pairs) in &held {
            assert_eq!(pairs, &held[0].1, "nodes {id} and {} hold different things", held[0].0);
        }
        cluster.assert_all_alive();
    }

    /// All pairs of a node, page by page.
    fn read_all(&self, cluster: &Cluster, id: u64, freshness: Freshness) -> Vec<String> {
        let client = cluster.client(id);
        let (mut all, mut after) = (Vec::new(), Key(Vec::new()));
        loop {
            let list = List { prefix: Key(Vec::new()), after: after.clone(), limit: Some(PAGE), freshness };
            let request = Request {
                operation: Operation::List(list),
                bytes: Vec::new(),
                base64: true,
                deadline: Duration::from_secs(5),
            };
            let answer = poll_until(&format!("a page of node {id}"), PATIENCE, || {
                match self.recorder.send(SCANNER + id, id, &client, &request) {
                    Ok(Outcome::Done(answer)) => Some(answer),
                    Ok(_) => None,
                    Err(why) => panic!("{why}"),
                }
            });
            let Answer::Listed { pairs, more, .. } = answer else { unreachable!("a list was asked for") };
            all.extend(pairs.iter().map(ToString::to_string));
            match pairs.last() {
                Some(pair) if more => after = pair.key.clone(),
                _ => return all,
            }
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let path =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{}.history", self.name, self.seed));
        let written = std::fs::File::create(&path)
            .and_then(|file| self.recorder.history().write_to(&mut std::io::BufWriter::new(file)));
        let steps: Vec<String> = self.steps.iter().map(ToString::to_string).collect();
        eprintln!(
            "{}: seed {}, {} nodes, the plan was: {}",
            self.name,
            self.seed,
            self.nodes,
            steps.join(", ")
        );
        if setting("QUORATE_CHAOS_SECONDS").is_some() {
            eprintln!(
                "to repeat it, run the test with QUORATE_CHAOS_SECONDS=1 QUORATE_CHAOS_SEED={}",
                self.seed
            );
        }
        match written {
            Ok(()) => eprintln!("the history is in {}", path.display()),
            Err(error) => eprintln!("the history cannot be written to {}: {error}", path.display()),
        }
    }
}
