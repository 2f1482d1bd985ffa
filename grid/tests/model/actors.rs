//! The actors: what the shim and the hook server do with the pieces of grid, in their order, each
//! able to leave out the one rule that the plan's fault names.

use grid::cell;
use grid::chain::Begun;
use grid::files::{OWNED, RecordRef, Stamp, Trust};
use grid::ident::block_hash;
use grid::index::Held;
use grid::local::{PageKey, Why};
use grid::ops::{Op, Span};
use grid::reap;
use grid::refresh::Refresh;
use grid::sync::Ordering;
use grid::writes::{self, FileSeen};

use crate::faults::Fault;
use crate::world::{NodeKey, Page, World, load, store};

/// The owner number of outsiders: they have no record.
pub const OUTSIDER: u16 = 0x7FFF;

/// A page, and how a process knows its file.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: usize,
    page: u64,
    hash: u64,
    found: RecordRef,
}

/// What a reader or filler saw before it looked for content.
#[derive(Clone, Copy, Debug)]
struct Look {
    seen: FileSeen,
    log2: u8,
    block: u64,
    version: u64,
}

impl World {
    fn is_broken(&self, fault: Fault) -> bool {
        self.plan.fault == Some(fault)
    }

    /// Finds or makes the record of a file, as a process does when it first meets a descriptor.
    fn place(&self, owner: u16, file: usize, page: u64) -> Option<Place> {
        let ident = self.ident(file);
        let files = match self.is_broken(Fault::RecycleSameEpoch) {
            true => self.files_without_epochs(),
            false => self.files(),
        };
        let found = files.find_or_create(ident, owner, 0)?;
        Some(Place {
            file,
            page,
            hash: ident.hash(),
            found,
        })
    }

    /// A process meets the file and learns that its blocks are `1 << log2` bytes.
    pub fn open(&self, owner: u16, file: usize, log2: u8) {
        if let Some(place) = self.place(owner, file, 0) {
            self.files().record(place.found).learn_block_log2(log2);
            if self.plan.owned {
                self.files().judge(place.found, OWNED);
            }
        }
    }

    fn span(&self, place: Place, log2: u8) -> Span {
        Span::Blocks {
            first: place.page >> (log2 - 12),
            count: 1,
        }
    }

    /// A session writer: one page.
    pub fn write(&self, owner: u16, file: usize, page: u64) {
        let Some(place) = self.place(owner, file, page) else {
            return self.write_unrecorded(owner, file, page);
        };
        match self.plan.fault {
            Some(Fault::NoEnter) => self.write_without_cells(owner, place),
            Some(Fault::RecordLate) => self.write_with_late_record(owner, place),
            _ => self.write_by_the_rules(owner, place),
        }
    }

    fn write_by_the_rules(&self, owner: u16, place: Place) {
        let writes = &self.cells().file(place.hash).writes;
        let was_quiet = cell::is_quiet(writes.load(Ordering::SeqCst));
        let Some(mut begun) = self.begin(owner, place) else {
            cell::poison(&self.cells().file(place.hash).epoch);
            return self.kernel_write(owner, place.file, place.page);
        };
        if self.is_broken(Fault::CollidingVouch) {
            begun.ticket.alone &= was_quiet;
        }
        let files = self.files();
        if !self.is_broken(Fault::NoCompare) {
            files.note_outsiders(&begun, || Some(self.stat(place.file)));
        }
        self.kernel_write(owner, place.file, place.page);
        let left = || Some((self.stat(place.file), Trust::Chained));
        writes::end(self.cells(), self.ops(), begun.ticket, || {
            files.record_stamp(&begun, self.ident(place.file), left)
        });
    }

    fn begin(&self, owner: u16, place: Place) -> Option<Begun> {
        let (files, ops) = (self.files(), self.ops());
        if self.is_broken(Fault::StaleNumbering) {
            let log2 = files.record(place.found).block_log2();
            let span = log2.map_or(Span::File, |log2| self.span(place, log2));
            let ticket = writes::begin(self.cells(), ops, owner, place.hash, span)?;
            let found = Some(place.found);
            return Some(Begun {
                ticket,
                found,
                span,
            });
        }
        let ident = self.ident(place.file);
        files.begin(ops, owner, ident, place.hash, |log2| self.span(place, log2))
    }

