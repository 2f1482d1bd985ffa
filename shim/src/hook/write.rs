//! Invalidate: everything that writes bytes into a file through a descriptor.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's pointers are passed on as they came and followed only by the
//! kernel.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};
use redhook::real;

use super::hk_hook;
use crate::write::{Range, after, before};

macro_rules! write_with {
    ($fd:expr, $range:expr, $real:expr) => {{
        let pending = before($fd, $range);
        let result = $real;
        after(pending, result as isize);
        result
    }};
}

/// The range of a vectored write; long or unreadable lists count as anywhere.
fn range_of(iov: *const iovec, count: c_int, offset: off_t) -> Range {
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

fn at(offset: off_t, len: u64) -> Range {
    Range::At { offset, len }
}

hk_hook! {
    fn write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t => hk_write {
        write_with!(fd, Range::Anywhere, real!(write)(fd, buf, n))
    }
    fn __write(fd: c_int, buf: *const c_void, n: size_t) -> ssize_t => hk_write_u {
        write_with!(fd, Range::Anywhere, real!(__write)(fd, buf, n))
    }
    fn writev(fd: c_int, iov: *const iovec, count: c_int) -> ssize_t => hk_writev {
        write_with!(fd, Range::Anywhere, real!(writev)(fd, iov, count))
    }
    fn pwrite(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t => hk_pwrite {
        write_with!(fd, at(off, n as u64), real!(pwrite)(fd, buf, n, off))
    }
    fn pwrite64(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t => hk_pwrite64 {
        write_with!(fd, at(off, n as u64), real!(pwrite64)(fd, buf, n, off))
    }
    fn __pwrite64(fd: c_int, buf: *const c_void, n: size_t, off: off_t) -> ssize_t
    => hk_pwrite64_u {
        write_with!(fd, at(off, n as u64), real!(__pwrite64)(fd, buf, n, off))
    }
    fn pwritev(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t => hk_pwritev {
        write_with!(fd, range_of(iov, count, off), real!(pwritev)(fd, iov, count, off))
    }
    fn pwritev64(fd: c_int, iov: *const iovec, count: c_int, off: off_t) -> ssize_t
    => hk_pwritev64 {
        write_with!(fd, range_of(iov, count, off), real!(pwritev64)(fd, iov, count, off))
    }
    fn pwritev2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int) -> ssize_t
    => hk_pwritev2 {
        // Offset -1 means the file offset, and a flag may mean append: both are "anywhere".
        let range = if flags == 0 { range_of(iov, count, off) } else { Range::Anywhere };
        write_with!(fd, range, real!(pwritev2)(fd, iov, count, off, flags))
    }
    fn pwritev64v2(fd: c_int, iov: *const iovec, count: c_int, off: off_t, flags: c_int) -> ssize_t
    => hk_pwritev64v2 {
        let range = if flags == 0 { range_of(iov, count, off) } else { Range::Anywhere };
        write_with!(fd, range, real!(pwritev64v2)(fd, iov, count, off, flags))
    }
    fn copy_file_range(
        from: c_int, from_off: *mut off_t, to: c_int, to_off: *mut off_t, n: size_t, flags: c_uint
    ) -> ssize_t => hk_copy_file_range {
        let call = real!(copy_file_range);
        write_with!(to, Range::Anywhere, call(from, from_off, to, to_off, n, flags))
    }
    fn sendfile(to: c_int, from: c_int, off: *mut off_t, n: size_t) -> ssize_t => hk_sendfile {
        write_with!(to, Range::Anywhere, real!(sendfile)(to, from, off, n))
    }
    fn sendfile64(to: c_int, from: c_int, off: *mut off_t, n: size_t) -> ssize_t => hk_sendfile64 {
        write_with!(to, Range::Anywhere, real!(sendfile64)(to, from, off, n))
    }
    fn splice(
        from: c_int, from_off: *mut off_t, to: c_int, to_off: *mut off_t, n: size_t, flags: c_uint
    ) -> ssize_t => hk_splice {
        let call = real!(splice);
        write_with!(to, Range::Anywhere, call(from, from_off, to, to_off, n, flags))
    }
}
