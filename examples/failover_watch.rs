//! Writes one key again and again, and shows who leads and how long a write took when that was long. Kill the leader meanwhile.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use quorate::client::{Client, Outcome};

const USAGE: &str = "\
usage: failover_watch ENDPOINT...
  ENDPOINT  a node's gRPC address, host:port; without any: QUORATE_ENDPOINTS, separated by commas
It ends with Ctrl-C.";

/// What is worth a line.
const LONG: Duration = Duration::from_millis(20);

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "a program that measures real time")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut endpoints: Vec<String> = std::env::args().skip(1).collect();
    if endpoints.is_empty() {
        let named = std::env::var("QUORATE_ENDPOINTS").unwrap_or_default();
        endpoints = named.split(',').filter(|endpoint| !endpoint.is_empty()).map(str::to_owned).collect();
    }
    if endpoints.is_empty() || endpoints.iter().any(|endpoint| endpoint.starts_with('-')) {
        show(USAGE);
        return Ok(ExitCode::from(2));
    }
    let client = Client::builder().endpoints(endpoints).deadline(Duration::from_secs(30)).connect().await?;
    let mut leader = None;
    for count in 0_u64.. {
        let begin = std::time::Instant::now();
        let result = client.set("example/failover", count.to_string()).await;
        let took = begin.elapsed();
        match result {
            Ok(written) if took >= LONG => {
                show(format!("write {count} took {took:.0?}, at revision {}", written.revision));
            }
            Ok(_) => {}
            Err(error) if error.outcome() == Outcome::Unknown => {
                show(format!("write {count}: {error}"));
                if let Some(attempt) = error.into_attempt() {
                    show(format!("it is known now: {:?}", attempt.resume(Duration::from_secs(60)).await?));
                }
            }
            Err(error) => show(format!("write {count} was not done: {error}")),
        }
        if client.leader() != leader {
            leader = client.leader();
            show(format!("the leader: {}", leader.as_deref().unwrap_or("not known")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "a program that shows something")]
fn show(text: impl std::fmt::Display) {
    println!("{text}");
}
