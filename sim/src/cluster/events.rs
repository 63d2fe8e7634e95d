//! What nodes say: a subscriber layer that brings their log lines into the trace.
//!
//! Every event of the product at level info or above is recorded with all its fields, so two runs with the same
//! trace hash logged the same lines. The node is the one whose turn it is: turmoil enters a span with its name.

use std::fmt;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::trace::SharedTrace;
use crate::trace::event::What;

/// The layer.
#[derive(Debug)]
pub struct Events {
    trace: SharedTrace,
}

impl Events {
    /// A layer that records into `trace`.
    pub fn new(trace: SharedTrace) -> Events {
        Events { trace }
    }

    /// What the layer needs to see: the product's lines, and turmoil's span of the node whose turn it is.
    pub fn filter() -> Targets {
        Targets::new().with_target("quorate", LevelFilter::INFO).with_target("turmoil", LevelFilter::INFO)
    }
}

/// The name of the node whose turn it is, kept in turmoil's span.
struct NodeName(String);

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Events {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "node" || !attributes.metadata().target().starts_with("turmoil") {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.get("name")) {
            span.extensions_mut().insert(NodeName(name.to_owned()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("quorate") {
            return;
        }
        let scope = context.event_scope(event).into_iter().flatten();
        let node = scope
            .filter_map(|span| span.extensions().get::<NodeName>().map(|name| name.0.clone()))
            .next()
            .unwrap_or_else(|| "world".to_owned());
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.trace.record(&node, "log", format_args!("{} {fields}", metadata.level()), &[]);
        let number = node.strip_prefix("node").and_then(|number| number.parse().ok()).unwrap_or(0);
        self.trace.event(number, || What::Log {
            text: format!("{} {}", metadata.level(), fields).trim_end().to_owned(),
        });
    }
}

/// An event's fields as text, in the order of its callsite.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| write!(f, "{name}={value} "))
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::trace::Trace;

    #[test]
    fn log_lines_are_recorded_under_their_node() {
        let trace = Trace::new(crate::cluster::entropy::now, None).expect("no sink to fail");
        let layer = Events::new(trace.clone()).with_filter(Events::filter());
        let before = trace.hash();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let _turn = tracing::span!(target: "turmoil::sim", tracing::Level::INFO, "node", name = "node2")
                .entered();
            tracing::info!(target: "quorate::node", role = %"leader", term = 3_u64, "role change");
            tracing::info!(target: "quorate::node", "started");
            tracing::debug!(target: "quorate::node", role = %"follower", term = 4_u64, "not at info");
            tracing::info!(target: "hyper", "not ours");
        });
        assert_ne!(trace.hash(), before);
        assert_eq!(trace.counters()["log"], 2);
    }
}
