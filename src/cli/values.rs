//! The values that settings are written in, alike on the command line, in variables and in the file.
//!
//! A [`Span`] of time is a number with a unit (`100ms`, `1s`, `2m`), a [`Size`] is a number of bytes, also with `KiB`,
//! `MiB` or `GiB`, and [`Members`] are `1=host:port,2=host:port`. A bare number is never taken for a time: whether it
//! meant seconds or milliseconds would be a guess.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::types::NodeId;

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let (number, unit) = split_unit(text);
        let number: u64 =
            number.parse().map_err(|_| format!("'{text}' is no time: write for example 100ms or 1s"))?;
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "" => return Err(format!("'{text}' needs a unit: {text}ms or {text}s")),
            _ => return Err(format!("'{unit}' is no unit of time: use ms, s or m")),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(|| format!("'{text}' is too long"))?;
        Ok(Span(Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let (number, unit) = split_unit(text);
        let number: u64 =
            number.parse().map_err(|_| format!("'{text}' is no size: write for example 1048576 or 1MiB"))?;
        let unit_bytes = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(format!("'{unit}' is no unit of size: use B, KiB, MiB or GiB")),
        };
        number.checked_mul(unit_bytes).map(Size).ok_or_else(|| format!("'{text}' is too large"))
    }
}

impl Size {
    /// As a length in memory.
    pub(super) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "a number of bytes, or a string such as \"64MiB\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Size(bytes)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

/// The members of a new cluster with their peer addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members(pub(super) BTreeMap<NodeId, String>);

impl FromStr for Members {
    type Err = String;

    fn from_str(text: &str) -> Result<Members, String> {
        let mut members = BTreeMap::new();
        for part in text.split(',').map(str::trim) {
            let (id, address) = part
                .split_once('=')
                .ok_or_else(|| format!("'{part}' is not ID=HOST:PORT, for example 1=127.0.0.1:7001"))?;
            let id =
                id.trim().parse().map_err(|_| format!("'{part}': '{id}' is no node id: use 1, 2, 3 ..."))?;
            if members.insert(NodeId(id), address.trim().to_owned()).is_some() {
                return Err(format!("node {id} is named twice"));
            }
        }
        Ok(Members(members))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Splits `100ms` into `100` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!("100ms".parse(), Ok(Span(Duration::from_millis(100))));
        assert_eq!("2 s".parse(), Ok(Span(Duration::from_secs(2))));
        assert_eq!("3m".parse(), Ok(Span(Duration::from_secs(180))));
        for wrong in ["", "s", "5", "1.5s", "-1s", "1h", "18446744073709551615m", "1s2"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!("17".parse(), Ok(Size(17)));
        assert_eq!("8GiB".parse(), Ok(Size(8 << 30)));
        assert_eq!("64 MiB".parse(), Ok(Size(64 << 20)));
        for wrong in ["", "1MB", "1e6", "-1", "99999999999GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn members_are_named_once() {
        let Members(members) = "2=b:2, 1=a:1".parse().expect("two members");
        assert_eq!(members, BTreeMap::from([(NodeId(1), "a:1".to_owned()), (NodeId(2), "b:2".to_owned())]));
        for (wrong, part) in [
            ("1=a:1,1=b:1", "named twice"),
            ("a:1", "is not ID=HOST:PORT"),
            ("one=a:1", "no node id"),
            ("1=a:1,", "is not ID=HOST:PORT"),
            ("", "is not ID=HOST:PORT"),
        ] {
            let error = wrong.parse::<Members>().expect_err(wrong);
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
