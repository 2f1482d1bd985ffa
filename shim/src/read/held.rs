//! Bytes of a file that memory holds: `serve` finds them for every kind of read, `bytes` for calls
//! that hand them on by themselves (`send`), with what such a call offers to the nodes after the
//! kernel has made it.
//!
//! Nothing is filled, timed or left to the kernel here: the caller knows what its call costs and
//! what it read.

use grid::header::switch;
use grid::names::{Bypass, Counter};
use grid::node::NodeState;
use grid::refresh::Refresh;

use super::fill::{HOPE_NS, first_refresh, is_worth_it, offer};
use super::target::Target;
use super::{Request, account, local, remote, to_ns, verify};
use crate::fdtable::{self, RUN_READS, Word};
use crate::session::Member;
use crate::{classify, governor, sys};

/// Why memory has no answer.
pub enum Miss {
    /// A reason to leave the call alone.
    Bypass(Bypass),
    /// It was tried; the failure has been counted.
    Failed,
}

/// Puts the bytes of `request` into its buffers, from the local cache or a node. Their number is
/// always the one asked for.
///
/// # Errors
///
/// Why not: then the buffers hold nothing of use.
#[inline(never)]
pub fn bytes(member: Member, request: Request, word: Word) -> Result<usize, Miss> {
    let mut target = Target::find(member, request, word).map_err(Miss::Bypass)?;
    if member.header().is_on(switch::OBSERVE) {
        return Err(Miss::Bypass(Bypass::Observe));
    }
    serve(member, request, word, &mut target).map(|served| served as usize)
}

/// Steps 3 to 6 of a read: from the local cache, else from a node, unless the kernel has the bytes
/// at hand or is about to read them ahead. Counts what it serves and what fails, and tells the
/// governor of what it serves.
///
/// # Errors
///
/// Why the read is the kernel's: `NotHeld`, `NoNode`, `Sequential`, `Resident`, or a failure.
#[inline]
pub fn serve(
    member: Member,
    request: Request,
    word: Word,
    target: &mut Target,
) -> Result<isize, Miss> {
    let header = member.header();
    let start = sys::ticks();
    let reads_in_sequence = fdtable::run(request.fd).step(target.offset, target.len);
    if let Some(served) = local::serve(member, request, target) {
        target.count_hit(member, Counter::HitsLocal, served);
        if governor::looks_closer(start) {
            let is_resident = target.is_resident(member, request);
            let saved_ns = governor::local_hits_saved_ns(is_resident, header.disk_alone_ns());
            account(member, request, word, saved_ns);
        }
        verify::maybe(member, request, target, served);
        return Ok(served);
    }
    target.held_by_node(member).map_err(Miss::Bypass)?;
    if reads_in_sequence >= RUN_READS && !target.is_direct && !header.is_on(switch::FILL_ALWAYS) {
        // Readahead brings many blocks with one read of the device: no round trip beats that.
        return Err(Miss::Bypass(Bypass::Sequential));
    }
    if target.is_resident(member, request) {
        return Err(Miss::Bypass(Bypass::Resident));
    }
    let wanted = target.count;
    if target.offset == 0 || reads_in_sequence > 0 {
        target.reach_ahead(member);
    }
    let fetched = target.count;
    let answer = remote::serve(member, request, target, wanted);
    target.count = wanted;
    match answer {
        Ok(served) => {
            let took_ns = to_ns(member, sys::ticks().wrapping_sub(start));
            target.count_hit(member, Counter::HitsRemote, served);
            if let Some(counters) = member.counters() {
                counters.remote_latency.record(took_ns);
                counters.add(Counter::BlocksRemote, u64::from(fetched));
            }
            let saved_ns = governor::remote_hit_saved_ns(took_ns, header.disk_alone_ns());
            if governor::doubts(start, took_ns, header.disk_ns()) {
                header.doubt_disk_alone();
            }
            account(member, request, word, saved_ns);
            verify::maybe(member, request, target, served);
            Ok(served)
        }
        Err(reason) => {
            if let Some(counters) = member.counters() {
                counters.fell_back(reason);
            }
            Err(Miss::Failed)
        }
    }
}

/// Tells the governor of a call that the kernel made although the grid had been asked.
pub fn account_kernel(member: Member, fd: i32, word: Word, read_device: bool) {
    let request = Request {
        fd,
        buffers: &[],
        offset: 0,
    };
    account(member, request, word, if read_device { HOPE_NS } else { 0 });
}

/// After the kernel has read the range of `request` on its own: offers its blocks to the nodes,
/// from the page cache. The content is read again, so the versions may be looked at now (rule F1).
/// False: no more for now.
#[inline(never)]
pub fn offer_blocks(member: Member, request: Request, word: Word) -> bool {
    let Ok(target) = Target::find(member, request, word) else {
        return false;
    };
    if target.is_direct || !is_worth_it(member, request.fd, first_refresh(&target)) {
        return false;
    }
    let index = member.region().index();
    for (block, version) in target.blocks() {
        if index.heat(target.held(block, version)).is_some() {
            continue;
        }
        let names = first_refresh(&target);
        let refresh = Refresh {
            block,
            version,
            ..names
        };
        if !offer(member, request.fd, target.hash, target.seen, refresh) {
            return false;
        }
    }
    classify::ring(member);
    true
}

/// The blocks of a range, and which of them a node that is up is believed to hold.
pub struct Range {
    /// First byte of the first block.
    pub start: u64,
    /// log2 of the block size.
    pub log2: u8,
    /// Number of blocks.
    pub count: u32,
    /// A bit for each block that is held.
    pub held: u32,
}

/// Looks a range up without reading it. `None`: it could not be served now.
#[inline(never)]
pub fn look_up(member: Member, request: Request, word: Word) -> Option<Range> {
    let target = Target::find(member, request, word).ok()?;
    let (index, nodes) = (member.region().index(), member.region().nodes());
    let is_up = |block| {
        let slot = target.slot_of(member, block);
        let node = nodes.node_of(slot);
        node.is_some_and(|node| nodes.records[node].state() == NodeState::Up)
    };
    let mut held = 0;
    for (nth, (block, version)) in target.blocks().enumerate() {
        if index.heat(target.held(block, version)).is_some() && is_up(block) {
            held |= 1 << nth;
        }
    }
    Some(Range {
        start: target.first << target.log2,
        log2: target.log2,
        count: target.count,
        held,
    })
}
