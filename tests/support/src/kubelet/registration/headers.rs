//! Header blocks (RFC 7541) and what gRPC puts into them.

use std::fmt::Write;

use loona_hpack::Decoder;

/// The header block of a request: literals without indexing and without Huffman coding.
pub(super) fn encode(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// A string literal: its length with a prefix of seven bits, then its bytes.
fn text(block: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(short) if short < 0x7f => block.push(short),
        _ => {
            block.push(0x7f);
            let mut rest = text.len() - 0x7f;
            while rest >= 0x80 {
                block.push(0x80 | low_bits(rest));
                rest >>= 7;
            }
            block.push(low_bits(rest));
        }
    }
    block.extend_from_slice(text.as_bytes());
}

/// The lowest seven bits.
fn low_bits(number: usize) -> u8 {
    number.to_le_bytes()[0] & 0x7f
}

/// A response's headers or trailers.
#[derive(Debug, Default)]
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    /// Reads a header block; what is not UTF-8 is replaced.
    pub(super) fn decode(decoder: &mut Decoder<'_>, block: &[u8]) -> Result<Self, String> {
        let headers = decoder.decode(block).map_err(|error| format!("{error:?}"))?;
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self(headers.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What the kubelet's gRPC library makes of the name of a server: all but unreserved characters, a few others
/// and what separates an address from a port is percent-encoded.
pub(super) fn encode_authority(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => encoded.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b','
            | b';' | b'=' | b':' | b'[' | b']' | b'@' => encoded.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// Undoes the percent-encoding of `grpc-message`; what is not encoded well stays as it is.
pub(super) fn decode_message(message: &str) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_path_becomes_an_authority() {
        assert_eq!(
            encode_authority("/var/lib/kubelet/plugins_registry/x-reg.sock"),
            "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fx-reg.sock"
        );
    }

    /// RFC 7541, appendix C.2.2: `:path: /sample/path` (there with an indexed name), and section 5.1 for the
    /// length of 1337.
    #[test]
    fn literals_have_the_lengths_of_the_standard() {
        let long = "x".repeat(127 + 1310);
        let mut block = Vec::new();
        text(&mut block, "/sample/path");
        assert_eq!(block, b"\x0c/sample/path");
        block.clear();
        text(&mut block, &long);
        assert_eq!(block[..3], [0x7f, 0x9e, 0x0a], "1310 is 0b1010_0011110");
    }

    #[test]
    fn a_reader_of_header_blocks_understands_them() {
        let long = "/x".repeat(400);
        let block = encode(&[(":path", "/a"), (":authority", &long)]);
        let headers = Headers::decode(&mut Decoder::new(), &block).unwrap();
        assert_eq!(headers.get(":path"), Some("/a"));
        assert_eq!(headers.get(":authority"), Some(long.as_str()));
        assert_eq!(headers.get("te"), None);
    }

    #[test]
    fn messages_are_percent_decoded() {
        let cases = [
            ("plain", "plain"),
            ("100%25 of caf%C3%A9", "100% of café"),
            ("50% of it", "50% of it"),
            ("cut short %4", "cut short %4"),
        ];
        for (encoded, expected) in cases {
            assert_eq!(decode_message(encoded), expected, "{encoded}");
        }
    }
}
