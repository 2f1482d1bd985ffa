//! A write, counted: the order of section "A write" in `ARCHITECTURE.md`. The hooks call `before`,
//! make the kernel's call exactly once, and call `after` with its result, whatever it is.
//!
//! Invalidation is synchronous, in the region, around the kernel's call. A writer that cannot be
//! counted takes the file out of service instead. Nothing here waits, fails, or touches `errno`.

use grid::cell;
use grid::chain::Begun;
use grid::files::{RecordRef, Trust};
use grid::header::switch;
use grid::ident::{FileIdent, block_hash};
use grid::index::Held;
use grid::names::Counter;
use grid::ops::Span;
use grid::refresh::Refresh;
use grid::sync::Ordering;
use grid::writes::{self, SPAN_BLOCKS_MAX, Ticket};

use crate::fdtable::{self, Class, Word};
use crate::read::offer;
use crate::session::{self, Holder, Member};
use crate::sys::file::{FileStat, identify_fd, stat_fd};
use crate::{classify, lasting, sys, trace};

/// What part of the file a call may change.
#[derive(Clone, Copy, Debug)]
pub enum Range {
    /// `len` bytes at `offset`.
    At {
        /// Offset in bytes.
        offset: i64,
        /// Length in bytes.
        len: u64,
    },
    /// Wherever the file offset is, or the whole file.
    Anywhere,
}

/// Changes of credentials in the middle of one call after which nobody tries any more.
const TRIES_MAX: u32 = 4;

/// Written blocks that are refreshed on the nodes at once; a longer write only invalidates.
const REFRESH_BLOCKS_MAX: u32 = 4;

/// A counted write between `before` and `after`.
#[derive(Clone, Copy)]
pub struct Pending {
    member: Member,
    begun: Begun,
    fd: i32,
    stat: FileStat,
    hash: u64,
    is_direct: bool,
}

/// Counts a write in. `None`: not a file that is ever served, or not in a session.
#[inline]
pub fn before(fd: i32, range: Range) -> Option<Pending> {
    let word = fdtable::get(fd);
    if let Some(word) = word
        && word.class() == Class::LeftAlone
        && word.is_never_served()
    {
        return None;
    }
    session::config()?;
    if session::is_planted() {
        return None;
    }
    session::panic_in_write_if_planted(fd);
    begin(fd, word, range)
}

#[cold]
#[inline(never)]
fn begin(fd: i32, word: Option<Word>, range: Range) -> Option<Pending> {
    let stat = identify_fd(fd).ok()?;
    let known = word.is_some_and(|word| matches!(word.class(), Class::File | Class::Eligible));
    if !known || !stat.is_regular {
        let word = match classify::eligible(fd, &stat) {
            Ok(()) => Word::eligible(),
            Err(reason) => Word::left_alone(reason),
        };
        fdtable::set(fd, word);
        if word.class() == Class::LeftAlone {
            return None;
        }
    }
    in_region(|member| begin_on(member, fd, stat, range))
}

/// Enters something in the region that the process is in, once more if another thread has changed
/// the credentials in the middle: what was entered is in no region then.
fn in_region<T>(enter: impl Fn(Member) -> Option<T>) -> Option<T> {
    for _ in 0..TRIES_MAX {
        let member = session::join()?;
        let entered = enter(member);
        if session::is_current(member) {
            return entered;
        }
    }
    None
}

/// Counts a write to the file that `stat` describes; `fd` is where its stamp can be read.
fn begin_on(member: Member, fd: i32, stat: FileStat, range: Range) -> Option<Pending> {
    let (hash, files) = (stat.ident.hash(), member.region().files());
    let flags = sys::file::status_flags(fd);
    let begun = member.slot.and_then(|slot| {
        let span_of = |log2| span_of(log2, flags, range);
        files.begin(member.region().ops(), slot, stat.ident, hash, span_of)
    });
    let Some(begun) = begun else {
        poison(member, hash);
        return None;
    };
    if let Some(found) = begun.found {
        let record = files.record(found);
        record.active.store(2, Ordering::Relaxed);
        record.writes.fetch_add(1, Ordering::Relaxed);
        if let Range::At { offset, len } = range {
            trace::write(member, found, offset, len);
        }
    }
    files.note_outsiders(&begun, || stat_fd(fd).ok().map(|stat| stat.stamp));
    Some(Pending {
        member,
        begun,
        fd,
        stat,
        hash,
        is_direct: flags & libc::O_DIRECT != 0,
    })
}

