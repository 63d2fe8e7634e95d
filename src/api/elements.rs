//! What a protobuf message becomes in memory, before it does: how many elements its lists have.
//!
//! An element takes two bytes on the wire, if it is empty, and some hundred times as many once it is decoded. So where there
//! are lists, the message's bytes are walked first: beyond what is allowed it is refused, and what it will cost is counted in
//! its connection's share ([`super::shares`]). Only what may have lists in it is entered; everything else, a put's key and
//! value too, is stepped over in one go, and most methods' messages are not walked at all.
//!
//! The steps are prost's own, so that nothing is read here otherwise than it is decoded afterwards. A message that the walk
//! cannot follow is none.

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What an element takes once it is decoded: it has up to 176 bytes, in a list that grows by doubling, and is translated.
pub const ELEMENT_BYTES: usize = 512;
/// How deep messages lie in each other at most, as prost has it.
const DEPTH_MAX: usize = 100;

/// Where a message's lists are.
pub struct Shape {
    /// The fields that are entered, by their number.
    pub fields: &'static [(u32, &'static Shape)],
    /// Whether it is itself an element of a list.
    pub is_element: bool,
}

/// An element without lists in it.
pub static LEAF: Shape = Shape { fields: &[], is_element: true };

/// Why a message is not decoded.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// It has more elements than are allowed.
    TooMany,
    /// It is none.
    Unreadable(String),
}

impl From<prost::DecodeError> for Refused {
    fn from(error: prost::DecodeError) -> Refused {
        Refused::Unreadable(error.to_string())
    }
}

/// How many elements the lists of a message have, all together and at most `max`.
///
/// # Errors
/// If there are more, or it is no message.
pub fn count(message: &[u8], shape: &Shape, max: usize) -> Result<usize, Refused> {
    let mut left = max;
    walk(message, shape, DEPTH_MAX, &mut left)?;
    Ok(max - left)
}

fn walk(mut rest: &[u8], shape: &Shape, depth: usize, left: &mut usize) -> Result<(), Refused> {
    let Some(depth) = depth.checked_sub(1) else { return Err(unreadable("it lies too deep in itself")) };
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest)?;
        let entered = shape.fields.iter().find(|(entered, _)| *entered == tag);
        let Some((_, inner)) = entered.filter(|_| wire_type == WireType::LengthDelimited) else {
            skip_field(wire_type, tag, &mut rest, DecodeContext::default())?;
            continue;
        };
        let length = usize::try_from(decode_varint(&mut rest)?).unwrap_or(usize::MAX);
        let Some((inside, behind)) = rest.split_at_checked(length) else {
            return Err(unreadable("a part of it is longer than what is left"));
        };
        if inner.is_element {
            *left = left.checked_sub(1).ok_or(Refused::TooMany)?;
        }
        if !inner.fields.is_empty() {
            walk(inside, inner, depth, left)?;
        }
        rest = behind;
    }
    Ok(())
}

fn unreadable(text: &str) -> Refused {
    Refused::Unreadable(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    static TREE: Shape = Shape { fields: &[(1, &TREE), (3, &LEAF)], is_element: true };

    #[test]
    fn elements_are_counted_wherever_they_lie() {
        assert_eq!(count(b"", &TREE, 0), Ok(0));
        assert_eq!(count(b"\x0a\x00\x1a\x00", &TREE, 2), Ok(2));
        assert_eq!(count(b"\x0a\x00\x1a\x00", &TREE, 1), Err(Refused::TooMany));
        assert_eq!(count(b"\x0a\x04\x0a\x00\x1a\x00\x1a\x02ab", &TREE, 9), Ok(4), "one in another");
        // What is entered only if it is a message; other fields; a group, with what would be an element outside of it.
        assert_eq!(count(b"\x08\x05\x12\x01a\x15abcd\x13\x0a\x00\x14", &TREE, 9), Ok(0));
    }

    #[test]
    fn what_cannot_be_followed_is_no_message() {
        for wrong in [
            &b"\x0a"[..],
            b"\x0a\x02a",
            b"\x0a\x01\x0a",
            b"\x13\x0a\x00",
            b"\x00",
            b"\x0f",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        ] {
            assert!(matches!(count(wrong, &TREE, 9), Err(Refused::Unreadable(_))), "{wrong:?}");
        }
        let deep =
            (0..200).fold(Vec::new(), |inside, _| [&b"\x0a"[..], &prost_length(&inside), &inside].concat());
        assert!(matches!(count(&deep, &TREE, 1_000), Err(Refused::Unreadable(_))));
    }

    fn prost_length(inside: &[u8]) -> Vec<u8> {
        let mut length = Vec::new();
        prost::encoding::encode_varint(inside.len() as u64, &mut length);
        length
    }
}
