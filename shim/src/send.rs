//! `sendfile` from a file to a stream socket: what memory holds is sent from there, the rest is
//! left to the kernel's call. The caller's offset pointer is moved by what was really sent.
//!
//! The bytes are proved before the first of them leaves: they are put together in a buffer of the
//! shim's own, the version cells are looked at again, and only then is the buffer sent. Nothing
//! that was sent can be taken back. What an error or a full socket means is the kernel's word: the
//! send is made on the caller's socket as it is, and its errno is handed on.
//!
//! Called by `hook::send`. Never used for a descriptor that is read at its file offset, nor for a
//! socket that keeps message boundaries, nor for a file by `O_DIRECT`.
//!
//! # Safety
//! What is dangerous here: the caller's offset is read and written by plain accesses, after its
//! page was proved writable; the buffers are raw memory owned by whoever holds their lock.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use grid::files::PAYS;
use grid::header::switch;
use grid::names::{Bypass, Counter};
use grid::sync::{AtomicU32, AtomicU64, Ordering};

use crate::fdtable::{self, Class, Word};
use crate::governor;
use crate::read::held::{self, Miss};
use crate::read::{Quick, Request, count_left_alone, quick};
use crate::session::{self, Member};
use crate::sys::socket::{is_stream, send_on};
use crate::{classify, sys, trace};

/// Bytes put together and sent at a time; no piece crosses a multiple of it.
const PIECE_BYTES: usize = 128 * 1024;
/// Bytes of one call that are offered to the nodes.
const OFFER_BYTES_MAX: u64 = 1 << 20;
/// The most that one call of the kernel's sends.
const SEND_BYTES_MAX: usize = 0x7FFF_F000;
/// Largest block that a file learns here: web files are read whole.
const BLOCK_LOG2_MAX: u8 = 15;

/// What the caller asked for.
#[derive(Clone, Copy)]
pub struct Call {
    /// The socket.
    pub to: i32,
    /// The file.
    pub from: i32,
    /// Where the caller keeps the offset; null: at the file offset.
    pub offset: *mut i64,
    /// Bytes asked for.
    pub len: usize,
}

/// What to do with a call.
pub enum Plan {
    /// The kernel's; nothing to do afterwards.
    Pass,
    /// The kernel's; then call [`after`].
    Watch(Watch),
    /// So many bytes were sent from memory; the kernel's call for the rest, with an offset of ours,
    /// then [`after`] and [`settle`].
    Rest(Watch, usize, i64),
    /// Done: the result, and `errno` if it is negative.
    Done(isize, i32),
}

/// What [`after`] needs to know.
#[derive(Clone, Copy)]
pub struct Watch {
    from: i32,
    /// Where the kernel's call begins, if it is known.
    start: Option<i64>,
    /// Reads that this one stands for in the counters.
    reads: u64,
    reason: Bypass,
    /// What the thread's device counter was before.
    device_bytes: u64,
}

impl Watch {
    fn begin(from: i32, start: Option<i64>, reads: u64, reason: Bypass) -> Watch {
        let device_bytes = sys::device_bytes();
        Watch {
            from,
            start,
            reads,
            reason,
            device_bytes,
        }
    }
}

/// Decides, and sends what it can. The private word of the file comes first. A panic before
/// anything was sent is the kernel's call.
pub fn before(call: Call) -> Plan {
    catch_unwind(AssertUnwindSafe(|| decide(call))).unwrap_or(Plan::Pass)
}

fn decide(call: Call) -> Plan {
    match quick(call.from) {
        Quick::Pass => Plan::Pass,
        Quick::Time(reads) => Plan::Watch(Watch::begin(call.from, None, reads, Bypass::PageCache)),
        Quick::Consult => consult(call),
    }
}

#[cold]
#[inline(never)]
fn consult(call: Call) -> Plan {
    let Some(mut word) = fdtable::get(call.from) else {
        return Plan::Pass;
    };
    if matches!(word.class(), Class::Unknown | Class::Eligible) {
        word = classify::look(call.from);
    }
    if word.class() != Class::File {
        count_left_alone(call.from, word);
        return Plan::Pass;
    }
    if let Some(member) = session::member().filter(|member| trace::is_on(*member))
        && let Some(start) = caller_offset(call)
    {
        let place = (start, Some(call.len as u64));
        trace::read(Some(member), call.from, word, place);
    }
    let watch = |reason| Plan::Watch(Watch::begin(call.from, caller_offset(call), 1, reason));
    let Some(member) = session::join_to_read().filter(|_| word.mode() == governor::SERVE) else {
        return watch(Bypass::PageCache);
    };
    let Some(start) = caller_offset(call) else {
        return watch(Bypass::FileOffset);
    };
    let direct = fdtable::alignment(call.from).is_some();
    if direct || call.len == 0 || start < 0 || !is_stream(call.to) {
        return watch(Bypass::Shape);
    }
    send(member, call, word, start)
}

