//! Sets a key, reads it, changes it on a condition, lists, and deletes.

use std::error::Error;
use std::process::ExitCode;

use futures_util::TryStreamExt;
use quorate::client::{Client, ErrorKind};

const USAGE: &str = "\
usage: hello ENDPOINT...
  ENDPOINT  a node's gRPC address, host:port; without any: QUORATE_ENDPOINTS, separated by commas";

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

    let written = client.set("hello/1", "world").await?;
    show(format!("hello/1 is set, at revision {}", written.revision));

    // Only if nobody changed it since.
    client.set("hello/1", "moon").if_revision(written.revision).await?;
    match client.set("hello/1", "sun").if_revision(written.revision).await {
        Err(error) if error.kind() == ErrorKind::ConditionFailed => {
            show("it was changed meanwhile: left as it is")
        }
        other => show(format!("unexpected: {other:?}")),
    }

    client.set("hello/2", [0, 159, 146, 150]).await?;
    let mut pairs = client.list("hello/").stream();
    while let Some(pair) = pairs.try_next().await? {
        show(format!("{} = {:?}, version {}", pair.key_text()?, pair.value, pair.version));
    }
    show(format!("{} keys removed", client.delete_prefix("hello/").await?.count));
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "a program that shows something")]
fn show(text: impl std::fmt::Display) {
    println!("{text}");
}
