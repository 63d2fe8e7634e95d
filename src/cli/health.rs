//! `quorate health`: asks a node whether it serves, for probes in images that have no shell and no curl.

use std::time::Duration;

use super::{Failure, UNEXPECTED, say};

const AFTER_HELP: &str = "\
Examples:
  quorate health                                  can the node reach a quorum? (GET /health)
  quorate health --live                           does it run, whatever the quorum? (GET /livez)
  quorate health --endpoint http://127.0.0.1:8082

Use --live to decide on restarts: a node without a quorum does not get well by being restarted.";

/// Ask a node whether it is healthy; exit code 0 if so, else 1
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The node's REST address
    #[arg(long, env = "QUORATE_ENDPOINT", value_name = "URL", default_value = "http://127.0.0.1:8081")]
    endpoint: String,
    /// Only ask whether the process runs and its disk works, not whether it reaches a quorum
    #[arg(long)]
    live: bool,
}

/// A node answers `/health` within its own deadline of 1 s; this is for one that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let url = url(&args.endpoint, args.live);
    let (status, body) = super::http::get(&url, ANSWER_TIMEOUT)
        .map_err(|error| Failure::new(UNEXPECTED, format!("{url}: {error}")))?;
    let body = body.trim();
    if status == 200 {
        say(if body.is_empty() { "ok" } else { body });
        return Ok(());
    }
    Err(Failure::new(UNEXPECTED, format!("{url}: status {status}: {}", body.replace('\n', " "))))
}

fn url(endpoint: &str, live: bool) -> String {
    let scheme = if endpoint.contains("://") { "" } else { "http://" };
    let path = if live { "livez" } else { "health" };
    format!("{scheme}{}/{path}", endpoint.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_read_with_and_without_scheme() {
        assert_eq!(url("http://127.0.0.1:8081", false), "http://127.0.0.1:8081/health");
        assert_eq!(url("127.0.0.1:8081/", true), "http://127.0.0.1:8081/livez");
    }

    #[test]
    fn a_node_that_is_not_there_is_not_healthy() {
        // Port 1 of a loopback address that nothing uses.
        let args = Args { endpoint: "127.9.9.9:1".to_owned(), live: true };
        let failure = run(&args).expect_err("nobody answers");
        assert_eq!(failure.code, UNEXPECTED);
        assert!(failure.text.starts_with("http://127.9.9.9:1/livez: "), "{}", failure.text);
    }
}
