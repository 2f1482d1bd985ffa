//! What relays say to each other: frames of a 16-byte head and a body under a checksum.
//!
//! ```text
//!   0          4      5        8         12         16
//!   +----------+------+--------+---------+----------+------------------+
//!   | body len | kind | 0 0 0  | stream  | CRC-32C  | body             |
//!   +----------+------+--------+---------+----------+------------------+
//! ```
//!
//! Little-endian. The checksum covers the first 12 bytes and the body: a connection on which it
//! fails is given up, and everything not acknowledged is sent again on the next. The side that
//! dialled sends messages; the side that accepted acknowledges them. Pure bytes: sockets are
//! `pipe`'s business, meaning is `outlet`'s and `inlet`'s.

use bus::crc;

/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 16;
/// Bytes before a message in a `Data` frame.
pub const MESSAGE_HEAD_BYTES: usize = 24;
/// Largest message a relay carries, in bytes.
pub const MESSAGE_BYTES_MAX: u64 = 256 << 20;
/// Largest body: a message with everything around it, or a chunk of small ones.
pub const BODY_BYTES_MAX: usize = MESSAGE_BYTES_MAX as usize + 4096;
/// Payload and heads put into one `Data` frame, unless a single message is larger.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Longest reason of a refusal, in bytes.
pub const REASON_BYTES_MAX: usize = 500;
/// The first bytes of `Hello`.
const MAGIC: [u8; 8] = *b"RGBRELAY";

/// The versions of the protocol, newest first. Add one whenever a frame changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The first.
    V1 = 1,
}

/// What this relay speaks.
pub const VERSION: u16 = Version::V1 as u16;

/// In a message's flags on the wire: the numbers before it are missing for good (damaged, or thrown
/// away by `clean`).
pub const GAP: u16 = 1 << 15;

/// A frame, its body still where it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// First in both directions.
    Hello(Hello),
    /// Asks to send the messages of one ring (the dialler).
    Open(Open),
    /// Grants it (the acceptor).
    Opened(Opened),
    /// Refuses it, or ends what was granted (the acceptor).
    Refused(&'a [u8]),
    /// Messages (the dialler).
    Data(&'a [u8]),
    /// What is committed, what was handed out, what there is room for (the acceptor).
    Ack(Ack),
    /// Ends a stream (the dialler).
    Close,
    /// Is anybody there?
    Ping,
    /// Yes.
    Pong,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Protocol.
    pub version: u16,
    /// Bit widths of the addresses.
    pub template: [u8; 4],
}

/// A stream to be: the messages of one direction of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Who sends.
    pub from: u32,
    /// Who receives.
    pub to: u32,
    /// Epoch of the ring they come from.
    pub epoch: u64,
    /// Largest message in bytes.
    pub message_bytes_max: u64,
}

/// A stream granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Epoch of the ring they go to.
    pub epoch: u64,
    /// Where things stand.
    pub ack: Ack,
}

/// Where a stream stands at its far end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// Number (in the ring they come from) of the last message committed.
    pub committed: u64,
    /// Number of the last message handed to the program.
    pub handed: u64,
    /// Bytes of records that may be sent on this stream in all.
    pub limit_bytes: u64,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The checksum is wrong.
    #[error("a frame was damaged on its way")]
    Damaged,
    /// A length beyond the limit.
    #[error("a frame of {0} bytes: not a relay, or a newer one")]
    TooLarge(usize),
    /// Not what this version knows.
    #[error("a frame of kind {0} with {1} bytes: not a relay, or a newer one")]
    Unknown(u8, usize),
}

/// The first frame in `bytes`, its stream, and how many bytes it takes; `None`: not all there yet.
///
/// # Errors
///
/// It never will be a frame.
pub fn decode(bytes: &[u8]) -> Result<Option<(u32, Frame<'_>, usize)>, Flaw> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = u32_at(head, 0) as usize;
    if length > BODY_BYTES_MAX {
        return Err(Flaw::TooLarge(length));
    }
    let Some(body) = rest.get(..length) else {
        return Ok(None);
    };
    if crc::extend(crc::of(&head[..12]), body) != u32_at(head, 12) {
        return Err(Flaw::Damaged);
    }
    let frame = parse(head[4], body).ok_or(Flaw::Unknown(head[4], length))?;
    Ok(Some((u32_at(head, 8), frame, HEAD_BYTES + length)))
}

