//! What is read and written, noted for `hooktool trace` while the session's switch `TRACE` is on.
//!
//! Called where a read has already left the way of a page-cache hit, and where a write is counted.
//! A descriptor that the page cache serves touches nothing shared, and so would not be seen: while
//! a trace is recorded it stays in the governor's mode SAMPLE, in which every read is. Nothing is
//! waited for: a run without a place in the ring is counted there as dropped.

use grid::files::RecordRef;
use grid::header::switch;
use grid::sync::Ordering;

use crate::fdtable::{self, Word};
use crate::session::Member;
use crate::{governor, sys};

/// Whether somebody records.
#[inline]
pub fn is_on(member: Member) -> bool {
    member.header().is_on(switch::TRACE)
}

/// Notes a read of `len` bytes at `offset` through a descriptor of class File, as it was asked for;
/// `None`: more than one call may return.
#[inline]
pub fn read(member: Option<Member>, fd: i32, word: Word, (offset, len): (i64, Option<u64>)) {
    if let Some(member) = member.filter(|member| is_on(*member)) {
        note_read(member, fd, word, (offset, len));
    }
}

#[cold]
#[inline(never)]
fn note_read(member: Member, fd: i32, word: Word, (offset, len): (i64, Option<u64>)) {
    let files = member.region().files();
    let (index, generation) = word.record();
    let found = files
        .at(index)
        .filter(|found| found.generation & 0xFFF_FFFF == generation);
    let (Some(found), Ok(offset), Some(len)) = (found, u64::try_from(offset), len) else {
        if found.is_none() {
            // The record has gone to another file: the next read looks for the file's own.
            fdtable::forget(fd);
        }
        member.region().trace().drop_one();
        return;
    };
    note(member, found, false, (offset, len));
}

/// Notes a counted write of `len` bytes at `offset`.
#[inline]
pub fn write(member: Member, found: RecordRef, offset: i64, len: u64) {
    if is_on(member) {
        note_write(member, found, offset, len);
    }
}

#[cold]
#[inline(never)]
fn note_write(member: Member, found: RecordRef, offset: i64, len: u64) {
    match u64::try_from(offset) {
        Ok(offset) => note(member, found, true, (offset, len)),
        Err(_) => drop(member.region().trace().drop_one()),
    }
}

fn note(member: Member, found: RecordRef, is_write: bool, (offset, len): (u64, u64)) {
    let record = member.region().files().record(found);
    if record.active.load(Ordering::Relaxed) < 2 {
        record.active.store(2, Ordering::Relaxed);
    }
    let noted = member
        .region()
        .trace()
        .note_call(found.index, is_write, offset, len);
    let header = member.header();
    if !noted && !header.is_alive(sys::monotonic_ms()) {
        // Nobody takes anything any more, and nobody else will turn it off.
        header.set_switch(switch::TRACE, false);
    }
}

/// After whatever may have turned a descriptor to mode KERNEL: while somebody records, it is to be
/// seen.
#[inline]
pub fn stay_in_sight(member: Member, fd: i32) {
    if is_on(member)
        && let Some(word) = fdtable::get(fd)
        && word.class() == fdtable::Class::File
        && word.mode() == governor::KERNEL
    {
        governor::sample(fd, word);
    }
}
