//! Keys, and values as a history keeps them: enough to tell them apart and to name them.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// How much of a value is shown.
const LABEL_BYTES_MAX: usize = 24;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<u8>);

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key(text.as_bytes().to_vec())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// A value: its length, a digest, and how it begins. A history may hold thousands of large ones.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    digest: u64,
    len: usize,
    label: String,
}

impl Value {
    /// The value of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Value {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let label = bytes[..bytes.len().min(LABEL_BYTES_MAX)].escape_ascii().to_string();
        Value { digest: hasher.finish(), len: bytes.len(), label }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.len > LABEL_BYTES_MAX {
            write!(f, "{}..({} bytes)", self.label.trim_end_matches('.'), self.len)
        } else if self.len == 0 {
            f.write_str("\"\"")
        } else {
            f.write_str(&self.label)
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a read found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: Value,
    /// The revision of the key's last change.
    pub revision: u64,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.value, self.revision)
    }
}
