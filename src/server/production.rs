//! The seams of a real machine: its disk, its network, its threads, its clock.

use std::sync::Arc;

use super::Seams;
use crate::clock::SystemClock;
use crate::fsm;
use crate::node::executor::ThreadExecutor;
use crate::transport::net::TcpNet;
use crate::types::CLUSTER_VERSION;
use crate::wal::fs::StdFs;

impl Seams {
    /// What every real node runs on.
    pub fn production() -> Seams {
        Seams {
            fs: Arc::new(StdFs),
            net: Arc::new(TcpNet),
            executor: Arc::new(ThreadExecutor),
            clock: SystemClock::shared(),
            state_file: Arc::new(fsm::file_backend),
            http_date: true,
            probe: None,
            supports: CLUSTER_VERSION,
        }
    }
}
