//! A read, decided: the order of section "A read" in `ARCHITECTURE.md`. The hooks call `before`,
//! make the kernel's call unless it was served, and call `after`.
//!
//! Every path that ends at the kernel has a named reason, counted. Nothing here has a side effect
//! that the target could see before the answer is complete.

mod answer;
mod direct;
mod fill;
pub mod held;
mod local;
mod remote;
mod target;
mod verify;

pub use fill::offer;

use grid::files::PAYS;
use grid::header::switch;
use grid::names::{Bypass, Counter};
use grid::sync::{AtomicU64, Ordering};

use crate::fdtable::{self, Class, Word};
use crate::governor::Tick;
use crate::session::{self, Member};
use crate::sys;
use crate::{classify, governor, trace};
use fill::Fill;
use held::Miss;
use target::Target;

/// A positional read as the caller made it.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The descriptor.
    pub fd: i32,
    /// Where to put the bytes.
    pub buffers: &'a [libc::iovec],
    /// Where in the file.
    pub offset: i64,
}

impl Request<'_> {
    /// Bytes asked for; `None` if the sum is beyond what one call may return.
    fn len(&self) -> Option<u64> {
        self.buffers
            .iter()
            .try_fold(0usize, |sum, buffer| sum.checked_add(buffer.iov_len))
            .filter(|len| *len < 0x7FFF_F000)
            .map(|len| len as u64)
    }
}

/// What to do with a read.
#[allow(clippy::large_enum_variant)] // Boxing would allocate in the target.
pub enum Plan {
    /// Call the kernel; nothing to do afterwards.
    Pass,
    /// Call the kernel, time it, and see whether the device was read.
    Sampled(u64, u64),
    /// Call the kernel, and see what a node could have saved (`--mode observe`), and under which
    /// word that counts.
    Observed(u64, u64, Bypass),
    /// Call the kernel, time it, and offer what it read to the nodes.
    Fill(u64, Fill),
    /// Served: this is the result.
    Served(isize),
}

/// What the private word of a descriptor says of a read, without touching anything shared.
pub enum Quick {
    /// The kernel's; nothing to do.
    Pass,
    /// The kernel's, to be timed; how many reads it stands for in the counters.
    Time(u64),
    /// Look closer: it may be served.
    Consult,
}

/// The whole cost of a read that the page cache serves: one private word.
#[inline]
pub fn quick(fd: i32) -> Quick {
    let Some(word) = fdtable::get(fd) else {
        return Quick::Pass;
    };
    match (word.class(), word.mode()) {
        (Class::File, governor::KERNEL) => match governor::tick(fd, word) {
            Tick::Pass => Quick::Pass,
            Tick::Time => Quick::Time(0),
            Tick::TimeAndCount => Quick::Time(governor::COUNT_EVERY),
        },
        (Class::LeftAlone, _) if word.count() < LEFT_ALONE_READS - 1 => {
            fdtable::set(fd, word.with(0, word.count() + 1, 0));
            Quick::Pass
        }
        _ => Quick::Consult,
    }
}

/// After a timed read in mode KERNEL that began at `start`.
#[inline]
pub fn after_timed(fd: i32, start: u64, reads: u64, result: isize) {
    let took = sys::ticks().wrapping_sub(start);
    if reads != 0 || took >= SLOW_TICKS.load(Ordering::Relaxed) {
        let _ = std::panic::catch_unwind(|| timed(fd, took, reads, result, 0));
    }
}

/// Decides, and serves if it can. A panic is caught here, before any side effect: the kernel's.
#[inline]
pub fn before(request: Request) -> Plan {
    std::panic::catch_unwind(|| decide(request)).unwrap_or(Plan::Pass)
}

/// After the kernel's call: `result` is what it returned. A panic ends here: the call was made.
#[inline]
pub fn after(request: Request, plan: Plan, result: isize) {
    if !matches!(plan, Plan::Pass) {
        let _ = std::panic::catch_unwind(|| settle(request, plan, result));
    }
}

#[inline]
fn decide(request: Request) -> Plan {
    session::panic_if_planted(request.fd);
    let Some(mut word) = fdtable::get(request.fd) else {
        return Plan::Pass;
    };
    if matches!(word.class(), Class::Unknown | Class::Eligible) {
        word = classify::look(request.fd);
    }
    match (word.class(), word.mode()) {
        (Class::File, governor::SAMPLE) => {
            let place = (request.offset, request.len());
            trace::read(session::member(), request.fd, word, place);
            Plan::Sampled(sys::ticks(), sys::device_bytes())
        }
        (Class::File, governor::SERVE) => consult(request, word),
        (Class::File, _) => Plan::Pass,
        _ => {
            count_left_alone(request.fd, word);
            Plan::Pass
        }
    }
}

