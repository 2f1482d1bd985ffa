//! After a read that the kernel served: is the block worth sending to a node? What came off the
//! device is, of a file that is read more than written. The content is read again from the page
//! cache into a refresh slot, never taken from the caller's buffer, under the versions that were
//! seen before the kernel's read (rule F1).
//!
//! # Safety
//! What is dangerous here: the kernel writes into a refresh slot of the region, which this process
//! has claimed; the length is the slot's.
#![allow(unsafe_code)]

use grid::header::{Header, switch};
use grid::names::Counter;
use grid::refresh::Refresh;
use grid::sync::Ordering;

use super::target::{Target, still_stands};
use super::{Plan, Request, is_slow, to_ns};
use crate::session::{self, Member};
use crate::{classify, fdtable, sys};

/// A sequential read within so many bytes of a slow one came off the device by readahead.
const RUN_BYTES: u64 = 2 << 20;
/// A file younger than this is filled only when it is read again.
const YOUNG_FILE_NS: u64 = 10_000_000_000;
/// Blocks of one read that are offered.
const FILL_BLOCKS_MAX: usize = 8;

/// What `after` needs to know: plain copies, no borrow of the plan's target.
#[derive(Clone, Copy)]
pub struct Fill {
    refresh: Refresh,
    hash: u64,
    count: u32,
    seen: grid::writes::FileSeen,
    versions: [u64; FILL_BLOCKS_MAX],
}

/// Plans to offer the blocks of `target` after the kernel has read them.
pub fn plan(target: &Target) -> Plan {
    let mut versions = [0; FILL_BLOCKS_MAX];
    for (place, version) in versions.iter_mut().zip(target.versions) {
        *place = version;
    }
    let refresh = Refresh {
        ident: target.ident,
        block: target.first,
        log2: target.log2,
        epoch: target.seen.epoch(),
        version: 0,
        record: target.record,
    };
    let count = target.count.min(FILL_BLOCKS_MAX as u32);
    let fill = Fill {
        refresh,
        hash: target.hash,
        count,
        seen: target.seen,
        versions,
    };
    Plan::Fill(sys::ticks(), fill)
}

impl Fill {
    /// After the kernel's read.
    #[inline(never)]
    pub fn after(self, request: Request, start: u64, result: isize) {
        let Some(member) = session::member() else {
            return;
        };
        let took_ns = to_ns(member, sys::ticks().wrapping_sub(start));
        let was_slow = is_slow(member, took_ns);
        if was_slow && result > 0 {
            member.header().note_disk(took_ns);
            if let Some(counters) = member.counters() {
                counters.disk_latency.record(took_ns);
            }
        }
        let record = member.region().files().record(self.refresh.record);
        record.reads.fetch_add(1, Ordering::Relaxed);
        let wanted = self.is_from_device(request, was_slow) || always(member);
        if result <= 0 || !wanted || !self.is_worth_it(member, request) {
            return;
        }
        for nth in 0..self.count {
            let mut refresh = self.refresh;
            refresh.block += u64::from(nth);
            refresh.version = self.versions[nth as usize];
            if !offer(member, request.fd, self.hash, self.seen, refresh) {
                return;
            }
        }
        classify::ring(member);
    }

    /// Slow, or the continuation of a run that began slow (readahead brought it).
    fn is_from_device(&self, request: Request, was_slow: bool) -> bool {
        let run = fdtable::run(request.fd);
        let offset = request.offset as u64;
        let len = request.len().unwrap_or(0);
        let (expected, left) = run.get();
        match (was_slow, expected == offset && left >= len) {
            (true, _) => {
                run.set(offset + len, RUN_BYTES);
                true
            }
            (false, true) => {
                run.set(offset + len, left - len);
                true
            }
            (false, false) => false,
        }
    }

    fn is_worth_it(&self, member: Member, request: Request) -> bool {
        if always(member) {
            return true;
        }
        let record = member.region().files().record(self.refresh.record);
        if record.writes.load(Ordering::Relaxed) > record.reads.load(Ordering::Relaxed) {
            return false;
        }
        let age_ns = sys::realtime_ns().saturating_sub(self.refresh.ident.birth_ns);
        if age_ns < YOUNG_FILE_NS && record.reads.load(Ordering::Relaxed) < 64 {
            return false;
        }
        sys::file::stat_fd(request.fd).is_ok_and(|stat| stat.links > 0)
    }
}

fn always(member: Member) -> bool {
    member.header().is_on(switch::FILL_ALWAYS)
}

/// Reads one block from the page cache into a refresh slot and hands it to the hook server, under
/// the versions in `refresh`. False: not possible now.
pub fn offer(
    member: Member,
    fd: i32,
    hash: u64,
    seen: grid::writes::FileSeen,
    refresh: Refresh,
) -> bool {
    let (Some(slot_owner), Some(counters)) = (member.slot, member.counters()) else {
        return false;
    };
    let slots = member.region().refresh();
    let hint = refresh.block as usize ^ usize::from(slot_owner) << 3;
    let has_token = Header::take_token(&member.header().fill_tokens);
    let Some(slot) = has_token.then(|| slots.claim(slot_owner, hint)).flatten() else {
        counters.add(Counter::PushDropped, 1);
        return false;
    };
    let len = 1usize << refresh.log2;
    let to = member.region().refresh_content(slot);
    let offset = refresh.block << refresh.log2;
    // SAFETY: the slot is claimed by this process and as long as the largest block of the region.
    let read = unsafe { sys::file::read_at(fd, to, len, offset, !always(member)) };
    let cells = member.region().cells();
    let still = still_stands(member, fd, refresh.record, hash, seen)
        && grid::writes::block_unchanged(cells, hash, refresh.block, refresh.version);
    if read != Ok(len) || !still {
        slots.free(slot);
        return false;
    }
    slots.submit(slot, refresh);
    counters.add(Counter::Refreshes, 1);
    true
}
