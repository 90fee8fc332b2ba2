//! A gRPC client for one call at a time on raw HTTP/2 frames.

use std::{io, time::Duration};

use loona_hpack::Decoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tonic::Code;

use super::{
    super::status::Status,
    frames::{self, Head, Kind, Limits},
    headers::{self, Headers},
};

/// The largest answer that is taken, in bytes, as in the kubelet's gRPC library.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The largest header block that is taken, in bytes.
const MAX_HEADERS: usize = 64 * 1024;

/// The error code that cancels a stream.
const CANCEL: u32 = 8;

/// A connection.
pub(super) struct Http2<S> {
    stream: S,
    authority: String,
    decoder: Decoder<'static>,
    limits: Limits,
    next_stream: u32,
}

/// What has come of an answer.
#[derive(Default)]
struct Answer {
    body: Vec<u8>,
    /// A header block that is not complete: its bytes, and whether the stream ends with it.
    block: Option<(Vec<u8>, bool)>,
    started: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    /// Opens a connection on `stream`, and waits for the server's settings.
    pub(super) async fn open(stream: S, authority: String) -> io::Result<Self> {
        let mut connection =
            Self { stream, authority, decoder: Decoder::new(), limits: Limits::default(), next_stream: 1 };
        connection.stream.write_all(frames::PREFACE).await?;
        connection.send(Kind::Settings, 0, 0, &[]).await?;
        let (head, payload) = connection.receive().await?;
        if head.kind != Kind::Settings || head.flags & frames::ACK != 0 {
            return Err(io::Error::other("the server did not begin with its settings"));
        }
        connection.settings(&payload).await?;
        Ok(connection)
    }

    /// Makes one call. The answer's message is still encoded.
    ///
    /// # Errors
    ///
    /// The status that the server answered, or what the kubelet's library says of a broken connection or an answer
    /// that does not come in time.
    pub(super) async fn unary(
        &mut self,
        path: &str,
        message: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Status> {
        let id = self.next_stream;
        self.next_stream += 2;
        let call = async {
            self.request(id, path, message, limit).await?;
            self.answer(id).await
        };
        if let Ok(answer) = tokio::time::timeout(limit, call).await {
            return answer;
        }
        // The server may be gone: nothing depends on its hearing of this.
        let _ = self.send(Kind::ResetStream, 0, id, &CANCEL.to_be_bytes()).await;
        Err(Status::deadline_exceeded())
    }

    async fn request(&mut self, id: u32, path: &str, message: &[u8], limit: Duration) -> Result<(), Status> {
        let block = headers::encode(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", &self.authority),
            ("content-type", "application/grpc"),
            ("user-agent", "kubelet-stand-in"),
            ("te", "trailers"),
            ("grpc-timeout", &format!("{}m", limit.as_millis())),
        ]);
        let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let body = [&[0], length.to_be_bytes().as_slice(), message].concat();
        // One call on a fresh connection: what does not fit into the first window is no registration's message.
        if block.len() > frames::MAX_FRAME || body.len() > self.limits.window.min(65_535) {
            return Err(Status::new(
                Code::ResourceExhausted,
                "the request is too long for the server's window",
            ));
        }
        self.send(Kind::Headers, frames::END_HEADERS, id, &block).await.map_err(broken)?;
        let mut chunks = body.chunks(self.limits.frame).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { frames::END_STREAM } else { 0 };
            self.send(Kind::Data, flags, id, chunk).await.map_err(broken)?;
        }
        Ok(())
    }

    async fn answer(&mut self, id: u32) -> Result<Vec<u8>, Status> {
        let mut answer = Answer::default();
        loop {
            let (head, payload) = self.receive().await.map_err(broken)?;
            if answer.block.is_some() && head.kind != Kind::Continuation {
                return Err(malformed("a header block was interrupted"));
            }
            match head.kind {
                Kind::Settings if head.flags & frames::ACK == 0 => {
                    self.settings(&payload).await.map_err(broken)?
                }
                Kind::Ping if head.flags & frames::ACK == 0 => {
                    self.send(Kind::Ping, frames::ACK, 0, &payload).await.map_err(broken)?;
                }
                Kind::PushPromise => return Err(malformed("the server promised a push")),
                Kind::GoAway if frames::number(&payload).is_some_and(|last| last < id) => {
                    return Err(Status::new(Code::Unavailable, "the connection is draining"));
                }
                Kind::ResetStream if head.stream == id => {
                    return Err(reset(frames::number(&payload).unwrap_or_default()));
                }
                Kind::Data => {
                    // The windows are kept full, whichever stream the bytes came on.
                    self.allow(head).await.map_err(broken)?;
                    if head.stream == id {
                        let content =
                            frames::content(head, &payload).ok_or_else(|| malformed("bad padding"))?;
                        answer.body.extend_from_slice(content);
                        if answer.body.len() > MAX_ANSWER + 5 {
                            return Err(Status::new(
                                Code::ResourceExhausted,
                                "grpc: received message larger than max",
                            ));
                        }
                        if head.flags & frames::END_STREAM != 0 {
                            return Err(malformed("server closed the stream without sending trailers"));
                        }
                    }
                }
                Kind::Headers if head.stream == id => {
                    let content = frames::content(head, &payload).ok_or_else(|| malformed("bad padding"))?;
                    answer.block = Some((content.to_vec(), head.flags & frames::END_STREAM != 0));
                }
                Kind::Continuation if head.stream == id => match &mut answer.block {
                    Some((block, _)) if block.len() + payload.len() <= MAX_HEADERS => {
                        block.extend_from_slice(&payload);
                    }
                    _ => return Err(malformed("a header block is too long or was not begun")),
                },
                _ => {}
            }
            let ends_headers = matches!(head.kind, Kind::Headers | Kind::Continuation)
                && head.flags & frames::END_HEADERS != 0;
            if ends_headers && let Some((block, end)) = answer.block.take() {
                let headers =
                    Headers::decode(&mut self.decoder, &block).map_err(|error| malformed(&error))?;
                if end {
                    return finished(&headers, &answer.body);
                }
                if !answer.started && headers.get(":status") != Some("200") {
                    let status = headers.get(":status").unwrap_or("none");
                    return Err(Status::new(Code::Unknown, format!("unexpected HTTP status code: {status}")));
                }
                answer.started = true;
            }
        }
    }

    async fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        self.limits.apply(payload).ok_or_else(|| io::Error::other("malformed settings"))?;
        self.send(Kind::Settings, frames::ACK, 0, &[]).await
    }

    /// Gives back what a DATA frame took of the windows of its stream and of the connection.
    async fn allow(&mut self, head: Head) -> io::Result<()> {
        let Ok(length @ 1..) = u32::try_from(head.length) else { return Ok(()) };
        self.send(Kind::WindowUpdate, 0, 0, &length.to_be_bytes()).await?;
        self.send(Kind::WindowUpdate, 0, head.stream, &length.to_be_bytes()).await
    }

    async fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let frame = frames::encode(kind, flags, stream, payload)
            .ok_or_else(|| io::Error::other("the payload is longer than any frame may be"))?;
        self.stream.write_all(&frame).await
    }

    async fn receive(&mut self) -> io::Result<(Head, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await?;
        let head = Head::decode(head);
        if head.length > frames::MAX_FRAME {
            return Err(io::Error::other(format!("a frame of {} bytes, more than was allowed", head.length)));
        }
        let mut payload = vec![0; head.length];
        self.stream.read_exact(&mut payload).await?;
        Ok((head, payload))
    }
}

