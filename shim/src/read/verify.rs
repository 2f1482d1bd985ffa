//! Repeating served reads through the kernel: `--verify` for a share of them, the oracle for all. A
//! difference counts only if version and stamp stayed the same throughout: then a stale or foreign
//! byte was served, the session goes out of service, and the oracle aborts.
//!
//! # Safety
//! What is dangerous here: the scratch buffer is raw memory, guarded by a try-lock; the caller's
//! buffers have just been written by a served read.
#![allow(unsafe_code)]

use grid::header::switch;
use grid::names::Counter;
use grid::sync::{AtomicU32, AtomicU64, Ordering};

use super::Request;
use super::target::{BYTES_MAX, Target};
use crate::session::{self, Member};
use crate::sys;

static SCRATCH: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicU32 = AtomicU32::new(0);

/// Verifies this read if it is its turn.
#[inline]
pub fn maybe(member: Member, request: Request, target: &Target, served: isize) {
    let oracle = session::config().is_some_and(|config| config.oracle);
    let share_ppm = member.header().verify_ppm.load(Ordering::Relaxed);
    if oracle || (share_ppm != 0 && lot(share_ppm)) {
        verify(member, request, target, served, oracle);
    }
}

/// Draws lots with the time-stamp counter.
fn lot(share_ppm: u64) -> bool {
    sys::ticks().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44 < share_ppm * 1_048_576 / 1_000_000
}

#[cold]
#[inline(never)]
fn verify(member: Member, request: Request, target: &Target, served: isize, oracle: bool) {
    let mut rounds = 0;
    while BUSY.swap(1, Ordering::Acquire) != 0 {
        rounds += 1;
        // A holder that was killed by a long jump or fork never lets go: give up, seldom.
        if !oracle || rounds > 2000 {
            return;
        }
        sys::yield_now();
    }
    if let Some(scratch) = scratch() {
        let differs = differs(request, target, served, scratch);
        if differs && target.is_unchanged(member) && is_same_stamp(member, request, target) {
            report(member, oracle);
        } else if let Some(counters) = member.counters() {
            counters.add(Counter::Verified, 1);
        }
    }
    BUSY.store(0, Ordering::Release);
}

fn scratch() -> Option<*mut u8> {
    if SCRATCH.load(Ordering::Relaxed) == 0 {
        let at = sys::memory::map_private(BYTES_MAX as usize).ok()?;
        SCRATCH.store(at as u64, Ordering::Relaxed);
    }
    Some(SCRATCH.load(Ordering::Relaxed) as *mut u8)
}

fn differs(request: Request, target: &Target, served: isize, scratch: *mut u8) -> bool {
    let len = served as usize;
    // SAFETY: the scratch buffer is `BYTES_MAX` long, which no served read exceeds.
    let read = unsafe { sys::file::read_at(request.fd, scratch, len, target.offset, false) };
    if read != Ok(len) {
        return read.is_ok();
    }
    let mut at = 0;
    for buffer in request.buffers {
        // SAFETY: `at` plus all remaining buffer lengths is `len`; both sides are readable.
        let same =
            unsafe { sys::memory::equal(scratch.add(at), buffer.iov_base.cast(), buffer.iov_len) };
        if !same {
            return true;
        }
        at += buffer.iov_len;
    }
    false
}

/// The file's stamp is still the one under which the read was served.
fn is_same_stamp(member: Member, request: Request, target: &Target) -> bool {
    let record = member.region().files().record(target.record);
    sys::file::stat_fd(request.fd).is_ok_and(|stat| {
        stat.ident == target.ident
            && (record.has_policy(grid::files::OWNED)
                || session::is_planted()
                || record.stamp().0 == stat.stamp)
    })
}

fn report(member: Member, oracle: bool) {
    if let Some(counters) = member.counters() {
        counters.add(Counter::VerifyFailed, 1);
    }
    member.header().set_switch(switch::SERVE, false);
    if oracle {
        sys::abort_with(b"ramgrid oracle: a served read differs from the kernel's\n");
    }
}
