//! Advise: what a program says it is going to read. Blocks that nodes hold need no disk.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; no pointers are involved.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, off_t, size_t, ssize_t};
use redhook::real;

use super::hk_hook;
use crate::advise::follow;

/// Whether this is advice that has been followed. A length of 0 means up to the end of the file.
fn followed(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> bool {
    advice == libc::POSIX_FADV_WILLNEED && len > 0 && follow(fd, offset, len as u64)
}

hk_hook! {
    fn posix_fadvise(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int
    => hk_posix_fadvise {
        if followed(fd, offset, len, advice) {
            return 0;
        }
        real!(posix_fadvise)(fd, offset, len, advice)
    }
    fn posix_fadvise64(fd: c_int, offset: off_t, len: off_t, advice: c_int) -> c_int
    => hk_posix_fadvise64 {
        if followed(fd, offset, len, advice) {
            return 0;
        }
        real!(posix_fadvise64)(fd, offset, len, advice)
    }
    fn readahead(fd: c_int, offset: off_t, count: size_t) -> ssize_t => hk_readahead {
        if follow(fd, offset, count as u64) {
            return 0;
        }
        real!(readahead)(fd, offset, count)
    }
}
