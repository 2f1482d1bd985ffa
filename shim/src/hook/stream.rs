//! Streams opened for writing: libc writes them without passing any hook, so the file is out of
//! service while such a stream exists (`writes::pin`). Also forgets the numbers that streams open
//! and close inside libc.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; a stream pointer is only handed to libc's own `fileno`, before it is closed.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{FILE, c_char, c_int};

use super::counted::{hk_counted_path, told_or};
use super::{caught, hk_point};
use crate::fdtable::forget;
use crate::pins;
use crate::write::give_up;

/// Whether a mode string lets the stream write.
fn writes(mode: *const c_char) -> bool {
    has_any(mode, b"wa+")
}

fn has_any(mode: *const c_char, letters: &[u8]) -> bool {
    // A mode is a few letters; a caller's bad pointer would crash in libc just the same.
    (0..8)
        // SAFETY: reads stop at the terminator of the caller's string.
        .map(|nth| unsafe { *mode.add(nth) } as u8)
        .take_while(|letter| *letter != 0)
        .any(|letter| letters.contains(&letter))
}

fn opened(stream: *mut FILE, mode: *const c_char) -> *mut FILE {
    if !stream.is_null() {
        // SAFETY: libc has just returned the stream.
        let fd = unsafe { libc::fileno(stream) };
        forget(fd);
        if writes(mode) {
            told_or((), || pins::pin(fd), || give_up(fd));
        }
    }
    stream
}

fn closing(stream: *mut FILE) -> c_int {
    if stream.is_null() {
        return -1;
    }
    // SAFETY: the caller hands over an open stream.
    let fd = unsafe { libc::fileno(stream) };
    forget(fd);
    fd
}

macro_rules! open_with {
    ($path:expr, $mode:expr, $real:expr) => {{
        let truncates = !$path.is_null() && !$mode.is_null() && has_any($mode, b"w");
        let stream = hk_counted_path!(truncates, libc::AT_FDCWD, $path, $real);
        opened(stream, $mode)
    }};
}

hk_point! {
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
        open_with!(path, mode, real::fopen()(path, mode))
    }
    fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
        open_with!(path, mode, real::fopen64()(path, mode))
    }
    fn freopen(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        let fd = closing(stream);
        let reopened = open_with!(path, mode, real::freopen()(path, mode, stream));
        // The old file is flushed and closed by now. Where old and new share the number, the old
        // pin was taken over by the new one.
        caught((), || pins::unpin_unless_open(fd, reopened.is_null()));
        reopened
    }
    fn freopen64(path: *const c_char, mode: *const c_char, stream: *mut FILE) -> *mut FILE {
        let fd = closing(stream);
        let reopened = open_with!(path, mode, real::freopen64()(path, mode, stream));
        caught((), || pins::unpin_unless_open(fd, reopened.is_null()));
        reopened
    }
    fn fdopen(fd: c_int, mode: *const c_char) -> *mut FILE {
        opened(real::fdopen()(fd, mode), mode)
    }
    fn fclose(stream: *mut FILE) -> c_int {
        let fd = closing(stream);
        let result = real::fclose()(stream);
        caught((), || pins::unpin(fd));
        result
    }
}
