//! The blocking HTTP client of `health` and `demo`: one GET, one connection, one bound on time and size.

use std::time::Duration;

/// The longest answer that is read.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Status and body of a GET.
pub(super) fn get(url: &str, timeout: Duration) -> Result<(u16, String), ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        // An unhealthy node's answer is an answer.
        .http_status_as_error(false)
        // A node is asked itself: a proxy from the environment would answer for itself, or for another.
        .proxy(None)
        .max_redirects(0)
        .build()
        .into();
    let mut response = agent.get(url).call()?;
    let body = response.body_mut().with_config().limit(BODY_BYTES_MAX).read_to_string()?;
    Ok((response.status().as_u16(), body))
}
