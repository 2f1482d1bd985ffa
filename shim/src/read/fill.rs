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

use super::target::{BLOCKS_MAX, Target, still_stands};
use super::{Plan, Request, account, is_slow, to_ns};
use crate::session::{self, Member};
use crate::{classify, fdtable, sys};

/// A slow read that the device counter does not explain (another thread's readahead) stands for so
/// many bytes of a sequential run.
const RUN_BYTES: u64 = 128 * 1024;
/// What a read that may be served next time is worth to the governor, nanoseconds: serving goes on.
pub const HOPE_NS: i64 = 2_000;
/// A file younger than this is filled only when it is read again.
const YOUNG_FILE_NS: u64 = 10_000_000_000;
/// Blocks of one read that are offered.
const FILL_BLOCKS_MAX: usize = BLOCKS_MAX;

/// What `after` needs to know: plain copies, no borrow of the plan's target.
#[derive(Clone, Copy)]
pub struct Fill {
    refresh: Refresh,
    hash: u64,
    count: u32,
    seen: grid::writes::FileSeen,
    versions: [u64; FILL_BLOCKS_MAX],
    /// What the thread's device counter was before the kernel's read.
    device_bytes: u64,
}

/// Plans to see only what the kernel's read costs.
#[inline(never)]
pub fn watch(target: &Target) -> Plan {
    match plan(target) {
        Plan::Fill(start, fill) => Plan::Fill(start, Fill { count: 0, ..fill }),
        other => other,
    }
}

/// Plans to offer the blocks of `target` after the kernel has read them.
pub fn plan(target: &Target) -> Plan {
    let mut versions = [0; FILL_BLOCKS_MAX];
    for (place, version) in versions.iter_mut().zip(target.versions) {
        *place = version;
    }
    let refresh = first_refresh(target);
    let count = target.count.min(FILL_BLOCKS_MAX as u32);
    let fill = Fill {
        refresh,
        hash: target.hash,
        count,
        seen: target.seen,
        versions,
        device_bytes: sys::device_bytes(),
    };
    Plan::Fill(sys::ticks(), fill)
}

/// The first block of `target` under its file's names; its version is still to be put in.
pub fn first_refresh(target: &Target) -> Refresh {
    Refresh {
        ident: target.ident,
        block: target.first,
        log2: target.log2,
        epoch: target.seen.epoch(),
        version: 0,
        record: target.record,
    }
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
        let brought = sys::device_bytes().saturating_sub(self.device_bytes);
        let from_device = is_from_device(request, was_slow, brought);
        if let Some(word) = fdtable::get(request.fd) {
            account(member, request, word, if from_device { HOPE_NS } else { 0 });
        }
        let wanted = from_device || always(member);
        if result <= 0 || !wanted || self.count == 0 || !self.is_worth_it(member, request) {
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

    fn is_worth_it(&self, member: Member, request: Request) -> bool {
        is_worth_it(member, request.fd, self.refresh)
    }
}

/// Whether blocks of the file that `refresh` names are worth sending: read more than written, not a
/// spill file, not unlinked.
pub fn is_worth_it(member: Member, fd: i32, refresh: Refresh) -> bool {
    if always(member) {
        return true;
    }
    let record = member.region().files().record(refresh.record);
    if record.writes.load(Ordering::Relaxed) > record.reads.load(Ordering::Relaxed) {
        return false;
    }
    let age_ns = sys::realtime_ns().saturating_sub(refresh.ident.birth_ns);
    if age_ns < YOUNG_FILE_NS && record.reads.load(Ordering::Relaxed) < 64 {
        return false;
    }
    sys::file::stat_fd(fd).is_ok_and(|stat| stat.links > 0)
}

/// Whether what was read came off the device: the kernel counted device bytes for this thread, or
/// the read was slow (it waited for somebody else's), or it goes on where such a read ended and
/// lies within the bytes that readahead brought along.
fn is_from_device(request: Request, was_slow: bool, brought: u64) -> bool {
    let run = fdtable::run(request.fd);
    let len = request.len().unwrap_or(0);
    if was_slow && brought != 0 && brought <= len {
        run.restart();
    }
    let fresh = if brought == 0 && was_slow {
        RUN_BYTES
    } else {
        brought
    };
    run.credit(len, fresh)
}

/// Whether everything is offered, for tests.
pub fn always(member: Member) -> bool {
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
    let size = still_stands(member, fd, refresh.record, hash, seen)
        .filter(|_| grid::writes::block_unchanged(cells, hash, refresh.block, refresh.version));
    let (Ok(read), Some(size)) = (read, size) else {
        slots.free(slot);
        return false;
    };
    if read < len && (read == 0 || offset + read as u64 != size) {
        slots.free(slot);
        return false;
    }
    // The last block of a file ends in zeros, as the file will if it grows without a write to it.
    // SAFETY: as above.
    unsafe { sys::memory::bytes_mut(to.add(read), len - read) }.fill(0);
    slots.submit(slot, refresh);
    counters.add(Counter::Refreshes, 1);
    true
}
