//! Bodies of requests: media type, size, JSON, fields, each with its own refusal.
//!
//! The fields are parsed straight out of the collected bytes; text without escapes is not copied.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use utoipa::ToSchema;

use crate::clock::timeout_at;
use crate::config::Limits;
use crate::types::Monotonic;

use super::Front;
use super::encoding::Encoding;
use super::problem::{Code, Problem};

/// JSON may write one byte of text as `\u00xx`.
const ESCAPED_BYTES: usize = 6;
/// Room for braces, field names, numbers and white space.
const BODY_FRAME_BYTES: usize = 16 << 10;

/// The largest body: a key and a value at their limits, every byte escaped. Base64 (4/3) fits in that too.
pub(super) fn body_bytes_max(limits: &Limits) -> usize {
    limits.key_bytes_max.saturating_add(limits.value_bytes_max).saturating_mul(ESCAPED_BYTES)
        + BODY_FRAME_BYTES
}

/// Refuses what does not say that it is JSON: curl's `-d` alone says that it is a form.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let is_json = given.next().and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let essence = value.split_once(';').map_or(value, |(essence, _)| essence);
        essence.trim().eq_ignore_ascii_case("application/json")
    });
    if is_json && given.next().is_none() {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "Send the body as JSON, with the header Content-Type: application/json, given once.",
    ))
}

/// The whole body, if it is not too large and arrives before the deadline.
pub(super) async fn collect(front: &Front, body: Body, deadline: Monotonic) -> Result<Bytes, Problem> {
    let max = body_bytes_max(&front.limits);
    // What says beforehand that it is too large is refused before it is sent (`Expect: 100-continue`).
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Err(body_too_large(&front.limits));
    }
    match timeout_at(&*front.clock, deadline, Limited::new(body, max).collect()).await {
        Some(Ok(collected)) => Ok(collected.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => Err(body_too_large(&front.limits)),
        Some(Err(_)) => {
            Err(Problem::new(Code::Invalid, "The body broke off: send the request again in whole."))
        }
        None => Err(late()),
    }
}

/// Refuses a body where none is taken: what it asks for would go unheard.
pub(super) async fn refuse_any(front: &Front, body: Body, deadline: Monotonic) -> Result<(), Problem> {
    if body.is_end_stream() {
        return Ok(());
    }
    // A body without a length may still prove empty.
    match timeout_at(&*front.clock, deadline, Limited::new(body, 0).collect()).await {
        Some(Ok(_)) => Ok(()),
        Some(Err(_)) => Err(Problem::new(
            Code::Invalid,
            "This request takes no body: give key, if_revision and encoding in the query.",
        )),
        None => Err(late()),
    }
}

fn late() -> Problem {
    Problem::new(
        Code::RequestTimeout,
        "The body did not arrive within the request's deadline: send it faster, or raise X-Quorate-Timeout-Ms.",
    )
}

fn body_too_large(limits: &Limits) -> Problem {
    let (max, value) = (body_bytes_max(limits), limits.value_bytes_max);
    let detail = format!(
        "The body is over {max} bytes, the most that a value of {value} bytes can need: store less under one key."
    );
    Problem::new(Code::TooLarge, detail)
}

/// What to set.
#[derive(Debug, ToSchema)]
#[schema(as = SetRequest)]
pub(super) struct SetBody<'a> {
    /// The key: 1 byte to 4 KiB, written as `encoding` says.
    #[schema(value_type = String)]
    pub(super) key: Cow<'a, str>,
    /// The value, written as `encoding` says; at most 1.5 MiB unless the node was configured otherwise.
    #[schema(value_type = String)]
    pub(super) value: Cow<'a, str>,
    /// Set only if this is the revision of the key's last change; 0: only if the key is absent.
    #[schema(nullable = false)]
    pub(super) if_revision: Option<u64>,
    /// How key and value are written; the query may say it instead.
    #[schema(value_type = Option<Encoding>, nullable = false)]
    pub(super) encoding: Option<Cow<'a, str>>,
}

/// The fields of [`SetBody`].
const SET_FIELDS: &[&str] = &["key", "value", "if_revision", "encoding"];

impl<'a> SetBody<'a> {
    /// Parses `body`: not JSON is one error, JSON of another shape is another.
    pub(super) fn parse(body: &'a [u8]) -> Result<SetBody<'a>, Problem> {
        let reading = Cell::new("");
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let parsed = deserializer
            .deserialize_map(SetVisitor { reading: &reading })
            .and_then(|parsed| deserializer.end().map(|()| parsed));
        parsed.map_err(|error| refuse(body, reading.get(), &error))
    }
}

/// Tells JSON of a wrong shape from what is not JSON. The parser stops at the first thing it dislikes: when that is a
/// shape, whether the rest is JSON is still open.
fn refuse(body: &[u8], field: &str, error: &serde_json::Error) -> Problem {
    let is_json = error.classify() == Category::Data
        && std::str::from_utf8(body).is_ok()
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_json {
        // What the parser dislikes first may be a shape: not why this is no JSON.
        let why = if error.classify() == Category::Data { String::new() } else { format!(" ({error})") };
        let detail = format!(
            "The body is not JSON{why}: it must be a JSON object such as {{\"key\":\"k\",\"value\":\"v\"}}."
        );
        return Problem::new(Code::InvalidJson, detail);
    }
    let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
    let detail = format!(
        "{at}{error}. Send an object with the texts key and value, and, if wanted, the whole number if_revision (0 or \
         more) and the text encoding, each once."
    );
    Problem::new(Code::InvalidBody, detail)
}

/// Text that is borrowed from the input where it can be; serde's own `Cow` always copies.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Written by hand: a derived one would take an array for an object, and would not say which field is mistyped.
struct SetVisitor<'c> {
    /// The field whose value is being read, for the error's text.
    reading: &'c Cell<&'static str>,
}

impl<'de> Visitor<'de> for SetVisitor<'_> {
    type Value = SetBody<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SetBody<'de>, A::Error> {
        let (mut key, mut value, mut if_revision, mut encoding) = (None, None, None, None);
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let Some(field) = SET_FIELDS.iter().copied().find(|field| *field == name) else {
                return Err(A::Error::unknown_field(&name, SET_FIELDS));
            };
            self.reading.set(field);
            match field {
                "key" => put(&mut key, field, text(&mut map)?)?,
                "value" => put(&mut value, field, text(&mut map)?)?,
                "if_revision" => put(&mut if_revision, field, map.next_value::<u64>()?)?,
                _ => put(&mut encoding, field, text(&mut map)?)?,
            }
            self.reading.set("");
        }
        Ok(SetBody {
            key: key.ok_or_else(|| A::Error::missing_field("key"))?,
            value: value.ok_or_else(|| A::Error::missing_field("value"))?,
            if_revision,
            encoding,
        })
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Cow<'de, str>, A::Error> {
    map.next_value::<Text<'de>>().map(|Text(text)| text)
}

fn put<T, E: serde::de::Error>(slot: &mut Option<T>, field: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(field)),
    }
}