/// Where the call begins; `None`: at the file offset, or the pointer is bad.
fn caller_offset(call: Call) -> Option<i64> {
    let readable =
        !call.offset.is_null() && sys::memory::is_readable(call.offset.cast(), size_of::<i64>());
    // SAFETY: the page was proved readable and writable; the kernel would read it just the same.
    readable.then(|| unsafe { call.offset.read_unaligned() })
}

/// Sends piece by piece until memory or the socket has no more.
fn send(member: Member, call: Call, word: Word, start: i64) -> Plan {
    let Some(buffer) = Buffer::take() else {
        return Plan::Watch(Watch::begin(call.from, Some(start), 1, Bypass::TableFull));
    };
    let Ok(stat) = sys::file::identify_fd(call.from) else {
        return Plan::Pass;
    };
    let size = stat.stamp.size.min(i64::MAX as u64) as i64;
    let wanted = call.len.min(SEND_BYTES_MAX) as i64;
    let end = start.saturating_add(wanted).min(size);
    let mut at = start;
    while at < end {
        let piece = (PIECE_BYTES - at as usize % PIECE_BYTES).min((end - at) as usize);
        let part = [libc::iovec {
            iov_base: buffer.at.cast(),
            iov_len: piece,
        }];
        let request = Request {
            fd: call.from,
            buffers: &part,
            offset: at,
        };
        // A panic is caught here: once bytes have been sent, the call cannot begin anew.
        let bytes = || held::bytes(member, request, word);
        let held = catch_unwind(AssertUnwindSafe(bytes)).unwrap_or(Err(Miss::Failed));
        if let Err(miss) = held {
            return rest(member, call, start, at, miss);
        }
        let more = at + (piece as i64) < end;
        // SAFETY: `bytes` has just filled `piece` bytes of a buffer that this thread has locked.
        let sent = unsafe { send_on(call.to, buffer.at, piece, more) };
        match sent {
            Ok(sent) => at += sent as i64,
            Err(errno) if at == start => return Plan::Done(-1, errno.0),
            Err(_) => break,
        }
        if at % PIECE_BYTES as i64 != 0 && at < end {
            break;
        }
    }
    if at == start {
        // Nothing lies before the end of the file: what that means is for the kernel to say.
        return Plan::Watch(Watch::begin(call.from, Some(start), 1, Bypass::PastEnd));
    }
    move_offset(call, at);
    Plan::Done((at - start) as isize, 0)
}

/// Memory has no more: the kernel goes on at `at`.
fn rest(member: Member, call: Call, start: i64, at: i64, miss: Miss) -> Plan {
    let reason = match miss {
        Miss::Bypass(reason) => reason,
        Miss::Failed => Bypass::NotHeld,
    };
    if matches!(reason, Bypass::Resident)
        && let Some(word) = fdtable::get(call.from)
        && !member.header().is_on(switch::FILL_ALWAYS)
    {
        // A file is sent over descriptors that live for one call: what is known about it has to
        // outlive them.
        let (index, _) = word.record();
        if let Some(record) = member.region().files().records.get(index as usize) {
            record.clear_policy(PAYS);
        }
    }
    let watch = Watch::begin(call.from, Some(at), 1, reason);
    match at == start {
        true => Plan::Watch(watch),
        false => Plan::Rest(watch, (at - start) as usize, at),
    }
}

/// After the kernel's call for the rest: the caller's offset and result.
pub fn settle(call: Call, sent: usize, position: i64, result: isize) -> isize {
    move_offset(call, position);
    sent as isize + result.max(0)
}

fn move_offset(call: Call, to: i64) {
    // SAFETY: `caller_offset` proved the pointer before anything was sent.
    unsafe { call.offset.write_unaligned(to) };
}

/// After the kernel's call: what did it cost, and is what it read worth offering? A panic ends
/// here: the call was made.
pub fn after(watch: Watch, result: isize) {
    let _ = catch_unwind(|| learn(watch, result));
}

