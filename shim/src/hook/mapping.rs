//! Writable shared mappings: stores through them pass no hook, and move the file's stamp only once
//! per clean page. A file that this process may have mapped so is out of service for the session.
//! (That a fork inherits such a mapping, and that an `mprotect` may make it writable later, needs
//! no tracking then.)
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; nothing of the mapping is touched.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, c_void, off_t, size_t};
use redhook::real;

use super::counted::give_up;
use super::hk_hook;
use crate::sys::file::status_flags;

/// Gives the file up before the mapping exists.
pub fn mapping(fd: c_int, flags: c_int) {
    let kind = flags & libc::MAP_TYPE;
    let shared = kind == libc::MAP_SHARED || kind == libc::MAP_SHARED_VALIDATE;
    let is_file = fd >= 0 && flags & libc::MAP_ANONYMOUS == 0;
    if shared && is_file && status_flags(fd) & libc::O_ACCMODE == libc::O_RDWR {
        give_up(fd);
    }
}

hk_hook! {
    fn mmap(at: *mut c_void, n: size_t, prot: c_int, flags: c_int, fd: c_int, off: off_t)
    -> *mut c_void => hk_mmap {
        mapping(fd, flags);
        real!(mmap)(at, n, prot, flags, fd, off)
    }
    fn mmap64(at: *mut c_void, n: size_t, prot: c_int, flags: c_int, fd: c_int, off: off_t)
    -> *mut c_void => hk_mmap64 {
        mapping(fd, flags);
        real!(mmap64)(at, n, prot, flags, fd, off)
    }
}