    /// The table is full around the file: no record, no stamp, the whole file.
    fn write_unrecorded(&self, owner: u16, file: usize, page: u64) {
        let hash = self.ident(file).hash();
        match writes::begin(self.cells(), self.ops(), owner, hash, Span::File) {
            Some(ticket) => {
                self.kernel_write(owner, file, page);
                writes::end(self.cells(), self.ops(), ticket, || ());
            }
            None => {
                cell::poison(&self.cells().file(hash).epoch);
                self.kernel_write(owner, file, page);
            }
        }
    }

    fn op(&self, place: Place) -> Op {
        let log2 = self.files().record(place.found).block_log2();
        let span = log2.map_or(Span::File, |log2| self.span(place, log2));
        Op {
            file_hash: place.hash,
            span,
            guards_stamp: true,
        }
    }

    fn write_without_cells(&self, owner: u16, place: Place) {
        let Some(slot) = self.ops().publish(owner, self.op(place)) else {
            return;
        };
        self.kernel_write(owner, place.file, place.page);
        self.ops().retire(slot);
    }

    fn write_with_late_record(&self, owner: u16, place: Place) {
        let op = self.op(place);
        let (cells, ops) = (self.cells(), self.ops());
        let writes = &cells.file(op.file_hash).writes;
        let writes_counted = cell::enter(writes).counted;
        let mut counted = false;
        cells.visit_span(op.file_hash, op.span, |_, block| {
            counted |= cell::enter(block).counted
        });
        let slot = ops.publish(owner, op);
        self.kernel_write(owner, place.file, place.page);
        cells.visit_span(op.file_hash, op.span, |_, block| {
            if counted {
                cell::leave(block);
            }
        });
        if writes_counted {
            cell::leave(writes);
        }
        if let Some(slot) = slot {
            ops.retire(slot);
        }
    }

    /// A stream opened for writing: libc writes whenever it likes until the stream is closed.
    pub fn stream(&self, owner: u16, file: usize, page: u64) {
        let hash = self.ident(file).hash();
        let Some(pin) = writes::pin(self.cells(), self.ops(), owner, hash) else {
            cell::poison(&self.cells().file(hash).epoch);
            return self.kernel_write(owner, file, page);
        };
        self.kernel_write(owner, file, page);
        self.kernel_write(owner, file, page);
        writes::unpin(self.cells(), self.ops(), hash, pin);
    }

    /// Rules F1 and S1: the file's cells, its stamp, the block's cell, and the record, in this
    /// order.
    fn look(&self, place: Place) -> Option<Look> {
        let record = self.files().record(place.found);
        let stat = self.stat(place.file);
        let log2 = record.block_log2()?;
        let block = place.page >> (log2 - 12);
        let owned = self.plan.owned && record.has_policy(OWNED);
        let seen = writes::look_file(self.cells(), place.hash, !owned)?;
        let (stamp, trust) = record.stamp();
        let is_known = trust != Trust::None
            && stamp == stat
            && writes::stamp_was_steady(self.cells(), place.hash, seen);
        if !owned && !is_known && !self.is_broken(Fault::NoStamp) {
            return None;
        }
        let version = writes::look_block(self.cells(), place.hash, block)?;
        let is_current = self.files().is_current(place.found);
        is_current.then_some(Look {
            seen,
            log2,
            block,
            version,
        })
    }

    /// What a filler sees that does not ask whether anything is in flight.
    fn look_away(&self, place: Place) -> Option<(u64, u8, u64, u64)> {
        let log2 = self.files().record(place.found).block_log2()?;
        let block = place.page >> (log2 - 12);
        let cells = self.cells();
        let epoch = cells.file(place.hash).epoch.load(Ordering::Acquire);
        let version = cells.block(place.hash, block).load(Ordering::Acquire);
        Some((
            cell::version_of(epoch),
            log2,
            block,
            cell::version_of(version),
        ))
    }

