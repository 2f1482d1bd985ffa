//! Identity: calls that give a descriptor number a new meaning. They only make the table forget;
//! what a number is, is asked of the kernel when it is next read or written. An entry is dropped
//! before the real close, so that another thread's open of the same number finds it empty.
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for. `open` and `fcntl` are variadic in C; with the fixed arguments below the calling
//! conventions of x86-64 and aarch64 put the same values into the same registers.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{DIR, c_char, c_int, c_long, c_uint, mode_t};

use super::counted::{give_up, hk_counted_path};
use super::hk_point;
use crate::fdtable::{forget, forget_range};

/// An open: `O_TRUNC` changes the file the path names, and a process with an io_uring may write
/// whatever it opens for writing in ways nobody sees.
macro_rules! open_with {
    ($dirfd:expr, $path:expr, $flags:expr, $real:expr) => {{
        let truncates = $flags & libc::O_TRUNC != 0;
        let fd = hk_counted_path!(truncates, $dirfd, $path, $real);
        opened(fd, $flags);
        fd
    }};
}

fn opened(fd: c_int, flags: c_int) {
    if fd >= 0 {
        forget(fd);
        if flags & libc::O_ACCMODE != libc::O_RDONLY && super::asynchronous::has_ring() {
            give_up(fd);
        }
    }
}

/// A raw call has opened a number; how, is asked of the kernel where it matters.
pub fn opened_raw(fd: c_int) {
    let flags = match super::asynchronous::has_ring() {
        true => crate::sys::file::status_flags(fd),
        false => libc::O_RDONLY,
    };
    opened(fd, flags);
}

fn replaced(fd: c_int) -> c_int {
    if fd >= 0 {
        forget(fd);
    }
    fd
}

const CWD: c_int = libc::AT_FDCWD;
const CREATE: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;

hk_point! {
    fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_with!(CWD, path, flags, real::open()(path, flags, mode))
    }
    fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_with!(CWD, path, flags, real::open64()(path, flags, mode))
    }
    fn openat(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_with!(dir, path, flags, real::openat()(dir, path, flags, mode))
    }
    fn openat64(dir: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_with!(dir, path, flags, real::openat64()(dir, path, flags, mode))
    }
    fn __open_2(path: *const c_char, flags: c_int) -> c_int {
        open_with!(CWD, path, flags, real::__open_2()(path, flags))
    }
    fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
        open_with!(CWD, path, flags, real::__open64_2()(path, flags))
    }
    fn __openat_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
        open_with!(dir, path, flags, real::__openat_2()(dir, path, flags))
    }
    fn __openat64_2(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
        open_with!(dir, path, flags, real::__openat64_2()(dir, path, flags))
    }
    fn creat(path: *const c_char, mode: mode_t) -> c_int {
        open_with!(CWD, path, CREATE, real::creat()(path, mode))
    }
    fn creat64(path: *const c_char, mode: mode_t) -> c_int {
        open_with!(CWD, path, CREATE, real::creat64()(path, mode))
    }
    fn mkstemp(template: *mut c_char) -> c_int {
        replaced(real::mkstemp()(template))
    }
    fn mkstemp64(template: *mut c_char) -> c_int {
        replaced(real::mkstemp64()(template))
    }
    fn mkostemp(template: *mut c_char, flags: c_int) -> c_int {
        replaced(real::mkostemp()(template, flags))
    }
    fn mkostemp64(template: *mut c_char, flags: c_int) -> c_int {
        replaced(real::mkostemp64()(template, flags))
    }
    fn close(fd: c_int) -> c_int {
        forget(fd);
        real::close()(fd)
    }
    fn __close(fd: c_int) -> c_int {
        forget(fd);
        real::__close()(fd)
    }
    fn closedir(dir: *mut DIR) -> c_int {
        if !dir.is_null() {
            forget(libc::dirfd(dir));
        }
        real::closedir()(dir)
    }
    fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
        forget_range(first, last);
        real::close_range()(first, last, flags)
    }
    fn closefrom(first: c_int) -> () {
        forget_range(first.max(0) as c_uint, c_uint::MAX);
        real::closefrom()(first)
    }
    fn dup(fd: c_int) -> c_int {
        replaced(real::dup()(fd))
    }
    fn dup2(from: c_int, to: c_int) -> c_int {
        forget(to);
        replaced(real::dup2()(from, to))
    }
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int {
        forget(to);
        replaced(real::dup3()(from, to, flags))
    }
    fn fcntl(fd: c_int, command: c_int, argument: c_long) -> c_int {
        let result = real::fcntl()(fd, command, argument);
        controlled(fd, command, result);
        result
    }
    fn fcntl64(fd: c_int, command: c_int, argument: c_long) -> c_int {
        let result = real::fcntl64()(fd, command, argument);
        controlled(fd, command, result);
        result
    }
}

/// Duplicating makes a new number; new status flags (`O_DIRECT`) make another kind of file of it.
fn controlled(fd: c_int, command: c_int, result: c_int) {
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            replaced(result);
        }
        libc::F_SETFL => forget(fd),
        _ => {}
    }
}
