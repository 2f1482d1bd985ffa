//! Step 6 of a read: one round trip to the memory node, on the calling thread, with a deadline. The
//! answer is opened (envelope), the version cells are looked at again, and only then does a byte
//! reach the caller's buffer.
//!
//! # Safety
//! What is dangerous here: the receive buffer is raw memory owned by the locked connection, and the
//! copy into the caller's buffer is made of plain stores. Only the holder of the lock forms a
//! reference to the buffer; the caller's pages have been proved writable.
#![allow(unsafe_code)]

use grid::header::switch;
use grid::local::Why;
use grid::names::{Counter, Fallback};
use grid::node::NodeRecord;
use grid::sync::Ordering;
use wire::resp::refusal::Refusal;

use super::Request;
use super::answer::{ABSENT, Payloads, Progress, Scan};
use super::target::{BLOCKS_MAX, Target};
use super::{local, to_ns};
use crate::session::{self, Member};
use crate::sockets::{self, BUFFER_BYTES, Connection};
use crate::sys::socket::{receive, send};
use crate::sys::{self, Errno};

/// A reader spins for its reply at most so long, in microseconds, and only while the host has idle
/// processors: waking an idle virtual processor costs more than a whole round trip.
const SPIN_US: u64 = 120;
/// Bytes around a region promoted at once: one read of the device.
const PROMOTE_BYTES: u64 = 128 * 1024;
/// Heat at which a block is worth keeping locally or promoting: it was fetched before.
const HOT: u32 = 1;

/// Fetches, proves and delivers. Of the target's blocks the read wants the first `wanted`; what
/// was fetched ahead is kept in the local cache.
pub fn serve(
    member: Member,
    request: Request,
    target: &Target,
    wanted: u32,
) -> Result<isize, Fallback> {
    if session::is_shared_memory_child() {
        return Err(Fallback::NoSocket);
    }
    if !local::all_writable(request) {
        return Err(Fallback::BadBuffer);
    }
    let node = target.node(member).ok_or(Fallback::NoSocket)?;
    // The deadline is the read's, waiting for a connection included.
    let start = sys::ticks();
    let connection = sockets::take(member, node).ok_or(Fallback::NoSocket)?;
    let mut payloads = [0; BLOCKS_MAX];
    match exchange(member, &connection, target, start, &mut payloads) {
        Ok(()) => {}
        Err(reason) => {
            settle(member, connection, reason);
            return Err(reason);
        }
    }
    if !open_all(member, &connection, target, &payloads) {
        blame(member, connection.node(), true);
        return Err(Fallback::Envelope);
    }
    if let Some(record) = connection.node() {
        record.succeeded();
    }
    if !target.is_unchanged(member) {
        return Err(Fallback::Changed);
    }
    deliver(request, target, connection.buffer, &payloads);
    keep_or_promote(
        member,
        request,
        (target, wanted),
        connection.buffer,
        &payloads,
    );
    Ok(target.len as isize)
}

/// What a failed exchange means for the node and the connection, which is in step after a whole
/// answer of whatever kind.
#[cold]
fn settle(member: Member, connection: Connection, reason: Fallback) {
    match reason {
        Fallback::Missing => {}
        Fallback::Moved => {
            member.header().moved.fetch_add(1, Ordering::Relaxed);
        }
        // Not asked again and again while it is loading, say.
        Fallback::Refused => blame(member, connection.node(), false),
        _ => {
            blame(member, connection.node(), reason != Fallback::Deadline);
            connection.discard();
        }
    }
}

/// Counts a failure of the node, for everybody; of none if its number has changed hands meanwhile.
#[cold]
fn blame(member: Member, record: Option<&NodeRecord>, certain: bool) {
    let Some(record) = record else { return };
    let deadline_ms = member.header().deadline_us.load(Ordering::Relaxed) / 1000;
    record.failed(certain, sys::monotonic_ms(), deadline_ms);
}

