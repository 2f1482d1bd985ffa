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
//!
//! A sealed payload is encrypted under the tag of its plain content as initial value (`cipher`):
//! the construction of AES-GCM-SIV. Two contents under one id, which happens (`docs/design.md`,
//! section 9), have two tags, hence two keystreams. With a nonce made of the id they would share
//! one, and whoever holds both could read their difference and forge tags.

use aes::Block;
use aes::cipher::BlockCipherEncrypt;
use polyval::universal_hash::UniversalHash;
use twox_hash::XxHash3_128;

use crate::block::{BlockId, Domain, ENCODED_BYTES};
use crate::cipher;
use crate::integrity::Integrity;
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
//  whole blocks of 16, and one last block with the length of the payload in bytes. It covers the
//  payload of a sealed block as it was before it was encrypted. In the place of the tag, a block
//  with a checksum has XXH3-128 (big endian) over id, fields and XXH3-128 of the payload.

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
    /// Kinds 2 (sealed) and 3 (checksum); kind 1 as in V1.
    V2 = 2,
    /// 32-byte header, POLYVAL and AES-256 tag over id, fields, payload and length.
    V1 = 1,
}

/// The version that is written, and the only one that is read: a cache needs no past.
const VERSION: u8 = FormatVersion::V2 as u8;

/// Why a value is refused. To a reader each of these is a miss; the cause is for the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It is not an envelope at all: another program writes to this node under our key.
    Magic,
    /// An envelope of another ramgrid version: upgrade in progress on one side.
    Version,
    /// An envelope of another kind than this session's (readable, sealed, checksum only).
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
            EnvelopeError::Kind => {
                "the block is protected in another way than this session protects its own"
            }
            EnvelopeError::BlockSize => "the block was stored with another block size",
            EnvelopeError::Length => "the block is shorter or longer than its header says",
            EnvelopeError::Tag => "the block is not what this session stored under this key",
        };
        f.write_str(text)
    }
}

impl core::error::Error for EnvelopeError {}

impl Keys {
    /// Makes the header to put before `payload` on a node, and encrypts the payload in place if
    /// that is what the session does ([`Integrity::Sealed`]).
    ///
    /// A payload over [`PAYLOAD_BYTES_MAX`] gets a header that [`Keys::open`] always refuses: the
    /// mistake costs a miss, never a panic in somebody else's program.
    #[must_use]
    pub fn seal(&self, id: &BlockId, payload: &mut [u8]) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let fields = encode_fields(self.integrity.kind(), id.block_log2, length);
        let proof = self.proof_of(id, &fields, payload);
        if self.integrity == Integrity::Sealed {
            cipher::apply(&self.cipher, &proof, payload);
        }
        let mut header = [0u8; HEADER_BYTES];
        let (fields_place, proof_place) = header.split_at_mut(FIELDS_BYTES);
        fields_place.copy_from_slice(&fields);
        proof_place.copy_from_slice(&proof);
        header
    }

    /// Proves that `payload` is what this session sealed for exactly this id. A sealed one is
    /// decrypted in place; after an error its bytes are nobody's content and must not be used.
    ///
    /// # Errors
    /// Says which check failed first; see [`EnvelopeError`]. The tag is compared in constant time.
    pub fn open(
        &self,
        id: &BlockId,
        header: &[u8],
        payload: &mut [u8],
    ) -> Result<(), EnvelopeError> {
        let header: &[u8; HEADER_BYTES] = header.try_into().map_err(|_| EnvelopeError::Length)?;
        let (fields, proof) = header.split_first_chunk().ok_or(EnvelopeError::Length)?;
        check_fields(fields, self.integrity.kind(), id, payload.len())?;
        let proof: &[u8; TAG_BYTES] = proof.try_into().map_err(|_| EnvelopeError::Length)?;
        if self.integrity == Integrity::Sealed {
            cipher::apply(&self.cipher, proof, payload);
        }
        let expected = self.proof_of(id, fields, payload);
        // One 128-bit comparison: no byte of the tag decides how long it takes.
        if u128::from_le_bytes(expected) == u128::from_le_bytes(*proof) {
            Ok(())
        } else {
            Err(EnvelopeError::Tag)
        }
    }

    /// What stands in the place of the tag.
    fn proof_of(
        &self,
        id: &BlockId,
        fields: &[u8; FIELDS_BYTES],
        payload: &[u8],
    ) -> [u8; TAG_BYTES] {
        match self.integrity {
            Integrity::Tag | Integrity::Sealed => self.tag_of(id, fields, payload),
            Integrity::Checksum => checksum_of(id, fields, payload),
        }
    }

    /// The tag over id, header fields, payload and its length, as drawn above.
    #[inline(never)]
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

