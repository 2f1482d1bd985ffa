//! Writes that are submitted now and land later: POSIX AIO, libaio, io_uring. Those by libaio are
//! in flight from submission to reaping (`flights`); the files that the others may write are out
//! of service for the session.
//!
//! # Safety
//! What is dangerous here: control blocks of the caller are read, as the real function is about to
//! read them. The bodies are `unsafe` functions with the contract of the function they stand for.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use grid::header::switch;
use grid::sync::{AtomicU32, Ordering};
use libc::{aiocb, c_int, c_long, c_uint, c_void, iovec, sigevent, size_t, timespec};
use redhook::real;

use super::counted::{give_up, told_or};
use super::hk_hook;
use super::write::{at, range_of};
use crate::sys::memory::fetch;
use crate::write::Range;
use crate::{fdtable, flights, session};

/// Whether this process has set up an io_uring: then whatever it has open for writing may change.
static HAS_RING: AtomicU32 = AtomicU32::new(0);

/// Whether this process, or one it was forked from, has set up an io_uring.
pub fn has_ring() -> bool {
    HAS_RING.load(Ordering::Relaxed) != 0
}

/// Before an io_uring is set up. `Some`: the answer instead (`--no-io-uring`).
pub fn ring_wanted() -> Option<c_int> {
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
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Iocb {
    data: u64,
    key_flags: u64,
    opcode: u16,
    priority: u16,
    fd: u32,
    buf: u64,
    count: u64,
    offset: i64,
}

/// A finished libaio request, as the kernel reports it.
#[repr(C)]
pub struct Event {
    data: u64,
    /// Address of its control block.
    block: u64,
    result: i64,
    result_2: i64,
}

const IOCB_PWRITE: u16 = 1;
const IOCB_PWRITEV: u16 = 8;

impl Iocb {
    /// What it will write. `None`: nothing.
    fn range(&self) -> Option<Range> {
        let flags = self.key_flags >> 32;
        match self.opcode {
            IOCB_PWRITE | IOCB_PWRITEV if flags != 0 => Some(Range::Anywhere),
            IOCB_PWRITE => Some(at(self.offset, self.count)),
            IOCB_PWRITEV => {
                let count = self.count.try_into().unwrap_or(c_int::MAX);
                Some(range_of(self.buf as *const iovec, count, self.offset))
            }
            _ => None,
        }
    }
}

/// Before a submission: the writes among the blocks are counted in.
///
/// # Safety
/// `blocks` must be a list of `n` control blocks, as for `io_submit`.
pub unsafe fn submitting(context: u64, n: c_long, blocks: *const *mut Iocb) {
    if session::config().is_none() {
        return;
    }
    for nth in 0..n.max(0) as usize {
        // The kernel stops at the first address that is bad, too.
        let block = fetch(blocks.add(nth)).filter(|block| !block.is_null());
        let Some((key, block)) = block.and_then(|at| Some((at as u64, fetch(at.cast_const())?)))
        else {
            return;
        };
        if let Some(range) = block.range() {
            let fd = block.fd as c_int;
            told_or(
                (),
                || flights::begin(context, key, fd, range),
                || give_up(fd),
            );
        }
    }
}

/// After it: what the kernel did not take is counted out again.
///
/// # Safety
/// As `submitting`.
pub unsafe fn submitted(context: u64, n: c_long, blocks: *const *mut Iocb, result: c_long) {
    if session::config().is_none() {
        return;
    }
    for nth in 0..n.max(0) {
        let Some(block) = fetch(blocks.add(nth as usize)) else {
            return;
        };
        match nth < result {
            true => flights::taken(context, block as u64),
            false => flights::end(context, block as u64),
        }
    }
}

/// After a reaping: the writes among the events are counted out.
///
/// # Safety
/// `events` must hold `result` events.
pub unsafe fn reaped(context: u64, events: *const Event, result: c_long) {
    for nth in 0..result.max(0) as usize {
        flights::end(context, (*events.add(nth)).block);
    }
}

/// After the end of a context.
pub fn destroyed(context: u64, result: c_long) {
    if result == 0 {
        flights::end_all(context);
    }
}

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
        submitting(context as u64, n, blocks);
        let result = real!(io_submit)(context, n, blocks);
        submitted(context as u64, n, blocks, c_long::from(result));
        result
    }
    fn io_getevents(
        context: *mut c_void, least: c_long, n: c_long, events: *mut Event, wait: *mut timespec
    ) -> c_int => hk_io_getevents {
        let result = real!(io_getevents)(context, least, n, events, wait);
        reaped(context as u64, events, c_long::from(result));
        result
    }
    fn io_pgetevents(
        context: *mut c_void, least: c_long, n: c_long, events: *mut Event, wait: *mut timespec,
        mask: *mut c_void
    ) -> c_int => hk_io_pgetevents {
        let result = real!(io_pgetevents)(context, least, n, events, wait, mask);
        reaped(context as u64, events, c_long::from(result));
        result
    }
    fn io_destroy(context: *mut c_void) -> c_int => hk_io_destroy {
        let result = real!(io_destroy)(context);
        destroyed(context as u64, c_long::from(result));
        result
    }
    fn io_uring_queue_init(entries: c_uint, ring: *mut c_void, flags: c_uint) -> c_int
    => hk_ring_init {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_queue_init)(entries, ring, flags),
        }
    }
    fn io_uring_queue_init_mem(
        entries: c_uint, ring: *mut c_void, params: *mut c_void, at: *mut c_void, len: size_t
    ) -> c_int => hk_ring_init_mem {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_queue_init_mem)(entries, ring, params, at, len),
        }
    }
    fn io_uring_setup(entries: c_uint, params: *mut c_void) -> c_int => hk_ring_setup {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_setup)(entries, params),
        }
    }
    fn io_uring_queue_init_params(entries: c_uint, ring: *mut c_void, params: *mut c_void) -> c_int
    => hk_ring_init_params {
        match ring_wanted() {
            Some(answer) => answer,
            None => real!(io_uring_queue_init_params)(entries, ring, params),
        }
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
