//! Repeating served reads through the kernel: `--verify` for a share of them, the oracle for all. A
//! difference counts only if version and stamp stayed the same throughout: then a stale or foreign
//! byte was served, the session goes out of service, and the oracle aborts.
//!
//! # Safety
//! What is dangerous here: the caller's buffers are read back as memory; a served read has just
//! written them. The kernel's copy goes to a small buffer on the stack, piece by piece, so that a
//! signal handler may come in between, and jump away, at any time.
#![allow(unsafe_code)]

use grid::header::switch;
use grid::names::Counter;
use grid::sync::Ordering;

use super::Request;
use super::target::Target;
use crate::session::{self, Member};
use crate::sys;

/// Bytes compared at a time.
const PIECE_BYTES: usize = 512;

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
    let differs = match target.is_direct {
        true => differs_directly(request, target, served as usize),
        false => differs(request, target, served),
    };
    if differs && target.is_unchanged(member) && is_same_stamp(member, request, target) {
        report(member, oracle);
    } else if let Some(counters) = member.counters() {
        counters.add(Counter::Verified, 1);
    }
}

fn differs(request: Request, target: &Target, served: isize) -> bool {
    let mut at = target.offset;
    let end = target.offset + served as u64;
    for buffer in request.buffers {
        let mut done = 0;
        while done < buffer.iov_len && at < end {
            let len = PIECE_BYTES.min(buffer.iov_len - done);
            // SAFETY: the served read filled `iov_len` bytes of this buffer.
            if unsafe { piece_differs(request.fd, buffer.iov_base.cast::<u8>().add(done), len, at) }
            {
                return true;
            }
            done += len;
            at += len as u64;
        }
    }
    false
}

/// The same for a descriptor opened with `O_DIRECT`, which wants an aligned buffer: a mapping, for
/// the moment.
fn differs_directly(request: Request, target: &Target, served: usize) -> bool {
    let Ok(copy) = sys::memory::map_private(served) else {
        return false;
    };
    // SAFETY: the mapping is `served` bytes long; buffers are compared as far as the read that
    // filled them went.
    unsafe {
        let read = sys::file::read_at(request.fd, copy, served, target.offset, false);
        let mut at = 0;
        let mut differs = matches!(read, Ok(count) if count != served);
        for buffer in request.buffers.iter().filter(|_| read == Ok(served)) {
            let len = buffer.iov_len.min(served - at);
            differs |= !sys::memory::equal(copy.add(at), buffer.iov_base.cast(), len);
            at += len;
        }
        sys::memory::unmap(copy, served);
        differs
    }
}

/// # Safety
/// `served` must be readable for `len` bytes, at most `PIECE_BYTES`.
unsafe fn piece_differs(fd: i32, served: *const u8, len: usize, offset: u64) -> bool {
    let mut piece = [0u8; PIECE_BYTES];
    // SAFETY: `piece` has room for `len` bytes; `served` by the caller's promise.
    unsafe {
        match sys::file::read_at(fd, piece.as_mut_ptr(), len, offset, false) {
            Ok(count) if count == len => !sys::memory::equal(piece.as_ptr(), served, len),
            // Shorter: the file was cut meanwhile, which the stamp will tell. Failed: no verdict.
            Ok(_) => true,
            Err(_) => false,
        }
    }
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
