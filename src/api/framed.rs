//! One gRPC message each way: the frame around it, its bytes counted as they come, and the answer's until they have left.
//!
//! ```text
//! message:  flags (1 byte, 0: not compressed) | length (4 bytes, big endian) | protobuf
//! ```
//!
//! Doors serve their unary calls with this instead of generated code where a call is worth it: of what a put costs at the
//! door, the layers of a general server are a third. A message that came as one piece is not copied.

use std::future::ready;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;

use super::shares::Held;

/// gRPC's media type. One with a suffix names the encoding, which is protobuf in any case here.
pub const MEDIA_TYPE: &str = "application/grpc";

/// What stands before a message.
pub const HEAD_BYTES: usize = 5;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request broke off.
    BrokeOff,
    /// It is longer than a request may be.
    TooLong,
    /// There is no room for it in the share of its connection.
    OverTheShare,
    /// There is not even a whole head.
    NoMessage,
    /// It is compressed.
    Compressed,
    /// What came is not one whole message.
    NotOne,
}

/// The one message of a request with at most so many bytes. `held` counts what came.
///
/// # Errors
/// See [`Fault`].
pub async fn receive(
    mut body: impl hyper::body::Body<Data = Bytes> + Send + Unpin,
    held: &mut Held,
    bytes_max: usize,
) -> Result<Bytes, Fault> {
    // Most requests are one piece, which is not copied.
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Fault::BrokeOff)?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > bytes_max {
            return Err(Fault::TooLong);
        }
        // What says itself that it is too long is never taken: not when there is more room either.
        let begin = if all.is_empty() && first.is_empty() {
            &data[..]
        } else if all.is_empty() {
            &first[..]
        } else {
            &all[..]
        };
        if announced(begin).is_some_and(|length| length > bytes_max - HEAD_BYTES) {
            return Err(Fault::TooLong);
        }
        if !held.grow(data.len()) {
            return Err(Fault::OverTheShare);
        }
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    unframe(if all.is_empty() { first } else { all.freeze() })
}

/// How long the message that begins so is.
fn announced(begin: &[u8]) -> Option<usize> {
    let [_, length @ ..] = begin.first_chunk::<HEAD_BYTES>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

/// The message in its frame.
fn unframe(mut bytes: Bytes) -> Result<Bytes, Fault> {
    if bytes.len() < HEAD_BYTES {
        return Err(Fault::NoMessage);
    }
    let (flags, length) = (bytes.get_u8(), bytes.get_u32());
    if flags != 0 {
        return Err(Fault::Compressed);
    }
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(Fault::NotOne);
    }
    Ok(bytes)
}

/// The message in a frame, if a frame can say its length.
pub fn frame(message: &impl Message) -> Option<Bytes> {
    let length = u32::try_from(message.encoded_len()).ok()?;
    let mut framed = BytesMut::with_capacity(HEAD_BYTES + length as usize);
    framed.put_u8(0);
    framed.put_u32(length);
    message.encode(&mut framed).expect("there is room for the length that it said");
    Some(framed.freeze())
}

/// The response with which a framed message leaves.
pub fn respond(framed: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    let mut response = Response::new(Body::new(Full::new(framed).with_trailers(ready(Some(Ok(trailers))))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}
