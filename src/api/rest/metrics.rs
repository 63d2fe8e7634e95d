//! `GET /metrics`: this node's figures for Prometheus, in its OpenMetrics text.
//!
//! Copied out of the node's status: it asks nobody, waits for nothing and costs the node next to nothing. While the node
//! is opening, only its version is known. Names and meanings are those of `telemetry`, in its order; what the node
//! does not give is left out. Before them stands what the system says of the process, under the names that every process
//! gives it.

use std::fmt;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::shard::{Router, Status};
use crate::telemetry::{self, FIGURES, Figure, Kind, Process};

use super::problem::Problem;
use super::query::Query;
use super::reply::{self, Reply, respond};
use super::{Door, Front};

/// The media type of the OpenMetrics text.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before every name.
const PREFIX: &str = "quorate";

pub(super) async fn metrics(State(shared): Door, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let result = execute(&shared.front, &parts);
    respond(&shared.front, &parts, reply::Kind::Read, result)
}

fn execute(front: &Front, parts: &Parts) -> Result<Reply, Problem> {
    front.deadline(&parts.headers)?;
    Query::parse(parts.uri.query(), &[])?;
    let status = front.router_now().as_ref().map(Router::status);
    let revision = status.as_ref().map(|status| status.revision);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(OfProcess(Process::this())));
    registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(Figures(status)));
    let mut text = String::with_capacity(16 << 10);
    let encoded = encode(&mut text, &registry);
    assert!(encoded.is_ok(), "a text takes whatever is written to it: {encoded:?}");
    Ok(Reply { status: StatusCode::OK, media_type: MEDIA_TYPE, body: text.into(), revision })
}

/// What is shown: nothing but the version while the node is opening.
#[derive(Debug)]
struct Figures(Option<Status>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for figure in FIGURES {
            match figure.kind {
                Kind::Info => {
                    write(&mut encoder, figure, &Info::new([("version", env!("CARGO_PKG_VERSION"))]))?
                }
                kind => match self.0.as_ref().and_then(|status| value_of(status, figure.name)) {
                    Some(value) if kind == Kind::Counter => {
                        write(&mut encoder, figure, &ConstCounter::new(value))?
                    }
                    Some(value) => write(&mut encoder, figure, &ConstGauge::new(value))?,
                    None => {}
                },
            }
        }
        Ok(())
    }
}

/// What the system says of the process, if it says anything.
#[derive(Debug)]
struct OfProcess(Option<Process>);

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(process) = self.0 else { return Ok(()) };
        let mut show = |name: &str, help: &str, unit: Option<&Unit>, metric: &dyn Shown| {
            metric.encode_to(encoder.encode_descriptor(name, help, unit, metric.kind())?)
        };
        let (seconds, bytes) = (Some(&Unit::Seconds), Some(&Unit::Bytes));
        let gauge = ConstGauge::<u64>::new;
        let cpu = ConstCounter::new(process.cpu_seconds);
        show("process_cpu", "Processor time that the process has used, in seconds.", seconds, &cpu)?;
        show("process_open_fds", "Files and connections that are open.", None, &gauge(process.open_fds))?;
        show("process_max_fds", "Files and connections that may be open.", None, &gauge(process.max_fds))?;
        let resident = gauge(process.resident_memory_bytes);
        show("process_resident_memory", "Memory that is in RAM, in bytes.", bytes, &resident)?;
        let all = gauge(process.virtual_memory_bytes);
        show("process_virtual_memory", "The address space, in bytes.", bytes, &all)?;
        let start = ConstGauge::new(process.start_time_seconds);
        show("process_start_time", "When the process began, in seconds since 1970.", seconds, &start)
    }
}

/// A figure of any kind.
trait Shown {
    fn kind(&self) -> MetricType;
    fn encode_to(&self, encoder: MetricEncoder<'_>) -> fmt::Result;
}

impl<T: EncodeMetric> Shown for T {
    fn kind(&self) -> MetricType {
        self.metric_type()
    }

    fn encode_to(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.encode(encoder)
    }
}

/// The library puts the name together: what it adds is taken off first.
fn write(encoder: &mut DescriptorEncoder<'_>, figure: &Figure, metric: &impl EncodeMetric) -> fmt::Result {
    let Figure { name, kind, help } = *figure;
    let (name, unit) = match kind {
        Kind::Counter => (name.strip_suffix("_total").unwrap_or(name), None),
        Kind::Info => (name.strip_suffix("_info").unwrap_or(name), None),
        Kind::Gauge => match name.strip_suffix("_bytes") {
            Some(name) => (name, Some(&Unit::Bytes)),
            None => (name, None),
        },
    };
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn value_of(status: &Status, name: &str) -> Option<u64> {
    Some(match name {
        telemetry::HAS_LEADER => u64::from(status.leader.is_some()),
        telemetry::IS_LEADER => u64::from(status.state == "leader"),
        telemetry::TERM => status.term.0,
        telemetry::COMMIT_INDEX => status.commit_index.0,
        telemetry::APPLIED_INDEX => status.applied_index.0,
        telemetry::LAST_INDEX => status.last_index.0,
        telemetry::PERSISTED_INDEX => status.persisted_index.0,
        telemetry::FOLDED_INDEX => status.folded_index.0,
        telemetry::PURGED_INDEX => status.purged_index.0,
        telemetry::REVISION => status.revision.0,
        other => *status.counters.get(other)?,
    })
}
