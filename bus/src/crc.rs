//! CRC-32C, the checksum of headers, records and payloads.
//!
//! Castagnoli's polynomial, because processors compute it: eight bytes an instruction where SSE4.2
//! is there, a table of eight rows elsewhere. Both give the same number, so that a file written by
//! one is read by the other.
//!
//! # Safety
//!
//! The instruction may be used only where the processor has it: asked of the standard library,
//! which remembers the answer.
#![allow(unsafe_code)]

/// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Row 0: the checksum of each byte; row n: of that byte with n zeros behind it.
static TABLE: [[u32; 256]; 8] = table();

const fn table() -> [[u32; 256]; 8] {
    let mut rows = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
            bit += 1;
        }
        rows[0][byte] = sum;
        byte += 1;
    }
    let mut row = 1;
    while row < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = rows[row - 1][byte];
            rows[row][byte] = (before >> 8) ^ rows[0][(before & 0xFF) as usize];
            byte += 1;
        }
        row += 1;
    }
    rows
}

/// The checksum of some bytes.
#[inline]
pub fn of(bytes: &[u8]) -> u32 {
    extend(0, bytes)
}

/// The checksum of what `before` covers, followed by `bytes`.
#[inline]
pub fn extend(before: u32, bytes: &[u8]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2, as was just asked.
        return unsafe { instruction::extend(before, bytes) };
    }
    by_table(before, bytes)
}

/// The checksum of 28 bytes given as little-endian words (the upper half of the last is left out).
#[inline(always)]
pub fn of_28(words: &[u64; 4]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE4.2, as was just asked.
        return unsafe { instruction::of_28(words) };
    }
    let mut bytes = [0; 32];
    for (piece, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *piece = word.to_le_bytes();
    }
    by_table(0, &bytes[..28])
}

/// The processor's own. Written as assembly because a function for which the compiler may assume
/// SSE4.2 is not inlined into one for which it may not, and two calls a message cost more than the
/// sums.
#[cfg(target_arch = "x86_64")]
mod instruction {
    use core::arch::asm;

    /// # Safety
    ///
    /// The processor has SSE4.2.
    #[inline(always)]
    unsafe fn word(mut sum: u64, word: u64) -> u64 {
        // SAFETY: changes one register; the caller knows that the instruction is there.
        unsafe {
            asm!("crc32 {0:r}, {1:r}", inout(reg) sum, in(reg) word,
                options(pure, nomem, nostack, preserves_flags));
        }
        sum
    }

    /// # Safety
    ///
    /// The processor has SSE4.2.
    #[inline(always)]
    pub unsafe fn extend(before: u32, bytes: &[u8]) -> u32 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = u64::from(!before);
        for piece in words {
            // SAFETY: as the caller knows.
            sum = unsafe { word(sum, u64::from_le_bytes(*piece)) };
        }
        for byte in rest {
            // SAFETY: changes one register; the caller knows that the instruction is there.
            unsafe {
                asm!("crc32 {0:e}, {1}", inout(reg) sum, in(reg_byte) *byte,
                    options(pure, nomem, nostack, preserves_flags));
            }
        }
        !(sum as u32)
    }

    /// # Safety
    ///
    /// The processor has SSE4.2.
    #[inline(always)]
    pub unsafe fn of_28(words: &[u64; 4]) -> u32 {
        let mut sum = u64::from(u32::MAX);
        for piece in &words[..3] {
            // SAFETY: as the caller knows.
            sum = unsafe { word(sum, *piece) };
        }
        // SAFETY: changes one register; the caller knows that the instruction is there.
        unsafe {
            asm!("crc32 {0:e}, {1:e}", inout(reg) sum, in(reg) words[3] as u32,
                options(pure, nomem, nostack, preserves_flags));
        }
        !(sum as u32)
    }
}

fn by_table(before: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut sum = !before;
    for word in words {
        let mixed = u64::from_le_bytes(*word) ^ u64::from(sum);
        sum = (0..8).fold(0, |sum, at| {
            sum ^ TABLE[7 - at][(mixed >> (8 * at) & 0xFF) as usize]
        });
    }
    for byte in rest {
        sum = (sum >> 8) ^ TABLE[0][((sum ^ u32::from(*byte)) & 0xFF) as usize];
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_check_value_comes_out() {
        assert_eq!(of(b"123456789"), 0xE306_9283);
        assert_eq!(by_table(0, b"123456789"), 0xE306_9283);
        assert_eq!(of(b""), 0);
    }

    #[test]
    fn instruction_and_table_agree_on_every_length() {
        let bytes: Vec<u8> = (0..300u32).map(|n| (n * 7 + n / 3) as u8).collect();
        for length in 0..bytes.len() {
            assert_eq!(
                of(&bytes[..length]),
                by_table(0, &bytes[..length]),
                "{length}"
            );
        }
    }

    #[test]
    fn words_and_bytes_agree() {
        let words = [0x0123_4567_89AB_CDEF, u64::MAX, 0, 0xFFFF_0000_1234_5678];
        let bytes: Vec<u8> = words
            .iter()
            .flat_map(|word: &u64| word.to_le_bytes())
            .collect();
        assert_eq!(of_28(&words), by_table(0, &bytes[..28]));
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for cut in 0..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(extend(of(front), back), of(&bytes));
        }
    }
}
