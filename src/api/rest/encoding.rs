//! Keys and values between JSON's text and the store's bytes.
//!
//! Text is the default. With `base64` every key and value of the request and of its answer is base64 (RFC 4648
//! section 4, with padding, nothing lenient). An object of an answer whose key or value is not UTF-8 comes as base64
//! in whole, and says so: `"encoding":"base64"` stands beside every base64 text, asked for or not, so that a reader
//! needs one rule.

use std::borrow::Cow;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::config::Limits;

use super::problem::{Code, Problem};

/// How keys and values are written in JSON and in query strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    /// As they are: they are UTF-8.
    Text,
    /// In base64, standard alphabet, padded.
    Base64,
}

impl Encoding {
    /// The encoding of that name.
    pub(super) fn parse(name: &str) -> Result<Encoding, Problem> {
        match name {
            "text" => Ok(Encoding::Text),
            "base64" => Ok(Encoding::Base64),
            other => {
                let detail =
                    format!("encoding is {other:?}: give base64 or text (the default), or leave it out.");
                Err(Problem::new(Code::InvalidParameter, detail))
            }
        }
    }

    /// What body and query say together.
    pub(super) fn agree(body: Option<Encoding>, query: Option<Encoding>) -> Result<Encoding, Problem> {
        match (body, query) {
            (Some(body), Some(query)) if body != query => {
                let detail = "encoding in the body and in the query differ: give it in one place.";
                Err(Problem::new(Code::InvalidParameter, detail))
            }
            (body, query) => Ok(body.or(query).unwrap_or(Encoding::Text)),
        }
    }

    /// The bytes that `text`, the parameter `name`, stands for.
    pub(super) fn decode(self, text: Cow<'_, str>, name: &str) -> Result<Bytes, Problem> {
        match (self, text) {
            (Encoding::Text, Cow::Borrowed(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (Encoding::Text, Cow::Owned(text)) => Ok(Bytes::from(text)),
            (Encoding::Base64, text) => decode_base64(&text, name),
        }
    }

    /// As [`Encoding::decode`], but `text` was parsed out of `body`: where it was not copied yet, it is not now.
    pub(super) fn decode_in(self, body: &Bytes, text: Cow<'_, str>, name: &str) -> Result<Bytes, Problem> {
        match (self, text) {
            (Encoding::Text, Cow::Borrowed(text)) => Ok(body.slice_ref(text.as_bytes())),
            (encoding, text) => encoding.decode(text, name),
        }
    }

    /// `None` for text, which needs no mention in an answer.
    fn mention(self) -> Option<Encoding> {
        (self == Encoding::Base64).then_some(self)
    }
}

fn decode_base64(text: &str, name: &str) -> Result<Bytes, Problem> {
    STANDARD.decode(text).map(Bytes::from).map_err(|error| {
        let detail = format!(
            "{name} is not base64 ({error}): use the standard alphabet with padding; in a query string write + as \
             %2B."
        );
        Problem::new(Code::InvalidEncoding, detail)
    })
}

/// Judges a key's length.
pub(super) fn check_key(key: &[u8], limits: &Limits) -> Result<(), Problem> {
    if key.is_empty() {
        return Err(Problem::new(Code::InvalidKey, "The key is empty: give one of at least one byte."));
    }
    check_bound(key, "key", limits)
}

/// Judges the length of something that keys are compared with.
pub(super) fn check_bound(bound: &[u8], name: &str, limits: &Limits) -> Result<(), Problem> {
    if bound.len() <= limits.key_bytes_max {
        return Ok(());
    }
    let (have, max) = (bound.len(), limits.key_bytes_max);
    let detail = format!("{name} has {have} bytes, a key at most {max}: give a shorter one.");
    Err(Problem::new(Code::InvalidKey, detail))
}

/// A key or value in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text<'a> {
    Utf8(&'a str),
    Base64(&'a [u8]),
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Text::Utf8(text) => serializer.serialize_str(text),
            Text::Base64(bytes) => serializer.collect_str(&Base64Display::new(bytes, &STANDARD)),
        }
    }
}

impl Encoding {
    /// The texts of one object of an answer, all in this encoding or, if they are not all UTF-8, all in base64;
    /// and what the object says of that.
    pub(super) fn encode<'a, const N: usize>(
        self,
        parts: [&'a [u8]; N],
    ) -> ([Text<'a>; N], Option<Encoding>) {
        let texts = parts.map(|part| (part, std::str::from_utf8(part)));
        let encoding = if texts.iter().all(|(_, text)| text.is_ok()) { self } else { Encoding::Base64 };
        let texts = texts.map(|(part, text)| match (encoding, text) {
            (Encoding::Text, Ok(text)) => Text::Utf8(text),
            _ => Text::Base64(part),
        });
        (texts, encoding.mention())
    }
}
