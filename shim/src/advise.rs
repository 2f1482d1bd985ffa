//! Advice that a range will be read (`posix_fadvise(WILLNEED)`, `readahead`): for blocks that a
//! node holds nothing is done, because the read will be served from there and a trip to the disk
//! would be wasted; the rest is passed on to the kernel, block by block.
//!
//! Called by `hook::advise`, for descriptors in mode SERVE alone: elsewhere the kernel's page cache
//! is what serves. Advice has no effect but time, so nothing here can make a read wrong.

use grid::names::Counter;

use crate::fdtable::{self, Class, Word};
use crate::governor;
use crate::read::Request;
use crate::read::held::{self, Range};
use crate::session::{self, Member};
use crate::sys::file::will_need;

/// Longer advice is the kernel's: a scan, which its readahead does better.
const ADVICE_BYTES_MAX: u64 = 1 << 20;
/// Bytes looked up at a time; no piece crosses a multiple of it.
const PIECE_BYTES: u64 = 64 * 1024;

/// Follows the advice. False: it is the kernel's altogether.
pub fn follow(fd: i32, offset: i64, len: u64) -> bool {
    let Some(word) = fdtable::get(fd) else {
        return false;
    };
    if word.class() != Class::File || word.mode() != governor::SERVE {
        return false;
    }
    let usable = offset >= 0 && (1..=ADVICE_BYTES_MAX).contains(&len);
    let end = (offset as u64).checked_add(len);
    match (usable, end.filter(|end| *end <= i64::MAX as u64)) {
        (true, Some(end)) => {
            let advise = || advise(fd, word, offset as u64, end);
            std::panic::catch_unwind(advise).unwrap_or(false)
        }
        _ => false,
    }
}

/// Piece by piece; false: nothing is held, and nothing was passed on.
#[cold]
#[inline(never)]
fn advise(fd: i32, word: Word, start: u64, end: u64) -> bool {
    // A direct read passes the page cache by: advice would fill it for nobody, as asked for.
    let Some(member) = session::member().filter(|_| fdtable::alignment(fd).is_none()) else {
        return false;
    };
    let mut spared = false;
    let mut at = start;
    while at < end {
        let piece = (PIECE_BYTES - at % PIECE_BYTES).min(end - at);
        match range(member, fd, word, at, piece) {
            Some(range) if range.held != 0 => {
                if !spared && at > start {
                    will_need(fd, start, at - start);
                }
                spared = true;
                pass_on(fd, &range, at, at + piece);
            }
            _ if spared => will_need(fd, at, piece),
            _ => {}
        }
        at += piece;
    }
    if spared && let Some(counters) = member.counters() {
        counters.add(Counter::Advised, 1);
    }
    spared
}

fn range(member: Member, fd: i32, word: Word, at: u64, len: u64) -> Option<Range> {
    let part = [libc::iovec {
        iov_base: core::ptr::null_mut(),
        iov_len: len as usize,
    }];
    let request = Request {
        fd,
        buffers: &part,
        offset: at as i64,
    };
    held::look_up(member, request, word)
}

/// Passes on the blocks of a range that are not held, as far as the advice goes.
fn pass_on(fd: i32, range: &Range, from: u64, to: u64) {
    for nth in 0..range.count {
        if range.held >> nth & 1 == 0 {
            let block = range.start + (u64::from(nth) << range.log2);
            let (first, last) = (block.max(from), (block + (1 << range.log2)).min(to));
            will_need(fd, first, last - first);
        }
    }
}
