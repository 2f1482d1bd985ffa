//! `syscall`: the calls of the other files, made by number. Byte ranges are not told apart here: a
//! write counts the whole file. (Instructions that enter the kernel without libc pass no hook; who
//! makes them is an outsider.)
//!
//! # Safety
//! What is dangerous here: the body is an `unsafe` function with the contract of the libc function
//! it stands for: arguments are pointers where the number says so, followed as the kernel will.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_char, c_int, c_long, c_ulong};
use redhook::real;

use super::asynchronous::{Event, destroyed, reaped, ring_wanted, submitted, submitting};
use super::hk_hook;
use super::mapping::mapping;
use super::resize::changes_content;
use crate::fdtable::{forget, forget_range};
use crate::session;
use crate::write::{Pending, Range, after, after_path, before, before_path};

/// Not named by the libc crate on x86-64.
#[cfg(target_arch = "x86_64")]
const SYS_IO_PGETEVENTS: c_long = 333;
#[cfg(target_arch = "aarch64")]
const SYS_IO_PGETEVENTS: c_long = 292;

type PathPending = Option<(crate::session::Member, grid::writes::Ticket)>;

/// What was begun before the call.
enum Begun {
    Nothing,
    Write(Option<Pending>),
    Path(PathPending),
    /// An io_uring is not to be had (`--no-io-uring`).
    Refused,
}

/// The arguments of a call.
type Words = [c_long; 6];

unsafe fn begin(number: c_long, words: Words) -> Begun {
    let [a, b, c, d, e, _] = words;
    let write = |fd: c_long| Begun::Write(before(fd as c_int, Range::Anywhere));
    let path = |dir: c_int, name: c_long, flags: c_long| match flags as c_int & libc::O_TRUNC {
        0 => Begun::Nothing,
        _ => Begun::Path(before_path(dir, name as *const c_char)),
    };
    if changes_credentials(number) {
        session::leave();
    }
    match number {
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_pwrite64
        | libc::SYS_pwritev
        | libc::SYS_pwritev2
        | libc::SYS_ftruncate
        | libc::SYS_fallocate
        | libc::SYS_sendfile => write(a),
        libc::SYS_copy_file_range | libc::SYS_splice => write(c),
        libc::SYS_ioctl if changes_content(b as c_ulong) => write(a),
        libc::SYS_truncate => path(libc::AT_FDCWD, a, libc::O_TRUNC.into()),
        libc::SYS_openat => path(a as c_int, b, c),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => path(libc::AT_FDCWD, a, b),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_creat => path(libc::AT_FDCWD, a, libc::O_TRUNC.into()),
        libc::SYS_openat2 => {
            let how = c as *const u64;
            let told = !how.is_null() && crate::sys::memory::is_readable(how.cast(), 8);
            path(
                a as c_int,
                b,
                if told {
                    how.read_unaligned() as c_long
                } else {
                    0
                },
            )
        }
        libc::SYS_mmap => {
            mapping(e as c_int, d as c_int);
            Begun::Nothing
        }
        libc::SYS_io_submit => {
            submitting(a as u64, b, c as *const _);
            Begun::Nothing
        }
        libc::SYS_io_uring_setup if ring_wanted().is_some() => Begun::Refused,
        _ => {
            identity_before(number, a, b);
            Begun::Nothing
        }
    }
}

unsafe fn end(number: c_long, words: Words, begun: Begun, result: c_long) {
    match begun {
        Begun::Write(pending) => after(pending, result as isize),
        Begun::Path(pending) => after_path(pending),
        Begun::Nothing | Begun::Refused => {}
    }
    if changes_credentials(number) {
        session::settled();
    }
    let [a, b, c, d, ..] = words;
    match number {
        libc::SYS_io_submit => submitted(a as u64, b, c as *const _, result),
        libc::SYS_io_getevents | SYS_IO_PGETEVENTS => {
            reaped(a as u64, d as *const Event, result);
        }
        libc::SYS_io_destroy => destroyed(a as u64, result),
        libc::SYS_openat | libc::SYS_openat2 | libc::SYS_dup if result >= 0 => {
            super::descriptor::opened_raw(result as c_int);
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open | libc::SYS_creat if result >= 0 => {
            super::descriptor::opened_raw(result as c_int);
        }
        _ => {}
    }
}

/// Calls that change the rights of this process, or of this thread alone: whoever does that for
/// each request stays with the kernel soon (`rooms`).
fn changes_credentials(number: c_long) -> bool {
    matches!(
        number,
        libc::SYS_setuid
            | libc::SYS_setgid
            | libc::SYS_setreuid
            | libc::SYS_setregid
            | libc::SYS_setresuid
            | libc::SYS_setresgid
            | libc::SYS_setgroups
            | libc::SYS_setns
            | libc::SYS_unshare
            | libc::SYS_chroot
            | libc::SYS_pivot_root
    )
}

/// Calls that close a number or give it a new meaning (libuv closes so).
fn identity_before(number: c_long, a: c_long, b: c_long) {
    match number {
        libc::SYS_close => forget(a as c_int),
        libc::SYS_close_range => forget_range(a as u32, b as u32),
        libc::SYS_dup3 => forget(b as c_int),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => forget(b as c_int),
        libc::SYS_fcntl if b as c_int == libc::F_SETFL => forget(a as c_int),
        _ => {}
    }
}

hk_hook! {
    fn syscall(
        number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
    ) -> c_long => hk_syscall {
        let (call, words) = (real!(syscall), [a, b, c, d, e, f]);
        let begun = begin(number, words);
        if matches!(begun, Begun::Refused) {
            *libc::__errno_location() = libc::ENOSYS;
            return -1;
        }
        let result = call(number, a, b, c, d, e, f);
        end(number, words, begun, result);
        result
    }
}
