//! The product as it runs in production: the same assembly, with the five seams given by the simulation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate::config::{Config, Limits};
use quorate::fsm;
use quorate::server::{self, Seams};
use quorate::types::{CLUSTER_VERSION, NodeId};

use crate::cluster::handle::{GRPC_PORT, HTTP_PORT};
use crate::cluster::state_file::StateFile;
use crate::cluster::world::{Boot, DATA_DIR, Software, host};

/// The port that peers connect to.
const PEER_PORT: u16 = 7001;

/// What every node of a run runs.
pub fn production() -> Software {
    Arc::new(|boot| Box::pin(serve(boot)))
}

async fn serve(boot: Boot) -> Result<(), String> {
    let fs = boot.fs.clone();
    let seams = Seams {
        fs: boot.fs.shared(),
        net: boot.net,
        executor: boot.executor,
        clock: boot.clock,
        state_file: Arc::new(move |path| match StateFile::open(&fs, path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => Err(fsm::Error::io(format!("open {}: {error}", path.display()), &error)),
        }),
        http_date: false,
        probe: Some(boot.probe),
        supports: CLUSTER_VERSION,
    };
    let stopped = server::run(config(boot.id, boot.nodes, boot.seed, boot.joins), seams, boot.shutdown).await;
    // The exit code by name, for whoever judges why it stopped.
    stopped.map_err(|exit| format!("{:?}: {exit}", exit.code))
}

/// Production's defaults, but for limits that a short run would never meet, and times that each run draws.
fn config(id: u64, nodes: u64, seed: u64, joins: Option<u64>) -> Config {
    let mut rng = crate::seed::generator(seed, "config", 0);
    let (heartbeat_ms, election_ms) = times_ms(&mut rng);
    let limits = limits(&mut rng);
    let address = |id: u64, port: u16| format!("{}:{port}", host(id));
    let bind = |port: u16| format!("0.0.0.0:{port}");
    let founders = if joins.is_some() { 0 } else { nodes };
    let initial_cluster: BTreeMap<NodeId, String> =
        (1..=founders).map(|id| (NodeId(id), address(id, PEER_PORT))).collect();
    Config {
        // Who joins is told its id.
        id: NodeId(if joins.is_some() { 0 } else { id }),
        data_dir: PathBuf::from(DATA_DIR),
        http: bind(HTTP_PORT),
        peer: bind(PEER_PORT),
        grpc: bind(GRPC_PORT),
        advertise_http: address(id, HTTP_PORT),
        advertise_peer: address(id, PEER_PORT),
        advertise_grpc: address(id, GRPC_PORT),
        initial_cluster,
        join: joins.map(|other| address(other, PEER_PORT)),
        learner: false,
        cluster_token: "simulation".to_owned(),
        heartbeat_interval: Duration::from_millis(heartbeat_ms),
        election_timeout: Duration::from_millis(election_ms),
        limits,
    }
}

/// The heartbeat interval and the election timeout.
fn times_ms(rng: &mut fastrand::Rng) -> (u64, u64) {
    let heartbeat_ms = [50, 100, 100, 150][rng.usize(..4)];
    (heartbeat_ms, heartbeat_ms * rng.u64(4..=8))
}

/// The election timeout of a seed's nodes, in milliseconds.
pub fn election_timeout_ms(seed: u64) -> u64 {
    times_ms(&mut crate::seed::generator(seed, "config", 0)).1
}

/// Limits so small that a run rolls segments, folds, reads its log back from the disk and purges it, more than once.
fn limits(rng: &mut fastrand::Rng) -> Limits {
    let wal_bytes_max = [1 << 20, 4 << 20, 8 << 20][rng.usize(..3)];
    let wal_segment_bytes = [32 << 10, 64 << 10, 128 << 10][rng.usize(..3)];
    Limits {
        wal_segment_bytes,
        storage_reserve_bytes: 6 * wal_segment_bytes,
        storage_floor_bytes: 2 * wal_segment_bytes,
        wal_bytes_max,
        log_tail_bytes_max: [0, 64 << 10, wal_bytes_max / 2][rng.usize(..3)],
        scrub_pause: Duration::from_millis([500, 3_000, 20_000][rng.usize(..3)]),
        hash_mark_interval: Duration::from_millis([300, 1_000, 5_000][rng.usize(..3)]),
        snapshot_pin: Duration::from_millis([300, 3_000, 20_000][rng.usize(..3)]),
        write_set_bytes_max: [16 << 10, 64 << 10, 256 << 10][rng.usize(..3)],
        store_cache_bytes: 256 << 10,
        log_cache_bytes_max: [16 << 10, 256 << 10, 16 << 20][rng.usize(..3)],
        append_batch_bytes_max: [4 << 10, 1 << 20][rng.usize(..2)],
        append_inflight_max: [2, 64][rng.usize(..2)],
        idempotency_answers_max: [8, 64, 100_000][rng.usize(..3)],
        idempotency_spent_max: [8, 64, 1_000_000][rng.usize(..3)],
        // So few sessions that clients lose theirs to each other; as many numbers as a client uses of one, or more.
        sessions_max: [2, 3, 100_000][rng.usize(..3)],
        session_inflight_max: [32, 1_024][rng.usize(..2)],
        ..Limits::default()
    }
}
