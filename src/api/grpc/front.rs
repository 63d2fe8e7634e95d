//! Deadlines, the wait for the node, and which consistency a read asks for.

use std::time::Duration;

use http::HeaderMap;

use super::Front;
use super::error::Refusal;
use crate::api::{grpc_timeout, opening};
use crate::proto::v1;
use crate::shard::{Consistency, Freshness, Router};
use crate::types::{Monotonic, Revision};

impl Front {
    /// How long the request may take.
    pub(super) fn timeout(&self, headers: &HeaderMap) -> Result<Duration, Refusal> {
        grpc_timeout::of(headers, &self.limits).ok_or_else(|| {
            Refusal::invalid(
                "grpc-timeout is none: give up to eight digits and a unit (H, M, S, m, u or n), such as 500m",
            )
        })
    }

    /// The same of an operation of a pipeline; 0: the default.
    pub(super) fn deadline_in(&self, timeout_ms: u32) -> Monotonic {
        let timeout = match timeout_ms {
            0 => self.limits.request_timeout_default,
            millis => Duration::from_millis(millis.into()).min(self.limits.request_timeout_max),
        };
        self.clock.now().plus(timeout)
    }

    /// The router, as soon as the node is open and within the deadline.
    pub(super) async fn router(&self, deadline: Monotonic) -> Result<Router, Refusal> {
        let opened = opening::opened(&self.router, &*self.clock, deadline).await;
        opened.map_err(|error| self.refusal(error, deadline))
    }
}

/// What a read may show. Nothing said: linearizable.
pub(super) fn freshness(read: Option<&v1::ReadOptions>) -> Result<Freshness, Refusal> {
    let Some(read) = read else { return Ok(Freshness::LINEARIZABLE) };
    let max_staleness_ms = read.max_staleness_ms;
    let consistency = match v1::Consistency::try_from(read.consistency) {
        Ok(v1::Consistency::Stale) => Consistency::Stale { max_staleness_ms },
        Ok(_) if max_staleness_ms.is_some() => {
            return Err(Refusal::invalid(
                "max_staleness_ms means something with STALE alone: other reads are never stale",
            ));
        }
        Ok(v1::Consistency::Linearizable) => Consistency::Linearizable,
        Ok(v1::Consistency::Lease) => Consistency::Lease,
        Err(_) => return Err(unknown_consistency(read.consistency)),
    };
    let min_revision = (read.min_revision > 0).then_some(Revision(read.min_revision));
    Ok(Freshness { consistency, min_revision })
}

/// Whether this node alone is to answer what the leader would otherwise be asked. It has no leases.
pub(super) fn is_local(consistency: i32) -> Result<bool, Refusal> {
    match v1::Consistency::try_from(consistency) {
        Ok(v1::Consistency::Linearizable) => Ok(false),
        Ok(v1::Consistency::Stale) => Ok(true),
        Ok(v1::Consistency::Lease) => {
            Err(Refusal::invalid("the members are not read under a lease: ask for LINEARIZABLE or STALE"))
        }
        Err(_) => Err(unknown_consistency(consistency)),
    }
}

fn unknown_consistency(consistency: i32) -> Refusal {
    Refusal::invalid(format!("consistency is {consistency}: give LINEARIZABLE, LEASE or STALE"))
}
