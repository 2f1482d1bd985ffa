//! What this process holds, in memory that a forked child finds empty.
//!
//! A child inherits the mappings of its parent and must not use them: two writers of one page. The
//! kernel wipes the pages here in every child (`MADV_WIPEONFORK`), so that whoever compares the
//! *incarnation* noted at binding with the one here finds out, at the cost of one load. The claims
//! of this process lie here too: a claim that bears this process's identity but is not listed was
//! made by the program it executed before (`execve`), and may be taken over.
//!
//! # Safety
//!
//! One anonymous private mapping, made once, never unmapped, seen by this process alone.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::error::{Error, Result};

/// Most pages one process may own: two for each channel it binds.
pub const CLAIMS_MAX: usize = 2047;

/// The wiped memory: 16 KiB.
#[repr(C)]
struct Guard {
    /// Random, not 0, for the life of this process; 0: just forked.
    incarnation: AtomicU64,
    claims: [AtomicU64; CLAIMS_MAX],
}

static GUARD: OnceLock<std::result::Result<&'static Guard, i32>> = OnceLock::new();

fn guard() -> Result<&'static Guard> {
    let made = GUARD.get_or_init(|| map().map_err(|errno| errno.raw_os_error()));
    made.map_err(|errno| {
        let errno = std::io::Error::from_raw_os_error(errno);
        Error::system("this process", "make memory that is wiped on fork", errno)
    })
}

fn map() -> rustix::io::Result<&'static Guard> {
    let bytes = size_of::<Guard>();
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping at an address of the kernel's choosing touches nothing that exists.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, prot, flags) }?;
    // SAFETY: the range was just mapped; wiping it on fork concerns children only.
    unsafe { madvise(base, bytes, Advice::LinuxWipeOnFork) }?;
    let base = NonNull::new(base.cast::<Guard>()).ok_or(rustix::io::Errno::NOMEM)?;
    // SAFETY: zeroed, page-aligned, large enough, never unmapped; Guard is all atomics.
    Ok(unsafe { base.as_ref() })
}

/// The incarnation of this process, made on first use after start or fork.
///
/// # Errors
///
/// The kernel has no memory, no random numbers, or cannot wipe on fork.
pub fn enter() -> Result<u64> {
    let guard = guard()?;
    let found = guard.incarnation.load(Ordering::Relaxed);
    if found != 0 {
        return Ok(found);
    }
    let fresh = random()? | 1;
    let set = Ordering::Relaxed;
    let made = guard.incarnation.compare_exchange(0, fresh, set, set);
    Ok(made.err().unwrap_or(fresh))
}

/// Is this still the process of that incarnation?
#[inline]
pub fn is(incarnation: u64) -> bool {
    match GUARD.get() {
        Some(Ok(guard)) => guard.incarnation.load(Ordering::Relaxed) == incarnation,
        _ => false,
    }
}

/// Notes a claim of this process.
///
/// # Errors
///
/// Too many claims.
pub fn hold(key: u64) -> Result<()> {
    for slot in &guard()?.claims {
        let free = slot.compare_exchange(0, key, Ordering::AcqRel, Ordering::Relaxed);
        if free.is_ok() {
            return Ok(());
        }
    }
    Err(Error::TooMany {
        what: "pages of channels owned by one process",
        most: CLAIMS_MAX,
    })
}

/// Forgets a claim of this process.
pub fn let_go(key: u64) {
    let Ok(guard) = guard() else { return };
    for slot in &guard.claims {
        if slot
            .compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
    }
}

/// Does this process hold the claim?
pub fn holds(key: u64) -> bool {
    guard().is_ok_and(|guard| {
        guard
            .claims
            .iter()
            .any(|slot| slot.load(Ordering::Acquire) == key)
    })
}

/// 64 random bits.
///
/// # Errors
///
/// The kernel has none.
pub fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::system("this process", "get random numbers", errno))?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_come_and_go() {
        let incarnation = enter().unwrap();
        assert!(is(incarnation) && !is(incarnation ^ 2));
        hold(77).unwrap();
        assert!(holds(77));
        let_go(77);
        assert!(!holds(77));
    }
}