    /// A filler: looks, reads through the kernel, looks at the stamp again (F2), and publishes in
    /// the local cache and on the node. It does not look at the cells again: that would only save a
    /// useless publication.
    pub fn fill(&self, owner: u16, file: usize, page: u64) {
        let Some(place) = self.place(owner, file, page) else {
            return;
        };
        if self.is_broken(Fault::FillInFlight) {
            if let Some(names) = self.look_away(place) {
                let content = self.kernel_read(file, page);
                self.publish(owner, place, names, content);
            }
        } else if let Some(look) = self.look(place) {
            let content = self.kernel_read(file, page);
            if self.still_stands(place, look) {
                let names = (look.seen.epoch(), look.log2, look.block, look.version);
                self.publish(owner, place, names, content);
            }
        }
    }

    /// Rule F2: the file still stands under a trusted stamp and the same epoch, so no outsider
    /// began to change it before the kernel's read had ended.
    fn still_stands(&self, place: Place, look: Look) -> bool {
        self.is_broken(Fault::FillOneStamp)
            || self.look(place).is_some()
                && writes::file_unchanged(self.cells(), place.hash, look.seen)
    }

    fn publish(&self, owner: u16, place: Place, names: (u64, u8, u64, u64), content: Page) {
        let (epoch, log2, block, version) = names;
        let key = PageKey {
            ident: self.ident(place.file),
            page: place.page,
            epoch,
            version,
        };
        let (file, page) = (place.file, place.page);
        self.local()
            .fill(place.hash, key, owner, Why::Wanted, |slot| {
                self.copy_in(slot, content)
            });
        self.node_set(
            NodeKey {
                file,
                page,
                log2,
                epoch,
                version,
            },
            content,
        );
        self.index().insert(Held::new(
            block_hash(place.hash, block),
            log2,
            epoch,
            version,
        ));
    }

    /// As `fill`, but the block travels through a refresh slot; `drain` publishes it.
    pub fn offer(&self, owner: u16, file: usize, page: u64) {
        let Some(place) = self.place(owner, file, page) else {
            return;
        };
        let Some(look) = self.look(place) else {
            return;
        };
        let Some(slot) = self.refresh().claim(owner, 0) else {
            return;
        };
        store(&self.refresh_content[slot], self.kernel_read(file, page));
        if !self.still_stands(place, look) {
            return self.refresh().free(slot);
        }
        let refresh = Refresh {
            ident: self.ident(file),
            block: page,
            log2: look.log2,
            epoch: look.seen.epoch(),
            version: look.version,
            record: place.found,
        };
        self.refresh().submit(slot, refresh);
    }

    /// The hook server sends what was offered to the node.
    pub fn drain(&self) {
        let Some(refresh) = self.refresh().take(0) else {
            return;
        };
        let content = load(&self.refresh_content[0]);
        self.refresh().free(0);
        let file = usize::from(refresh.ident != self.ident(0));
        let Refresh {
            block,
            log2,
            epoch,
            version,
            ..
        } = refresh;
        self.node_set(
            NodeKey {
                file,
                page: block,
                log2,
                epoch,
                version,
            },
            content,
        );
        let block = block_hash(refresh.ident.hash(), block >> (log2 - 12));
        self.index().insert(Held::new(block, log2, epoch, version));
    }

    /// A server of a read. Whatever it answers is judged; `None`: the kernel's.
    pub fn serve(&self, owner: u16, file: usize, page: u64) -> Option<Page> {
        let begin = self.now(file, page);
        let place = self.place(owner, file, page)?;
        let look = self.look(place)?;
        let answer = self.find(place, look)?;
        if !self.is_broken(Fault::NoRecheck) {
            let still = writes::file_unchanged(self.cells(), place.hash, look.seen)
                && writes::block_unchanged(self.cells(), place.hash, look.block, look.version);
            if !still {
                return None;
            }
        }
        self.judge(file, page, begin, answer);
        Some(answer)
    }

    fn find(&self, place: Place, look: Look) -> Option<Page> {
        let Place {
            file, page, hash, ..
        } = place;
        let (epoch, version) = (look.seen.epoch(), look.version);
        let key = PageKey {
            ident: self.ident(file),
            page,
            epoch,
            version,
        };
        if let Some(hit) = self.local().find(hash, key) {
            let content = self.copy_out(hit.slot);
            if self.is_broken(Fault::NoSequence) || self.local().is_unchanged(hit) {
                return Some(content);
            }
        }
        let held = Held::new(block_hash(hash, look.block), look.log2, epoch, version);
        self.index().heat(held)?;
        self.node_get(NodeKey {
            file,
            page,
            log2: look.log2,
            epoch,
            version,
        })
    }