/// Sends the request and receives the whole answer.
fn exchange(
    member: Member,
    connection: &Connection,
    target: &Target,
    start: u64,
    payloads: &mut Payloads,
) -> Result<(), Fallback> {
    // SAFETY: the connection is locked by this thread, so nobody else reaches its buffer.
    let buffer = unsafe { sys::memory::bytes_mut(connection.buffer, BUFFER_BYTES) };
    let len = encode(member, target, buffer).ok_or(Fallback::Protocol)?;
    let sent = send(connection.fd, &buffer[..len]).map_err(|_| Fallback::Connection)?;
    if sent != len {
        return Err(Fallback::Connection);
    }
    let mut have = 0;
    let mut scan = Scan::new(target.count as usize, target.count_of_first_slot());
    let mut is_late = false;
    loop {
        // Whoever was kept from running past the deadline still gets an answer that is here, whole.
        let left_us = self::left_us(member, start);
        if is_late {
            return Err(Fallback::Deadline);
        }
        is_late = left_us == 0;
        have += wait(member, connection, &mut buffer[have..], start, left_us)?;
        match scan.advance(&buffer[..have], payloads) {
            Progress::More => {}
            Progress::Done => break,
            Progress::Broken => return Err(Fallback::Protocol),
        }
    }
    match (scan.refusal, scan.missing) {
        (None, 0) => Ok(()),
        (None, _) => {
            forget_missing(member, target, payloads);
            Err(Fallback::Missing)
        }
        (Some(Refusal::Moved), _) => Err(Fallback::Moved),
        (Some(_), _) => Err(Fallback::Refused),
    }
}

/// One GET, or one MGET for each slot: a cluster takes no question about two.
#[inline(never)]
fn encode(member: Member, target: &Target, buffer: &mut [u8]) -> Option<usize> {
    let keys = &member.joined.keys;
    let mut slot = target.slot_of(member, target.first);
    if target.count == 1 {
        let key = keys.wire_key(&target.block_id(target.first, target.versions[0]), slot);
        return wire::resp::encode_get(buffer, &key);
    }
    let within = target.count_of_first_slot();
    let mut names = [[0u8; wire::KEY_BYTES]; BLOCKS_MAX];
    for (nth, (name, (block, version))) in names.iter_mut().zip(target.blocks()).enumerate() {
        if nth == within {
            slot = target.slot_of(member, block);
        }
        *name = keys.wire_key(&target.block_id(block, version), slot);
    }
    let (first, second) = names[..target.count as usize].split_at_checked(within)?;
    let len = wire::resp::encode_mget(buffer, first)?;
    if second.is_empty() {
        return Some(len);
    }
    Some(len + wire::resp::encode_mget(buffer.get_mut(len..)?, second)?)
}

/// Microseconds left of the deadline of a whole answer that was asked for at `start`: bytes that
/// trickle in do not put it off.
fn left_us(member: Member, start: u64) -> u64 {
    let header = member.header();
    let deadline_us = header.deadline_us.load(Ordering::Relaxed).max(1000);
    let elapsed_us = to_ns(member, sys::ticks().wrapping_sub(start)) / 1000;
    deadline_us.saturating_sub(elapsed_us)
}

/// Waits for bytes: spinning while the host has idle processors, then asleep for `left_us` at most.
/// With nothing left it takes what is here.
fn wait(
    member: Member,
    connection: &Connection,
    room: &mut [u8],
    start: u64,
    left_us: u64,
) -> Result<usize, Fallback> {
    let elapsed_us = || to_ns(member, sys::ticks().wrapping_sub(start)) / 1000;
    if member.header().is_on(switch::SPIN) && left_us > 0 {
        while elapsed_us() < SPIN_US {
            match receive(connection.fd, room, false) {
                Ok(0) => return Err(Fallback::Connection),
                Ok(count) => return Ok(count),
                // The node (or whoever it waits for) may have been woken on this very processor.
                Err(Errno(libc::EAGAIN)) => sys::yield_now(),
                Err(Errno(libc::EINTR)) => {}
                Err(_) => return Err(Fallback::Connection),
            }
        }
    }
    if left_us > 0 {
        connection.set_limit(left_us);
    }
    loop {
        match receive(connection.fd, room, left_us > 0) {
            Ok(0) => return Err(Fallback::Connection),
            Ok(count) => return Ok(count),
            Err(Errno(libc::EINTR)) if self::left_us(member, start) > 0 => {}
            Err(Errno(libc::EAGAIN | libc::EINTR)) => return Err(Fallback::Deadline),
            Err(_) => return Err(Fallback::Connection),
        }
    }
}