fn learn(watch: Watch, result: isize) {
    let Some(word) = fdtable::get(watch.from).filter(|word| word.class() == Class::File) else {
        return;
    };
    let Some(member) = session::join_to_read() else {
        return;
    };
    if let Some(counters) = member.counters() {
        counters.add(Counter::Reads, watch.reads);
        counters.add(Counter::ReadsDisk, watch.reads);
        counters.add(Counter::ReadBytes, watch.reads * result.max(0) as u64);
        counters.bypassed(watch.reason, watch.reads);
    }
    // How long it took says nothing: a call waits for the socket, too.
    let brought = sys::device_bytes().saturating_sub(watch.device_bytes);
    let read_device = brought > 0;
    match word.mode() {
        governor::SAMPLE => {
            governor::sampled(watch.from, word, read_device, brought);
        }
        governor::KERNEL if read_device => governor::slow_in_kernel_mode(watch.from, word),
        governor::SERVE => held::account_kernel(member, watch.from, word, read_device),
        _ => {}
    }
    trace::stay_in_sight(member, watch.from);
    let always = member.header().is_on(switch::FILL_ALWAYS);
    if let Some(start) = watch.start
        && result > 0
        && (read_device || always)
    {
        offer(member, word, watch.from, start, result as u64);
    }
}

/// Offers what the kernel has just read, piece by piece.
fn offer(member: Member, word: Word, from: i32, start: i64, len: u64) {
    let Ok(stat) = sys::file::identify_fd(from) else {
        return;
    };
    let Some(found) = classify::known_record(member, word, &stat) else {
        return;
    };
    let record = member.region().files().record(found);
    record.reads.fetch_add(1, Ordering::Relaxed);
    if !record.has_policy(PAYS) {
        record.set_policy(PAYS);
    }
    if record.block_log2().is_none() {
        let largest = member
            .region()
            .layout()
            .shape
            .refresh_log2()
            .min(BLOCK_LOG2_MAX);
        let whole = stat.stamp.size.next_power_of_two().trailing_zeros() as u8;
        record.learn_block_log2(whole.clamp(12, largest));
    }
    let (mut at, end) = (start as u64, start as u64 + len.min(OFFER_BYTES_MAX));
    while at < end {
        let piece = (PIECE_BYTES as u64 - at % PIECE_BYTES as u64).min(end - at);
        let part = [libc::iovec {
            iov_base: core::ptr::null_mut(),
            iov_len: piece as usize,
        }];
        let request = Request {
            fd: from,
            buffers: &part,
            offset: at as i64,
        };
        if !held::offer_blocks(member, request, word) {
            return;
        }
        at += piece;
    }
}

/// Buffers in which pieces are put together. A thread that is killed, or long-jumps out of a
/// handler, while it holds one leaves it locked: lost, not wrong.
struct Place {
    locked: AtomicU32,
    /// Address of the buffer, mapped at first use and kept for ever.
    at: AtomicU64,
}

const PLACES: usize = 64;
static BUFFERS: [Place; PLACES] = [const {
    Place {
        locked: AtomicU32::new(0),
        at: AtomicU64::new(0),
    }
}; PLACES];

struct Buffer {
    place: &'static Place,
    at: *mut u8,
}

impl Buffer {
    fn take() -> Option<Buffer> {
        let free = |place: &&Place| place.locked.swap(1, Ordering::Acquire) == 0;
        let place = BUFFERS.iter().find(free)?;
        if place.at.load(Ordering::Relaxed) == 0 {
            let at = sys::memory::map_private(PIECE_BYTES).map_or(0, |at| at as u64);
            place.at.store(at, Ordering::Relaxed);
        }
        let at = place.at.load(Ordering::Relaxed) as *mut u8;
        let buffer = Buffer { place, at };
        (!at.is_null()).then_some(buffer)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.place.locked.store(0, Ordering::Release);
    }
}

/// Forgets what the buffers hold that nobody is using: it was read under other credentials.
pub fn forget_contents() {
    for place in &BUFFERS {
        if place.locked.swap(1, Ordering::Acquire) == 0 {
            let at = place.at.load(Ordering::Relaxed) as *mut u8;
            if !at.is_null() {
                sys::memory::forget_content(at, PIECE_BYTES);
            }
            place.locked.store(0, Ordering::Release);
        }
    }
}

/// In a fork child: locks held by threads that do not exist here are dropped.
pub fn forget_parents() {
    for place in &BUFFERS {
        place.locked.store(0, Ordering::Release);
    }
}
