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

/// Share all extents; share some.
const FICLONE: c_ulong = 0x4004_9409;
const FICLONERANGE: c_ulong = 0x4020_940D;
/// Exchanges a file's content with the boot loader's (ext4).
const EXT4_IOC_SWAP_BOOT: c_ulong = 0x6611;

/// Whether a request of `ioctl` may change the content of the file it is made on. The letter X has
/// the old space calls, which every file system understands (`FS_IOC_UNRESVSP64` punches a hole),
/// and those of xfs that exchange extents. `FIDEDUPERANGE` changes no content: extents become
/// shared only if they are equal.
pub fn changes_content(request: c_ulong) -> bool {
    let takes_argument = request >> 30 & 1 == 1;
    let is_x = request >> 8 & 0xFF == c_ulong::from(b'X');
    matches!(request, FICLONE | FICLONERANGE | EXT4_IOC_SWAP_BOOT) || (is_x && takes_argument)
}

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
        match changes_content(request) {
            true => hk_counted!(fd, Range::Anywhere, real::ioctl()(fd, request, argument)),
            false => real::ioctl()(fd, request, argument),
        }
    }
}
