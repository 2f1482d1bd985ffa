//! The keystream of sealed blocks: AES-256 in counter mode under a synthetic initial value.
//!
//! Called by `envelope` with the tag of the block as that value. It is the counter mode of
//! AES-GCM-SIV (RFC 8452, section 4): the tag with its highest bit set is the first counter block,
//! of which the first four bytes count, little endian, and wrap. Never called with a value that
//! could be chosen: the tag is a pseudo-random function of id and content.

use aes::cipher::BlockCipherEncrypt;
use aes::{Aes256Enc, Block};

/// Bytes of a block of the cipher.
const BLOCK_BYTES: usize = 16;

/// Blocks of keystream made at once: the processor works on so many side by side, and they lie on
/// the stack of somebody else's thread.
const BATCH_BLOCKS: usize = 32;

/// The part of a counter block that counts.
const COUNTER_MASK: u128 = 0xffff_ffff;

/// The bit that is set in every initial counter block.
const INITIAL_BIT: u128 = 1 << 127;

/// Encrypts or decrypts `bytes` in place: both are the same.
#[inline(never)]
pub(crate) fn apply(key: &Aes256Enc, tag: &[u8; BLOCK_BYTES], bytes: &mut [u8]) {
    let initial = u128::from_le_bytes(*tag) | INITIAL_BIT;
    let mut counter = initial & COUNTER_MASK;
    let mut stream = [Block::default(); BATCH_BLOCKS];
    for batch in bytes.chunks_mut(BATCH_BLOCKS * BLOCK_BYTES) {
        for block in &mut stream {
            *block = (initial & !COUNTER_MASK | counter).to_le_bytes().into();
            counter = (counter + 1) & COUNTER_MASK;
        }
        key.encrypt_blocks(&mut stream);
        let (whole, rest) = batch.as_chunks_mut::<BLOCK_BYTES>();
        let mut keys = stream.iter();
        for (piece, key) in whole.iter_mut().zip(&mut keys) {
            let mixed = u128::from_le_bytes(*piece) ^ u128::from_le_bytes(key.0);
            *piece = mixed.to_le_bytes();
        }
        if let Some(key) = keys.next() {
            for (byte, key) in rest.iter_mut().zip(key.0) {
                *byte ^= key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::KeyInit;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn cipher(key: &str) -> Aes256Enc {
        let key: [u8; 32] = hex(key).try_into().unwrap();
        Aes256Enc::new(&key.into())
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// RFC 8452, appendix C.2: its record-encryption keys, tags and ciphertexts.
    #[test]
    fn the_keystream_is_that_of_rfc_8452() {
        let key = cipher("b914f4742be9e1d7a2f84addbf96dec3456e3c6c05ecc157cdbf0700fedad222");
        let vectors = [
            (
                "0100000000000000",
                "c2ef328e5c71c83b",
                "843122130f7364b761e0b97427e3df28",
            ),
            (
                "01000000000000000000000000000000\
                 02000000000000000000000000000000\
                 03000000000000000000000000000000",
                "c00d121893a9fa603f48ccc1ca3c57ce\
                 7499245ea0046db16c53c7c66fe717e3\
                 9cf6c748837b61f6ee3adcee17534ed5",
                "790bc96880a99ba804bd12c0e6a22cc4",
            ),
        ];
        for (plain, sealed, tag) in vectors {
            let mut bytes = hex(plain);
            apply(&key, &hex(tag).try_into().unwrap(), &mut bytes);
            assert_eq!(bytes, hex(sealed));
            apply(&key, &hex(tag).try_into().unwrap(), &mut bytes);
            assert_eq!(bytes, hex(plain));
        }
    }

    /// One block at a time, as the RFC writes it.
    fn slowly(key: &Aes256Enc, tag: &[u8; 16], bytes: &mut [u8]) {
        let mut counter_block = *tag;
        counter_block[15] |= 0x80;
        for piece in bytes.chunks_mut(16) {
            let mut stream: Block = counter_block.into();
            key.encrypt_block(&mut stream);
            piece
                .iter_mut()
                .zip(stream.0)
                .for_each(|(byte, key)| *byte ^= key);
            let count = u32::from_le_bytes(counter_block[..4].try_into().unwrap());
            counter_block[..4].copy_from_slice(&count.wrapping_add(1).to_le_bytes());
        }
    }

    proptest! {
        #[test]
        fn many_blocks_at_once_are_the_same_as_one_by_one(
            mut tag: [u8; 16], wraps: bool,
            mut bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            if wraps {
                tag[..4].copy_from_slice(&(u32::MAX - 7).to_le_bytes());
            }
            let key = Aes256Enc::new(&[9; 32].into());
            let mut expected = bytes.clone();
            slowly(&key, &tag, &mut expected);
            apply(&key, &tag, &mut bytes);
            prop_assert_eq!(bytes, expected);
        }
    }
}