    /// The prover: a lease for an instant, the stamp, the verdict.
    pub fn prove(&self, file: usize) -> bool {
        let Some(found) = self.files().find(self.ident(file)) else {
            return false;
        };
        let Some(stamp) = self.proved_stamp(file) else {
            return false;
        };
        let writes = &self.cells().file(self.ident(file).hash()).writes;
        match self.plan.fault {
            Some(Fault::ProveSameEpoch) => {
                let word = cell::enter_alone(writes);
                word.is_some_and(|word| {
                    self.files().record(found).set_stamp(stamp, Trust::Clean);
                    cell::leave_if_still(writes, word)
                })
            }
            Some(Fault::ProveLeavesQuietly) => {
                let entered = cell::enter(writes);
                let word = writes.load(Ordering::Acquire);
                if entered.counted && !(entered.alone && cell::is_sole(word)) {
                    cell::leave(writes);
                    return false;
                }
                cell::leave(writes);
                self.files().prove(found, stamp, Trust::Clean)
            }
            _ => self.files().prove(found, stamp, Trust::Clean),
        }
    }

    /// The hook server's clock: a record that nobody uses may be recycled.
    pub fn age(&self, file: usize) {
        if let Some(found) = self.files().find(self.ident(file)) {
            self.files()
                .record(found)
                .active
                .store(0, Ordering::Relaxed);
        }
    }

    /// Rule O2, before somebody who is not counted here is let in.
    pub fn disown(&self) {
        if !self.is_broken(Fault::DisownLate) {
            self.files().disown();
        }
    }

    /// Somebody outside of the session changes a page.
    pub fn intrude(&self, file: usize, page: u64) {
        self.outsider_begins(file);
        self.kernel_write(OUTSIDER, file, page);
        self.outsider_ends(file);
    }

    /// The reaper: releases the dead, if there are any, and tries to thaw what was frozen. True:
    /// nothing is left to be thawed.
    pub fn reap(&self) -> bool {
        let (cells, ops) = (self.cells(), self.ops());
        let mut left = self.take_frozen();
        for owner in self.dead() {
            if self.is_broken(Fault::Subtract) {
                self.subtract(owner);
            } else {
                reap::freeze_owner(cells, ops, owner, |op| left.push(op));
            }
            self.files().release_claims(owner);
            self.local().release_owner(owner);
            self.refresh().release_owner(owner);
        }
        left.retain(|op| !(self.thaw(*op) && self.distrust(*op)));
        let is_done = left.is_empty();
        self.put_frozen(left);
        is_done
    }

    fn thaw(&self, op: Op) -> bool {
        if !self.is_broken(Fault::ThawBlind) {
            return reap::thaw_op(self.cells(), self.ops(), op);
        }
        let mut all = cell::thaw(&self.cells().file(op.file_hash).writes, || false);
        self.cells().visit_span(op.file_hash, op.span, |_, block| {
            all &= cell::thaw(block, || false);
        });
        all
    }

    fn distrust(&self, op: Op) -> bool {
        let of_file = |file: &usize| self.ident(*file).hash() == op.file_hash;
        let file = (0..crate::world::FILES)
            .find(of_file)
            .expect("an operation on a known file");
        let Some(found) = self.files().find(self.ident(file)) else {
            return true;
        };
        !op.guards_stamp
            || self.files().prove(found, Stamp::default(), Trust::None)
            || !self.files().is_current(found)
    }

    fn subtract(&self, owner: u16) {
        for slot in 0..self.ops().len() {
            let Some((by, op)) = self.ops().live(slot) else {
                continue;
            };
            if by == owner {
                cell::leave(&self.cells().file(op.file_hash).writes);
                let visit = |_, block: &_| cell::leave(block);
                self.cells().visit_span(op.file_hash, op.span, visit);
                self.ops().retire(slot);
            }
        }
    }
}
