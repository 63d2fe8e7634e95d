//! The state hash: one number that is equal on two nodes exactly when their keys and records are.
//!
//! It is the sum, modulo 2^128, of a 128-bit hash of each (key, record), so it can be kept up to date by subtracting
//! the old pair and adding the new one, whatever the order of the keys. Sessions, membership, group time and the
//! applied index are not part of it. It finds divergence by error, not by malice: XXH3 is no cryptographic hash.
//!
//! ```text
//! pair hash = XXH3-128(key length u32 little endian | key with its keyspace | record row of format 1)
//! ```

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The hash of one key and its record row.
pub(super) fn pair(key: &[u8], row: &[u8]) -> u128 {
    let key_bytes = u32::try_from(key.len()).expect("keys are a few KiB long");
    let len = size_of::<u32>() + key.len() + row.len();
    // Small pairs are laid one behind the other: to set a hasher up takes longer than that.
    let mut small = [0; 512];
    if let Some(whole) = small.get_mut(..len) {
        let (head, rest) = whole.split_at_mut(size_of::<u32>());
        head.copy_from_slice(&key_bytes.to_le_bytes());
        rest[..key.len()].copy_from_slice(key);
        rest[key.len()..].copy_from_slice(row);
        return xxh3_128(whole);
    }
    let mut hasher = Xxh3::new();
    hasher.update(&key_bytes.to_le_bytes());
    hasher.update(key);
    hasher.update(row);
    hasher.digest128()
}

/// The digest by which a session knows a command again.
pub(super) fn digest(command: &[u8]) -> u128 {
    xxh3_128(command)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::codec;
    use crate::command::{Command, Envelope, Op, SessionSeq, Write};
    use crate::types::{ClientId, Keyspace, Seq, Term};

    /// Nodes of different versions compare these numbers: they are a format.
    #[test]
    fn golden_hashes() {
        let hex = |hash: u128| format!("{hash:032x}");
        assert_eq!(hex(pair(b"\0\0\0\0key", b"row")), "b3eabbc543ed3244aaffd42d7e290f2e");
        assert_eq!(pair(b"\0\0\0\0key", b"row"), xxh3_128(b"\x07\0\0\0\0\0\0\0keyrow"));
        // XXH3's published value for no input: the algorithm is the one it says it is.
        assert_eq!(hex(digest(b"")), "99aa06d3014798d86001c324468d497f");
    }

    /// A session knows a command again after an update as well, and on a node of another version: its encoding is a format too.
    #[test]
    fn golden_digest_of_a_session_s_command() {
        let command = Command::Write(Write {
            keyspace: Keyspace(0),
            conditions: vec![],
            ops: vec![Op::Put { key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value") }],
        });
        let session = Some(SessionSeq { client: ClientId(7), seq: Seq(9), done_below: Seq(8) });
        for (term, principal) in [(5, ""), (6, "root")] {
            let (principal, command) = (principal.to_owned(), command.clone());
            let envelope = Envelope { term: Term(term), group_time_ms: term, session, principal, command };
            let (_, encoded) = codec::open_envelope(&codec::encode_envelope(&envelope)).expect("it is whole");
            assert_eq!(
                format!("{:032x}", digest(&encoded)),
                "dcfe4a497b05b182f1c3d6b8b69f1e04",
                "whoever proposes it, and when"
            );
        }
    }

    #[test]
    fn small_and_large_pairs_are_hashed_alike() {
        for row_bytes in 500..520_usize {
            let row = vec![7; row_bytes];
            let whole = [&3_u32.to_le_bytes()[..], b"key", &row].concat();
            assert_eq!(pair(b"key", &row), xxh3_128(&whole), "a row of {row_bytes} bytes");
        }
    }

    #[test]
    fn the_border_between_key_and_row_counts() {
        assert_ne!(pair(b"ab", b"c"), pair(b"a", b"bc"));
    }
}
