//! The secrets of one session in one credential domain, and the names they give to blocks.
//!
//! The hook server draws 32 random bytes and hands them to the processes of the session; each
//! process derives its own [`Keys`] from them once. A memory node never sees any of it: it sees
//! a key of which 12 bytes are pseudo-random and 4 tell the slot, and a value that it can neither
//! link to a file nor alter unnoticed.
//!
//! Independent keys come out of one secret (AES-256 of distinct constants):
//!
//! * `name`: AES-256, names blocks: `wire_key = {ab} CBC-MAC(name, id)`, the MAC cut to 12 bytes,
//!   `{ab}` the place of the block ([`crate::hash_tag`]). CBC-MAC is a PRF as long as all inputs
//!   have one length, and they do: [`crate::block::ENCODED_BYTES`].
//! * `hash`: POLYVAL, compresses id, header and payload to 16 bytes (in `envelope`).
//! * `tag`: AES-256, turns that hash into the tag (in `envelope`).
//! * `salt`: 8 bytes that go into the slot of an extent.
//! * `cipher`: AES-256, makes the keystream of sealed blocks (in `cipher`).

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use polyval::Polyval;

use crate::block::{BlockId, Domain};
use crate::hash_tag;
use crate::integrity::Integrity;

/// Size of a session's secret in bytes.
pub const SECRET_BYTES: usize = 32;

/// Size of the key of a block on a memory node, in bytes: 4 of hash tag, 12 pseudo-random. Among
/// 2^30 blocks two of the same slot share a key once in 2^51 sessions or so, and then they cost
/// each other misses: what comes back proves which block it is.
pub const KEY_BYTES: usize = 16;

/// The derived keys of one session in one credential domain: round keys and powers, precomputed.
///
/// Plain data without heap, about 1 to 3 KiB by architecture, so keep one per process and pass it
/// by reference. Never copy it between processes: which CPU instructions it was prepared for is
/// found at [`Keys::derive`] and remembered beside the code, not in the value.
#[derive(Clone)]
pub struct Keys {
    /// Names blocks on the node.
    pub(crate) name: Aes256Enc,
    /// Compresses what a tag covers; its accumulator is empty, each use works on a copy.
    pub(crate) hash: Polyval,
    /// Turns a hash into a tag.
    pub(crate) tag: Aes256Enc,
    /// Makes the keystream of sealed blocks.
    pub(crate) cipher: Aes256Enc,
    /// How the blocks are protected: nothing of another kind is made or opened.
    pub(crate) integrity: Integrity,
    /// Goes into the hash that places an extent on a slot.
    salt: u64,
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Secrets have no business in a log.
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// Derives the keys from a session's secret. Do it once per process, when attaching: it detects
    /// the CPU and takes 4 KiB of stack, where `wire_key`, `seal` and `open` take under 1 KiB.
    #[must_use]
    pub fn derive(secret: &[u8; SECRET_BYTES], integrity: Integrity) -> Keys {
        let root = Aes256Enc::new(&(*secret).into());
        Keys {
            name: Aes256Enc::new(&two_blocks(&root, b'n').into()),
            hash: Polyval::new(&one_block(&root, b'h', 0).into()),
            tag: Aes256Enc::new(&two_blocks(&root, b't').into()),
            cipher: Aes256Enc::new(&two_blocks(&root, b'c').into()),
            integrity,
            salt: salt_of(&one_block(&root, b's', 0)),
        }
    }

    /// What is mixed into the hash of a file before an extent of it is placed on a slot: keys tell
    /// the slot, and without this a node that knows a file's identity could tell its extents.
    #[must_use]
    pub fn salt(&self) -> u64 {
        self.salt
    }

    /// The key of a block on a memory node. Its first bytes are a hash tag that places it on `slot`
    /// of a Redis Cluster (the lower 14 bits count); the rest is pseudo-random in the whole id, so
    /// never reused, unguessable, and telling nothing about the file.
    #[must_use]
    pub fn wire_key(&self, id: &BlockId, slot: usize) -> [u8; KEY_BYTES] {
        let mut state = Block::default();
        for chunk in id.encode(Domain::WireKey).chunks_exact(KEY_BYTES) {
            for (byte, input) in state.iter_mut().zip(chunk) {
                *byte ^= input;
            }
            self.name.encrypt_block(&mut state);
        }
        let mut key = state.0;
        for (byte, tag) in key.iter_mut().zip(hash_tag::of_slot(slot)) {
            *byte = tag;
        }
        key
    }
}

