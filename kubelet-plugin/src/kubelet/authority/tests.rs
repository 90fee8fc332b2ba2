use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PREFACE_BYTES: &[u8; PREFACE] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What grpc-go makes of the path of a registration socket.
const OF_KUBELET: &str = "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fgpu.example.com-reg.sock";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

/// Lets bytes through in pieces of this size.
fn through(input: &[u8], piece: usize) -> Result<Vec<u8>, Malformed> {
    let mut rewriter = Rewriter::new();
    let mut output = Vec::new();
    for piece in input.chunks(piece.clamp(1, 4096)) {
        rewriter.take_in(piece)?;
        while rewriter.has_output() {
            let mut buffer = [0; 1000];
            let mut buffer = ReadBuf::new(&mut buffer);
            rewriter.give_out(&mut buffer)?;
            output.extend_from_slice(buffer.filled());
        }
        assert!(rewriter.room() > 0, "nothing more can come in though all went out");
    }
    Ok(output)
}

/// The headers of the frames of an output, by the independent decoder of the `h2` crate's opposite: a plain HPACK
/// decoder with a table of its own, as the receiving side has.
fn headers(output: &[u8]) -> Vec<Vec<(String, String)>> {
    let mut decoder = Decoder::new();
    let mut rest = &output[PREFACE..];
    let mut found = Vec::new();
    let mut packed = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
        let (head, tail) = rest.split_at(FRAME_HEADER);
        let (payload, tail) = tail.split_at(usize::try_from(length).unwrap());
        if [HEADERS, CONTINUATION].contains(&head[3]) {
            packed.extend_from_slice(payload);
            if head[4] & END_HEADERS != 0 {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                let decoded = decoder.decode(&std::mem::take(&mut packed)).unwrap();
                found.push(decoded.into_iter().map(|(name, value)| (text(name), text(value))).collect());
            }
        }
        rest = tail;
    }
    found
}

fn authorities(output: &[u8]) -> Vec<String> {
    let of = |headers: Vec<(String, String)>| {
        headers.into_iter().filter(|(name, _)| name == ":authority").map(|(_, value)| value)
    };
    headers(output).into_iter().flat_map(of).collect()
}

fn request(authority: &str) -> Vec<u8> {
    let block = block(&[(":method", "POST"), (":path", "/x"), (":authority", authority)]);
    [&PREFACE_BYTES[..], &frame(4, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &block)].concat()
}

#[test]
fn only_an_authority_that_is_none_is_replaced() {
    let cases = [
        ("of the kubelet", OF_KUBELET, "localhost"),
        ("a bare path", "/var/lib/kubelet/x.sock", "localhost"),
        ("empty", "", "localhost"),
        ("localhost", "localhost", "localhost"),
        ("with a port", "node-1.example.com:443", "node-1.example.com:443"),
        ("an address", "[::1]:80", "[::1]:80"),
    ];
    for (what, authority, wanted) in cases {
        assert_eq!(authorities(&through(&request(authority), 4096).unwrap()), [wanted], "{what}");
    }
}

/// The first block puts the authority into HPACK's table, the second refers to it: `0x41` is a literal with
/// incremental indexing of the static table's name 1, `0xbe` the newest entry of the dynamic table (RFC 7541).
#[test]
fn an_authority_that_comes_by_reference_is_replaced_too() {
    let mut first = vec![0x41];
    length(&mut first, OF_KUBELET.len());
    first.extend_from_slice(OF_KUBELET.as_bytes());
    let input = [
        &PREFACE_BYTES[..],
        &frame(HEADERS, END_HEADERS, 1, &first),
        &frame(HEADERS, END_HEADERS, 3, &[0xbe]),
    ]
    .concat();
    assert_eq!(authorities(&through(&input, 7).unwrap()), ["localhost", "localhost"]);
}

#[test]
fn padding_priority_and_continuations_are_understood() {
    let whole = block(&[(":authority", OF_KUBELET), ("te", "trailers")]);
    let (first, rest) = whole.split_at(20);
    let padded = [&[3, 0, 0, 0, 0, 15][..], first, &[0, 0, 0]].concat();
    let input = [
        &PREFACE_BYTES[..],
        &frame(HEADERS, PADDED | PRIORITY | END_STREAM, 5, &padded),
        &frame(CONTINUATION, END_HEADERS, 5, rest),
    ]
    .concat();
    let output = through(&input, 3).unwrap();
    assert_eq!(
        headers(&output),
        [[(":authority".to_owned(), "localhost".to_owned()), ("te".to_owned(), "trailers".to_owned())]]
    );
    assert_eq!(output[PREFACE + 4], END_STREAM | END_HEADERS, "the end of the stream got lost");
    assert_eq!(output[PREFACE + 5..PREFACE + 9], [0, 0, 0, 5], "the stream got lost");
}

