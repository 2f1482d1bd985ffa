//! Invalidate: everything that writes bytes into a file through a descriptor.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's pointers are passed on as they came and followed only by the
//! kernel.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};

use super::counted::hk_counted;
use super::hk_point;
use crate::write::Range;

/// The range of a vectored write; long or unreadable lists count as anywhere.
pub fn range_of(iov: *const iovec, count: c_int, offset: off_t) -> Range {
    let usable = (1..=64).contains(&count) && !iov.is_null();
    if !usable || !crate::sys::memory::is_readable(iov.cast(), count as usize * 16) {
        return Range::Anywhere;
    }
    // SAFETY: `count` vectors at `iov`, proved readable, belong to the caller for this call.
    let vectors = unsafe { core::slice::from_raw_parts(iov, count as usize) };
    let len = vectors.iter().fold(0u64, |sum, vector| {
        sum.saturating_add(vector.iov_len as u64)
    });
    at(offset, len)
}

pub fn at(offset: off_t, len: u64) -> Range {
    Range::At { offset, len }
}

hk_point! {
    fn write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t {
        hk_counted!(fd, Range::Anywhere, real::write()(fd, buf, n))
    }
    fn __write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t {
        hk_counted!(fd, Range::Anywhere, real::__write()(fd, buf, n))
    }
    fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t {
        hk_counted!(fd, Range::Anywhere, real::writev()(fd, iov, count))
    }
    fn pwrite(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t {
        hk_counted!(fd, at(off, n as u64), real::pwrite()(fd, buf, n, off))
    }
    fn pwrite64(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t {
        hk_counted!(fd, at(off, n as u64), real::pwrite64()(fd, buf, n, off))
    }
    fn __pwrite64(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t {
        hk_counted!(fd, at(off, n as u64), real::__pwrite64()(fd, buf, n, off))
    }
    fn pwritev(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t {
        hk_counted!(fd, range_of(iov, count, off), real::pwritev()(fd, iov, count, off))
    }
    fn pwritev64(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t {
        hk_counted!(fd, range_of(iov, count, off), real::pwritev64()(fd, iov, count, off))
    }
    fn pwritev2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int) -> ssize_t {
        // Offset -1 means the file offset, and a flag may mean append: both are "anywhere".
        let range = if flags == 0 { range_of(iov, count, off) } else { Range::Anywhere };
        hk_counted!(fd, range, real::pwritev2()(fd, iov, count, off, flags))
    }
    fn pwritev64v2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int)
    -> ssize_t {
        let range = if flags == 0 { range_of(iov, count, off) } else { Range::Anywhere };
        hk_counted!(fd, range, real::pwritev64v2()(fd, iov, count, off, flags))
    }
    fn copy_file_range(
        from: c_int, from_off: *mut off_t, to: c_int, to_off: *mut off_t, n: size_t, flags: c_uint
    ) -> ssize_t {
        let call = real::copy_file_range();
        hk_counted!(to, Range::Anywhere, call(from, from_off, to, to_off, n, flags))
    }
    fn splice(
        from: c_int, from_off: *mut off_t, to: c_int, to_off: *mut off_t, n: size_t, flags: c_uint
    ) -> ssize_t {
        let call = real::splice();
        hk_counted!(to, Range::Anywhere, call(from, from_off, to, to_off, n, flags))
    }
}
