//! Page 0 of a channel file: what it is, between whom, where its parts lie. Written once.
//!
//! ```text
//!    0  magic "RAMGRBUS"   8  major u16  10 minor u16  12 used bytes u32
//!   16  features that every user must know u64       24  features that writers must know u64
//!   32  epoch u64 (random)   40  created, ns since 1970 u64
//!   48  template 4 x u8   52  address A u32   56  address B u32   60  flags u32
//!   64  file bytes u64
//!   72  A to B: producer page u64, consumer page u64, data u64, data bytes u64
//!  104  B to A: the same
//!  136  largest message A to B u32   140  B to A u32
//!  144  boot it was made in, 16 bytes   160  priority u32   164 unused u32
//!  168  description, 88 bytes of UTF-8, zero filled
//!  256  reserved, zero   508  CRC-32C of bytes 0..508
//!  512  removed, ns since 1970 u64 (the only word that ever changes)
//! ```
//!
//! Little-endian. A newer minor layout uses reserved bytes, and says in the features who may go on
//! without knowing them. Pure bytes in and out; `channel` maps it.

use crate::address::{Address, Template};
use crate::crc;
use crate::layout::{MESSAGE_SHARE, PAGE_BYTES, RING_BYTES_MAX, RING_BYTES_MIN};

/// The first eight bytes.
pub const MAGIC: [u8; 8] = *b"RAMGRBUS";
/// A file of another major layout is not opened.
pub const MAJOR: u16 = 1;
/// Bumped when reserved bytes get a meaning.
pub const MINOR: u16 = 0;
/// Bytes under the checksum, and the checksum.
pub const HEADER_BYTES: usize = 512;
/// Where the word `removed` lies.
pub const REMOVED_OFFSET: u64 = 512;
/// Bytes of a description.
pub const DESCRIPTION_BYTES: usize = 88;

const SUM_OFFSET: usize = HEADER_BYTES - 4;
const SUMMED_FLAG: u32 = 1 << 0;
const STAMPED_FLAG: u32 = 1 << 1;

/// Where the parts of one direction lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of the producer's page.
    pub producer: u64,
    /// Offset of the consumer's page.
    pub consumer: u64,
    /// Offset of the data.
    pub data: u64,
    /// Bytes of the data, a power of two.
    pub data_bytes: u64,
}

/// The header, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor layout of whoever made it.
    pub minor: u16,
    /// Bits that writers must know; 0 in this version.
    pub writer_features: u64,
    /// Random: tells this channel from one of the same name made later.
    pub epoch: u64,
    /// When it was made, in nanoseconds since 1970.
    pub created_ns: u64,
    /// How its addresses are written.
    pub template: Template,
    /// The two ends.
    pub ends: [Address; 2],
    /// Payloads carry a checksum.
    pub is_summed: bool,
    /// Every message carries the time it was sent.
    pub is_stamped: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// A to B, B to A.
    pub places: [Place; 2],
    /// Largest message in bytes, A to B and B to A.
    pub message_bytes_max: [u32; 2],
    /// Boot it was made in.
    pub boot: [u8; 16],
    /// As the table says; nothing here depends on it.
    pub priority: u32,
    /// As the table says.
    pub description: String,
}

/// Why some bytes are no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Not a channel at all, or not any more.
    NotOne(String),
    /// Another layout.
    Version {
        /// What it says.
        major: u16,
        /// What it says.
        minor: u16,
    },
}

/// Where everything lies in a file with rings of these sizes.
pub fn places(ring_bytes: [u64; 2]) -> ([Place; 2], u64) {
    let [first, second] = ring_bytes;
    let data = 5 * PAGE_BYTES;
    let place = |page: u64, data: u64, data_bytes: u64| Place {
        producer: page * PAGE_BYTES,
        consumer: (page + 1) * PAGE_BYTES,
        data,
        data_bytes,
    };
    let places = [place(1, data, first), place(3, data + first, second)];
    (places, data + first + second)
}