/// Which cells a write enters in a file of blocks of `1 << log2` bytes.
fn span_of(log2: u8, flags: i32, range: Range) -> Span {
    let Range::At { offset, len } = range else {
        return Span::File;
    };
    // On a descriptor with O_APPEND the kernel appends and ignores the offset, pwrite too.
    if flags & libc::O_APPEND != 0 || offset < 0 || len == 0 {
        return Span::File;
    }
    let first = offset as u64 >> log2;
    let last = (offset as u64).saturating_add(len - 1) >> log2;
    match last - first < SPAN_BLOCKS_MAX {
        true => Span::Blocks {
            first,
            count: (last - first + 1) as u32,
        },
        false => Span::File,
    }
}

/// Takes a file out of service for the rest of the session.
pub fn poison(member: Member, hash: u64) {
    cell::poison(&member.region().cells().file(hash).epoch);
    if let Some(counters) = member.counters() {
        counters.add(Counter::Poisoned, 1);
    }
}

/// Takes a file out of service that this process may go on changing unseen: in this region, if
/// there is one, and in every region that the process joins later.
pub fn give_up_file(member: Option<Member>, ident: FileIdent) {
    lasting::note(ident);
    if let Some(member) = member {
        poison(member, ident.hash());
    }
}

/// Takes the file of a write in flight out of service.
pub fn poison_pending(pending: &Pending) {
    give_up_file(Some(pending.member), pending.stat.ident);
}

/// Counts a write out, records the stamp it left, and refreshes the nodes if they held the blocks.
#[inline]
pub fn after(pending: Option<Pending>, result: isize) {
    if let Some(pending) = pending {
        finish(pending, result);
    }
}

#[inline(never)]
fn finish(pending: Pending, result: isize) {
    let Pending { member, begun, .. } = pending;
    let (cells, ops) = (member.region().cells(), member.region().ops());
    match session::holder(member) {
        Holder::Ours => {}
        // The ticket is the parent's to end. What this process has written meanwhile is counted by
        // a new epoch.
        Holder::Parent => return cell::bump(&cells.file(pending.hash).epoch),
        Holder::Lost => return,
    }
    writes::end(cells, ops, begun.ticket, || record_stamp(&pending));
    if let Some(counters) = member.counters() {
        counters.add(Counter::Writes, 1);
        if begun.span == Span::File {
            counters.add(Counter::Invalidations, 1);
        }
    }
    if result > 0
        && !pending.is_direct
        && let Span::Blocks { first, count } = begun.span
        && count <= REFRESH_BLOCKS_MAX
        && let Some(found) = begun.found
    {
        refresh(pending, found, first, count);
    }
}

/// Stores the stamp that this write left behind. Runs while it is the file's only writer in flight.
fn record_stamp(pending: &Pending) {
    let Pending { member, stat, .. } = pending;
    let left = || {
        let now = stat_fd(pending.fd)
            .ok()
            .filter(|now| now.ident == stat.ident)?;
        let coarse = member.header().is_on(switch::COARSE_STAMPS);
        let doubted = coarse && sys::file::is_young(now.stamp.ctime_ns);
        let trust = if doubted {
            Trust::Doubted
        } else {
            Trust::Chained
        };
        Some((now.stamp, trust))
    };
    let files = member.region().files();
    files.record_stamp(&pending.begun, stat.ident, left);
}

