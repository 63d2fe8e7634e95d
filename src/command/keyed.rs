//! Writes with an idempotency key.

use bytes::Bytes;

use super::Write;

/// A write with a key that its client drew for it: an answer that was lost is had again by sending both again. It takes no
/// place in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The idempotency key, 1 to [`IDEMPOTENCY_KEY_BYTES_MAX`] bytes.
    pub key: Bytes,
    /// The write.
    pub write: Write,
}

/// The longest idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

impl Keyed {
    /// When a key was drawn, in milliseconds since the Unix epoch, if it is a UUID of version 7 in its usual form:
    /// `tttttttt-tttt-7xxx-yxxx-xxxxxxxxxxxx`, `y` one of 8, 9, a, b (RFC 9562, section 5.7).
    pub fn drawn_ms(key: &[u8]) -> Option<u64> {
        let is_form = key.len() == 36
            && key.iter().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => *byte == b'-',
                14 => *byte == b'7',
                19 => matches!(byte.to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b'),
                _ => byte.is_ascii_hexdigit(),
            });
        if !is_form {
            return None;
        }
        let mut digits = key[..8].iter().chain(&key[9..13]).map(|digit| char::from(*digit).to_digit(16));
        digits.try_fold(0, |ms, digit| Some(ms << 4 | u64::from(digit?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_of_version_7_tells_when_it_was_drawn() {
        // The example of RFC 9562, appendix A.6.
        assert_eq!(Keyed::drawn_ms(b"017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), Some(0x017F_22E2_79B0));
        for key in [
            &b"017F22E2-79B0-4CC3-98C4-DC0C0C07398F"[..], // version 4
            b"017F22E2-79B0-7CC3-78C4-DC0C0C07398F",      // another variant
            b"017F22E279B07CC398C4DC0C0C07398F",
            b"017F22E2-79B0-7CC3-98C4-DC0C0C07398",
            b"017F22E2x79B0-7CC3-98C4-DC0C0C07398F",
            b"g17F22E2-79B0-7CC3-98C4-DC0C0C07398F",
            b"",
        ] {
            assert_eq!(Keyed::drawn_ms(key), None, "{key:?}");
        }
    }
}
