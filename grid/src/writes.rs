//! The write and read rules of the version cells: how the session's own writers and everybody who
//! fills or serves agree (rules W1-W4, F1, S1 of `docs/design.md`).
//!
//! A writer (shim, around the kernel's call) calls `begin` and `end`. A filler and a server of a
//! read call `look_file`, `look_block` and, before believing what they copied, `unchanged`. The
//! hook server releases the dead through `reap.rs`. Nothing here makes a system call or waits.
//!
//! ```text
//!  per file  (hashed by identity)               per block (hashed by identity and block number)
//!  0        8        16       24       32       0         8
//!  +--------+--------+--------+--------+        +---------+
//!  | epoch  | writes | user   | unused |        | version |
//!  +--------+--------+--------+--------+        +---------+
//!    epoch:   writers of unknown or large ranges; bumped when somebody else changed the file
//!    writes:  every session write of the file, whatever its range: guards the stamp
//!    user:    the one file that has written here: its hash; 0 none yet; 1 several
//!    version: writers of this block             (epoch, writes, version: one format, cell.rs)
//! ```

use crate::cell::{self, Entered, is_quiet, is_sole};
use crate::ident::{block_hash, fold};
use crate::ops::{Op, Ops, Span};
use crate::sync::{AtomicU64, Ordering, fence};

/// Blocks that one write counts one by one; a longer range uses the file's epoch cell.
pub const SPAN_BLOCKS_MAX: u64 = 64;

/// The two cells of a file, and whose they are.
#[repr(C, align(32))]
pub struct FileCells {
    /// Entered by writers whose range is unknown or long; its version is the file's epoch.
    pub epoch: AtomicU64,
    /// Entered by every write of the session to this file.
    pub writes: AtomicU64,
    user: AtomicU64,
    _unused: AtomicU64,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<FileCells>() == 32);

/// Several files hash to the same pair of cells.
const SHARED: u64 = 1;

impl FileCells {
    /// Cells that nobody has used (for tests and the model; the region's memory starts out zeroed).
    pub fn unused() -> FileCells {
        FileCells {
            epoch: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            user: AtomicU64::new(0),
            _unused: AtomicU64::new(0),
        }
    }

    /// A writer says whose it is *before* it enters, so that whoever finds it in flight knows.
    fn announce(&self, file_hash: u64) {
        let mine = file_hash.max(SHARED + 1);
        let seen = match self.user.load(Ordering::SeqCst) {
            0 => self
                .user
                .compare_exchange(0, mine, Ordering::SeqCst, Ordering::SeqCst)
                .map_or_else(|seen| seen, |_| mine),
            seen => seen,
        };
        if seen != mine && seen != SHARED {
            self.user.store(SHARED, Ordering::SeqCst);
        }
    }

    /// Whether every writer that may be in flight here writes this very file.
    fn is_exclusive(&self, file_hash: u64) -> bool {
        self.user.load(Ordering::SeqCst) == file_hash.max(SHARED + 1)
    }
}

/// The arrays of cells, both a power of two long.
#[derive(Clone, Copy)]
pub struct Cells<'a> {
    /// Cells of blocks.
    pub blocks: &'a [AtomicU64],
    /// Cells of files.
    pub files: &'a [FileCells],
}

impl<'a> Cells<'a> {
    /// The cells of the file whose identity hashes to `file_hash`.
    pub fn file(&self, file_hash: u64) -> &'a FileCells {
        let spread = fold(file_hash, 0xC2B2_AE3D_27D4_EB4F);
        &self.files[spread as usize & (self.files.len() - 1)]
    }

    /// The cell of one block.
    pub fn block(&self, file_hash: u64, block: u64) -> &'a AtomicU64 {
        &self.blocks[block_hash(file_hash, block) as usize & (self.blocks.len() - 1)]
    }

    /// Calls `visit` with every cell that a write over `span` enters, except `writes`.
    pub fn visit_span(&self, file_hash: u64, span: Span, mut visit: impl FnMut(u32, &AtomicU64)) {
        match span {
            Span::File => visit(0, &self.file(file_hash).epoch),
            Span::Blocks { first, count } => {
                for nth in 0..count {
                    let block = first.wrapping_add(u64::from(nth));
                    visit(nth, self.block(file_hash, block));
                }
            }
        }
    }
}

/// A write between its begin and its end. Plain data: dropping it does nothing, so that a thread
/// killed, cancelled or long-jumped in between leaves its record for the hook server.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    op: usize,
    file_hash: u64,
    span: Span,
    counted: u64,
    file_counted: bool,
    /// No other write of the session is known to have been in flight on this very file when this
    /// one began: nobody but the caller can tell whether somebody else changed the file meanwhile.
    /// The caller compares the stamp, and bumps the epoch if it is not the recorded one.
    pub alone: bool,
}

impl Ticket {
    /// Hash of the file that the write is to.
    pub fn file_hash(&self) -> u64 {
        self.file_hash
    }
}

