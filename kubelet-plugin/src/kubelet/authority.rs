//! The cure for the kubelet's `:authority` on the registration socket.
//!
//! The kubelet dials a registration socket by its bare path, and its gRPC library makes of that the `:authority`
//! `%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2F…-reg.sock`. Rust's `http` crate takes that for no authority, and
//! `h2` resets the stream before any service sees it (`docs/kubelet-authority.md`). So what comes in is read here
//! first: an authority that is none becomes `localhost`, and all other bytes pass as they are.
//!
//! Header blocks are compressed with a table that both sides build up (HPACK, RFC 7541), so every block is decoded
//! here and written anew without use of the table. Everything is bounded: frames, blocks, and what they unpack to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use http::uri::Authority;
use loona_hpack::Decoder;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Bytes of a client's connection preface (RFC 9113, section 3.4).
const PREFACE: usize = 24;
/// Bytes of a frame's header (section 4.1).
const FRAME_HEADER: usize = 9;
/// The longest frame that a client may send that was told nothing else, as ours are not (section 6.5.2).
const MOST_FRAME: usize = 16_384;
/// The longest header block that is collected, packed. A gRPC request's takes some 200 bytes.
const MOST_PACKED: usize = 16_384;
/// The longest that a header block may unpack to: a byte can stand for a whole entry of the table.
const MOST_UNPACKED: usize = 65_536;
/// The most frames that a header block may come in; without a limit, empty ones could come for ever.
const MOST_PARTS: usize = 16;
/// The size of HPACK's table that holds unless a side asks for another, as we do not.
const TABLE: usize = 4096;
/// No more is taken in while this much waits to be read.
const ENOUGH: usize = 65_536;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The authority that is put in the place of one that is none; the name that the kubelet's other connections have.
const LOCALHOST: &[u8] = b"localhost";

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    #[error("an HTTP/2 frame is longer than {MOST_FRAME} bytes")]
    LongFrame,
    #[error(
        "an HTTP/2 header block is longer than {MOST_PACKED} bytes or comes in more than {MOST_PARTS} frames"
    )]
    LongBlock,
    #[error("an HTTP/2 header block unpacks to more than {MOST_UNPACKED} bytes")]
    LongHeaders,
    #[error("an HTTP/2 header block is interrupted, or goes on where none began")]
    Interrupted,
    #[error("an HTTP/2 HEADERS frame is shorter than its padding and priority")]
    ShortHeaders,
    #[error("an HTTP/2 header block is not valid HPACK")]
    Hpack,
}

/// Takes in a client's bytes and gives out the same with valid authorities.
pub(super) struct Rewriter {
    preface_left: usize,
    /// What came in and is no whole frame yet.
    input: BytesMut,
    /// What can go out.
    output: BytesMut,
    table: Decoder<'static>,
    block: Option<Block>,
}

/// A header block that is not whole yet.
struct Block {
    stream: [u8; 4],
    end_stream: u8,
    packed: Vec<u8>,
    parts: usize,
}

impl Rewriter {
    pub(super) fn new() -> Self {
        let mut table = Decoder::new();
        table.set_max_allowed_table_size(TABLE);
        Self { preface_left: PREFACE, input: BytesMut::new(), output: BytesMut::new(), table, block: None }
    }

    /// How many bytes can be taken in now: none while enough waits to be read.
    pub(super) fn room(&self) -> usize {
        (FRAME_HEADER + MOST_FRAME).saturating_sub(self.input.len())
    }

    /// Takes in bytes, at most [`room`](Self::room) of them.
    pub(super) fn take_in(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        self.input.extend_from_slice(bytes);
        self.rewrite()
    }

    /// Moves what can go out into `buffer`.
    pub(super) fn give_out(&mut self, buffer: &mut ReadBuf<'_>) -> Result<(), Malformed> {
        let length = self.output.len().min(buffer.remaining());
        buffer.put_slice(&self.output[..length]);
        self.output.advance(length);
        self.rewrite()
    }

