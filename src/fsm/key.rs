//! Table keys, as the maps of the write set and of a batch have them.
//!
//! To find a key in an ordered map takes a dozen comparisons, and nearly all of their time goes to fetching what is compared.
//! Most keys are short: those lie in the nodes of the map themselves, next to each other, and cost no allocation.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// Keys up to this length need no memory of their own: as long as makes a key no larger than a long one.
const SHORT_BYTES_MAX: usize = 38;

/// A key, with what tells its table's parts apart in front.
#[derive(Clone)]
pub(super) struct Key(Repr);

#[derive(Clone)]
enum Repr {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Bytes),
}

impl Key {
    /// The key that these parts make one behind the other.
    pub(super) fn of(parts: &[&[u8]]) -> Key {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let Some(short) = u8::try_from(len).ok().filter(|_| len <= SHORT_BYTES_MAX) else {
            return Key(Repr::Long(Bytes::from(parts.concat())));
        };
        let mut bytes = [0; SHORT_BYTES_MAX];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Key(Repr::Short { len: short, bytes })
    }

    /// What is behind its first bytes.
    pub(super) fn behind(&self, bytes: usize) -> Bytes {
        match &self.0 {
            Repr::Short { .. } => Bytes::copy_from_slice(&self[bytes..]),
            Repr::Long(key) => key.slice(bytes..),
        }
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Short { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Long(key) => key,
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_key_is_no_larger_than_a_long_one() {
        assert_eq!(size_of::<Key>(), size_of::<Bytes>() + size_of::<usize>());
    }

    proptest! {
        /// Keys of both kinds are in the order of their bytes.
        #[test]
        fn a_key_is_its_bytes(
            one in prop::collection::vec(0_u8..3, 0..60),
            other in prop::collection::vec(0_u8..3, 0..60),
            cut in 0_usize..60,
        ) {
            let cut = cut.min(one.len());
            let key = Key::of(&[&one[..cut], &one[cut..]]);
            prop_assert_eq!(&*key, &one[..]);
            prop_assert_eq!(key.behind(cut), &one[cut..]);
            prop_assert_eq!(key.cmp(&Key::of(&[&other])), one.cmp(&other));
        }
    }
}