/// The nodes held an older version of these blocks: give them the new one.
fn refresh(pending: Pending, found: RecordRef, first: u64, count: u32) {
    let (member, fd) = (pending.member, pending.fd);
    let (cells, hash) = (member.region().cells(), pending.hash);
    let record = member.region().files().record(found);
    let Some(log2) = record.block_log2() else {
        return;
    };
    let Some(seen) = writes::look_file(cells, hash, true) else {
        return;
    };
    for block in first..first + u64::from(count) {
        let Some(version) = writes::look_block(cells, hash, block) else {
            return;
        };
        let held = Held::new(block_hash(hash, block), log2, seen.epoch(), version);
        if (block + 1) << log2 > pending.stat.stamp.size
            || !member.region().index().holds_any_version(held)
        {
            continue;
        }
        let epoch = seen.epoch();
        let ident = pending.stat.ident;
        let refresh = Refresh {
            ident,
            block,
            log2,
            epoch,
            version,
            record: found,
        };
        if offer(member, fd, hash, seen, refresh) {
            classify::ring(member);
        }
    }
}

/// A doubted stamp (coarse clock) has come of age: a write of nothing, which starts a new epoch and
/// records the stamp again.
pub fn renew_epoch(member: Member, fd: i32, found: RecordRef, hash: u64) {
    let Ok(stat) = stat_fd(fd) else { return };
    let (cells, ops) = (member.region().cells(), member.region().ops());
    let Some(slot) = member.slot else { return };
    let Some(ticket) = writes::begin(cells, ops, slot, hash, Span::File) else {
        return;
    };
    let begun = Begun {
        ticket,
        found: Some(found),
        span: Span::File,
    };
    let pending = Pending {
        member,
        begun,
        fd,
        stat,
        hash,
        is_direct: false,
    };
    writes::end(cells, ops, ticket, || record_stamp(&pending));
}

/// A call that changes a file named by a path (`truncate`, an open with `O_TRUNC`). The stamp is
/// left for the next write or proof to record.
pub fn before_path(dirfd: i32, path: *const libc::c_char) -> Option<(Member, Ticket)> {
    session::config()?;
    let stat = sys::file::stat_name(dirfd, path)
        .ok()
        .filter(|stat| stat.is_regular)?;
    if stat.ident.birth_ns == 0 {
        return None;
    }
    let hash = stat.ident.hash();
    in_region(|member| {
        let (cells, ops) = (member.region().cells(), member.region().ops());
        let ticket = member
            .slot
            .and_then(|slot| writes::begin(cells, ops, slot, hash, Span::File));
        if ticket.is_none() {
            poison(member, hash);
        }
        ticket.map(|ticket| (member, ticket))
    })
}

/// Ends what `before_path` began. The file's stamp moved without being recorded: nothing is served
/// until it is proved again.
pub fn after_path(pending: Option<(Member, Ticket)>) {
    let Some((member, ticket)) = pending else {
        return;
    };
    let (cells, ops) = (member.region().cells(), member.region().ops());
    match session::holder(member) {
        Holder::Ours => {}
        Holder::Parent => return cell::bump(&cells.file(ticket.file_hash()).epoch),
        Holder::Lost => return,
    }
    writes::end(cells, ops, ticket, || ());
    if let Some(counters) = member.counters() {
        counters.add(Counter::Writes, 1);
        counters.add(Counter::Invalidations, 1);
    }
}

/// The file behind `fd` is about to be changed in ways that cannot be counted call by call (a
/// writable shared mapping, asynchronous I/O): out of service for the session.
pub fn give_up(fd: i32) {
    if session::config().is_none() {
        return;
    }
    let Ok(stat) = stat_fd(fd) else { return };
    if classify::eligible(fd, &stat).is_ok() {
        give_up_ident(stat.ident);
    }
}

/// The same for a file named by a path.
pub fn give_up_path(dirfd: i32, path: *const libc::c_char) {
    if session::config().is_some()
        && let Ok(stat) = sys::file::stat_name(dirfd, path)
        && stat.is_regular
    {
        give_up_ident(stat.ident);
    }
}

fn give_up_ident(ident: FileIdent) {
    // First of all: a thread that joins at this moment looks at the list.
    lasting::note(ident);
    in_region(|member| {
        poison(member, ident.hash());
        Some(())
    });
}
