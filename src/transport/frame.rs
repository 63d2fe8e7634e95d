//! A frame: a protobuf message that is nothing but `repeated M = 1`, several messages carried as one.
//!
//! This is tonic's codec for both halves of a lane. It is written by hand so that a frame is encoded straight into the
//! send buffer, reserved once at its exact size, and decoded one message at a time out of the received buffer, whose
//! payloads it shares: the decoded form of a whole hostile frame is never in memory at once.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, encoded_len_varint, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The field number of a frame's messages.
const ITEMS_TAG: u32 = 1;

/// A frame to send.
#[derive(Debug)]
pub(super) struct Frame<M> {
    /// The messages.
    pub items: Vec<M>,
    /// The sum of their [`item_bytes`].
    pub bytes: usize,
}

impl<M: Message> Frame<M> {
    /// Encodes it.
    pub fn put(&self, buffer: &mut impl BufMut) {
        for item in &self.items {
            prost::encoding::message::encode(ITEMS_TAG, item, buffer);
        }
    }
}

/// What a message takes up within a frame: tag, length and itself.
pub(super) fn item_bytes<M: Message>(item: &M) -> usize {
    let len = item.encoded_len();
    1 + encoded_len_varint(len as u64) + len
}

/// The size of the buffer that a received frame of this size lies in.
pub(super) fn received_bytes(frame: &Bytes) -> usize {
    frame.len().max(BUFFER_BYTES)
}

/// The messages of a received frame.
#[derive(Debug)]
pub(super) struct Items<M> {
    rest: Bytes,
    message: PhantomData<fn() -> M>,
}

/// What is wrong with a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// One message cannot be decoded; those behind it can.
    Item,
    /// The frame itself cannot be followed any further.
    Frame,
}

impl<M: Message + Default> Items<M> {
    /// Begins to take the frame apart.
    pub fn new(frame: Bytes) -> Items<M> {
        Items { rest: frame, message: PhantomData }
    }

    /// The bytes not yet taken apart.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    fn next_item(&mut self) -> Result<Option<Bytes>, Fault> {
        let rest = &mut self.rest;
        while rest.has_remaining() {
            let (tag, wire_type) = decode_key(rest).map_err(|_| Fault::Frame)?;
            if tag != ITEMS_TAG || wire_type != WireType::LengthDelimited {
                // A later version's field.
                skip_field(wire_type, tag, rest, DecodeContext::default()).map_err(|_| Fault::Frame)?;
                continue;
            }
            let len = decode_varint(rest).ok().and_then(|len| usize::try_from(len).ok());
            let len = len.filter(|len| *len <= rest.len()).ok_or(Fault::Frame)?;
            return Ok(Some(rest.split_to(len)));
        }
        Ok(None)
    }
}

impl<M: Message + Default> Iterator for Items<M> {
    type Item = Result<M, Fault>;

    fn next(&mut self) -> Option<Result<M, Fault>> {
        match self.next_item() {
            Ok(None) => None,
            Ok(Some(bytes)) => Some(M::decode(bytes).map_err(|_| Fault::Item)),
            Err(_) => {
                self.rest.clear();
                Some(Err(Fault::Frame))
            }
        }
    }
}

/// The codec of a call that sends frames of `M` and receives frames still encoded.
#[derive(Debug)]
pub(super) struct FrameCodec<M>(PhantomData<fn() -> M>);

impl<M> FrameCodec<M> {
    pub fn new() -> FrameCodec<M> {
        FrameCodec(PhantomData)
    }
}

impl<M: Message + Default + 'static> Codec for FrameCodec<M> {
    type Encode = Frame<M>;
    type Decode = Bytes;
    type Encoder = FrameCodec<M>;
    type Decoder = FrameCodec<M>;

    fn encoder(&mut self) -> FrameCodec<M> {
        FrameCodec::new()
    }

    fn decoder(&mut self) -> FrameCodec<M> {
        FrameCodec::new()
    }
}

impl<M: Message + Default> Encoder for FrameCodec<M> {
    type Item = Frame<M>;
    type Error = Status;

    fn encode(&mut self, frame: Frame<M>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(frame.bytes);
        frame.put(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        // A threshold of one byte: the frame already holds all that was queued, so it leaves as it is.
        BufferSettings::new(BUFFER_BYTES, 1)
    }
}

impl<M> Decoder for FrameCodec<M> {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, 1)
    }
}

/// What tonic allocates for a call to begin with; small frames are received into it one behind the other.
const BUFFER_BYTES: usize = 32 << 10;