/// Bytes the frame that begins `bytes` will take, if that can be told.
pub fn expected(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    Some(HEAD_BYTES + u32_at(head, 0) as usize)
}

fn parse(kind: u8, body: &[u8]) -> Option<Frame<'_>> {
    let is = |length: usize| body.len() == length;
    Some(match kind {
        1 if is(14) && body[..8] == MAGIC => Frame::Hello(Hello {
            version: u16::from_le_bytes([body[8], body[9]]),
            template: [body[10], body[11], body[12], body[13]],
        }),
        2 if is(24) => Frame::Open(Open {
            from: u32_at(body, 0),
            to: u32_at(body, 4),
            epoch: u64_at(body, 8),
            message_bytes_max: u64_at(body, 16),
        }),
        3 if is(32) => Frame::Opened(Opened {
            epoch: u64_at(body, 0),
            ack: ack_at(body, 8),
        }),
        4 if body.len() <= REASON_BYTES_MAX => Frame::Refused(body),
        5 if body.len() >= 8 => Frame::Data(body),
        6 if is(24) => Frame::Ack(ack_at(body, 0)),
        7 if is(0) => Frame::Close,
        8 if is(0) => Frame::Ping,
        9 if is(0) => Frame::Pong,
        _ => return None,
    })
}

impl Frame<'_> {
    /// Appends the frame.
    pub fn put(&self, stream: u32, out: &mut Vec<u8>) {
        let begun = begin(self.kind(), stream, out);
        let words = |out: &mut Vec<u8>, words: &[u64]| {
            words
                .iter()
                .for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        };
        match self {
            Frame::Hello(hello) => {
                out.extend_from_slice(&MAGIC);
                out.extend_from_slice(&hello.version.to_le_bytes());
                out.extend_from_slice(&hello.template);
            }
            Frame::Open(open) => {
                let ends = u64::from(open.from) | u64::from(open.to) << 32;
                words(out, &[ends, open.epoch, open.message_bytes_max]);
            }
            Frame::Opened(Opened { epoch, ack }) => {
                words(out, &[*epoch, ack.committed, ack.handed, ack.limit_bytes]);
            }
            Frame::Ack(ack) => words(out, &[ack.committed, ack.handed, ack.limit_bytes]),
            Frame::Refused(bytes) | Frame::Data(bytes) => out.extend_from_slice(bytes),
            Frame::Close | Frame::Ping | Frame::Pong => {}
        }
        end(begun, out);
    }

    fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => 1,
            Frame::Open(_) => 2,
            Frame::Opened(_) => 3,
            Frame::Refused(_) => 4,
            Frame::Data(_) => 5,
            Frame::Ack(_) => 6,
            Frame::Close => 7,
            Frame::Ping => 8,
            Frame::Pong => 9,
        }
    }
}

/// Begins a frame whose body follows in `out`; returns where it begins, for `end`.
fn begin(kind: u8, stream: u32, out: &mut Vec<u8>) -> usize {
    let begun = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
    out.extend_from_slice(&stream.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    begun
}

/// Begins a `Data` frame after message `after`.
pub fn begin_data(stream: u32, after: u64, out: &mut Vec<u8>) -> usize {
    let begun = begin(5, stream, out);
    out.extend_from_slice(&after.to_le_bytes());
    begun
}

/// Ends a frame: writes its length and checksum.
pub fn end(begun: usize, out: &mut [u8]) {
    let (head, body) = out[begun..].split_at_mut(HEAD_BYTES);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let sum = crc::extend(crc::of(&head[..12]), body);
    head[12..].copy_from_slice(&sum.to_le_bytes());
}

/// What stands before a message in a `Data` frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Bytes of the payload.
    pub len: u32,
    /// Flags of the record, and `GAP`.
    pub flags: u16,
    /// Bytes of the extension, which stands before the payload.
    pub extension: u16,
    /// Its number in the ring it comes from.
    pub seq: u64,
    /// When it was sent, in nanoseconds since 1970; 0: not noted.
    pub sent_ns: u64,
}

