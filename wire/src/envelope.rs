//! The envelope: 32 bytes before a block's content that prove whose block it is and that nobody
//! touched it on the way.
//!
//! Called by the shim for every remote hit (`open`) and by the hook server for every block it
//! pushes (`seal`). It never trusts a byte that came from a node: any other local user can write
//! to a node on the loopback interface, and the content goes into the target's buffer.
//!
//! The tag is `AES-256(tag key, POLYVAL(hash key, id || header fields || payload || lengths))`,
//! a deterministic PRF of what it covers (hash, then encrypt). There is no nonce that could be
//! used twice: the same block at the same version gives the same envelope.

use aes::Block;
use aes::cipher::BlockCipherEncrypt;
use polyval::universal_hash::UniversalHash;

use crate::block::{BlockId, Domain, ENCODED_BYTES};
use crate::keys::Keys;

//  A value on a node, little endian:
//
//   0        4     5      6      7          8         12          16             32
//   +--------+-----+------+------+----------+---------+-----------+--------------+---------
//   | magic  | ver | kind | log2 | unused 0 | length  | unused 0  |     tag      | payload
//   +--------+-----+------+------+----------+---------+-----------+--------------+---------
//   |<-------------- fields, covered by the tag ----------------->|              | covered
//
//  What the tag covers: the encoded id (64), the fields (16), the payload padded with zeros to
//  whole blocks of 16, and one last block with the length of the payload in bytes.

const MAGIC_AT: usize = 0;
const MAGIC_BYTES: usize = 4;
const VERSION_AT: usize = MAGIC_AT + MAGIC_BYTES;
const KIND_AT: usize = VERSION_AT + 1;
const LOG2_AT: usize = KIND_AT + 1;
const UNUSED_0_AT: usize = LOG2_AT + 1;
const LENGTH_AT: usize = UNUSED_0_AT + 1;
const UNUSED_1_AT: usize = LENGTH_AT + 4;
const TAG_AT: usize = UNUSED_1_AT + 4;
const FIELDS_BYTES: usize = TAG_AT;
const TAG_BYTES: usize = 16;

/// Size of the header before a payload, in bytes.
pub const HEADER_BYTES: usize = TAG_AT + TAG_BYTES;

/// Largest payload in bytes: the largest block.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(HEADER_BYTES == 32 && FIELDS_BYTES == 16);
const _: () = assert!(PAYLOAD_BYTES_MAX <= u32::MAX as usize);

/// First bytes of every envelope: "RamGrid Block".
const MAGIC: [u8; MAGIC_BYTES] = *b"RGB\n";

/// The history of the format, newest first. Any change of a layout constant, of the encoding of a
/// [`BlockId`] or of what the tag covers is a new line here *now*; `golden_bytes` will insist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u8)]
pub enum FormatVersion {
    /// 32-byte header, POLYVAL and AES-256 tag over id, fields, payload and length.
    V1 = 1,
}

/// The version that is written, and the only one that is read: a cache needs no past.
const VERSION: u8 = FormatVersion::V1 as u8;

/// The payload is readable and authenticated. (Sealed, that is encrypted, payloads will be 2.)
const KIND_AUTHENTICATED: u8 = 1;

/// Why a value is refused. To a reader each of these is a miss; the cause is for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It is not an envelope at all: another program writes to this node under our key.
    Magic,
    /// An envelope of another ramgrid version: upgrade in progress on one side.
    Version,
    /// An envelope of a kind this build does not open (encrypted, checksum only).
    Kind,
    /// It was made for another block size than the one asked for.
    BlockSize,
    /// Header or payload are shorter or longer than they say: a truncated or padded value.
    Length,
    /// Well formed, but not what this session stored for this block at this version: altered,
    /// replayed from another block, version, session, or forged.
    Tag,
}

impl EnvelopeError {
    /// The cause in one word, as a label for counters.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            EnvelopeError::Magic => "magic",
            EnvelopeError::Version => "version",
            EnvelopeError::Kind => "kind",
            EnvelopeError::BlockSize => "block_size",
            EnvelopeError::Length => "length",
            EnvelopeError::Tag => "tag",
        }
    }
}

impl core::fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self {
            EnvelopeError::Magic => "the value is not a ramgrid block",
            EnvelopeError::Version => "the block was stored by another version of ramgrid",
            EnvelopeError::Kind => "the block is of a kind that this build cannot open",
            EnvelopeError::BlockSize => "the block was stored with another block size",
            EnvelopeError::Length => "the block is shorter or longer than its header says",
            EnvelopeError::Tag => "the block is not what this session stored under this key",
        };
        f.write_str(text)
    }
}

impl core::error::Error for EnvelopeError {}