/// The message of an answer that ended with `trailers`.
fn finished(trailers: &Headers, body: &[u8]) -> Result<Vec<u8>, Status> {
    let Some(code) = trailers.get("grpc-status").and_then(|code| code.parse().ok()) else {
        return Err(malformed("the answer has no grpc-status"));
    };
    let code = Code::from_i32(code);
    if code != Code::Ok {
        let message = trailers.get("grpc-message").unwrap_or_default();
        return Err(Status::answered(code, headers::decode_message(message)));
    }
    let Some((&[compressed, ref length @ ..], message)) = body.split_first_chunk::<5>() else {
        return Err(malformed("the answer has no message"));
    };
    if compressed != 0 {
        return Err(Status::new(Code::Unimplemented, "the answer is compressed, which was not offered"));
    }
    if usize::try_from(u32::from_be_bytes(*length)).ok() != Some(message.len()) {
        return Err(malformed("the answer is not one message"));
    }
    Ok(message.to_vec())
}

fn malformed(what: &str) -> Status {
    Status::new(Code::Internal, what)
}

fn broken(error: io::Error) -> Status {
    Status::new(Code::Unavailable, format!("error reading from server: {error}"))
}

/// What a stream's end with an error code of RFC 9113, section 7, means to gRPC.
fn reset(code: u32) -> Status {
    let (name, status) = match code {
        0 => ("NO_ERROR", Code::Internal),
        1 => ("PROTOCOL_ERROR", Code::Internal),
        2 => ("INTERNAL_ERROR", Code::Internal),
        3 => ("FLOW_CONTROL_ERROR", Code::ResourceExhausted),
        4 => ("SETTINGS_TIMEOUT", Code::Internal),
        5 => ("STREAM_CLOSED", Code::Internal),
        6 => ("FRAME_SIZE_ERROR", Code::Internal),
        7 => ("REFUSED_STREAM", Code::Unavailable),
        8 => ("CANCEL", Code::Cancelled),
        9 => ("COMPRESSION_ERROR", Code::Internal),
        10 => ("CONNECT_ERROR", Code::Internal),
        11 => ("ENHANCE_YOUR_CALM", Code::ResourceExhausted),
        12 => ("INADEQUATE_SECURITY", Code::PermissionDenied),
        13 => ("HTTP_1_1_REQUIRED", Code::Internal),
        _ => ("unknown", Code::Unknown),
    };
    Status::new(status, format!("stream terminated by RST_STREAM with error code: {name}"))
}

#[cfg(test)]
mod tests;
