//! Bodies of requests: media type, size, JSON, fields, each with its own refusal.
//!
//! The fields are parsed straight out of the collected bytes; text without escapes is not copied.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use utoipa::ToSchema;

use crate::api::shares::Held;
use crate::clock::timeout_at;
use crate::config::Limits;
use crate::types::Monotonic;

use super::Front;
use super::encoding::Encoding;
use super::front::too_large_together;
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

/// The whole body of a write, if it is not too large and arrives before the deadline.
pub(super) async fn collect(
    front: &Front,
    held: &mut Held,
    body: Body,
    deadline: Monotonic,
) -> Result<Bytes, Problem> {
    let max = body_bytes_max(&front.limits);
    collect_up_to(front, held, body, max, deadline).await?.ok_or_else(|| {
        let value = front.limits.value_bytes_max;
        let detail = format!(
            "The body is over {max} bytes, the most that a value of {value} bytes can need: store less under one key."
        );
        Problem::new(Code::TooLarge, detail)
    })
}

/// The same for a body that holds a few short fields, whose media type is checked too.
pub(super) async fn collect_small(
    front: &Front,
    headers: &HeaderMap,
    body: Body,
    deadline: Monotonic,
) -> Result<Bytes, Problem> {
    check_media_type(headers)?;
    // Changes of the group are few, and not refused because there is too much of something else.
    let mut held = front.shares.connection().enter_always();
    collect_up_to(front, &mut held, body, BODY_FRAME_BYTES, deadline).await?.ok_or_else(|| {
        let detail =
            format!("The body is over {BODY_FRAME_BYTES} bytes, more than this request can need: send less.");
        Problem::new(Code::TooLarge, detail)
    })
}

/// The whole body if it arrives before the deadline; none if it has more than `max` bytes.
async fn collect_up_to(
    front: &Front,
    held: &mut Held,
    body: Body,
    max: usize,
    deadline: Monotonic,
) -> Result<Option<Bytes>, Problem> {
    // What says beforehand that it is too large is refused before it is sent (`Expect: 100-continue`).
    if body.size_hint().lower() > u64::try_from(max).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    match timeout_at(&*front.clock, deadline, gather(held, Limited::new(body, max))).await {
        Some(Ok(Some(bytes))) => Ok(Some(bytes)),
        Some(Ok(None)) => Err(too_large_together()),
        Some(Err(error)) if error.is::<LengthLimitError>() => Ok(None),
        Some(Err(_)) => {
            Err(Problem::new(Code::Invalid, "The body broke off: send the request again in whole."))
        }
        None => Err(late()),
    }
}

/// All of a body, each byte counted as it comes. Beyond the connection's share nothing of it is kept, and the rest is read all
/// the same: a client that is still sending would not hear the answer.
async fn gather(held: &mut Held, mut body: Limited<Body>) -> Result<Option<Bytes>, axum::BoxError> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut fits = true;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        fits = fits && held.grow(data.len());
        if !fits {
            (first, all) = (Bytes::new(), BytesMut::new());
            held.force(0);
        } else if first.is_empty() && all.is_empty() {
            // Most bodies are one piece, which is not copied.
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(fits.then(|| if all.is_empty() { first } else { all.freeze() }))
}

/// Reads what is left of the body of a request that is refused, and keeps nothing. HTTP/2 needs no such thing: there an
/// answer comes through while the client still sends.
pub(super) async fn discard(front: &Front, parts: &Parts, mut body: Body, deadline: Monotonic) {
    if parts.version < Version::HTTP_2 {
        let max = u64::try_from(body_bytes_max(&front.limits)).unwrap_or(u64::MAX);
        let rest = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > max {
                    return;
                }
            }
        };
        let _ = timeout_at(&*front.clock, deadline, rest).await;
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
            "This request takes no body: what it needs stands in the path and in the query.",
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

impl<'a> SetBody<'a> {
    const SHAPE: Shape = Shape {
        fields: &[
            Field::text("key"),
            Field::text("value"),
            Field::whole("if_revision").optional(),
            Field::text("encoding").optional(),
        ],
        example: r#"{"key":"k","value":"v"}"#,
        wanted: "the texts key and value, and, if wanted, the whole number if_revision (0 or more) and the text encoding",
    };

    /// Parses `body`: not JSON is one error, JSON of another shape is another.
    pub(super) fn parse(body: &'a [u8]) -> Result<SetBody<'a>, Problem> {
        let mut fields = SetBody::SHAPE.parse(body)?;
        Ok(SetBody {
            key: fields.given_text("key"),
            value: fields.given_text("value"),
            if_revision: fields.whole("if_revision"),
            encoding: fields.text("encoding"),
        })
    }
}

/// What a body must look like: an object of these fields and no others.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) fields: &'static [Field],
    /// Such an object.
    pub(super) example: &'static str,
    /// Its fields in words: "Send an object with ..., each once."
    pub(super) wanted: &'static str,
}

