//! Addresses that a request gives: where a member is reached by others.
//!
//! What is taken here stands in every node's configuration and is dialled by all of them: so what nobody could dial is
//! refused.

use crate::config;

/// A host name has at most 253 bytes (RFC 1035), a port 5. Peers take no longer ones either.
const ADDRESS_BYTES_MAX: usize = 259;

/// Judges `address`, which the field `name` gives.
///
/// # Errors
/// What is wrong with it and what to do, a sentence.
pub fn check(address: &str, name: &str) -> Result<(), String> {
    let Err(what) = judge(address) else { return Ok(()) };
    Err(format!("{name} is {address:?}, {what}: give HOST:PORT as other nodes reach it, such as node4:7001."))
}

fn judge(address: &str) -> Result<(), &'static str> {
    if address.len() > ADDRESS_BYTES_MAX {
        return Err("which is too long");
    }
    let Some((host, port)) = address.rsplit_once(':') else { return Err("which names no port") };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err("whose port is none of 1 to 65535");
    }
    let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if host.is_empty() || name == Some("") {
        return Err("which names no host");
    }
    // A scheme, a path, a user: HOST:PORT has none of them.
    let is_odd = |byte: u8| !byte.is_ascii_graphic() || b"/@?#[]".contains(&byte);
    if name.unwrap_or(host).bytes().any(is_odd) || (name.is_none() && host.contains(':')) {
        return Err("whose host is no name and no address (IPv6 addresses stand in brackets)");
    }
    if config::is_wildcard(address) {
        return Err("a wildcard, to which nobody can connect");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged() {
        let longest = format!("{}:7001", "h".repeat(254));
        for right in
            ["n4:7001", "node-4.example.com:1", "10.0.0.4:65535", "[::1]:7001", "[fe80::1%eth0]:1", &longest]
        {
            assert_eq!(judge(right), Ok(()), "{right}");
        }
        let longer = format!("{}:7001", "h".repeat(255));
        for wrong in [
            "",
            "n4",
            ":",
            ":7001",
            "n4:",
            "n4:0",
            "n4:65536",
            "n4:+1",
            "n4:-1",
            "n4:http",
            "n4: 1",
            "n 4:1",
            "n4\n:1",
            "n\u{fc}:1",
            "http://n4:7001",
            "n4:7001/",
            "user@n4:7001",
            "::1:7001",
            "[::1:7001",
            "[]:7001",
            "[[::1]]:1",
            "0.0.0.0:7001",
            "[::]:7001",
            "[0:0::0]:7001",
            &longer,
        ] {
            let text = check(wrong, "peer").unwrap_err();
            assert!(text.starts_with("peer is ") && text.contains("HOST:PORT"), "{wrong}");
        }
    }
}
