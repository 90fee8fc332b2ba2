//! The client against a server that sends the frames of a script.

use std::time::Duration;

use tokio::io::DuplexStream;

use super::{
    super::frames::{END_HEADERS, END_STREAM, encode},
    *,
};

const LONG: Duration = Duration::from_secs(20);

/// A server after the opening: it took the client's preface and settings, and sent its own.
struct Server(DuplexStream);

impl Server {
    async fn frame(&mut self) -> (Head, Vec<u8>) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let head = Head::decode(head);
        let mut payload = vec![0; head.length];
        self.0.read_exact(&mut payload).await.unwrap();
        (head, payload)
    }

    async fn send(&mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
        self.0.write_all(&encode(kind, flags, stream, payload).unwrap()).await.unwrap();
    }
}

async fn connected(settings: &[u8]) -> (Http2<DuplexStream>, Server) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let mut server = Server(server);
    server.send(Kind::Settings, 0, 0, settings).await;
    let client = Http2::open(client, "%2Frun%2Fx.sock".to_owned()).await.unwrap();
    let mut preface = [0; 24];
    server.0.read_exact(&mut preface).await.unwrap();
    assert_eq!(preface, frames::PREFACE);
    assert_eq!(server.frame().await.0, Head { length: 0, kind: Kind::Settings, flags: 0, stream: 0 });
    assert_eq!(
        server.frame().await.0,
        Head { length: 0, kind: Kind::Settings, flags: frames::ACK, stream: 0 }
    );
    (client, server)
}

fn ok() -> Vec<u8> {
    headers::encode(&[(":status", "200"), ("content-type", "application/grpc")])
}

fn trailers() -> Vec<u8> {
    headers::encode(&[("grpc-status", "0")])
}

#[tokio::test]
async fn a_request_has_what_grpc_and_the_kubelet_put_into_it() {
    let (mut client, mut server) = connected(&[]).await;
    server.send(Kind::Headers, END_HEADERS, 1, &ok()).await;
    server.send(Kind::Data, 0, 1, b"\0\0\0\0\x02hi").await;
    server.send(Kind::Headers, END_HEADERS | END_STREAM, 1, &trailers()).await;
    assert_eq!(client.unary("/a.B/C", b"body", Duration::from_secs(1)).await.unwrap(), b"hi");

    let (head, block) = server.frame().await;
    assert_eq!((head.kind, head.flags, head.stream), (Kind::Headers, END_HEADERS, 1));
    let sent = Headers::decode(&mut Decoder::new(), &block).unwrap();
    let expected = [
        (":method", "POST"),
        (":path", "/a.B/C"),
        (":authority", "%2Frun%2Fx.sock"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "1000m"),
    ];
    for (name, value) in expected {
        assert_eq!(sent.get(name), Some(value), "{name}");
    }
    let (head, body) = server.frame().await;
    assert_eq!((head.kind, head.flags, head.stream), (Kind::Data, END_STREAM, 1));
    assert_eq!(body, b"\0\0\0\0\x04body");
    for stream in [0, 1] {
        let (head, payload) = server.frame().await;
        assert_eq!((head.kind, head.stream), (Kind::WindowUpdate, stream));
        assert_eq!(payload, [0, 0, 0, 7], "what the answer's DATA frame took");
    }
}

#[tokio::test]
async fn answers_may_come_in_pieces_among_other_frames() {
    let (mut client, mut server) = connected(&[]).await;
    let headers = ok();
    server.send(Kind::Ping, 0, 0, b"12345678").await;
    server.send(Kind::Settings, 0, 0, &[]).await;
    server.send(Kind::Other(0xfa), 0xff, 7, b"greased").await;
    server.send(Kind::WindowUpdate, 0, 0, &[0, 0, 1, 0]).await;
    server.send(Kind::Headers, 0, 1, &headers[..3]).await;
    server.send(Kind::Continuation, END_HEADERS, 1, &headers[3..]).await;
    server.send(Kind::Data, 0x8, 1, b"\x02\0\0\0__").await;
    server.send(Kind::Data, 0, 1, b"\0\x02h").await;
    server.send(Kind::Data, 0, 1, b"i").await;
    server.send(Kind::GoAway, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]).await;
    server.send(Kind::Headers, END_HEADERS | END_STREAM, 1, &trailers()).await;
    assert_eq!(client.unary("/a.B/C", b"", LONG).await.unwrap(), b"hi");
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 2 {
        let (head, payload) = server.frame().await;
        if matches!(head.kind, Kind::Ping | Kind::Settings) {
            assert_eq!(head.flags, frames::ACK);
            acknowledged.push(payload);
        }
    }
    assert_eq!(acknowledged, [b"12345678".as_slice(), b""]);
}