impl MessageHead {
    /// As it goes over the wire.
    pub fn encode(&self) -> [u8; MESSAGE_HEAD_BYTES] {
        let mut bytes = [0; MESSAGE_HEAD_BYTES];
        bytes[..4].copy_from_slice(&self.len.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_le_bytes());
        bytes[6..8].copy_from_slice(&self.extension.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.seq.to_le_bytes());
        bytes[16..].copy_from_slice(&self.sent_ns.to_le_bytes());
        bytes
    }

    /// The first message of what is left of a `Data` body: head, extension, payload, and the rest.
    #[allow(clippy::type_complexity)]
    pub fn decode(bytes: &[u8]) -> Option<(MessageHead, &[u8], &[u8], &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<MESSAGE_HEAD_BYTES>()?;
        let head = MessageHead {
            len: u32_at(head, 0),
            flags: u16::from_le_bytes([head[4], head[5]]),
            extension: u16::from_le_bytes([head[6], head[7]]),
            seq: u64_at(head, 8),
            sent_ns: u64_at(head, 16),
        };
        let (extension, rest) = rest.split_at_checked(usize::from(head.extension))?;
        let (payload, rest) = rest.split_at_checked(head.len as usize)?;
        Some((head, extension, payload, rest))
    }
}

fn ack_at(body: &[u8], at: usize) -> Ack {
    Ack {
        committed: u64_at(body, at),
        handed: u64_at(body, at + 8),
        limit_bytes: u64_at(body, at + 16),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|nth| bytes[at + nth]))
}

/// A number in a body; the caller knows that it is there.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|nth| bytes[at + nth]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Frame<'static>> {
        let ack = Ack {
            committed: 1,
            handed: 2,
            limit_bytes: 3,
        };
        vec![
            Frame::Hello(Hello {
                version: 1,
                template: [8; 4],
            }),
            Frame::Open(Open {
                from: 1,
                to: 2,
                epoch: 3,
                message_bytes_max: 4,
            }),
            Frame::Opened(Opened { epoch: 9, ack }),
            Frame::Refused(b"no"),
            Frame::Data(&[1, 0, 0, 0, 0, 0, 0, 0, 5]),
            Frame::Ack(ack),
            Frame::Close,
            Frame::Ping,
            Frame::Pong,
        ]
    }

    #[test]
    fn what_is_written_is_read_and_no_changed_byte_is() {
        for frame in samples() {
            let mut bytes = Vec::new();
            frame.put(7, &mut bytes);
            assert_eq!(decode(&bytes), Ok(Some((7, frame, bytes.len()))));
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length]), Ok(None));
            }
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 0x10;
                assert!(
                    !matches!(decode(&other), Ok(Some(_))),
                    "{frame:?}, byte {at}"
                );
            }
        }
    }

    /// If this fails, the protocol has changed: add a version, and say what is done with old peers.
    #[test]
    fn the_bytes_are_pinned() {
        let mut bytes = Vec::new();
        samples().iter().for_each(|frame| frame.put(7, &mut bytes));
        let head = MessageHead {
            len: 1,
            flags: GAP | 4,
            extension: 16,
            seq: 3,
            sent_ns: 5,
        };
        bytes.extend(head.encode());
        assert_eq!((bytes.len(), crc::of(&bytes)), (273, PINNED));
        let rest = [&bytes[bytes.len() - MESSAGE_HEAD_BYTES..], &[0; 20]].concat();
        let (read, extension, payload, rest) = MessageHead::decode(&rest).expect("whole");
        assert_eq!(
            (read, extension.len(), payload.len(), rest.len()),
            (head, 16, 1, 3)
        );
    }

    /// CRC-32C of one frame of each kind and a message's head.
    const PINNED: u32 = 944_374_672;
}
