//! Invalidate: calls that resize a file, punch or fill holes, or share extents between files.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's pointers are passed on as they came and followed only by the
//! kernel.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_char, c_int, c_ulong, c_void, off_t};

use super::counted::{hk_counted, hk_counted_path};
use super::hk_point;
use crate::write::Range;

/// Request of `ioctl`: share all extents.
pub const FICLONE: c_ulong = 0x4004_9409;
/// Request of `ioctl`: share some extents.
pub const FICLONERANGE: c_ulong = 0x4020_940D;

hk_point! {
    fn ftruncate(fd: c_int, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::ftruncate()(fd, len))
    }
    fn ftruncate64(fd: c_int, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::ftruncate64()(fd, len))
    }
    fn truncate(path: *const c_char, len: off_t) -> c_int {
        hk_counted_path!(true, libc::AT_FDCWD, path, real::truncate()(path, len))
    }
    fn truncate64(path: *const c_char, len: off_t) -> c_int {
        hk_counted_path!(true, libc::AT_FDCWD, path, real::truncate64()(path, len))
    }
    fn fallocate(fd: c_int, mode: c_int, off: off_t, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::fallocate()(fd, mode, off, len))
    }
    fn fallocate64(fd: c_int, mode: c_int, off: off_t, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::fallocate64()(fd, mode, off, len))
    }
    fn posix_fallocate(fd: c_int, off: off_t, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::posix_fallocate()(fd, off, len))
    }
    fn posix_fallocate64(fd: c_int, off: off_t, len: off_t) -> c_int {
        hk_counted!(fd, Range::Anywhere, real::posix_fallocate64()(fd, off, len))
    }
    fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
        match request {
            FICLONE | FICLONERANGE => {
                hk_counted!(fd, Range::Anywhere, real::ioctl()(fd, request, argument))
            }
            // FIDEDUPERANGE changes no content: extents become shared only if they are equal.
            _ => real::ioctl()(fd, request, argument),
        }
    }
}
