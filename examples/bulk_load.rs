//! Writes many keys as fast as the cluster takes them: many calls at once, which the client sends together over one stream.

use std::error::Error;
use std::process::ExitCode;

use futures_util::{StreamExt, TryStreamExt, stream};
use quorate::client::Client;

const USAGE: &str = "\
usage: bulk_load KEYS ENDPOINT...
  KEYS      how many keys to write, of 256 bytes each, below example/bulk/; they stay
  ENDPOINT  a node's gRPC address, host:port; without any: QUORATE_ENDPOINTS, separated by commas";

/// Calls under way. The client bounds writes by itself as well: what is beyond that waits.
const AT_ONCE: usize = 256;

#[tokio::main]
#[allow(clippy::disallowed_methods, reason = "a program that measures real time")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().and_then(|keys| keys.parse::<u64>().ok());
    let mut endpoints: Vec<String> = arguments.collect();
    if endpoints.is_empty() {
        let named = std::env::var("QUORATE_ENDPOINTS").unwrap_or_default();
        endpoints = named.split(',').filter(|endpoint| !endpoint.is_empty()).map(str::to_owned).collect();
    }
    let (Some(keys), false) = (keys, endpoints.is_empty()) else {
        show(USAGE);
        return Ok(ExitCode::from(2));
    };
    let client = Client::builder().endpoints(endpoints).connect().await?;
    let value = bytes::Bytes::from(vec![b'v'; 256]);
    let begin = std::time::Instant::now();
    stream::iter(0..keys)
        .map(|at| client.set(format!("example/bulk/{at:012}"), &value).into_future())
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    let seconds = begin.elapsed().as_secs_f64();
    show(format!("{keys} keys in {seconds:.2} s: {:.0}/s", keys as f64 / seconds));
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::print_stdout, reason = "a program that shows something")]
fn show(text: impl std::fmt::Display) {
    println!("{text}");
}