#[test]
fn what_is_malformed_ends_the_connection() {
    let long = vec![0; MOST_FRAME + 1];
    let bomb = {
        // An entry of nearly the table's size, and then references to it.
        let mut bomb = vec![0x40];
        let value = vec![b'x'; 4000];
        for text in [&b"a"[..], &value] {
            length(&mut bomb, text.len());
            bomb.extend_from_slice(text);
        }
        bomb.extend_from_slice(&[0xbe; 100]);
        bomb
    };
    let headers = |flags, payload: &[u8]| frame(HEADERS, flags, 1, payload);
    let next = |flags| frame(CONTINUATION, flags, 1, &[]);
    let cases = [
        ("a long frame", frame(0, 0, 1, &long), Malformed::LongFrame),
        ("a bomb", headers(END_HEADERS, &bomb), Malformed::LongHeaders),
        ("padding without length", headers(PADDED | END_HEADERS, &[]), Malformed::ShortHeaders),
        ("more padding than frame", headers(PADDED | END_HEADERS, &[9, 1]), Malformed::ShortHeaders),
        ("half a priority", headers(PRIORITY | END_HEADERS, &[1, 2]), Malformed::ShortHeaders),
        ("a stray continuation", next(END_HEADERS), Malformed::Interrupted),
        ("another frame inside", [headers(0, &[]), frame(6, 0, 0, &[0; 8])].concat(), Malformed::Interrupted),
        (
            "a continuation of another stream",
            [headers(0, &[]), frame(CONTINUATION, 0, 3, &[])].concat(),
            Malformed::Interrupted,
        ),
        (
            "endless continuations",
            [headers(0, &[]), next(0).repeat(MOST_PARTS)].concat(),
            Malformed::LongBlock,
        ),
        ("no entry of the table", headers(END_HEADERS, &[0xff]), Malformed::Hpack),
        ("index zero", headers(END_HEADERS, &[0x80]), Malformed::Hpack),
        ("a table too large", headers(END_HEADERS, &[0x3f, 0xe2, 0x1f, 0x82]), Malformed::Hpack),
    ];
    for (what, frames, wanted) in cases {
        let input = [&PREFACE_BYTES[..], &frames].concat();
        assert_eq!(through(&input, 4096).err(), Some(wanted), "{what}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_stay_within_bounds(input in vec(any::<u8>(), 0..20_000), piece in 1_usize..5000) {
        let mut rewriter = Rewriter::new();
        for piece in PREFACE_BYTES.chunks(24).chain(input.chunks(piece.min(4096))) {
            // Nobody reads what goes out: no more may pile up than one frame's worth beyond what is enough.
            let room = rewriter.room().min(piece.len());
            if rewriter.take_in(&piece[..room]).is_err() {
                break;
            }
            prop_assert!(rewriter.input.len() <= FRAME_HEADER + MOST_FRAME);
            prop_assert!(rewriter.output.len() <= ENOUGH + 2 * MOST_UNPACKED);
        }
    }

    #[test]
    fn arbitrary_frames_never_panic(
        frames in vec((0_u8..12, any::<u8>(), 0_u32..4, vec(any::<u8>(), 0..200)), 0..40),
        piece in 1_usize..300,
    ) {
        let mut input = PREFACE_BYTES.to_vec();
        for (kind, flags, stream, payload) in frames {
            input.extend_from_slice(&frame(kind, flags, stream, &payload));
        }
        let _ = through(&input, piece);
    }

    #[test]
    fn the_pieces_that_bytes_come_in_make_no_difference(
        data in vec(vec(any::<u8>(), 0..300), 0..10), piece in 1_usize..500,
    ) {
        let mut input = request(OF_KUBELET);
        for payload in &data {
            input.extend_from_slice(&frame(0, 0, 1, payload));
        }
        prop_assert_eq!(through(&input, piece), through(&input, 4096));
    }

    #[test]
    fn all_that_is_no_header_passes_as_it_is(data in vec(vec(any::<u8>(), 0..3000), 0..10), piece in 1_usize..500) {
        let mut input = PREFACE_BYTES.to_vec();
        for payload in &data {
            input.extend_from_slice(&frame(0, 0, 1, payload));
            input.extend_from_slice(&frame(0xfe, 0xff, 7, payload));
        }
        prop_assert_eq!(through(&input, piece), Ok(input));
    }
}

#[tokio::test]
async fn a_reader_that_is_slow_gets_everything() {
    let (mut client, server) = tokio::io::duplex(64);
    let mut server = Localised::new(server);
    let payload = vec![7; MOST_FRAME];
    let mut input = request("localhost");
    for _ in 0..20 {
        input.extend_from_slice(&frame(0, 0, 1, &payload));
    }
    let wanted = through(&input, 4096).unwrap();
    let writing = tokio::spawn(async move {
        client.write_all(&input).await.unwrap();
        client.shutdown().await.unwrap();
    });
    let mut output = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), server.read_to_end(&mut output)).await.unwrap().unwrap();
    writing.await.unwrap();
    assert_eq!(output, wanted);
}
