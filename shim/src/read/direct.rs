//! Reads of descriptors opened with `O_DIRECT`. They pass the page cache by, so no residency is
//! asked for, nothing is promoted, and no readahead is hoped for: the best case of this cache.
//!
//! What is misaligned by the kernel's own rules is the kernel's to answer. A fill cannot be read
//! again from the page cache, and the caller's buffer is the caller's: another thread may be
//! writing it. So the kernel's read is made once, into refresh slots, which nobody else writes, and
//! the caller gets a copy (`docs/design.md`, section 11).
//!
//! # Safety
//! What is dangerous here: the kernel writes into refresh slots of the region, claimed by this
//! process and as long as the largest block; the caller's buffers are written by plain stores after
//! their pages were proved writable.
#![allow(unsafe_code)]

use grid::header::Header;
use grid::names::{Bypass, Counter};
use grid::refresh::Refresh;
use grid::sync::Ordering;

use super::fill::{self, HOPE_NS, first_refresh};
use super::target::{BLOCKS_MAX, Target, still_stands};
use super::{Plan, Request, account, is_slow, local, to_ns};
use crate::fdtable::{self, Word};
use crate::session::{self, Member};
use crate::sys::memory::copy_to_caller;
use crate::{classify, sys};

/// Whether a read is one that the kernel would make on this descriptor: `Ok(true)` direct and
/// aligned, `Ok(false)` not direct.
pub fn admits(request: Request) -> Result<bool, Bypass> {
    let Some(alignment) = fdtable::alignment(request.fd) else {
        return Ok(false);
    };
    let (offset, memory) = (alignment.offset as usize, alignment.memory as usize);
    let fits = |buffer: &libc::iovec| {
        (buffer.iov_base as usize).is_multiple_of(memory) && buffer.iov_len.is_multiple_of(offset)
    };
    let aligned =
        (request.offset as usize).is_multiple_of(offset) && request.buffers.iter().all(fits);
    aligned.then_some(true).ok_or(Bypass::Direct)
}

/// Makes the kernel's read, through refresh slots if the blocks are worth offering. `Served` is the
/// kernel's own content then; any other plan leaves the call to the hook.
#[inline(never)]
pub fn read_and_fill(member: Member, request: Request, word: Word, target: &Target) -> Plan {
    let within = (1u64 << target.log2) - 1;
    let whole = (target.offset | target.len) & within == 0;
    if !whole || session::is_shared_memory_child() {
        // The blocks would have to be read once more, which only the tests want.
        return match fill::always(member) {
            true => fill::plan(target),
            false => fill::watch(target),
        };
    }
    let wanted = fill::is_worth_it(member, request.fd, first_refresh(target));
    if !wanted || !local::all_writable(request) {
        return fill::watch(target);
    }
    let Some(slots) = Slots::claim(member, target) else {
        return fill::watch(target);
    };
    let start = sys::ticks();
    if !slots.read(request.fd, target) {
        slots.free();
        return fill::watch(target);
    }
    note(
        member,
        target,
        to_ns(member, sys::ticks().wrapping_sub(start)),
    );
    slots.deliver(request, target);
    if !session::is_current(member) {
        // Another thread has changed the credentials: the slots may have been gone already.
        return Plan::Pass;
    }
    slots.offer(request.fd, target);
    account(member, request, word, HOPE_NS);
    Plan::Served(target.len as isize)
}

fn note(member: Member, target: &Target, took_ns: u64) {
    if is_slow(member, took_ns) {
        member.header().note_disk(took_ns);
        if let Some(counters) = member.counters() {
            counters.disk_latency.record(took_ns);
        }
    }
    let record = member.region().files().record(target.record);
    record.reads.fetch_add(1, Ordering::Relaxed);
}

/// A refresh slot for each block of a read. Not freed by dropping: a thread that long-jumps out of
/// a handler in the middle leaves them to the reaper, as any thread that is killed does.
struct Slots {
    member: Member,
    slots: [u16; BLOCKS_MAX],
    count: usize,
}

impl Slots {
    fn claim(member: Member, target: &Target) -> Option<Slots> {
        let owner = member.slot?;
        let mut claimed = Slots {
            member,
            slots: [0; BLOCKS_MAX],
            count: 0,
        };
        let all = member.region().refresh();
        while claimed.count < target.count as usize {
            let hint = (target.first as usize + claimed.count) ^ usize::from(owner) << 3;
            let has_token = Header::take_token(&member.header().fill_tokens);
            let Some(slot) = has_token.then(|| all.claim(owner, hint)).flatten() else {
                claimed.free();
                if let Some(counters) = member.counters() {
                    counters.add(Counter::PushDropped, u64::from(target.count));
                }
                return None;
            };
            claimed.slots[claimed.count] = slot as u16;
            claimed.count += 1;
        }
        Some(claimed)
    }

    fn all(&self) -> &[u16] {
        &self.slots[..self.count]
    }

    fn content(&self, slot: u16) -> *mut u8 {
        self.member.region().refresh_content(usize::from(slot))
    }

    fn free(&self) {
        let all = self.member.region().refresh();
        self.all()
            .iter()
            .for_each(|slot| all.free(usize::from(*slot)));
    }

    /// The kernel's read of all blocks; false: not all of it came.
    fn read(&self, fd: i32, target: &Target) -> bool {
        let mut vectors = [const {
            libc::iovec {
                iov_base: core::ptr::null_mut(),
                iov_len: 0,
            }
        }; BLOCKS_MAX];
        for (vector, slot) in vectors.iter_mut().zip(self.all()) {
            vector.iov_base = self.content(*slot).cast();
            vector.iov_len = 1 << target.log2;
        }
        // SAFETY: each slot is claimed by this process and as long as the largest block.
        let read = unsafe { sys::file::read_vectors(fd, &vectors[..self.count], target.offset) };
        read == Ok(target.len as usize)
    }

    /// Copies the blocks into the caller's buffers.
    fn deliver(&self, request: Request, target: &Target) {
        let block_bytes = 1usize << target.log2;
        let mut at = 0;
        for buffer in request.buffers {
            let mut done = 0;
            while done < buffer.iov_len {
                let within = at & (block_bytes - 1);
                let len = (block_bytes - within).min(buffer.iov_len - done);
                let Some(slot) = self.all().get(at >> target.log2) else {
                    return;
                };
                // SAFETY: `within + len` is at most a block of the slot; the caller's pages were
                // proved writable for the buffer's length.
                unsafe {
                    let to = buffer.iov_base.cast::<u8>().add(done);
                    copy_to_caller(self.content(*slot).add(within), to, len);
                }
                done += len;
                at += len;
            }
        }
    }

    /// Rule F2, then to the hook server.
    fn offer(&self, fd: i32, target: &Target) {
        let (cells, slots) = (self.member.region().cells(), self.member.region().refresh());
        let stands = still_stands(self.member, fd, target.record, target.hash, target.seen);
        let stands = stands.is_some();
        let mut offered = 0;
        for ((block, version), slot) in target.blocks().zip(self.all()) {
            let slot = usize::from(*slot);
            if !stands || !grid::writes::block_unchanged(cells, target.hash, block, version) {
                slots.free(slot);
                continue;
            }
            let names = first_refresh(target);
            slots.submit(
                slot,
                Refresh {
                    block,
                    version,
                    ..names
                },
            );
            offered += 1;
        }
        if offered > 0 {
            if let Some(counters) = self.member.counters() {
                counters.add(Counter::Refreshes, offered);
            }
            classify::ring(self.member);
        }
    }
}
