//! `grpc-timeout`: how long a call may take, as gRPC's protocol over HTTP/2 writes it.

use std::time::Duration;

use http::HeaderMap;

use crate::config::Limits;

/// The header's name.
const HEADER: &str = "grpc-timeout";

/// How long a call with these headers may take: as it says, at most the longest there is; else the default. `None` if what it
/// says is no timeout.
pub fn of(headers: &HeaderMap, limits: &Limits) -> Option<Duration> {
    let Some(value) = headers.get(HEADER) else { return Some(limits.request_timeout_default) };
    let timeout = value.to_str().ok().and_then(parse)?;
    Some(timeout.min(limits.request_timeout_max))
}

/// `TimeoutValue TimeoutUnit`: at most eight digits, and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value: u64 = is_number.then(|| digits.parse().ok()).flatten()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_those_of_grpc() {
        let cases = [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("0S", Some(Duration::ZERO)),
            ("400m", Some(Duration::from_millis(400))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
        ];
        for (text, timeout) in cases {
            assert_eq!(parse(text), timeout, "{text}");
        }
        for text in ["", "S", "5", "5s", "-5S", "+5S", "100000000S", "5 S", "5S ", "5\u{fc}", "1.5S"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
