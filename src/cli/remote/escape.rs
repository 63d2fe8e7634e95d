//! Bytes as text that a person can type and a terminal can show: text stays as it is, everything else is `\xNN`.
//!
//! What is shown can be given back: [`unescape`] undoes [`escape`]. Control characters never reach a terminal from
//! a key or a value, nor do those that turn the direction of text around: a stored byte must not move the cursor.

/// Writes bytes as text on one line.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() || turns_text(c) => {
                    push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Marks, embeddings, overrides and isolates of bidirectional text.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Reads text with escapes. The error says what is wrong with which escape.
pub(super) fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        if first == b'\\' {
            let (byte, length) = one(behind)?;
            bytes.push(byte);
            rest = &behind[length..];
        } else {
            bytes.push(first);
            rest = behind;
        }
    }
    Ok(bytes)
}

/// Reads one escape, behind its backslash: its byte, and its length.
pub(super) fn one(text: &[u8]) -> Result<(u8, usize), String> {
    let byte = match text.first() {
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'0') => 0,
        Some(byte @ (b'\\' | b'"' | b'\'')) => *byte,
        Some(b'x') => {
            let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
            return match (digit(1), digit(2)) {
                (Some(high), Some(low)) => Ok(((high * 16 + low) as u8, 3)),
                _ => Err("\\x needs two hexadecimal digits, for example \\x0a".to_owned()),
            };
        }
        Some(other) => {
            let other = escape(&[*other]);
            return Err(format!("\\{other} is no escape: there are \\\\ \\\" \\' \\n \\r \\t \\0 and \\xNN"));
        }
        None => return Err("a backslash at the end: write \\\\ for one".to_owned()),
    };
    Ok((byte, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_and_the_rest_is_escaped() {
        assert_eq!(escape("user:1/\u{e9}".as_bytes()), "user:1/\u{e9}");
        assert_eq!(escape(b"a\tb\nc\\\x1b[2J\xff"), "a\\tb\\nc\\\\\\x1b[2J\\xff");
        assert_eq!(escape("\u{202e}".as_bytes()), "\\xe2\\x80\\xae");
    }

    #[test]
    fn a_wrong_escape_is_told() {
        for (wrong, part) in
            [("\\", "at the end"), ("\\q", "\\q is no escape"), ("\\x1", "two hex"), ("\\xg0", "two hex")]
        {
            let error = unescape(wrong.as_bytes()).expect_err(wrong);
            assert!(error.contains(part), "{wrong}: {error}");
        }
        assert_eq!(unescape(b"\\0\\\"\\'\\x41"), Ok(b"\0\"'A".to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_given_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let shown = escape(&bytes);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(unescape(shown.as_bytes()), Ok(bytes));
        }
    }
}
