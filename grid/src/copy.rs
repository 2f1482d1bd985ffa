//! Copying bytes out of and into shared memory that another process may be changing. The caller
//! decides afterwards (sequence count, version cells) whether what it copied can be believed.
//!
//! # Safety
//! A plain memcpy of memory that somebody else writes would be a data race in Rust's memory model.
//! On x86-64 the copy is an assembly string move, to which that model assigns no race; elsewhere
//! it is a loop of relaxed 64-bit atomics. Both may tear; neither is undefined.
#![allow(unsafe_code)]

/// Copies `len` bytes. `len` must be a multiple of 8 where either side is shared.
///
/// # Safety
/// Both ranges must be mapped and valid for reads (`from`) and writes (`to`) of `len` bytes, and
/// must not overlap.
#[cfg(target_arch = "x86_64")]
pub unsafe fn copy_shared(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller guarantees both ranges; `rep movsb` reads and writes exactly `len` bytes
    // and clobbers only the registers named; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") to => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Copies `len` bytes. `len` must be a multiple of 8 where either side is shared.
///
/// # Safety
/// Both ranges must be mapped and valid for reads (`from`) and writes (`to`) of `len` bytes, and
/// must not overlap.
#[cfg(not(target_arch = "x86_64"))]
pub unsafe fn copy_shared(from: *const u8, to: *mut u8, len: usize) {
    use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
    let aligned = (from as usize | to as usize) % 8 == 0;
    let words = if aligned { len / 8 } else { 0 };
    for nth in 0..words {
        // SAFETY: in range and aligned by the checks above; atomics of both sides as the caller
        // says.
        unsafe {
            let word = (*from.cast::<AtomicU64>().add(nth)).load(Ordering::Relaxed);
            (*to.cast::<AtomicU64>().add(nth)).store(word, Ordering::Relaxed);
        }
    }
    for nth in words * 8..len {
        // SAFETY: in range as the caller says.
        unsafe {
            let byte = (*from.cast::<AtomicU8>().add(nth)).load(Ordering::Relaxed);
            (*to.cast::<AtomicU8>().add(nth)).store(byte, Ordering::Relaxed);
        }
    }
}