/// Rules W1 and W2. `None`: no operation record is free; the caller must `poison` the file's epoch
/// before it writes. After this the caller makes the kernel's call, once, then calls `end`.
/// A `span` in blocks is measured by a file record: ask `Files::is_current` after this, or call
/// `Files::begin`, which does.
pub fn begin(cells: Cells, ops: Ops, owner: u16, file_hash: u64, span: Span) -> Option<Ticket> {
    let op = ops.publish(
        owner,
        Op {
            file_hash,
            span,
            guards_stamp: true,
        },
    )?;
    let file = cells.file(file_hash);
    file.announce(file_hash);
    let entered = cell::enter(&file.writes);
    let mut counted = 0u64;
    cells.visit_span(file_hash, span, |nth, cell| {
        counted |= u64::from(cell::enter(cell).counted) << nth;
    });
    fence(Ordering::SeqCst);
    let Entered {
        counted: file_counted,
        alone,
    } = entered;
    let alone = alone || file_counted && !file.is_exclusive(file_hash);
    Some(Ticket {
        op,
        file_hash,
        span,
        counted,
        file_counted,
        alone,
    })
}

/// Rule W4, the stamp and the retirement of the record. `record_stamp` is called while this write
/// is the only one in flight on the file: it reads the file's stamp from the kernel and stores it
/// in the file's record. It may be called again if another write came and went meanwhile.
pub fn end(cells: Cells, ops: Ops, ticket: Ticket, mut record_stamp: impl FnMut()) {
    cells.visit_span(ticket.file_hash, ticket.span, |nth, cell| {
        if ticket.counted >> nth & 1 == 1 {
            cell::leave(cell);
        }
    });
    if ticket.file_counted {
        leave_recorded(&cells.file(ticket.file_hash).writes, &mut record_stamp);
    }
    ops.retire(ticket.op);
}

/// Leaves the `writes` cell; whoever is the last there to leave has recorded the stamp before.
fn leave_recorded(writes: &AtomicU64, record_stamp: &mut impl FnMut()) {
    loop {
        let word = writes.load(Ordering::Acquire);
        if !is_sole(word) {
            return cell::leave(writes);
        }
        record_stamp();
        if cell::leave_if_still(writes, word) {
            return;
        }
    }
}

/// A span of time, not a call, during which the file may change (a stream opened for writing, a
/// writable mapping): the epoch cell stays entered until `unpin`. `None`: poison instead.
pub fn pin(cells: Cells, ops: Ops, owner: u16, file_hash: u64) -> Option<usize> {
    let op = ops.publish(
        owner,
        Op {
            file_hash,
            span: Span::File,
            guards_stamp: false,
        },
    )?;
    if !cell::enter(&cells.file(file_hash).epoch).counted {
        // Frozen or poisoned by somebody else: our mark must not depend on theirs being kept.
        cell::poison(&cells.file(file_hash).epoch);
    }
    fence(Ordering::SeqCst);
    Some(op)
}

/// Ends what `pin` began.
pub fn unpin(cells: Cells, ops: Ops, file_hash: u64, op: usize) {
    cell::leave(&cells.file(file_hash).epoch);
    ops.retire(op);
}

/// What a reader or filler saw of a file's cells before it looked for content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSeen {
    epoch: u64,
    writes: u64,
    gated: bool,
}

impl FileSeen {
    /// The file's epoch, part of every key.
    pub fn epoch(&self) -> u64 {
        cell::version_of(self.epoch)
    }
}

/// Rule S1 (and F1) for the file: `None` while something is in flight. `gated`: also while any
/// write of the session to the file is in flight, which is what makes its stamp readable; false
/// only for serving a file named by `--own`.
pub fn look_file(cells: Cells, file_hash: u64, gated: bool) -> Option<FileSeen> {
    let file = cells.file(file_hash);
    let writes = file.writes.load(Ordering::Acquire);
    let epoch = file.epoch.load(Ordering::Acquire);
    let quiet = is_quiet(epoch) && (!gated || is_quiet(writes));
    quiet.then_some(FileSeen {
        epoch,
        writes,
        gated,
    })
}

/// Rule S1 (and F1) for one block: its version, or `None` while a write to it is in flight.
pub fn look_block(cells: Cells, file_hash: u64, block: u64) -> Option<u64> {
    let word = cells.block(file_hash, block).load(Ordering::Acquire);
    is_quiet(word).then(|| cell::version_of(word))
}

/// After the file's stamp was read from its record: no write of the session came meanwhile, so the
/// stamp was read whole and was the file's while nothing was in flight. True for an ungated look.
pub fn stamp_was_steady(cells: Cells, file_hash: u64, seen: FileSeen) -> bool {
    fence(Ordering::Acquire);
    !seen.gated || cells.file(file_hash).writes.load(Ordering::Relaxed) == seen.writes
}

/// Rule S3: after the content was copied, the epoch has not moved. Together with `block_unchanged`
/// it makes the answer the file's content at the instant of the look, wherever the bytes came from:
/// a filler that was overtaken by a writer published under a version now gone. Writes to other
/// blocks do not matter any more: the stamp was compared while the file was quiet.
pub fn file_unchanged(cells: Cells, file_hash: u64, seen: FileSeen) -> bool {
    fence(Ordering::Acquire);
    cells.file(file_hash).epoch.load(Ordering::Relaxed) == seen.epoch
}

/// Rule S3 for one block.
pub fn block_unchanged(cells: Cells, file_hash: u64, block: u64, version: u64) -> bool {
    let word = cells.block(file_hash, block).load(Ordering::Relaxed);
    is_quiet(word) && cell::version_of(word) == version
}