#[cold]
fn forget_missing(member: Member, target: &Target, payloads: &Payloads) {
    let index = member.region().index();
    for ((block, version), offset) in target.blocks().zip(payloads) {
        if *offset == ABSENT {
            index.remove(target.held(block, version));
        }
    }
}

/// Proves every block, and decrypts it in place where it is sealed. What fails stays in here: the
/// next answer is received over it.
#[inline(never)]
fn open_all(member: Member, connection: &Connection, target: &Target, payloads: &Payloads) -> bool {
    // SAFETY: the connection is locked by this thread, so nobody else reaches its buffer.
    let buffer = unsafe { sys::memory::bytes_mut(connection.buffer, BUFFER_BYTES) };
    target
        .blocks()
        .zip(payloads)
        .all(|((block, version), offset)| {
            let body = *offset as usize + wire::HEADER_BYTES;
            let value = buffer.get_mut(*offset as usize..body + (1 << target.log2));
            let Some((header, payload)) =
                value.and_then(|value| value.split_at_mut_checked(wire::HEADER_BYTES))
            else {
                return false;
            };
            member
                .joined
                .keys
                .open(&target.block_id(block, version), header, payload)
                .is_ok()
        })
}

/// Copies the proved payloads into the caller's buffers.
fn deliver(request: Request, target: &Target, from: *const u8, payloads: &Payloads) {
    let block_bytes = 1usize << target.log2;
    let mut at = target.offset;
    for buffer in request.buffers {
        let mut done = 0;
        while done < buffer.iov_len {
            let nth = ((at >> target.log2) - target.first) as usize;
            let within = at as usize & (block_bytes - 1);
            let len = (block_bytes - within).min(buffer.iov_len - done);
            let Some(offset) = payloads.get(nth) else {
                return;
            };
            let payload = *offset as usize + wire::HEADER_BYTES + within;
            // SAFETY: `open_all` found `block_bytes` of payload behind each offset within the
            // receive buffer; the caller's pages were proved writable for the buffer's length.
            unsafe {
                let to = buffer.iov_base.cast::<u8>().add(done);
                core::ptr::copy_nonoverlapping(from.add(payload), to, len);
            }
            done += len;
            at += len as u64;
        }
    }
}

/// A block that keeps being fetched is kept in the region, and brought back into the page cache
/// when the device has time for it.
fn keep_or_promote(
    member: Member,
    request: Request,
    (target, wanted): (&Target, u32),
    from: *const u8,
    payloads: &Payloads,
) {
    let header = member.header();
    let index = member.region().index();
    for ((block, version), offset) in target.blocks().zip(payloads) {
        let is_ahead = block - target.first >= u64::from(wanted);
        let held = target.held(block, version);
        if !is_ahead && index.heat(held).unwrap_or(0) < HOT {
            index.set_heat(held, HOT);
            continue;
        }
        let why = if is_ahead { Why::Ahead } else { Why::Wanted };
        // SAFETY: the payload of a proved block lies in the locked receive buffer.
        unsafe {
            let content = from.add(*offset as usize + wire::HEADER_BYTES);
            local::keep(member, target, block, why, content);
        }
        if !is_ahead
            && header.is_on(switch::PROMOTE)
            && !header.is_on(switch::FILL_ALWAYS)
            && !target.is_direct
            && grid::header::Header::take_token(&header.promote_tokens)
        {
            let at = (block << target.log2) & !(PROMOTE_BYTES - 1);
            sys::file::will_need(request.fd, at, PROMOTE_BYTES);
            if let Some(counters) = member.counters() {
                counters.add(Counter::Promotions, 1);
            }
        }
    }
}
