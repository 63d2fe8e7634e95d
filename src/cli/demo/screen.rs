//! The demo's output: on a terminal one line that is renewed in place, else one line for each change and no control
//! codes. Nobody may be reading (the terminal was closed, the pipe broke): then the demo goes on in silence.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::say;
use super::home::Home;
use super::nodes::Cluster;
use super::status::Status;

/// Where the demo talks to a person.
pub(super) struct Screen {
    /// The line that is renewed in place; absent where there is no terminal.
    live: Option<ProgressBar>,
    /// What was last shown.
    shown: Option<Status>,
}

impl Screen {
    /// Finds out what stdout is.
    pub(super) fn new() -> Screen {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let live = (std::io::stdout().is_terminal() && !dumb).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            // A template without placeholders that can fail; the default style is a progress bar of its own.
            let style = ProgressStyle::with_template("{wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
            bar
        });
        Screen { live, shown: None }
    }

    /// Who is where, and what to try.
    pub(super) fn introduce(&self, cluster: &Cluster, home: &Home) {
        let nodes = cluster.nodes();
        let fate = if home.is_temporary() { "removed at the end" } else { "kept" };
        let count = nodes.len();
        let noun = if count == 1 { "node" } else { "nodes" };
        say(&format!("Quorate demo: {count} {noun}, data in {} ({fate})\n", home.root().display()));
        for node in nodes {
            let plan = &node.plan;
            say(&format!(
                "  node {}  pid {:<7}  REST http://{}  peers {}  gRPC {}  log {}",
                plan.id,
                node.pid(),
                plan.http,
                plan.peer,
                plan.grpc,
                home.log_path(plan.id).display()
            ));
        }
        // Different nodes on purpose: it makes no difference which one is asked.
        let http = |at: usize| nodes[at % count].plan.http;
        say(&format!(
            "\nTry:\n  \
             curl -X POST http://{}/api/set -H 'Content-Type: application/json' -d '{{\"key\":\"user:1001\",\"value\":\"John Doe\"}}'\n  \
             curl 'http://{}/api/get?key=user:1001'\n  \
             curl 'http://{}/api/list?prefix=user:'\n  \
             curl http://{}/api/stats\n  \
             kill -9 {}\n\nCtrl-C stops all nodes.\n",
            http(0),
            http(1),
            http(2),
            http(0),
            nodes[0].pid()
        ));
    }

    /// Renews the status; where there is no terminal, only if it changed.
    pub(super) fn show(&mut self, status: &Status) {
        match &self.live {
            Some(bar) => {
                bar.set_message(status.to_string());
                bar.tick();
            }
            None if self.shown.as_ref().is_none_or(|shown| status.differs_from(shown)) => {
                say(&status.to_string());
                self.shown = Some(status.clone());
            }
            None => {}
        }
    }

    /// Says something that stays.
    pub(super) fn event(&self, text: &str) {
        match &self.live {
            Some(bar) => bar.println(text),
            None => {
                say(text);
            }
        }
    }

    /// The last words.
    pub(super) fn conclude(&self, home: &Home, left_running: &[u16]) {
        if let Some(bar) = &self.live {
            bar.finish_and_clear();
        }
        for id in left_running {
            say(&format!("node {id} was started by hand and is left running"));
        }
        let root = home.root().display();
        if home.is_temporary() {
            say("all nodes of the demo are stopped, their data is removed");
        } else {
            say(&format!("all nodes of the demo are stopped, the data is kept in {root}"));
        }
    }
}