#[tokio::test]
async fn failures_have_the_words_of_the_kubelets_library() {
    type Frames = Vec<(Kind, u8, Vec<u8>)>;
    let all = END_HEADERS | END_STREAM;
    let denied = headers::encode(&[
        (":status", "200"),
        ("content-type", "application/grpc"),
        ("grpc-status", "7"),
        ("grpc-message", "100%25 no"),
    ]);
    let begun = || (Kind::Headers, END_HEADERS, ok());
    let data = |bytes: &[u8]| (Kind::Data, 0, bytes.to_vec());
    let end = || (Kind::Headers, all, trailers());
    let cases: Vec<(&str, Frames, Code, &str)> = vec![
        ("an error", vec![(Kind::Headers, all, denied)], Code::PermissionDenied, "100% no"),
        (
            "a reset",
            vec![(Kind::ResetStream, 0, vec![0, 0, 0, 1])],
            Code::Internal,
            "stream terminated by RST_STREAM with error code: PROTOCOL_ERROR",
        ),
        (
            "a stream that was not begun",
            vec![(Kind::GoAway, 0, vec![0, 0, 0, 0, 0, 0, 0, 0])],
            Code::Unavailable,
            "the connection is draining",
        ),
        ("no message", vec![begun(), end()], Code::Internal, "the answer has no message"),
        (
            "half a message",
            vec![begun(), data(b"\0\0\0\0\x09hi"), end()],
            Code::Internal,
            "the answer is not one message",
        ),
        (
            "a compressed message",
            vec![begun(), data(b"\x01\0\0\0\x02hi"), end()],
            Code::Unimplemented,
            "the answer is compressed, which was not offered",
        ),
        (
            "no trailers",
            vec![begun(), (Kind::Data, END_STREAM, b"\0\0\0\0\0".to_vec())],
            Code::Internal,
            "server closed the stream without sending trailers",
        ),
        (
            "another HTTP status",
            vec![(Kind::Headers, END_HEADERS, headers::encode(&[(":status", "503")]))],
            Code::Unknown,
            "unexpected HTTP status code: 503",
        ),
        ("bad padding", vec![begun(), (Kind::Data, 0x8, vec![9, 0])], Code::Internal, "bad padding"),
        (
            "an interrupted header block",
            vec![(Kind::Headers, 0, ok()), data(b"")],
            Code::Internal,
            "a header block was interrupted",
        ),
        ("a push", vec![(Kind::PushPromise, 0, vec![0; 8])], Code::Internal, "the server promised a push"),
        (
            "a frame that was not allowed",
            vec![data(&[0; frames::MAX_FRAME + 1])],
            Code::Unavailable,
            "error reading from server: a frame of 16385 bytes, more than was allowed",
        ),
        ("the end of the connection", vec![], Code::Unavailable, "error reading from server: early eof"),
    ];
    for (name, frames, code, message) in cases {
        let (mut client, mut server) = connected(&[]).await;
        for (kind, flags, payload) in frames {
            let stream = u32::from(!matches!(kind, Kind::GoAway));
            server.send(kind, flags, stream, &payload).await;
        }
        server.0.shutdown().await.unwrap();
        assert_eq!(client.unary("/a.B/C", b"", LONG).await, Err(Status::new(code, message)), "{name}");
    }
}

#[tokio::test]
async fn header_blocks_have_a_largest_size() {
    let (mut client, mut server) = connected(&[]).await;
    let call = tokio::spawn(async move { client.unary("/a.B/C", b"", LONG).await });
    server.send(Kind::Headers, 0, 1, &ok()).await;
    let more = encode(Kind::Continuation, 0, 1, &[0; 1000]).unwrap();
    // The connection's end breaks off the last one.
    while server.0.write_all(&more).await.is_ok() && !call.is_finished() {
        tokio::task::yield_now().await;
    }
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.message, "a header block is too long or was not begun");
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_cancelled() {
    let (mut client, mut server) = connected(&[]).await;
    let answer = client.unary("/a.B/C", b"", Duration::from_millis(20)).await;
    assert_eq!(answer, Err(Status::deadline_exceeded()));
    let (_headers, _data, (head, payload)) =
        (server.frame().await, server.frame().await, server.frame().await);
    assert_eq!((head.kind, head.stream), (Kind::ResetStream, 1));
    assert_eq!(payload, [0, 0, 0, 8], "CANCEL");
}

/// Setting 4 is the initial window, of 3 bytes here.
#[tokio::test]
async fn a_request_larger_than_the_servers_window_is_not_sent() {
    let (mut client, _server) = connected(&[0, 4, 0, 0, 0, 3]).await;
    let error = client.unary("/a.B/C", b"", LONG).await.unwrap_err();
    assert_eq!(error.code, Code::ResourceExhausted);
}