/// A field of a body.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    is_text: bool,
    is_optional: bool,
}

impl Field {
    /// A text.
    pub(super) const fn text(name: &'static str) -> Field {
        Field { name, is_text: true, is_optional: false }
    }

    /// A whole number, 0 or more.
    pub(super) const fn whole(name: &'static str) -> Field {
        Field { name, is_text: false, is_optional: false }
    }

    /// That may be left out.
    pub(super) const fn optional(self) -> Field {
        Field { is_optional: true, ..self }
    }
}

/// The most fields that a body has.
const FIELDS_MAX: usize = 4;

/// What a body holds.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    fields: &'static [Field],
    values: [Option<Scalar<'a>>; FIELDS_MAX],
}

#[derive(Debug)]
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Whole(u64),
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str) -> Option<Scalar<'a>> {
        let at = self.fields.iter().position(|field| field.name == name);
        self.values[at.expect("only fields of its shape are asked for")].take()
    }

    /// The text of that name, if given.
    pub(super) fn text(&mut self, name: &str) -> Option<Cow<'a, str>> {
        match self.take(name)? {
            Scalar::Text(text) => Some(text),
            Scalar::Whole(number) => unreachable!("{name} is a text, and {number} came through"),
        }
    }

    /// The text of that name, which is not optional.
    pub(super) fn given_text(&mut self, name: &str) -> Cow<'a, str> {
        self.text(name).expect("without it the body was refused")
    }

    /// The whole number of that name, which is not optional.
    pub(super) fn given_whole(&mut self, name: &str) -> u64 {
        self.whole(name).expect("without it the body was refused")
    }

    /// The whole number of that name, if given.
    pub(super) fn whole(&mut self, name: &str) -> Option<u64> {
        match self.take(name)? {
            Scalar::Whole(number) => Some(number),
            Scalar::Text(text) => unreachable!("{name} is a number, and {text:?} came through"),
        }
    }
}

impl Shape {
    /// Parses `body`: not JSON is one error, JSON of another shape is another.
    pub(super) fn parse<'a>(&self, body: &'a [u8]) -> Result<Fields<'a>, Problem> {
        let reading = Cell::new("");
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let parsed = deserializer
            .deserialize_map(FieldsVisitor { fields: self.fields, reading: &reading })
            .and_then(|parsed| deserializer.end().map(|()| parsed));
        parsed.map_err(|error| self.refuse(body, reading.get(), &error))
    }

    /// Tells JSON of a wrong shape from what is not JSON. The parser stops at the first thing it dislikes: when that is
    /// a shape, whether the rest is JSON is still open.
    fn refuse(&self, body: &[u8], field: &str, error: &serde_json::Error) -> Problem {
        let is_json = error.classify() == Category::Data
            && std::str::from_utf8(body).is_ok()
            && serde_json::from_slice::<IgnoredAny>(body).is_ok();
        if !is_json {
            // What the parser dislikes first may be a shape: not why this is no JSON.
            let why = if error.classify() == Category::Data { String::new() } else { format!(" ({error})") };
            let detail =
                format!("The body is not JSON{why}: it must be a JSON object such as {}.", self.example);
            return Problem::new(Code::InvalidJson, detail);
        }
        let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
        let detail = format!("{at}{error}. Send an object with {}, each once.", self.wanted);
        Problem::new(Code::InvalidBody, detail)
    }
}

/// Text that is borrowed from the input where it can be; serde's own `Cow` always copies.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Written by hand: a derived one would take an array for an object, and would not say which field is mistyped.
struct FieldsVisitor<'c> {
    fields: &'static [Field],
    /// The field whose value is being read, for the error's text.
    reading: &'c Cell<&'static str>,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut values = [const { None }; FIELDS_MAX];
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let Some(at) = self.fields.iter().position(|field| field.name == name) else {
                let names: Vec<&str> = self.fields.iter().map(|field| field.name).collect();
                let text = format!("unknown field `{name}`, there are {}", names.join(", "));
                return Err(A::Error::custom(text));
            };
            let field = &self.fields[at];
            self.reading.set(field.name);
            let value = if field.is_text {
                map.next_value::<Text<'de>>().map(|Text(text)| Scalar::Text(text))?
            } else {
                Scalar::Whole(map.next_value::<u64>()?)
            };
            if values[at].replace(value).is_some() {
                return Err(A::Error::duplicate_field(field.name));
            }
            self.reading.set("");
        }
        let missing =
            self.fields.iter().zip(&values).find(|(field, value)| value.is_none() && !field.is_optional);
        match missing {
            Some((field, _)) => Err(A::Error::missing_field(field.name)),
            None => Ok(Fields { fields: self.fields, values }),
        }
    }
}