fn salt_of(block: &[u8; 16]) -> u64 {
    block
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// 32 bytes of key for one purpose.
fn two_blocks(root: &Aes256Enc, purpose: u8) -> [u8; 32] {
    let mut key = [0u8; 32];
    for (part, counter) in key.chunks_exact_mut(16).zip(0u8..) {
        part.copy_from_slice(&one_block(root, purpose, counter));
    }
    key
}

/// 16 bytes of key for one purpose: AES of a constant that no other purpose uses.
fn one_block(root: &Aes256Enc, purpose: u8, counter: u8) -> [u8; 16] {
    let mut block: Block = (*b"ramgrid keys ?\0\0").into();
    if let [.., place, index, _] = block.as_mut_slice() {
        *place = purpose;
        *index = counter;
    }
    root.encrypt_block(&mut block);
    block.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash_tag::TAG_BYTES;
    use proptest::prelude::*;
    use std::format;

    const ID: BlockId = BlockId {
        dev: 0xfd01,
        ino: 4711,
        birth_ns: 1_700_000_000_123_456_789,
        block_log2: 13,
        block: 42,
        epoch: 3,
        version: 9,
    };

    #[test]
    fn debug_output_holds_no_secret() {
        assert_eq!(
            format!("{:?}", Keys::derive(&[7; 32], Integrity::Tag)),
            "Keys { .. }"
        );
    }

    #[test]
    fn keys_are_small_enough_to_keep_inline() {
        assert!(size_of::<Keys>() <= 4096, "{} bytes", size_of::<Keys>());
    }

    #[test]
    fn derived_keys_differ_from_each_other() {
        let root = Aes256Enc::new(&[9u8; 32].into());
        let name = two_blocks(&root, b'n');
        let tag = two_blocks(&root, b't');
        let cipher = two_blocks(&root, b'c');
        let hash = one_block(&root, b'h', 0);
        assert_ne!(name, tag);
        assert_ne!(name, cipher);
        assert_ne!(tag, cipher);
        assert_ne!(name[..16], name[16..]);
        assert_ne!(name[..16], hash);
        assert_ne!(tag[..16], hash);
    }

    fn flip_id(id: &BlockId, bit: usize) -> BlockId {
        let mut flipped = *id;
        match bit / 64 {
            0 => flipped.dev ^= 1 << (bit % 64),
            1 => flipped.ino ^= 1 << (bit % 64),
            2 => flipped.birth_ns ^= 1 << (bit % 64),
            3 => flipped.block ^= 1 << (bit % 64),
            4 => flipped.epoch ^= 1 << (bit % 64),
            5 => flipped.version ^= 1 << (bit % 64),
            _ => flipped.block_log2 ^= 1 << (bit % 8),
        }
        flipped
    }

    #[test]
    fn a_key_is_a_tag_and_pseudo_random_bytes() {
        let keys = Keys::derive(&[1; 32], Integrity::Tag);
        let (here, there) = (keys.wire_key(&ID, 5), keys.wire_key(&ID, 6));
        assert_eq!(here[..TAG_BYTES], hash_tag::of_slot(5));
        assert_eq!(there[..TAG_BYTES], hash_tag::of_slot(6));
        assert_eq!(here[TAG_BYTES..], there[TAG_BYTES..]);
    }

    #[test]
    fn any_flipped_bit_of_the_id_gives_another_wire_key() {
        let keys = Keys::derive(&[1; 32], Integrity::Tag);
        for bit in 0..6 * 64 + 8 {
            assert_ne!(
                keys.wire_key(&ID, 0),
                keys.wire_key(&flip_id(&ID, bit), 0),
                "bit {bit}"
            );
        }
    }

    proptest! {
        #[test]
        fn another_session_uses_other_wire_keys(secret: [u8; 32], other: [u8; 32]) {
            prop_assume!(secret != other);
            let (ours, theirs) = (
                Keys::derive(&secret, Integrity::Tag),
                Keys::derive(&other, Integrity::Tag),
            );
            prop_assert_ne!(ours.wire_key(&ID, 9), theirs.wire_key(&ID, 9));
        }
    }
}
