//! Who a file is: device, inode and birth time. A file that was renamed over, or an inode that was
//! used again, differs in the birth time; the names of a file do not matter at all.
//!
//! The hash spreads identities over cells, file records and index buckets. It carries no promise:
//! two files that share a cell invalidate each other, and every comparison that decides about
//! bytes compares the three fields themselves.

/// The identity of a regular file, as `statx` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileIdent {
    /// `makedev(stx_dev_major, stx_dev_minor)`.
    pub dev: u64,
    /// `stx_ino`.
    pub ino: u64,
    /// `stx_btime` in nanoseconds since the epoch.
    pub birth_ns: u64,
}

impl FileIdent {
    /// A 64-bit hash of the identity, the same in every process of the session.
    pub fn hash(&self) -> u64 {
        let mut hash = fold(self.dev ^ 0x9E37_79B9_7F4A_7C15, 0xA076_1D64_78BD_642F);
        hash = fold(self.ino ^ hash, 0xE703_7ED1_A0B4_28DB);
        fold(self.birth_ns ^ hash, 0x8EBC_6AF0_9C88_C6E3)
    }
}

/// Multiplies to 128 bits and folds the halves: the mixer of wyhash.
pub(crate) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ ((product >> 64) as u64)
}

/// Hash of one block of the file whose identity hashes to `file_hash`.
pub fn block_hash(file_hash: u64, block: u64) -> u64 {
    fold(
        file_hash ^ block.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        0xD6E8_FEB8_6659_FD93 | 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_moves_the_hash() {
        let base = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        };
        let hash = base.hash();
        assert_ne!(hash, FileIdent { dev: 2, ..base }.hash());
        assert_ne!(hash, FileIdent { ino: 3, ..base }.hash());
        assert_ne!(
            hash,
            FileIdent {
                birth_ns: 4,
                ..base
            }
            .hash()
        );
    }

    #[test]
    fn neighbouring_blocks_spread_over_a_small_table() {
        let file_hash = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        }
        .hash();
        let mut used = [false; 1024];
        for block in 0..1024 {
            used[(block_hash(file_hash, block) % 1024) as usize] = true;
        }
        // 1024 balls in 1024 bins leave about a third empty; a bad mixer leaves far more.
        assert!(used.iter().filter(|hit| **hit).count() > 550);
    }
}