impl Header {
    /// As it lies in the file.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, piece: &[u8]| bytes[at..at + piece.len()].copy_from_slice(piece);
        put(0, &MAGIC);
        put(8, &MAJOR.to_le_bytes());
        put(10, &self.minor.to_le_bytes());
        put(12, &(HEADER_BYTES as u32).to_le_bytes());
        put(24, &self.writer_features.to_le_bytes());
        put(32, &self.epoch.to_le_bytes());
        put(40, &self.created_ns.to_le_bytes());
        put(48, &self.template.bits());
        put(52, &self.ends[0].0.to_le_bytes());
        put(56, &self.ends[1].0.to_le_bytes());
        let flags = match self.is_summed {
            true => SUMMED_FLAG,
            false => 0,
        } | match self.is_stamped {
            true => STAMPED_FLAG,
            false => 0,
        };
        put(60, &flags.to_le_bytes());
        put(64, &self.file_bytes.to_le_bytes());
        for (at, place) in [72, 104].into_iter().zip(&self.places) {
            let words = [place.producer, place.consumer, place.data, place.data_bytes];
            for (nth, word) in words.into_iter().enumerate() {
                put(at + nth * 8, &word.to_le_bytes());
            }
        }
        put(136, &self.message_bytes_max[0].to_le_bytes());
        put(140, &self.message_bytes_max[1].to_le_bytes());
        put(144, &self.boot);
        put(160, &self.priority.to_le_bytes());
        put(168, cut(&self.description, DESCRIPTION_BYTES).as_bytes());
        let sum = crc::of(&bytes[..SUM_OFFSET]);
        bytes[SUM_OFFSET..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// From the first bytes of a file of `file_bytes`.
    ///
    /// # Errors
    ///
    /// What is wrong with them. Everything a user of the file relies on is checked here, once.
    pub fn decode(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Header, Flaw> {
        let no = |why: &str| Flaw::NotOne(why.to_string());
        if bytes[..8] != MAGIC {
            return Err(no("it does not begin with RAMGRBUS"));
        }
        let (major, minor) = (u16_at(bytes, 8), u16_at(bytes, 10));
        if major != MAJOR || u64_at(bytes, 16) != 0 {
            return Err(Flaw::Version { major, minor });
        }
        if crc::of(&bytes[..SUM_OFFSET]) != u32_at(bytes, SUM_OFFSET) {
            return Err(no("the checksum of its header is wrong"));
        }
        let flags = u32_at(bytes, 60);
        let place = |at: usize| Place {
            producer: u64_at(bytes, at),
            consumer: u64_at(bytes, at + 8),
            data: u64_at(bytes, at + 16),
            data_bytes: u64_at(bytes, at + 24),
        };
        let text = &bytes[168..168 + DESCRIPTION_BYTES];
        let length = text
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len());
        let [a, b, c, d] = [48, 49, 50, 51].map(|at| bytes[at]);
        let header = Header {
            minor,
            writer_features: u64_at(bytes, 24),
            epoch: u64_at(bytes, 32),
            created_ns: u64_at(bytes, 40),
            template: Template::from_bits([a, b, c, d]).ok_or_else(|| no("its template"))?,
            ends: [Address(u32_at(bytes, 52)), Address(u32_at(bytes, 56))],
            is_summed: flags & SUMMED_FLAG != 0,
            is_stamped: flags & STAMPED_FLAG != 0,
            file_bytes: u64_at(bytes, 64),
            places: [place(72), place(104)],
            message_bytes_max: [u32_at(bytes, 136), u32_at(bytes, 140)],
            boot: bytes[144..160].try_into().unwrap_or_default(),
            priority: u32_at(bytes, 160),
            description: String::from_utf8_lossy(&text[..length]).into_owned(),
        };
        if header.file_bytes != file_bytes {
            let why = format!(
                "it has {file_bytes} bytes and should have {}",
                header.file_bytes
            );
            return Err(Flaw::NotOne(why));
        }
        header.check().map_err(no)?;
        Ok(header)
    }

    /// Do the parts lie where a file of these sizes has room for them?
    fn check(&self) -> Result<(), &'static str> {
        for (place, message) in self.places.iter().zip(self.message_bytes_max) {
            let is_sane = place.data_bytes.is_power_of_two()
                && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(&place.data_bytes)
                && u64::from(message) <= place.data_bytes / MESSAGE_SHARE;
            if !is_sane {
                return Err("the size of a ring is impossible");
            }
        }
        let mut parts = vec![(0, PAGE_BYTES)];
        for place in &self.places {
            parts.push((place.producer, PAGE_BYTES));
            parts.push((place.consumer, PAGE_BYTES));
            parts.push((place.data, place.data_bytes));
        }
        parts.sort_unstable();
        let mut end = 0;
        for (begin, bytes) in parts {
            if begin < end || !begin.is_multiple_of(PAGE_BYTES) {
                return Err("its parts overlap");
            }
            end = begin
                .checked_add(bytes)
                .ok_or("a part lies beyond its end")?;
        }
        match end <= self.file_bytes && self.ends[0] != self.ends[1] {
            true => Ok(()),
            false => Err("a part lies beyond its end, or both ends are the same"),
        }
    }
}

