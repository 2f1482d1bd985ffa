//! The name of one block at one moment, and its one and only encoding.
//!
//! Called by `keys` and `envelope`, which feed the encoding to their pseudo-random functions.
//! Two different ids never share an encoding (every field has its own fixed place), so two
//! different ids never share a key on the node or a tag, except by breaking AES.

/// Which block of which file, at which version: the identity that a value on a node is bound to.
///
/// All of it goes into the key on the node and into the tag. A value stored for an older version,
/// for another file that reuses the inode, or by another session is therefore garbage by
/// construction and not by timing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Device of the file, as `statx` combines major and minor.
    pub dev: u64,
    /// Inode of the file.
    pub ino: u64,
    /// Birth time of the file in nanoseconds; tells a reused inode from its predecessor.
    pub birth_ns: u64,
    /// Block size as a power of two: 12 is 4 KiB, 16 is 64 KiB.
    pub block_log2: u8,
    /// Which block: file offset shifted right by `block_log2`.
    pub block: u64,
    /// The file's epoch in this session when the content was read.
    pub epoch: u64,
    /// The block's version cell in this session when the content was read.
    pub version: u64,
}

//  The encoding, little endian, four AES blocks:
//
//   0        8        16       24       32       40       48       56  57      64
//   +--------+--------+--------+--------+--------+--------+--------+---+-------+
//   |  dev   |  ino   | birth  | block  | epoch  |version | domain |lg2|   0   |
//   +--------+--------+--------+--------+--------+--------+--------+---+-------+
//
//  `domain` tells what the encoding is used for, so that one use can never stand in for another.

const DEV_AT: usize = 0;
const INO_AT: usize = DEV_AT + 8;
const BIRTH_AT: usize = INO_AT + 8;
const BLOCK_AT: usize = BIRTH_AT + 8;
const EPOCH_AT: usize = BLOCK_AT + 8;
const VERSION_AT: usize = EPOCH_AT + 8;
const DOMAIN_AT: usize = VERSION_AT + 8;
const LOG2_AT: usize = DOMAIN_AT + 8;
const PAD_AT: usize = LOG2_AT + 1;
const PAD_BYTES: usize = 7;

/// Size of an encoded id in bytes: whole AES blocks, so that no padding rule is needed.
pub(crate) const ENCODED_BYTES: usize = PAD_AT + PAD_BYTES;
const _: () = assert!(ENCODED_BYTES == 64 && ENCODED_BYTES.is_multiple_of(16));

/// What an encoding is made for.
#[derive(Clone, Copy)]
pub(crate) enum Domain {
    /// The key under which a node keeps the block.
    WireKey = 1,
    /// The tag that authenticates the block.
    Tag = 2,
    /// The checksum that stands in for the tag.
    Checksum = 3,
}

impl BlockId {
    /// Lays the id out as drawn above.
    pub(crate) fn encode(&self, domain: Domain) -> [u8; ENCODED_BYTES] {
        let words = [
            self.dev,
            self.ino,
            self.birth_ns,
            self.block,
            self.epoch,
            self.version,
            domain as u64,
            u64::from(self.block_log2),
        ];
        let mut out = [0u8; ENCODED_BYTES];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_sits_where_the_picture_says() {
        let id = BlockId {
            dev: 0x01,
            ino: 0x02,
            birth_ns: 0x03,
            block_log2: 0x08,
            block: 0x04,
            epoch: 0x05,
            version: 0x06,
        };
        let bytes = id.encode(Domain::Tag);
        let places = [
            (DEV_AT, 1),
            (INO_AT, 2),
            (BIRTH_AT, 3),
            (BLOCK_AT, 4),
            (EPOCH_AT, 5),
            (VERSION_AT, 6),
            (DOMAIN_AT, Domain::Tag as u8),
            (LOG2_AT, 8),
        ];
        for (at, value) in places {
            assert_eq!(bytes[at], value, "byte {at}");
        }
        assert_eq!(
            bytes.iter().filter(|byte| **byte != 0).count(),
            places.len()
        );
    }
}
