//! Releasing what dead processes had in flight (rules R1-R3). Called by the hook server alone, from
//! one thread, and only for processes whose death is proved: a process descriptor became readable,
//! or the same process executed a new program (which ends every other thread first). Then its
//! system calls have ended too, so that no byte of them is still to land.
//!
//! Nothing is ever subtracted: whether the dead thread had counted itself cannot be known. Its
//! cells are frozen, under a new version, and thawed when no live record covers them.

use crate::cell;
use crate::ops::{Op, Ops};
use crate::sync::AtomicU64;
use crate::writes::Cells;

/// Freezes every cell that an operation of `owner` may have entered, and retires its records.
/// `released` learns each operation, to be thawed later and to distrust the file's stamp.
pub fn freeze_owner(cells: Cells, ops: Ops, owner: u16, mut released: impl FnMut(Op)) {
    for slot in 0..ops.len() {
        if ops.owner(slot) != Some(owner) {
            continue;
        }
        if let Some((_, op)) = ops.live(slot) {
            if op.guards_stamp {
                cell::freeze(&cells.file(op.file_hash).writes);
            }
            cells.visit_span(op.file_hash, op.span, |_, cell| cell::freeze(cell));
            released(op);
        }
        // A record that was only claimed has touched no cell.
        ops.retire(slot);
    }
}

/// Tries to thaw every cell of an operation that `freeze_owner` released. True: all are back in
/// service; false: a live writer covers one of them, try again later.
pub fn thaw_op(cells: Cells, ops: Ops, op: Op) -> bool {
    let mut all = true;
    if op.guards_stamp {
        let cell = &cells.file(op.file_hash).writes;
        all &= cell::thaw(cell, || is_covered(cells, ops, cell));
    }
    cells.visit_span(op.file_hash, op.span, |_, cell| {
        all &= cell::thaw(cell, || is_covered(cells, ops, cell));
    });
    all
}

/// Whether any live record enters this very cell, under whatever file or block it is known there.
fn is_covered(cells: Cells, ops: Ops, target: &AtomicU64) -> bool {
    (0..ops.len())
        .filter_map(|slot| ops.live(slot))
        .any(|(_, op)| {
            let mut covers =
                op.guards_stamp && core::ptr::eq(&cells.file(op.file_hash).writes, target);
            cells.visit_span(op.file_hash, op.span, |_, cell| {
                covers |= core::ptr::eq(cell, target)
            });
            covers
        })
}