/// The longest beginning of a text that fits, whole characters only.
fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn u16_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|nth| bytes[at + nth]))
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|nth| bytes[at + nth]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Header {
        let (places, file_bytes) = places([8192, 65536]);
        Header {
            minor: MINOR,
            writer_features: 0,
            epoch: 0x1122_3344_5566_7788,
            created_ns: 1_700_000_000_000_000_000,
            template: Template::default(),
            ends: [Address(0x0000_0101), Address(0x0000_0201)],
            is_summed: true,
            is_stamped: false,
            file_bytes,
            places,
            message_bytes_max: [2048, 16384],
            boot: [7; 16],
            priority: 3,
            description: "orders".into(),
        }
    }

    fn resum(bytes: &mut [u8; HEADER_BYTES]) {
        let sum = crc::of(&bytes[..SUM_OFFSET]);
        bytes[SUM_OFFSET..].copy_from_slice(&sum.to_le_bytes());
    }

    /// If this fails, a byte of the header has moved: bump `MAJOR`, or `MINOR` where reserved bytes
    /// got a meaning, update docs/bus.md, then these numbers.
    #[test]
    fn the_bytes_are_pinned() {
        let bytes = sample().encode();
        let text: String = bytes[..176]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let golden = concat!(
            "52414d4752425553010000000002000000000000000000000000000000000000",
            "887766554433221100002a36fe9c97170808080801010000010200000100000000",
            "700100000000000010000000000000002000000000000000500000000000000020",
            "00000000000000300000000000000040000000000000007000000000000000000100",
            "0000000000080000004000000707070707070707070707070707070703000000000000006f726465",
            "72730000",
        );
        assert_eq!(text, golden);
    }

    #[test]
    fn what_is_written_is_read() {
        let header = sample();
        let read = Header::decode(&header.encode(), header.file_bytes);
        assert_eq!(read, Ok(header));
    }

    #[test]
    fn a_newer_minor_layout_is_read() {
        let header = sample();
        let mut bytes = header.encode();
        bytes[10] = 9;
        bytes[24] = 1;
        bytes[300..320].fill(0xEE);
        resum(&mut bytes);
        let read = Header::decode(&bytes, header.file_bytes).expect("still readable");
        assert_eq!((read.minor, read.writer_features), (9, 1));
    }

    #[test]
    fn another_major_layout_or_an_unknown_feature_is_named() {
        for (at, value) in [(8, 2), (16, 1)] {
            let mut bytes = sample().encode();
            bytes[at] = value;
            resum(&mut bytes);
            let read = Header::decode(&bytes, sample().file_bytes);
            assert!(matches!(read, Err(Flaw::Version { .. })), "{read:?}");
        }
    }

    #[test]
    fn a_file_of_another_size_is_refused() {
        let header = sample();
        let read = Header::decode(&header.encode(), header.file_bytes - 4096);
        assert!(matches!(read, Err(Flaw::NotOne(why)) if why.contains("should have")));
    }

    #[test]
    fn parts_that_overlap_are_refused() {
        let mut header = sample();
        header.places[1].producer = header.places[0].data;
        let read = Header::decode(&header.encode(), header.file_bytes);
        assert_eq!(read, Err(Flaw::NotOne("its parts overlap".into())));
    }

    proptest! {
        #[test]
        fn no_nonsense_with_a_good_checksum_panics(
            changes in proptest::collection::vec((8..508usize, any::<u8>()), 1..12),
            file_bytes: u64,
        ) {
            let mut bytes = sample().encode();
            for (at, value) in changes {
                bytes[at] = value;
            }
            resum(&mut bytes);
            if let Ok(header) = Header::decode(&bytes, sample().file_bytes) {
                prop_assert!(header.check().is_ok());
            }
            let _ = Header::decode(&bytes, file_bytes);
        }
    }
}