/// The checksum over id, header fields (the length is one of them) and payload.
#[inline(never)]
fn checksum_of(id: &BlockId, fields: &[u8; FIELDS_BYTES], payload: &[u8]) -> [u8; TAG_BYTES] {
    let content = XxHash3_128::oneshot(payload).to_be_bytes();
    let id_bytes = id.encode(Domain::Checksum);
    let mut covered = [0u8; ENCODED_BYTES + FIELDS_BYTES + TAG_BYTES];
    let parts = id_bytes.iter().chain(fields).chain(&content);
    covered
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = *from);
    XxHash3_128::oneshot(&covered).to_be_bytes()
}

/// Lays out the fields of a header as drawn above.
fn encode_fields(kind: u8, block_log2: u8, length: u32) -> [u8; FIELDS_BYTES] {
    let [m0, m1, m2, m3] = MAGIC;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    [
        m0, m1, m2, m3, VERSION, kind, block_log2, 0, l0, l1, l2, l3, 0, 0, 0, 0,
    ]
}

/// Compares the fields with what they must be, so that a refusal can be named by its cause.
/// The unused bytes are left to the tag, which covers them too.
fn check_fields(
    fields: &[u8; FIELDS_BYTES],
    kind: u8,
    id: &BlockId,
    payload_bytes: usize,
) -> Result<(), EnvelopeError> {
    let [m0, m1, m2, m3, version, theirs, log2, _, l0, l1, l2, l3, ..] = *fields;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(EnvelopeError::Magic);
    }
    if version != VERSION {
        return Err(EnvelopeError::Version);
    }
    if theirs != kind {
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

    const ALL: [Integrity; 3] = [Integrity::Tag, Integrity::Checksum, Integrity::Sealed];

    const ID: BlockId = BlockId {
        dev: 0xfd01,
        ino: 4711,
        birth_ns: 1_700_000_000_123_456_789,
        block_log2: 13,
        block: 42,
        epoch: 3,
        version: 9,
    };

    fn keys(integrity: Integrity) -> Keys {
        Keys::derive(&core::array::from_fn(|i| i as u8), integrity)
    }

    /// What lies on a node for a payload: header and body.
    fn sealed(keys: &Keys, id: &BlockId, payload: &[u8]) -> ([u8; HEADER_BYTES], Vec<u8>) {
        let mut body = payload.to_vec();
        (keys.seal(id, &mut body), body)
    }

    /// What comes of a value that was taken from a node.
    fn opened(
        keys: &Keys,
        id: &BlockId,
        header: &[u8],
        body: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        let mut body = body.to_vec();
        keys.open(id, header, &mut body).map(|()| body)
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

    fn any_integrity() -> impl Strategy<Value = Integrity> {
        prop::sample::select(&ALL[..])
    }

    /// Pins the format. If this fails you changed what goes over the wire: add a line to
    /// `FormatVersion`, let `VERSION` name it, and only then paste the new bytes here.
    #[test]
    fn golden_bytes() {
        let payload: Vec<u8> = (0..100u8).collect();
        let order = "the wire format changed: bump FormatVersion, then update the golden bytes";
        let key = keys(Integrity::Tag).wire_key(&ID, 12345);
        assert_eq!(
            key,
            GOLDEN_KEY.to_be_bytes(),
            "keys changed: bump LAYOUT_VERSION (grid)"
        );
        assert_eq!(VERSION, 2, "{order}");
        for (integrity, kind, proof, body_end) in GOLDEN {
            let (header, body) = sealed(&keys(integrity), &ID, &payload);
            let fields = [
                &GOLDEN_FIELDS[..KIND_AT],
                &[kind],
                &GOLDEN_FIELDS[KIND_AT + 1..],
            ]
            .concat();
            assert_eq!(header[..FIELDS_BYTES], fields, "{integrity:?}: {order}");
            let number = |bytes: &[u8]| {
                std::format!("{:032x}", u128::from_be_bytes(bytes.try_into().unwrap()))
            };
            let seen = [number(&header[FIELDS_BYTES..]), number(&body[84..])];
            assert_eq!(seen, [proof, body_end], "{integrity:?}: {order}");
        }
    }

    const GOLDEN_KEY: u128 = 0x7bcf_307d_6e90_df5f_8abf_1243_be05_9a2d;
    const GOLDEN_FIELDS: &[u8; 16] = b"RGB\n\x02?\x0d\0\x64\0\0\0\0\0\0\0";
    /// Kind, proof and last 16 bytes of the body.
    const GOLDEN: [(Integrity, u8, &str, &str); 3] = [
        (
            Integrity::Tag,
            1,
            "fcb0f6e72155f524accbcb4572c97754",
            PLAIN_END,
        ),
        (
            Integrity::Sealed,
            2,
            "864ac561998d7809f013e9ddc527f2c0",
            "3f0661ce4d4af04333a5ea336b069333",
        ),
        (
            Integrity::Checksum,
            3,
            "be66e50e8454f4b6de06027752b96db2",
            PLAIN_END,
        ),
    ];
    const PLAIN_END: &str = "5455565758595a5b5c5d5e5f60616263";

    #[test]
    fn every_refusal_is_named_by_its_cause() {
        for integrity in ALL {
            let keys = keys(integrity);
            let (good, body) = sealed(&keys, &ID, &[5u8; 64]);
            let with = |at: usize, value: u8| {
                let mut header = good;
                header[at] = value;
                opened(&keys, &ID, &header, &body).unwrap_err()
            };
            assert_eq!(opened(&keys, &ID, &good, &body), Ok(vec![5u8; 64]));
            assert_eq!(with(MAGIC_AT, b'X'), EnvelopeError::Magic);
            assert_eq!(with(VERSION_AT, VERSION + 1), EnvelopeError::Version);
            assert_eq!(with(KIND_AT, 9), EnvelopeError::Kind);
            assert_eq!(with(LOG2_AT, 12), EnvelopeError::BlockSize);
            assert_eq!(with(LENGTH_AT, 65), EnvelopeError::Length);
            assert_eq!(with(UNUSED_0_AT, 1), EnvelopeError::Tag);
            assert_eq!(with(UNUSED_1_AT, 1), EnvelopeError::Tag);
            let refused =
                |header: &[u8], body: &[u8]| opened(&keys, &ID, header, body).unwrap_err();
            assert_eq!(refused(&good, &body[1..]), EnvelopeError::Length);
            assert_eq!(refused(&good[1..], &body), EnvelopeError::Length);
            assert_eq!(refused(&[], &body), EnvelopeError::Length);
        }
    }

    /// A node must not be able to choose the weakest protection there is.
    #[test]
    fn a_session_opens_its_own_kind_alone() {
        for ours in ALL {
            for theirs in ALL.into_iter().filter(|theirs| *theirs != ours) {
                let (header, body) = sealed(&keys(theirs), &ID, &[5u8; 4096]);
                let refused = opened(&keys(ours), &ID, &header, &body);
                assert_eq!(refused, Err(EnvelopeError::Kind), "{theirs:?} to {ours:?}");
                let mut forged = header;
                forged[KIND_AT] = ours.kind();
                let refused = opened(&keys(ours), &ID, &forged, &body);
                assert_eq!(refused, Err(EnvelopeError::Tag), "{theirs:?} as {ours:?}");
            }
        }
    }

    /// A filler that a writer overtook publishes other content under the same id.
    #[test]
    fn two_contents_under_one_id_share_no_keystream() {
        let keys = keys(Integrity::Sealed);
        let (one, mut other) = (vec![0u8; 4096], vec![0u8; 4096]);
        other[4095] = 1;
        let (first, body) = sealed(&keys, &ID, &one);
        let (second, other_body) = sealed(&keys, &ID, &other);
        assert_ne!(first, second);
        let alike = body.iter().zip(&other_body).filter(|(a, b)| a == b).count();
        assert!(
            alike < 64,
            "{alike} of 4096 bytes of two keystreams are alike"
        );
        assert_eq!(opened(&keys, &ID, &second, &body), Err(EnvelopeError::Tag));
        assert_eq!(opened(&keys, &ID, &second, &other_body), Ok(other));
    }

    #[test]
    fn a_sealed_payload_shows_nothing_of_itself() {
        let (header, body) = sealed(&keys(Integrity::Sealed), &ID, &[b'A'; 65536]);
        let mut counts = [0u32; 256];
        body.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        assert!(
            counts.iter().all(|count| (128..=384).contains(count)),
            "{counts:?}"
        );
        let pieces: std::collections::HashSet<_> = body.chunks(16).collect();
        assert_eq!(pieces.len(), 4096, "a block of keystream came twice");
        assert!(opened(&keys(Integrity::Sealed), &ID, &header, &body).is_ok());
    }

    #[test]
    fn an_oversized_payload_never_opens() {
        for integrity in ALL {
            let keys = keys(integrity);
            let payload = vec![0u8; PAYLOAD_BYTES_MAX + 1];
            let (header, body) = sealed(&keys, &ID, &payload);
            let refused = opened(&keys, &ID, &header, &body);
            assert_eq!(refused, Err(EnvelopeError::Length));
            let (header, body) = sealed(&keys, &ID, &payload[1..]);
            assert_eq!(
                opened(&keys, &ID, &header, &body),
                Ok(payload[1..].to_vec())
            );
        }
    }

    #[test]
    fn padding_is_not_content() {
        // A payload and the same payload with zeros appended must not share a tag.
        for integrity in ALL {
            let keys = keys(integrity);
            let zeros = [0u8; 32];
            let proof = |n: usize| sealed(&keys, &ID, &zeros[..n]).0[TAG_AT..].to_vec();
            let proofs: std::collections::HashSet<_> = (0..=32).map(proof).collect();
            assert_eq!(proofs.len(), 33, "{integrity:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(
            id in any_id(), payload in vec_up_to(9000), integrity in any_integrity(),
        ) {
            let keys = keys(integrity);
            let (header, body) = sealed(&keys, &id, &payload);
            prop_assert_eq!(opened(&keys, &id, &header, &body), Ok(payload));
        }

        #[test]
        fn any_flipped_bit_of_the_header_is_refused(
            id in any_id(), payload in vec_up_to(300), bit in 0..HEADER_BYTES * 8,
            integrity in any_integrity(),
        ) {
            let keys = keys(integrity);
            let (mut header, body) = sealed(&keys, &id, &payload);
            header[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(opened(&keys, &id, &header, &body).is_err());
        }

        #[test]
        fn any_flipped_bit_of_the_payload_is_refused(
            id in any_id(), payload in vec_up_to(9000), at: prop::sample::Index, bit in 0u32..8,
            integrity in any_integrity(),
        ) {
            prop_assume!(!payload.is_empty());
            let keys = keys(integrity);
            let (header, mut body) = sealed(&keys, &id, &payload);
            let at = at.index(body.len());
            body[at] ^= 1u8 << bit;
            prop_assert_eq!(opened(&keys, &id, &header, &body), Err(EnvelopeError::Tag));
        }

        #[test]
        fn any_flipped_bit_of_the_id_is_refused(
            id in any_id(), payload in vec_up_to(300), field in 0..6, bit in 0u32..64,
            integrity in any_integrity(),
        ) {
            let keys = keys(integrity);
            let (header, body) = sealed(&keys, &id, &payload);
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
            prop_assert_eq!(opened(&keys, &other, &header, &body), Err(EnvelopeError::Tag));
            let other = BlockId { block_log2: id.block_log2 ^ (1u8 << (bit % 8)), ..id };
            let refused = opened(&keys, &other, &header, &body);
            prop_assert_eq!(refused, Err(EnvelopeError::BlockSize));
        }

        #[test]
        fn another_secret_is_refused(
            secret: [u8; 32], payload in vec_up_to(300), is_sealed: bool,
        ) {
            let integrity = if is_sealed { Integrity::Sealed } else { Integrity::Tag };
            let ours = keys(integrity);
            let theirs = Keys::derive(&secret, integrity);
            let (header, body) = sealed(&theirs, &ID, &payload);
            prop_assert_eq!(opened(&ours, &ID, &header, &body), Err(EnvelopeError::Tag));
        }

        #[test]
        fn noise_is_refused(
            header in vec_up_to(40), payload in vec_up_to(300), integrity in any_integrity(),
        ) {
            prop_assert!(opened(&keys(integrity), &ID, &header, &payload).is_err());
        }
    }

    fn vec_up_to(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=bytes)
    }
}
