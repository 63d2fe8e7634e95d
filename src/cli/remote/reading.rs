//! How fresh a read must be: the options of `get`, `list` and `txn`.

use super::super::Failure;
use super::super::values::Span;
use crate::client::Consistency;

/// The options.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Freshness")]
pub(super) struct Reading {
    /// linearizable: sees every write acknowledged before; lease: the same, relying on clocks; stale: what the node
    /// that is asked has
    #[arg(long, value_name = "HOW", default_value = "linearizable", hide_possible_values = true)]
    consistency: How,
    /// With --consistency stale: a node that may be further behind than that asks the leader after all
    #[arg(long, value_name = "TIME")]
    max_staleness: Option<Span>,
    /// Wait until the node is at this revision: that of your last write shows it on any node
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(super) min_revision: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum How {
    Linearizable,
    Lease,
    Stale,
}

impl Reading {
    /// The consistency that is meant.
    pub(super) fn consistency(&self) -> Result<Consistency, Failure> {
        let max_staleness = self.max_staleness.map(|span| span.0);
        match self.consistency {
            How::Stale => Ok(Consistency::Stale { max_staleness }),
            _ if max_staleness.is_some() => {
                Err(Failure::usage("--max-staleness is for stale reads: add --consistency stale"))
            }
            How::Linearizable => Ok(Consistency::Linearizable),
            How::Lease => Ok(Consistency::Lease),
        }
    }
}