impl Keys {
    /// Makes the header to put before `payload` on a node.
    ///
    /// A payload over [`PAYLOAD_BYTES_MAX`] gets a header that [`Keys::open`] always refuses: the
    /// mistake costs a miss, never a panic in somebody else's program.
    #[must_use]
    pub fn seal(&self, id: &BlockId, payload: &[u8]) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let fields = encode_fields(id.block_log2, length);
        let mut header = [0u8; HEADER_BYTES];
        let (fields_place, tag_place) = header.split_at_mut(FIELDS_BYTES);
        fields_place.copy_from_slice(&fields);
        tag_place.copy_from_slice(&self.tag_of(id, &fields, payload));
        header
    }

    /// Proves that `payload` is what this session sealed for exactly this id.
    ///
    /// # Errors
    /// Says which check failed first; see [`EnvelopeError`]. The tag is compared in constant time.
    pub fn open(&self, id: &BlockId, header: &[u8], payload: &[u8]) -> Result<(), EnvelopeError> {
        let header: &[u8; HEADER_BYTES] = header.try_into().map_err(|_| EnvelopeError::Length)?;
        let (fields, tag) = header.split_first_chunk().ok_or(EnvelopeError::Length)?;
        check_fields(fields, id, payload.len())?;
        let tag: &[u8; TAG_BYTES] = tag.try_into().map_err(|_| EnvelopeError::Length)?;
        let expected = self.tag_of(id, fields, payload);
        // One 128-bit comparison: no byte of the tag decides how long it takes.
        if u128::from_le_bytes(expected) == u128::from_le_bytes(*tag) {
            Ok(())
        } else {
            Err(EnvelopeError::Tag)
        }
    }

    /// The tag over id, header fields, payload and its length, as drawn above.
    fn tag_of(&self, id: &BlockId, fields: &[u8; FIELDS_BYTES], payload: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = self.hash.clone();
        let id_bytes: [u8; ENCODED_BYTES] = id.encode(Domain::Tag);
        hash.update_padded(&id_bytes);
        hash.update_padded(fields);
        hash.update_padded(payload);
        hash.update_padded(&(payload.len() as u128).to_le_bytes());
        let mut block: Block = hash.finalize();
        self.tag.encrypt_block(&mut block);
        block.0
    }
}

/// Lays out the fields of a header as drawn above.
fn encode_fields(block_log2: u8, length: u32) -> [u8; FIELDS_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let (version, kind) = (VERSION, KIND_AUTHENTICATED);
    [
        m0, m1, m2, m3, version, kind, block_log2, 0, l0, l1, l2, l3, 0, 0, 0, 0,
    ]
}

