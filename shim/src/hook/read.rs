//! Serve: positional reads, all twins.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's pointers are passed on as they came, and written only by the kernel
//! or after their pages were proved writable.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

use super::hk_point;
use crate::read::{Plan, Quick, Request, after, after_timed, before, quick};
use crate::sys::ticks;

/// Vectors of one call that are looked at; a longer list is the kernel's.
const VECTORS_MAX: c_int = 64;

fn vectors<'a>(iov: *const iovec, count: c_int) -> Option<&'a [iovec]> {
    let usable = (1..=VECTORS_MAX).contains(&count) && !iov.is_null();
    if !usable || !crate::sys::memory::is_readable(iov.cast(), count as usize * 16) {
        return None;
    }
    // SAFETY: `count` vectors at `iov`, proved readable, belong to the caller for this call.
    Some(unsafe { core::slice::from_raw_parts(iov, count as usize) })
}

/// One buffer as a vector.
fn single(buf: *mut c_void, n: size_t) -> [iovec; 1] {
    [iovec {
        iov_base: buf,
        iov_len: n,
    }]
}

unsafe extern "C-unwind" {
    fn pthread_testcancel();
}

/// A read is a cancellation point, also one that never reaches the kernel: `pthread_testcancel` is
/// called where nothing is held, and in the hook's own frame (see `hk_point`).
macro_rules! read_with {
    ($fd:expr, $buffers:expr, $offset:expr, $real:expr) => {
        match quick($fd) {
            Quick::Pass => $real,
            Quick::Time(reads) => {
                let start = ticks();
                let result = $real;
                after_timed($fd, start, reads, result);
                result
            }
            Quick::Consult => {
                pthread_testcancel();
                let request = Request {
                    fd: $fd,
                    buffers: $buffers,
                    offset: $offset,
                };
                match before(request) {
                    Plan::Served(result) => result,
                    plan => {
                        let result = $real;
                        after(request, plan, result);
                        result
                    }
                }
            }
        }
    };
}

macro_rules! vectored {
    ($fd:expr, $iov:expr, $count:expr, $offset:expr, $real:expr) => {
        match vectors($iov, $count) {
            Some(buffers) => read_with!($fd, buffers, $offset, $real),
            None => $real,
        }
    };
}

hk_point! {
    fn pread(fd: c_int, buf: *mut c_void, n: size_t, off: off_t) -> ssize_t {
        read_with!(fd, &single(buf, n), off, real::pread()(fd, buf, n, off))
    }
    fn pread64(fd: c_int, buf: *mut c_void, n: size_t, off: off_t) -> ssize_t {
        read_with!(fd, &single(buf, n), off, real::pread64()(fd, buf, n, off))
    }
    fn __pread64(fd: c_int, buf: *mut c_void, n: size_t, off: off_t) -> ssize_t {
        read_with!(fd, &single(buf, n), off, real::__pread64()(fd, buf, n, off))
    }
    fn __pread_chk(fd: c_int, buf: *mut c_void, n: size_t, off: off_t, room: size_t) -> ssize_t {
        if n > room {
            return real::__pread_chk()(fd, buf, n, off, room);
        }
        read_with!(fd, &single(buf, n), off, real::__pread_chk()(fd, buf, n, off, room))
    }
    fn __pread64_chk(fd: c_int, buf: *mut c_void, n: size_t, off: off_t, room: size_t) -> ssize_t {
        if n > room {
            return real::__pread64_chk()(fd, buf, n, off, room);
        }
        read_with!(fd, &single(buf, n), off, real::__pread64_chk()(fd, buf, n, off, room))
    }
    fn preadv(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t {
        vectored!(fd, iov, count, off, real::preadv()(fd, iov, count, off))
    }
    fn preadv64(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t {
        vectored!(fd, iov, count, off, real::preadv64()(fd, iov, count, off))
    }
    fn preadv2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int) -> ssize_t {
        if flags != 0 {
            return real::preadv2()(fd, iov, count, off, flags);
        }
        vectored!(fd, iov, count, off, real::preadv2()(fd, iov, count, off, flags))
    }
    fn preadv64v2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int) -> ssize_t {
        if flags != 0 {
            return real::preadv64v2()(fd, iov, count, off, flags);
        }
        vectored!(fd, iov, count, off, real::preadv64v2()(fd, iov, count, off, flags))
    }
}
