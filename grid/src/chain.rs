//! A write to a file that has a record: how it begins, what it concludes from the file's stamp, and
//! what it records at its end (rules W1, W2, C1 and C2). The shim calls these around the kernel's
//! call, and the model explores them.
//!
//! `writes` knows cells alone; here they meet the file table. Nothing here asks the kernel: stamps
//! come from the caller.

use crate::cell;
use crate::files::{Files, OWNED, RecordRef, Stamp, Trust};
use crate::ident::FileIdent;
use crate::ops::{Ops, Span};
use crate::writes::{self, Ticket};

/// A write that has begun.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// For `writes::end`.
    pub ticket: Ticket,
    /// The file's record, current after the cells were entered.
    pub found: Option<RecordRef>,
    /// What the write covers.
    pub span: Span,
}

impl Files<'_> {
    /// Begins a write to the file that `ident` and `file_hash` name; `span_of` measures it in
    /// blocks of the size given. Without a record, while no block size is learnt, and when the
    /// record was recycled meanwhile (its successor may have another block size) the write covers
    /// the whole file. `None`: as `writes::begin`.
    pub fn begin(
        &self,
        ops: Ops,
        owner: u16,
        ident: FileIdent,
        file_hash: u64,
        span_of: impl Fn(u8) -> Span,
    ) -> Option<Begun> {
        for by_blocks in [true, false] {
            let found = self.find_at(ident, file_hash);
            let log2 = found.and_then(|found| self.record(found).block_log2());
            let log2 = log2.filter(|_| by_blocks);
            let span = log2.map_or(Span::File, &span_of);
            let ticket = writes::begin(self.cells, ops, owner, file_hash, span)?;
            if found.is_none_or(|found| self.is_current(found)) {
                return Some(Begun {
                    ticket,
                    found,
                    span,
                });
            }
            writes::end(self.cells, ops, ticket, || ());
        }
        let span = Span::File;
        let ticket = writes::begin(self.cells, ops, owner, file_hash, span)?;
        Some(Begun {
            ticket,
            found: None,
            span,
        })
    }

    /// Rule C1, between `begin` and the kernel's call: a writer that is alone compares the stamp
    /// that the file has `now` (`None`: it cannot be told) with the recorded one. Unless that one
    /// is trusted and stands, somebody else may have changed the file: what is cached of it is
    /// garbage, and must not come back to life under the stamp that this write will record.
    pub fn note_outsiders(&self, begun: &Begun, now: impl FnOnce() -> Option<Stamp>) {
        let Some(record) = begun.found.map(|found| self.record(found)) else {
            return;
        };
        if !begun.ticket.alone || record.has_policy(OWNED) {
            return;
        }
        let (recorded, trust) = record.stamp();
        let is_known = matches!(trust, Trust::Clean | Trust::Chained);
        if !is_known || now() != Some(recorded) {
            cell::bump(&self.cells.file(begun.ticket.file_hash()).epoch);
        }
    }

    /// Rule O2: no file is owned from here on. Who may write unseen must not begin before this is
    /// over. Readers look at the flag again after they have loaded the epoch, which moves last.
    pub fn disown(&self) {
        for record in self.records {
            record.clear_policy(OWNED);
        }
        for file in self.cells.files {
            cell::bump(&file.epoch);
        }
    }

    /// Rule C2, inside `writes::end`: stores the stamp that the write `left` behind, with how far
    /// it can be believed; `None`: it cannot be told. A file that is owned needs none.
    pub fn record_stamp(
        &self,
        begun: &Begun,
        ident: FileIdent,
        left: impl FnOnce() -> Option<(Stamp, Trust)>,
    ) {
        let find = || self.find_at(ident, begun.ticket.file_hash());
        let found = begun.found.or_else(find);
        let Some(found) = found.filter(|found| self.is_current(*found)) else {
            return;
        };
        let record = self.record(found);
        if !record.has_policy(OWNED) {
            let (stamp, trust) = left().unwrap_or((Stamp::default(), Trust::None));
            record.set_stamp(stamp, trust);
        }
    }
}