/// Compares the fields with what they must be, so that a refusal can be named by its cause.
/// The unused bytes are left to the tag, which covers them too.
fn check_fields(
    fields: &[u8; FIELDS_BYTES],
    id: &BlockId,
    payload_bytes: usize,
) -> Result<(), EnvelopeError> {
    let [m0, m1, m2, m3, version, kind, log2, _, l0, l1, l2, l3, ..] = *fields;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(EnvelopeError::Magic);
    }
    if version != VERSION {
        return Err(EnvelopeError::Version);
    }
    if kind != KIND_AUTHENTICATED {
        return Err(EnvelopeError::Kind);
    }
    if log2 != id.block_log2 {
        return Err(EnvelopeError::BlockSize);
    }
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length != payload_bytes || length > PAYLOAD_BYTES_MAX {
        return Err(EnvelopeError::Length);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    const ID: BlockId = BlockId {
        dev: 0xfd01,
        ino: 4711,
        birth_ns: 1_700_000_000_123_456_789,
        block_log2: 13,
        block: 42,
        epoch: 3,
        version: 9,
    };

    fn keys() -> Keys {
        Keys::derive(&core::array::from_fn(|i| i as u8))
    }

    fn any_id() -> impl Strategy<Value = BlockId> {
        (any::<[u64; 6]>(), 12u8..=16).prop_map(|(words, block_log2)| BlockId {
            dev: words[0],
            ino: words[1],
            birth_ns: words[2],
            block_log2,
            block: words[3],
            epoch: words[4],
            version: words[5],
        })
    }

    /// Pins the format. If this fails you changed what goes over the wire: add a line to
    /// `FormatVersion`, let `VERSION` name it, and only then paste the new bytes here.
    #[test]
    fn golden_bytes() {
        let payload: Vec<u8> = (0..100u8).collect();
        let (key, header) = (keys().wire_key(&ID, 12345), keys().seal(&ID, &payload));
        let order = "the wire format changed: bump FormatVersion, then update the golden bytes";
        assert_eq!(
            key,
            GOLDEN_KEY.to_be_bytes(),
            "keys changed: bump LAYOUT_VERSION (grid)"
        );
        assert_eq!(header[..FIELDS_BYTES], *GOLDEN_FIELDS, "{order}");
        assert_eq!(header[FIELDS_BYTES..], GOLDEN_TAG.to_be_bytes(), "{order}");
        assert_eq!(VERSION, 1, "{order}");
    }

    const GOLDEN_KEY: u128 = 0x7bcf_307d_6e90_df5f_8abf_1243_be05_9a2d;
    const GOLDEN_FIELDS: &[u8; 16] = b"RGB\n\x01\x01\x0d\0\x64\0\0\0\0\0\0\0";
    const GOLDEN_TAG: u128 = 0xe44a_a6f5_d55d_13ea_c6e5_3d8e_1918_51ed;

    #[test]
    fn every_refusal_is_named_by_its_cause() {
        let keys = keys();
        let payload = [5u8; 64];
        let good = keys.seal(&ID, &payload);
        let with = |at: usize, value: u8| {
            let mut header = good;
            header[at] = value;
            keys.open(&ID, &header, &payload)
        };
        assert_eq!(keys.open(&ID, &good, &payload), Ok(()));
        assert_eq!(with(MAGIC_AT, b'X'), Err(EnvelopeError::Magic));
        assert_eq!(with(VERSION_AT, VERSION + 1), Err(EnvelopeError::Version));
        assert_eq!(with(KIND_AT, 9), Err(EnvelopeError::Kind));
        assert_eq!(with(LOG2_AT, 12), Err(EnvelopeError::BlockSize));
        assert_eq!(with(LENGTH_AT, 65), Err(EnvelopeError::Length));
        assert_eq!(with(UNUSED_0_AT, 1), Err(EnvelopeError::Tag));
        assert_eq!(with(UNUSED_1_AT, 1), Err(EnvelopeError::Tag));
        assert_eq!(
            keys.open(&ID, &good, &payload[1..]),
            Err(EnvelopeError::Length)
        );
        assert_eq!(
            keys.open(&ID, &good[1..], &payload),
            Err(EnvelopeError::Length)
        );
        assert_eq!(keys.open(&ID, &[], &payload), Err(EnvelopeError::Length));
    }

    #[test]
    fn an_oversized_payload_never_opens() {
        let keys = keys();
        let payload = vec![0u8; PAYLOAD_BYTES_MAX + 1];
        let header = keys.seal(&ID, &payload);
        assert_eq!(
            keys.open(&ID, &header, &payload),
            Err(EnvelopeError::Length)
        );
        let payload = &payload[..PAYLOAD_BYTES_MAX];
        assert_eq!(keys.open(&ID, &keys.seal(&ID, payload), payload), Ok(()));
    }

    #[test]
    fn padding_is_not_content() {
        // A payload and the same payload with zeros appended must not share a tag.
        let keys = keys();
        let tags: Vec<_> = (0..=32).map(|n| keys.seal(&ID, &[0u8; 32][..n])).collect();
        for (n, tag) in tags.iter().enumerate() {
            assert!(
                !tags[..n]
                    .iter()
                    .any(|other| other[TAG_AT..] == tag[TAG_AT..]),
                "{n}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(id in any_id(), payload in vec_up_to(9000)) {
            let keys = keys();
            let header = keys.seal(&id, &payload);
            prop_assert_eq!(keys.open(&id, &header, &payload), Ok(()));
        }

        #[test]
        fn any_flipped_bit_of_the_header_is_refused(
            id in any_id(), payload in vec_up_to(300), bit in 0..HEADER_BYTES * 8,
        ) {
            let keys = keys();
            let mut header = keys.seal(&id, &payload);
            header[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(keys.open(&id, &header, &payload).is_err());
        }

        #[test]
        fn any_flipped_bit_of_the_payload_is_refused(
            id in any_id(), mut payload in vec_up_to(9000), at: prop::sample::Index, bit in 0u32..8,
        ) {
            prop_assume!(!payload.is_empty());
            let keys = keys();
            let header = keys.seal(&id, &payload);
            let at = at.index(payload.len());
            payload[at] ^= 1u8 << bit;
            prop_assert_eq!(keys.open(&id, &header, &payload), Err(EnvelopeError::Tag));
        }

        #[test]
        fn any_flipped_bit_of_the_id_is_refused(
            id in any_id(), payload in vec_up_to(300), field in 0..6, bit in 0u32..64,
        ) {
            let keys = keys();
            let header = keys.seal(&id, &payload);
            let mut other = id;
            let word = match field {
                0 => &mut other.dev,
                1 => &mut other.ino,
                2 => &mut other.birth_ns,
                3 => &mut other.block,
                4 => &mut other.epoch,
                _ => &mut other.version,
            };
            *word ^= 1u64 << bit;
            prop_assert_eq!(keys.open(&other, &header, &payload), Err(EnvelopeError::Tag));
            let other = BlockId { block_log2: id.block_log2 ^ (1u8 << (bit % 8)), ..id };
            prop_assert_eq!(keys.open(&other, &header, &payload), Err(EnvelopeError::BlockSize));
        }

        #[test]
        fn another_secret_is_refused(secret: [u8; 32], payload in vec_up_to(300)) {
            let ours = keys();
            let theirs = Keys::derive(&secret);
            let header = theirs.seal(&ID, &payload);
            prop_assert_eq!(ours.open(&ID, &header, &payload), Err(EnvelopeError::Tag));
        }

        #[test]
        fn noise_is_refused(header in vec_up_to(40), payload in vec_up_to(300)) {
            prop_assert!(keys().open(&ID, &header, &payload).is_err());
        }
    }

    fn vec_up_to(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=bytes)
    }
}