#[inline]
fn settle(request: Request, plan: Plan, result: isize) {
    session::panic_if_planted(request.fd);
    match plan {
        Plan::Pass | Plan::Served(_) => {}
        Plan::Sampled(start, bytes) => {
            let took = sys::ticks().wrapping_sub(start);
            let brought = sys::device_bytes().saturating_sub(bytes);
            timed(request.fd, took, 1, result, brought);
        }
        Plan::Observed(start, bytes, word) => {
            let took = sys::ticks().wrapping_sub(start);
            observed(request, took, result, sys::device_bytes() > bytes, word);
        }
        Plan::Fill(start, fill) => fill.after(request, start, result),
    }
}

/// Reads of a descriptor left alone are counted so many at a time.
const LEFT_ALONE_READS: u64 = 64;

/// The last of `LEFT_ALONE_READS` reads of a descriptor that is left alone.
pub fn count_left_alone(fd: i32, word: Word) {
    // Left alone while the process was in no region: now it may be in one, or ask once more.
    match word.reason() {
        Bypass::NotJoined if session::member().is_some() || session::may_ask() => {
            fdtable::forget(fd)
        }
        _ => fdtable::set(fd, word.with(0, 0, 0)),
    }
    if word.count() == 0 {
        return;
    }
    if let Some(counters) = session::member().and_then(|member| member.counters()) {
        counters.bypassed(word.reason(), word.count() + 1);
    }
}

/// Ticks from which a read counts as slow; a private copy, so that a fast read in mode KERNEL
/// touches nothing shared.
static SLOW_TICKS: AtomicU64 = AtomicU64::new(0);

#[cold]
fn timed(fd: i32, took: u64, reads: u64, result: isize, brought: u64) {
    let Some(word) = fdtable::get(fd) else {
        return;
    };
    let Some(member) = session::join_to_read() else {
        return;
    };
    let header = member.header();
    let slow_ticks = header.slow_ns() * header.ticks_per_us() / 1000;
    SLOW_TICKS.store(slow_ticks.max(1), Ordering::Relaxed);
    let was_slow = took >= slow_ticks && result > 0;
    if let Some(counters) = member.counters() {
        counters.add(Counter::Reads, reads);
        counters.add(Counter::ReadsDisk, reads);
        counters.add(Counter::ReadBytes, reads * result.max(0) as u64);
        counters.bypassed(Bypass::PageCache, reads);
        if was_slow {
            counters.disk_latency.record(to_ns(member, took));
        }
    }
    if was_slow {
        header.note_disk(to_ns(member, took));
        // What readahead brought along has made the read slower than its like.
        if brought <= 2 * result as u64 {
            header.note_disk_alone(to_ns(member, took));
        }
    }
    match word.mode() {
        governor::SAMPLE if governor::sampled(fd, word, was_slow, brought) => {
            let (index, _) = word.record();
            let record = member.region().files().records.get(index as usize);
            let record = record.filter(|record| !record.has_policy(PAYS));
            record.inspect(|record| record.set_policy(PAYS));
        }
        governor::KERNEL if was_slow => governor::slow_in_kernel_mode(fd, word),
        governor::KERNEL if reads > 1 => {
            let brought = fdtable::device_bytes_since(fd, sys::thread(), sys::device_bytes());
            governor::counted_in_kernel_mode(fd, word, reads * result.max(0) as u64, brought);
        }
        _ => {}
    }
    trace::stay_in_sight(member, fd);
}

/// After a read that would have been tried, were it not for `--mode observe`: what came off the
/// device could have come from a node, and counts as `why`. The governor goes by what that would
/// have saved.
#[cold]
fn observed(request: Request, took: u64, result: isize, read_device: bool, why: Bypass) {
    let (Some(word), Some(member)) = (fdtable::get(request.fd), session::join_to_read()) else {
        return;
    };
    let header = member.header();
    let took_ns = to_ns(member, took);
    let off_the_device = result > 0 && (read_device || took_ns >= header.slow_ns());
    if let Some(counters) = member.counters() {
        counters.add(Counter::Reads, 1);
        counters.add(Counter::ReadsDisk, 1);
        counters.add(Counter::ReadBytes, result.max(0) as u64);
        match off_the_device {
            true => counters.bypassed(why, 1),
            false => counters.bypassed(Bypass::PageCache, 1),
        }
        if off_the_device {
            counters.disk_latency.record(took_ns);
        }
    }
    if off_the_device {
        header.note_disk(took_ns);
    }
    let saved_ns = if off_the_device { took_ns as i64 } else { 0 };
    account(member, request, word, saved_ns);
}

