//! A message in the ring: a head of 32 bytes, then extension and payload in one piece.
//!
//! ```text
//!   0      4      8          16         24     26     28     32
//!   +------+------+----------+----------+------+------+------+-----------+---------+------+
//!   | len  | crc  |   seq    | sent_ns  | flags| ext  | hcrc | extension | payload | fill |
//!   +------+------+----------+----------+------+------+------+-----------+---------+------+
//!    u32    u32    u64        u64        u16    u16    u32    ext bytes   len bytes to 32
//! ```
//!
//! Little-endian. `crc` covers extension and payload, `hcrc` the 28 bytes before it. A record never
//! wraps: where it would, a `PAD` record (no payload, `len` = the bytes after its head) fills the
//! ring to its end. Pure arithmetic: shared memory is read and written by `ring`.

use crate::crc;
use crate::layout::RECORD_ALIGN;

/// Bytes of a head.
pub const HEAD_BYTES: u64 = 32;

/// Nothing to deliver: skip to the beginning of the ring.
pub const PAD: u16 = 1 << 0;
/// `crc` is there to be compared.
pub const SUMMED: u16 = 1 << 1;
/// Written by a tool, to try the channel out.
pub const TEST: u16 = 1 << 2;
/// The extension has a route.
pub const ROUTED: u16 = 1 << 3;
/// The extension has a trace number.
pub const TRACED: u16 = 1 << 4;
/// The extension has the origin of a relayed message.
pub const RELAYED: u16 = 1 << 5;
/// On its way back along its route.
pub const BACKWARD: u16 = 1 << 6;
/// The relay that brought it could not tell whether its far side had handed it out before.
pub const REPEATED: u16 = 1 << 7;

/// The head of a record, read once and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Bytes of the payload.
    pub len: u32,
    /// Checksum of extension and payload, if `SUMMED`.
    pub crc: u32,
    /// Number of the message in its ring, from 1.
    pub seq: u64,
    /// When it was sent, in nanoseconds since 1970; 0: not noted.
    pub sent_ns: u64,
    /// The bits above.
    pub flags: u16,
    /// Bytes of the extension.
    pub extension: u16,
}

impl Head {
    /// As it lies in the ring.
    #[inline]
    pub fn encode(&self) -> [u64; 4] {
        let mut words = [
            u64::from(self.len) | u64::from(self.crc) << 32,
            self.seq,
            self.sent_ns,
            u64::from(self.flags) | u64::from(self.extension) << 16,
        ];
        words[3] |= u64::from(head_crc(&words)) << 32;
        words
    }

    /// From the ring; `None` if it is no head.
    #[inline]
    pub fn decode(words: [u64; 4]) -> Option<Head> {
        is_head(&words).then(|| Head::of(&words))
    }

    /// The fields of a head that was proved.
    #[inline(always)]
    pub fn of(words: &[u64; 4]) -> Head {
        Head {
            len: words[0] as u32,
            crc: (words[0] >> 32) as u32,
            seq: words[1],
            sent_ns: words[2],
            flags: words[3] as u16,
            extension: (words[3] >> 16) as u16,
        }
    }

    /// Bytes from this head to the next.
    #[inline]
    pub fn span(&self) -> u64 {
        span(u64::from(self.extension) + u64::from(self.len))
    }

    /// Bytes from the payload to the next head.
    #[inline]
    pub fn room(&self) -> u64 {
        self.span() - HEAD_BYTES - u64::from(self.extension)
    }

    /// Is it padding?
    #[inline]
    pub fn is_pad(&self) -> bool {
        self.flags & PAD != 0
    }
}

/// Bytes of a record with so many bytes after its head.
#[inline]
pub fn span(bytes: u64) -> u64 {
    (HEAD_BYTES + bytes).next_multiple_of(RECORD_ALIGN)
}

/// Are these the words of a head?
#[inline(always)]
pub fn is_head(words: &[u64; 4]) -> bool {
    head_crc(words) == (words[3] >> 32) as u32
}

/// The checksum of the first 28 bytes, mixed with a mark so that other summed data of 28 bytes,
/// lying in a payload, does not pass for a head.
#[inline]
fn head_crc(words: &[u64; 4]) -> u32 {
    crc::of_28(words) ^ HEAD_MARK
}

/// Mixed into `hcrc`.
const HEAD_MARK: u32 = 0x5247_4255;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_bytes_of_a_head_are_pinned() {
        let head = Head {
            len: 14,
            crc: 0x1122_3344,
            seq: 7,
            sent_ns: 0x0102_0304_0506_0708,
            flags: SUMMED | TRACED,
            extension: 16,
        };
        let bytes: Vec<u8> = head
            .encode()
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text, "0e0000004433221107000000000000000807060504030201120010001f6c2466",
            "a record has changed: bump the layout's version and docs/bus.md"
        );
    }

    #[test]
    fn a_record_takes_whole_steps() {
        assert_eq!([0, 1, 32, 33, 64].map(span), [32, 64, 64, 96, 96]);
    }

    #[test]
    fn zeros_and_ones_are_no_head() {
        assert_eq!(Head::decode([0; 4]), None);
        assert_eq!(Head::decode([u64::MAX; 4]), None);
    }

    proptest! {
        #[test]
        fn a_head_survives_and_no_changed_bit_does(
            len: u32,
            crc: u32,
            seq: u64,
            sent_ns: u64,
            flags: u16,
            extension: u16,
            bit in 0..256usize,
        ) {
            let head = Head { len, crc, seq, sent_ns, flags, extension };
            let mut words = head.encode();
            prop_assert_eq!(Head::decode(words), Some(head));
            words[bit / 64] ^= 1 << (bit % 64);
            prop_assert_eq!(Head::decode(words), None);
        }
    }
}
