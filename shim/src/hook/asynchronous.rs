//! Writes that are submitted now and land later: POSIX AIO, libaio, io_uring. The files they may
//! write are out of service for the session; finer tracking (from submit to reap) is not built.
//!
//! # Safety
//! What is dangerous here: control blocks of the caller are read, as the real function is about to
//! read them. The bodies are `unsafe` functions with the contract of the function they stand for.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use grid::header::switch;
use grid::sync::{AtomicU32, Ordering};
use libc::{aiocb, c_int, c_long, c_uint, c_void, sigevent};
use redhook::real;

use super::hk_hook;
use crate::write::{Range, after, before, give_up};
use crate::{fdtable, session};

/// Whether this process has set up an io_uring: then whatever it has open for writing may change.
static HAS_RING: AtomicU32 = AtomicU32::new(0);

/// Whether this process, or one it was forked from, has set up an io_uring.
pub fn has_ring() -> bool {
    HAS_RING.load(Ordering::Relaxed) != 0
}

/// Before an io_uring is set up. `Some`: the answer instead (`--no-io-uring`).
fn ring_wanted() -> Option<c_int> {
    session::config()?;
    let member = session::join()?;
    if member.header().is_on(switch::NO_IO_URING) {
        return Some(-libc::ENOSYS);
    }
    if HAS_RING.swap(1, Ordering::SeqCst) == 0 {
        for fd in 0..fdtable::DESCRIPTORS.min(4096) as c_int {
            let flags = crate::sys::file::status_flags(fd);
            if flags & libc::O_ACCMODE != libc::O_RDONLY {
                give_up(fd);
            }
        }
    }
    None
}

/// Start of a libaio control block, as the kernel defines it.
#[repr(C)]
pub struct Iocb {
    data: u64,
    key_flags: u64,
    opcode: u16,
    priority: u16,
    fd: u32,
}

const IOCB_PWRITE: u16 = 1;
const IOCB_PWRITEV: u16 = 8;

hk_hook! {
    fn aio_write(block: *mut aiocb) -> c_int => hk_aio_write {
        if !block.is_null() {
            give_up((*block).aio_fildes);
        }
        real!(aio_write)(block)
    }
    fn aio_write64(block: *mut aiocb) -> c_int => hk_aio_write64 {
        if !block.is_null() {
            give_up((*block).aio_fildes);
        }
        real!(aio_write64)(block)
    }
    fn lio_listio(mode: c_int, list: *const *mut aiocb, n: c_int, event: *mut sigevent) -> c_int
    => hk_lio_listio {
        give_up_list(list, n);
        real!(lio_listio)(mode, list, n, event)
    }
    fn lio_listio64(mode: c_int, list: *const *mut aiocb, n: c_int, event: *mut sigevent) -> c_int
    => hk_lio_listio64 {
        give_up_list(list, n);
        real!(lio_listio64)(mode, list, n, event)
    }
    fn io_submit(context: *mut c_void, n: c_long, blocks: *const *mut Iocb) -> c_int
    => hk_io_submit {
        for nth in 0..n.max(0) as usize {
            let block = *blocks.add(nth);
            if !block.is_null() && matches!((*block).opcode, IOCB_PWRITE | IOCB_PWRITEV) {
                give_up((*block).fd as c_int);
            }
        }
        real!(io_submit)(context, n, blocks)
    }
    fn io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int
    => hk_ring_init {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_queue_init)(entries, ring, flags),
        }
    }
    fn io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int
    => hk_ring_init_params {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_queue_init_params)(entries, ring, params),
        }
    }
    fn syscall(
        number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
    ) -> c_long => hk_syscall {
        let call = real!(syscall);
        let pending = match number {
            libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 | libc::SYS_pwritev
            | libc::SYS_pwritev2 | libc::SYS_ftruncate | libc::SYS_fallocate => {
                before(a as c_int, Range::Anywhere)
            }
            libc::SYS_copy_file_range | libc::SYS_splice => before(c as c_int, Range::Anywhere),
            libc::SYS_sendfile => before(a as c_int, Range::Anywhere),
            libc::SYS_io_uring_setup => {
                if ring_wanted().is_some() {
                    *libc::__errno_location() = libc::ENOSYS;
                    return -1;
                }
                None
            }
            _ => None,
        };
        raw_identity_before(number, a, b);
        let result = call(number, a, b, c, d, e, f);
        after(pending, result as isize);
        raw_identity_after(number, result);
        result
    }
}

fn give_up_list(list: *const *mut aiocb, n: c_int) {
    for nth in 0..n.max(0) as usize {
        // SAFETY: the caller's list has `n` entries, null or a control block, for the real call.
        unsafe {
            let block = *list.add(nth);
            if !block.is_null() && (*block).aio_lio_opcode == libc::LIO_WRITE {
                give_up((*block).aio_fildes);
            }
        }
    }
}

/// Raw calls that close a number or give it a new meaning (libuv closes so).
fn raw_identity_before(number: c_long, a: c_long, b: c_long) {
    match number {
        libc::SYS_close => fdtable::forget(a as c_int),
        libc::SYS_close_range => fdtable::forget_range(a as u32, b as u32),
        libc::SYS_dup3 => fdtable::forget(b as c_int),
        libc::SYS_fcntl if b as c_int == libc::F_SETFL => fdtable::forget(a as c_int),
        _ => {}
    }
}

fn raw_identity_after(number: c_long, result: c_long) {
    let opens = matches!(number, libc::SYS_openat | libc::SYS_openat2 | libc::SYS_dup);
    if opens && result >= 0 {
        fdtable::forget(result as c_int);
    }
}
