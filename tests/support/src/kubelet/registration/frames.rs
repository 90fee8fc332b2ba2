//! HTTP/2 frames (RFC 9113, section 4), as far as a client of two calls needs them.

/// The largest frame that either side may send before it is told otherwise.
pub(super) const MAX_FRAME: usize = 16_384;

/// The first bytes of a client's connection.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The kinds of frame that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// PRIORITY and kinds that may come in future: skipped.
    Other(u8),
}

impl Kind {
    fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::ResetStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            other => Self::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::ResetStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Other(other) => other,
        }
    }
}

/// A frame's nine bytes of head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn decode(bytes: [u8; 9]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            length: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }
}

/// A frame as it goes over the wire; `None` if the payload is longer than any frame may be.
pub(super) fn encode(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|&length| length < 1 << 24)?;
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(&length.to_be_bytes()[1..]);
    frame.extend_from_slice(&[kind.byte(), flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    Some(frame)
}

/// The part of a DATA or HEADERS frame's payload that is neither padding nor priority; `None` if it is malformed.
pub(super) fn content(head: Head, payload: &[u8]) -> Option<&[u8]> {
    let mut content = payload;
    let mut padding = 0;
    if head.flags & PADDED != 0 {
        let (&first, rest) = content.split_first()?;
        padding = usize::from(first);
        content = rest;
    }
    if head.kind == Kind::Headers && head.flags & PRIORITY != 0 {
        content = content.get(5..)?;
    }
    content.get(..content.len().checked_sub(padding)?)
}

/// The big-endian number at the start of a payload.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*payload.first_chunk()?))
}

/// The settings that bind a sender: the initial window of a stream and the largest frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) window: usize,
    pub(super) frame: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { window: 65_535, frame: MAX_FRAME }
    }
}

impl Limits {
    /// Takes in a SETTINGS payload; `None` if it is malformed.
    pub(super) fn apply(&mut self, payload: &[u8]) -> Option<()> {
        let (settings, rest) = payload.as_chunks::<6>();
        for &[i0, i1, v0, v1, v2, v3] in settings {
            let value = usize::try_from(u32::from_be_bytes([v0, v1, v2, v3])).ok()?;
            match u16::from_be_bytes([i0, i1]) {
                4 => self.window = value,
                5 => self.frame = value.max(MAX_FRAME),
                _ => {}
            }
        }
        rest.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9113, section 4.1: 24 bits of length, 8 of type, 8 of flags, one reserved, 31 of stream.
    #[test]
    fn a_head_is_read_as_it_is_written() {
        let frame = encode(Kind::Headers, END_HEADERS, 3, b"abc").unwrap();
        assert_eq!(frame, [0, 0, 3, 1, 4, 0, 0, 0, 3, b'a', b'b', b'c']);
        let head = Head::decode(*frame.first_chunk().unwrap());
        assert_eq!(head, Head { length: 3, kind: Kind::Headers, flags: END_HEADERS, stream: 3 });
    }

    #[test]
    fn padding_and_priority_are_cut_off() {
        type Case = (&'static str, Kind, u8, &'static [u8], Option<&'static [u8]>);
        let cases: [Case; 6] = [
            ("plain", Kind::Data, 0, b"abc", Some(b"abc")),
            ("padded", Kind::Data, PADDED, b"\x02abc__", Some(b"abc")),
            ("priority", Kind::Headers, PRIORITY, b"\0\0\0\0\x01abc", Some(b"abc")),
            ("both", Kind::Headers, PADDED | PRIORITY, b"\x01\0\0\0\0\x01abc_", Some(b"abc")),
            ("more padding than payload", Kind::Data, PADDED, b"\x09abc", None),
            ("short priority", Kind::Headers, PRIORITY, b"\0\0", None),
        ];
        for (name, kind, flags, payload, expected) in cases {
            let head = Head { length: payload.len(), kind, flags, stream: 1 };
            assert_eq!(content(head, payload), expected, "{name}");
        }
    }

    #[test]
    fn settings_bound_what_is_sent() {
        let mut limits = Limits::default();
        assert_eq!(limits.apply(&[0, 4, 0, 0, 0, 9, 0, 5, 0, 0, 0x80, 0, 0, 3, 0, 0, 0, 1]), Some(()));
        assert_eq!(limits, Limits { window: 9, frame: 0x8000 });
        assert_eq!(limits.apply(&[0, 4, 0]), None, "a setting has six bytes");
    }
}
