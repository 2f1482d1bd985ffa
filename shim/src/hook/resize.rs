//! Invalidate: calls that resize a file, punch or fill holes, or share extents between files.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's pointers are passed on as they came and followed only by the
//! kernel.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_char, c_int, c_ulong, c_void, off_t};
use redhook::real;

use super::hk_hook;
use crate::write::{Range, after, after_path, before, before_path};

const FICLONE: c_ulong = 0x4004_9409;
const FICLONERANGE: c_ulong = 0x4020_940D;

macro_rules! resize_with {
    ($fd:expr, $real:expr) => {{
        let pending = before($fd, Range::Anywhere);
        let result = $real;
        after(pending, 0);
        result
    }};
}

macro_rules! truncate_with {
    ($path:expr, $real:expr) => {{
        let pending = before_path(libc::AT_FDCWD, $path);
        let result = $real;
        after_path(pending);
        result
    }};
}

hk_hook! {
    fn ftruncate(fd: c_int, len: off_t) -> c_int => hk_ftruncate {
        resize_with!(fd, real!(ftruncate)(fd, len))
    }
    fn ftruncate64(fd: c_int, len: off_t) -> c_int => hk_ftruncate64 {
        resize_with!(fd, real!(ftruncate64)(fd, len))
    }
    fn truncate(path: *const c_char, len: off_t) -> c_int => hk_truncate {
        truncate_with!(path, real!(truncate)(path, len))
    }
    fn truncate64(path: *const c_char, len: off_t) -> c_int => hk_truncate64 {
        truncate_with!(path, real!(truncate64)(path, len))
    }
    fn fallocate(fd: c_int, mode: c_int, off: off_t, len: off_t) -> c_int => hk_fallocate {
        resize_with!(fd, real!(fallocate)(fd, mode, off, len))
    }
    fn fallocate64(fd: c_int, mode: c_int, off: off_t, len: off_t) -> c_int => hk_fallocate64 {
        resize_with!(fd, real!(fallocate64)(fd, mode, off, len))
    }
    fn posix_fallocate(fd: c_int, off: off_t, len: off_t) -> c_int => hk_posix_fallocate {
        resize_with!(fd, real!(posix_fallocate)(fd, off, len))
    }
    fn posix_fallocate64(fd: c_int, off: off_t, len: off_t) -> c_int => hk_posix_fallocate64 {
        resize_with!(fd, real!(posix_fallocate64)(fd, off, len))
    }
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int => hk_ioctl {
        match request {
            FICLONE | FICLONERANGE => resize_with!(fd, real!(ioctl)(fd, request, argument)),
            // FIDEDUPERANGE changes no content: extents become shared only if they are equal.
            _ => real!(ioctl)(fd, request, argument),
        }
    }
}
