//! A counter that several tasks raise at once with compare-and-set: none of the steps is lost, and none is done twice.

use std::error::Error;
use std::process::ExitCode;

use quorate::client::{Client, Swap};

const USAGE: &str = "\
usage: counter ENDPOINT...
  ENDPOINT  a node's gRPC address, host:port; without any: QUORATE_ENDPOINTS, separated by commas";

const KEY: &str = "example/counter";
const TASKS: u64 = 8;
const STEPS: u64 = 25;

#[tokio::main]
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
    let client = Client::builder().endpoints(endpoints).connect().await?;
    client.delete(KEY).await?;
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(raise(client.clone()))).collect();
    let mut conflicts = 0;
    for task in tasks {
        conflicts += task.await??;
    }
    let counter = client.get(KEY).await?.ok_or("the counter is gone")?;
    show(format!("{} after {} steps, with {conflicts} conflicts", counter.text()?, TASKS * STEPS));
    Ok(ExitCode::SUCCESS)
}

/// Raises the counter; how often another one was faster.
async fn raise(client: Client) -> Result<u64, quorate::client::Error> {
    let mut conflicts = 0;
    let (mut revision, mut count) = (0, 0_u64);
    for _ in 0..STEPS {
        loop {
            match client.compare_and_set(KEY, revision, (count + 1).to_string()).await? {
                Swap::Set { revision: now } => {
                    (revision, count) = (now, count + 1);
                    break;
                }
                // What it is instead comes with the answer.
                Swap::Changed { current } => {
                    conflicts += 1;
                    revision = current.as_ref().map_or(0, |kv| kv.mod_revision);
                    count = current.and_then(|kv| kv.text().ok()?.parse().ok()).unwrap_or(0);
                }
            }
        }
    }
    Ok(conflicts)
}

#[allow(clippy::print_stdout, reason = "a program that shows something")]
fn show(text: impl std::fmt::Display) {
    println!("{text}");
}
