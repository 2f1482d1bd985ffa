//! The data area of one ring: bytes written by the producer, read by the consumer, no locks.
//!
//! Positions count for ever; the place is the position modulo the size, a power of two. Nothing
//! here wraps: `ring` pads records so that each lies in one piece. Under the model the bytes are
//! atomic words, so that every one of them is a step of the schedule.
//!
//! # Safety
//!
//! The bytes may change while they are read, if the peer does not keep to the protocol. They are
//! copied out as plain bytes, which any value is good for; nothing is decided on bytes still in the
//! ring except by `slice`, whose caller is told. Each access is checked against the size.
#![allow(unsafe_code)]

#[cfg(feature = "model")]
pub use modelled::Data;
#[cfg(not(feature = "model"))]
pub use real::Data;

#[cfg(not(feature = "model"))]
mod real {
    use core::ptr::NonNull;

    /// A ring's bytes in a mapping.
    #[derive(Clone, Copy, Debug)]
    pub struct Data {
        base: NonNull<u8>,
        bytes: u64,
    }

    impl Data {
        /// The data area at `base`.
        ///
        /// # Safety
        ///
        /// `bytes`, a power of two, must be mapped readable at `base` for as long as this value is
        /// used, and writable if it is written; `base` must be aligned to 8.
        pub unsafe fn new(base: NonNull<u8>, bytes: u64) -> Data {
            debug_assert!(bytes.is_power_of_two());
            Data { base, bytes }
        }

        /// Bytes of the ring.
        #[inline]
        pub fn capacity(&self) -> u64 {
            self.bytes
        }

        #[inline]
        fn place(&self, position: u64, length: u64) -> *mut u8 {
            let offset = position & (self.bytes - 1);
            assert!(
                length <= self.bytes - offset,
                "a record crosses the end of its ring"
            );
            // SAFETY: offset < bytes, which are mapped at base.
            unsafe { self.base.as_ptr().add(offset as usize) }
        }

        /// The four words of a head.
        #[inline]
        pub fn head(&self, position: u64) -> [u64; 4] {
            let place = self.place(position & !7, 32).cast::<u64>();
            // SAFETY: 32 bytes lie there, aligned to 8; read once each, whatever they are.
            core::array::from_fn(|word| unsafe { place.add(word).read_volatile().to_le() })
        }

        /// Writes the four words of a head.
        #[inline]
        pub fn put_head(&self, position: u64, head: [u64; 4]) {
            let place = self.place(position & !7, 32).cast::<u64>();
            for (word, value) in head.into_iter().enumerate() {
                // SAFETY: 32 bytes lie there, aligned to 8; only the producer writes them.
                unsafe { place.add(word).write(value.to_le()) };
            }
        }

        /// Asks the processor for the two lines at a position, to be read soon. Decides nothing.
        #[inline(always)]
        pub fn fetch(&self, position: u64) {
            #[cfg(target_arch = "x86_64")]
            for line in [0, 64] {
                use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a hint, for an address within the mapping; it cannot fault anyway.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(self.line(position, line).cast()) };
            }
            let _ = position;
        }

        /// The same, to be written soon: the other processor gives them up. As assembly, since the
        /// compiler makes a hint to read of it for processors of which it does not know better; one
        /// that does not have it takes it for no operation.
        #[inline(always)]
        pub fn fetch_to_write(&self, position: u64) {
            #[cfg(target_arch = "x86_64")]
            for line in [0, 64] {
                // SAFETY: as above.
                unsafe {
                    core::arch::asm!("prefetchw byte ptr [{0}]", in(reg) self.line(position, line),
                        options(nostack, preserves_flags, readonly));
                }
            }
            let _ = position;
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn line(&self, position: u64, line: u64) -> *const u8 {
            let offset = position.wrapping_add(line) & (self.bytes - 1);
            self.base.as_ptr().wrapping_add(offset as usize)
        }

        /// Writes bytes.
        #[inline]
        pub fn write(&self, position: u64, bytes: &[u8]) {
            let place = self.place(position, bytes.len() as u64);
            // SAFETY: so many bytes lie there; the source is private memory, so no overlap.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        }

        /// Copies bytes out.
        #[inline]
        pub fn read(&self, position: u64, bytes: &mut [u8]) {
            let place = self.place(position, bytes.len() as u64);
            // SAFETY: so many bytes lie there; the target is private memory, so no overlap.
            unsafe { core::ptr::copy_nonoverlapping(place, bytes.as_mut_ptr(), bytes.len()) };
        }

        /// The bytes where they lie. They stay as they are until they are acknowledged, as long as
        /// the producer keeps to the protocol.
        #[inline]
        pub fn slice(&self, position: u64, length: u64) -> &[u8] {
            let place = self.place(position, length);
            // SAFETY: so many bytes are mapped there while self lives (see new); a producer that
            // keeps to the protocol does not write what is not acknowledged.
            unsafe { core::slice::from_raw_parts(place, length as usize) }
        }
    }
}

#[cfg(feature = "model")]
mod modelled {
    use crate::sync::{AtomicU64, Ordering};

    /// A ring's bytes as atomic words.
    #[derive(Debug)]
    pub struct Data {
        words: Vec<AtomicU64>,
    }

    impl Data {
        /// A ring of so many bytes.
        pub fn new(bytes: u64) -> Data {
            Data {
                words: (0..bytes / 8).map(|_| AtomicU64::new(0)).collect(),
            }
        }

        /// Bytes of the ring.
        pub fn capacity(&self) -> u64 {
            self.words.len() as u64 * 8
        }

        fn word(&self, position: u64) -> &AtomicU64 {
            &self.words[(position / 8) as usize % self.words.len()]
        }

        /// The four words of a head.
        pub fn head(&self, position: u64) -> [u64; 4] {
            std::array::from_fn(|n| self.word(position + n as u64 * 8).load(Ordering::Relaxed))
        }

        /// Writes the four words of a head.
        pub fn put_head(&self, position: u64, head: [u64; 4]) {
            for (n, word) in head.into_iter().enumerate() {
                self.word(position + n as u64 * 8)
                    .store(word, Ordering::Relaxed);
            }
        }

        /// Nothing.
        pub fn fetch(&self, _position: u64) {}

        /// Nothing.
        pub fn fetch_to_write(&self, _position: u64) {}

        /// Writes bytes; `position` is a multiple of 8, as it is for messages in one part.
        pub fn write(&self, position: u64, bytes: &[u8]) {
            for (n, chunk) in bytes.chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                let at = position + n as u64 * 8;
                self.word(at)
                    .store(u64::from_le_bytes(word), Ordering::Relaxed);
            }
        }

        /// Copies bytes out.
        pub fn read(&self, position: u64, bytes: &mut [u8]) {
            for (n, chunk) in bytes.chunks_mut(8).enumerate() {
                let word = self.word(position + n as u64 * 8).load(Ordering::Relaxed);
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
        }
    }
}