/// Mode SERVE: from here on the shared region is read.
#[cold]
#[inline(never)]
fn consult(request: Request, word: Word) -> Plan {
    let Some(member) = session::join_to_read() else {
        return Plan::Pass;
    };
    let place = (request.offset, request.len());
    trace::read(Some(member), request.fd, word, place);
    match Target::find(member, request, word) {
        Ok(_) if member.header().is_on(switch::OBSERVE) => {
            Plan::Observed(sys::ticks(), sys::device_bytes(), Bypass::Observe)
        }
        Ok(mut target) => serve(member, request, word, &mut target),
        Err(Bypass::Unproved | Bypass::WriteInFlight) if member.header().is_on(switch::OBSERVE) => {
            let why = Bypass::ObserveUnproved;
            Plan::Observed(sys::ticks(), sys::device_bytes(), why)
        }
        Err(reason @ (Bypass::Unproved | Bypass::WriteInFlight)) => {
            // No fault of the cache, and not for long: a proof takes a second or ten. See
            // meanwhile, at less cost, whether the reads are slow.
            count_disk(member, request, reason);
            if reason == Bypass::Unproved
                && !member.header().is_on(switch::FILL_ALWAYS)
                && fdtable::alignment(request.fd).is_none()
            {
                fdtable::set(request.fd, word.with(governor::SAMPLE, 0, 0));
            }
            Plan::Pass
        }
        Err(reason) => {
            count_disk(member, request, reason);
            account(member, request, word, 0);
            Plan::Pass
        }
    }
}

fn serve(member: Member, request: Request, word: Word, target: &mut Target) -> Plan {
    match held::serve(member, request, word, target) {
        Ok(served) => Plan::Served(served),
        Err(Miss::Bypass(reason)) => {
            count_disk(member, request, reason);
            match reason {
                Bypass::Sequential => fill::watch(target),
                Bypass::Resident => {
                    if governor::is_fresh(request.fd) {
                        // The file lies in the page cache: what comes after this descriptor need
                        // not ask.
                        member
                            .region()
                            .files()
                            .record(target.record)
                            .clear_policy(PAYS);
                    }
                    account(member, request, word, 0);
                    Plan::Pass
                }
                _ => read_and_fill(member, request, word, target),
            }
        }
        Err(Miss::Failed) => {
            if let Some(counters) = member.counters() {
                counters.add(Counter::Reads, 1);
                counters.add(Counter::ReadsDisk, 1);
                counters.add(Counter::ReadBytes, target.len);
            }
            read_and_fill(member, request, word, target)
        }
    }
}

/// The kernel's read, after which the blocks may be offered to the nodes. Apart, because its plan
/// does not belong on the stack of a read that is served.
#[inline(never)]
fn read_and_fill(member: Member, request: Request, word: Word, target: &Target) -> Plan {
    match target.is_direct {
        true => direct::read_and_fill(member, request, word, target),
        false => fill::plan(target),
    }
}

/// Counts a read that the kernel is about to serve.
fn count_disk(member: Member, request: Request, reason: Bypass) {
    if let Some(counters) = member.counters() {
        counters.add(Counter::Reads, 1);
        counters.add(Counter::ReadsDisk, 1);
        counters.add(Counter::ReadBytes, request.len().unwrap_or(0));
        counters.bypassed(reason, 1);
    }
}

fn account(member: Member, request: Request, word: Word, saved_ns: i64) {
    let (header, fd) = (member.header(), request.fd);
    let always = header.is_on(switch::FILL_ALWAYS);
    let stopped = governor::account(fd, word, saved_ns, header.disk_alone_ns(), always);
    let (index, _) = word.record();
    if let Some(record) = member.region().files().records.get(index as usize) {
        match stopped {
            true => record.clear_policy(PAYS),
            false if saved_ns > 0 && !record.has_policy(PAYS) => {
                record.set_policy(PAYS);
            }
            false => {}
        }
    }
    if stopped {
        trace::stay_in_sight(member, fd);
    }
}

/// Ticks of the time-stamp counter as nanoseconds.
pub fn to_ns(member: Member, ticks: u64) -> u64 {
    let per_us = member.header().ticks_per_us().max(1);
    ticks.saturating_mul(1000) / per_us
}

/// Whether a read that took so long came off the device.
fn is_slow(member: Member, took_ns: u64) -> bool {
    took_ns >= member.header().slow_ns()
}