    /// Whether something can go out.
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Handles the whole frames that came in, until enough waits to be read.
    fn rewrite(&mut self) -> Result<(), Malformed> {
        if self.preface_left > 0 {
            let length = self.preface_left.min(self.input.len());
            self.output.extend_from_slice(&self.input.split_to(length));
            self.preface_left -= length;
        }
        while self.output.len() < ENOUGH {
            let &[high, middle, low, kind, flags, s0, s1, s2, s3, ..] = &self.input[..] else {
                return Ok(());
            };
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if length > MOST_FRAME {
                return Err(Malformed::LongFrame);
            }
            if self.input.len() < FRAME_HEADER + length {
                return Ok(());
            }
            let frame = self.input.split_to(FRAME_HEADER + length);
            self.frame(kind, flags, [s0, s1, s2, s3], &frame)?;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: [u8; 4], frame: &[u8]) -> Result<(), Malformed> {
        let payload = &frame[FRAME_HEADER..];
        match (kind, self.block.take()) {
            (HEADERS, None) => {
                let packed = fragment(flags, payload).ok_or(Malformed::ShortHeaders)?.to_vec();
                self.collected(flags, Block { stream, end_stream: flags & END_STREAM, packed, parts: 1 })
            }
            (CONTINUATION, Some(mut block)) if block.stream == stream => {
                block.packed.extend_from_slice(payload);
                block.parts += 1;
                self.collected(flags, block)
            }
            (HEADERS | CONTINUATION, _) | (_, Some(_)) => Err(Malformed::Interrupted),
            (_, None) => {
                self.output.extend_from_slice(frame);
                Ok(())
            }
        }
    }

    fn collected(&mut self, flags: u8, block: Block) -> Result<(), Malformed> {
        if block.packed.len() > MOST_PACKED || block.parts > MOST_PARTS {
            return Err(Malformed::LongBlock);
        }
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let packed = self.repack(&block.packed)?;
        self.write_headers(&block, &packed);
        Ok(())
    }

    /// The same headers with a valid authority, without use of HPACK's table.
    fn repack(&mut self, packed: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut again = Vec::with_capacity(packed.len());
        let mut unpacked = 0;
        let decoded = self.table.decode_with_cb(packed, |name, value| {
            unpacked += name.len() + value.len();
            // The rest is still decoded, for the table's sake, but no longer kept.
            if unpacked <= MOST_UNPACKED {
                let valid = *name != *b":authority" || Authority::try_from(&*value).is_ok();
                literal(&mut again, &name, if valid { &value } else { LOCALHOST });
            }
        });
        match decoded {
            Err(_) => Err(Malformed::Hpack),
            Ok(()) if unpacked > MOST_UNPACKED => Err(Malformed::LongHeaders),
            Ok(()) => Ok(again),
        }
    }

    fn write_headers(&mut self, block: &Block, packed: &[u8]) {
        let mut parts = packed.chunks(MOST_FRAME).peekable();
        let mut kind = HEADERS;
        loop {
            let part = parts.next().unwrap_or_default();
            let last = parts.peek().is_none();
            let end_stream = if kind == HEADERS { block.end_stream } else { 0 };
            let flags = end_stream | if last { END_HEADERS } else { 0 };
            // A part has MOST_FRAME bytes at most, which fit into three.
            let [.., high, middle, low] = part.len().to_be_bytes();
            self.output.extend_from_slice(&[high, middle, low, kind, flags]);
            self.output.extend_from_slice(&block.stream);
            self.output.extend_from_slice(part);
            if last {
                return;
            }
            kind = CONTINUATION;
        }
    }
}

/// The part of a header block in a HEADERS frame, without padding and priority (RFC 9113, section 6.2).
fn fragment(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let (padding, mut rest) = match payload.split_first() {
        Some((padding, rest)) if flags & PADDED != 0 => (usize::from(*padding), rest),
        None if flags & PADDED != 0 => return None,
        _ => (0, payload),
    };
    if flags & PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}

/// A literal field that is not put into the table (RFC 7541, section 6.2.2).
fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        length(block, text.len());
        block.extend_from_slice(text);
    }
}

/// A length with a prefix of seven bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, mut length: usize) {
    const PREFIX: u8 = 0x7f;
    if length < usize::from(PREFIX) {
        block.push(length.to_le_bytes()[0]);
        return;
    }
    block.push(PREFIX);
    length -= usize::from(PREFIX);
    while length >= 0x80 {
        block.push(length.to_le_bytes()[0] | 0x80);
        length >>= 7;
    }
    block.push(length.to_le_bytes()[0]);
}

/// A connection whose incoming authorities are made valid.
pub(super) struct Localised<S> {
    stream: S,
    rewriter: Rewriter,
}

impl<S> Localised<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, rewriter: Rewriter::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Localised<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let failed = |malformed: Malformed| io::Error::new(io::ErrorKind::InvalidData, malformed);
        while !this.rewriter.has_output() {
            let mut chunk = [0; 4096];
            let room = this.rewriter.room().min(chunk.len());
            let mut read = ReadBuf::new(&mut chunk[..room]);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.rewriter.take_in(read.filled()).map_err(failed)?;
        }
        Poll::Ready(this.rewriter.give_out(buffer).map_err(failed))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Localised<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for Localised<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests;
