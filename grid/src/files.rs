//! The file table: what the session knows about a file besides its cells. Records are found by
//! identity and may be recycled at any time: no promise lives here. A record holds the *stamp*
//! under which the file's blocks are known to be right, the block size, and statistics.
//!
//! ```text
//!   0       8       16      24      32      40        48       56
//!  +-------+-------+-------+-------+-------+---------+--------+--------+
//!  | seq   | dev   | ino   | birth | size  | ctime   | trust  | policy |   line 0: read by a serve
//!  +-------+-------+-------+-------+-------+---------+--------+--------+
//!  | want  | reads | hits  | hits  | written | first | blocks | active |   line 1: statistics
//!  |       |       | local | remote|         | seen  | held   |        |
//!  +-------+-------+-------+-------+---------+-------+--------+--------+
//!   seq:  generation << 32 | owner << 8 | state      state: 0 free, 1 live, 2 claimed
//! ```
//!
//! The stamp words change only while the changer is the sole writer in flight in the file's
//! `writes` cell (`writes::end`, `prove`), so a reader that finds that cell quiet and unchanged
//! around its look has read them whole.

use crate::cell;
use crate::ident::FileIdent;
use crate::sync::{AtomicU64, Ordering, fence};
use crate::writes::Cells;

const FREE: u64 = 0;
const LIVE: u64 = 1;
const CLAIMED: u64 = 2;
const STATE_MASK: u64 = 0xFF;

/// Slots that one identity may live in: a lookup touches no more.
const PROBES: usize = 8;

/// How far the recorded stamp can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Trust {
    /// Nothing is known: nothing is filled or served.
    None = 0,
    /// Proved by the hook server: nobody had the file open for writing, or it stood still long
    /// enough.
    Clean = 1,
    /// Left behind by a write of the session.
    Chained = 2,
    /// As `Chained`, but so young that on this kernel another change may carry the same stamp.
    Doubted = 3,
}

/// Size and change time of a file, as `statx` tells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// `stx_size` in bytes.
    pub size: u64,
    /// `stx_ctime` in nanoseconds since the epoch.
    pub ctime_ns: u64,
}

/// One record: two cache lines.
#[repr(C, align(128))]
pub struct FileRecord {
    seq: AtomicU64,
    dev: AtomicU64,
    ino: AtomicU64,
    birth_ns: AtomicU64,
    size: AtomicU64,
    ctime_ns: AtomicU64,
    trust: AtomicU64,
    /// log2 of the block size in bits 0..8 (0: not learnt yet), flags in 8..32, generation above.
    policy: AtomicU64,
    /// Who asks for a proof: pid << 32 | descriptor + 1; 0 nobody.
    pub want: AtomicU64,
    /// Whole read calls on the file.
    pub reads: AtomicU64,
    /// Reads served from the region.
    pub hits_local: AtomicU64,
    /// Reads served by a memory node.
    pub hits_remote: AtomicU64,
    /// Writes of the session.
    pub writes: AtomicU64,
    /// Monotonic milliseconds when the record was made.
    pub first_seen_ms: AtomicU64,
    /// Blocks that a node is believed to hold (kept by the hook server).
    pub blocks_held: AtomicU64,
    /// Raised by use, lowered by the hook server's clock: which record may be recycled.
    pub active: AtomicU64,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<FileRecord>() == 128);

/// Policy flag: the session is the file's only writer (`--own`).
pub const OWNED: u64 = 1 << 8;
/// Policy flag: globs were looked at and the file is left out.
pub const EXCLUDED: u64 = 1 << 9;
/// Policy flag: the hook server has judged the file's name (`OWNED`, `EXCLUDED` are final).
pub const JUDGED: u64 = 1 << 10;

/// Policy flag: the last descriptor on the file found that serving pays.
pub const PAYS: u64 = 1 << 11;

/// Policy flag, a hint: who asked for a proof had closed the file before the hook server looked.
/// The next one has it look at once (`attach::Want::Look`).
pub const SOUGHT: u64 = 1 << 12;

/// A record with the generation it was found under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef {
    /// Slot in the table.
    pub index: u32,
    /// Generation of its content.
    pub generation: u32,
}

impl FileRecord {
    /// A free record (for tests and the model; the region's memory starts out zeroed).
    pub fn free() -> FileRecord {
        let zero = || AtomicU64::new(0);
        FileRecord {
            seq: zero(),
            dev: zero(),
            ino: zero(),
            birth_ns: zero(),
            size: zero(),
            ctime_ns: zero(),
            trust: zero(),
            policy: zero(),
            want: zero(),
            reads: zero(),
            hits_local: zero(),
            hits_remote: zero(),
            writes: zero(),
            first_seen_ms: zero(),
            blocks_held: zero(),
            active: zero(),
        }
    }

    /// The identity it describes. Check the generation afterwards.
    pub fn ident(&self) -> FileIdent {
        FileIdent {
            dev: self.dev.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            birth_ns: self.birth_ns.load(Ordering::Relaxed),
        }
    }

    /// The recorded stamp. Meaningful only between two equal looks at a quiet `writes` cell.
    pub fn stamp(&self) -> (Stamp, Trust) {
        let stamp = Stamp {
            size: self.size.load(Ordering::Relaxed),
            ctime_ns: self.ctime_ns.load(Ordering::Relaxed),
        };
        let trust = match self.trust.load(Ordering::Relaxed) {
            1 => Trust::Clean,
            2 => Trust::Chained,
            3 => Trust::Doubted,
            _ => Trust::None,
        };
        (stamp, trust)
    }

    /// Stores a stamp. Only for the sole writer in flight in the file's `writes` cell, who has
    /// seen, since it was in flight, that the record is current. Distrusted while half written: a
    /// process killed in between leaves no stamp that nobody measured.
    pub fn set_stamp(&self, stamp: Stamp, trust: Trust) {
        self.trust.store(Trust::None as u64, Ordering::Relaxed);
        self.size.store(stamp.size, Ordering::Release);
        self.ctime_ns.store(stamp.ctime_ns, Ordering::Release);
        self.trust.store(trust as u64, Ordering::Release);
    }

    /// log2 of the block size, or `None` while it has not been learnt.
    pub fn block_log2(&self) -> Option<u8> {
        let log2 = (self.policy.load(Ordering::Acquire) & 0xFF) as u8;
        (log2 != 0).then_some(log2)
    }

    /// Fixes the block size; the first caller wins and the size in force is returned.
    pub fn learn_block_log2(&self, log2: u8) -> u8 {
        let mut policy = self.policy.load(Ordering::Relaxed);
        while policy & 0xFF == 0 {
            let next = policy | u64::from(log2);
            match self
                .policy
                .compare_exchange(policy, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return log2,
                Err(seen) => policy = seen,
            }
        }
        (policy & 0xFF) as u8
    }

    /// Whether all of the policy bits in `flags` are set.
    pub fn has_policy(&self, flags: u64) -> bool {
        self.policy.load(Ordering::Acquire) & flags == flags
    }

    /// Clears policy flags.
    pub fn clear_policy(&self, flags: u64) {
        self.policy.fetch_and(!flags, Ordering::SeqCst);
    }

    /// Sets policy flags that are hints. What the hook server judges goes through `Files::judge`.
    pub fn set_policy(&self, flags: u64) {
        self.policy.fetch_or(flags, Ordering::SeqCst);
    }
}

/// The table, with the cells it must bump when a record is made anew.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// All records; a power of two.
    pub records: &'a [FileRecord],
    /// The session's cells.
    pub cells: Cells<'a>,
}

impl<'a> Files<'a> {
    /// The record at `found`, whatever its generation is by now.
    pub fn record(&self, found: RecordRef) -> &'a FileRecord {
        &self.records[found.index as usize]
    }

    /// Whether the record still has the generation it was found under. Ask again *after* having
    /// loaded the cells that its block size names: a recycled record bumps the epoch first.
    pub fn is_current(&self, found: RecordRef) -> bool {
        let expected = u64::from(found.generation) << 32 | LIVE;
        fence(Ordering::Acquire);
        self.record(found).seq.load(Ordering::SeqCst) == expected
    }

    /// Sets final policy flags, `JUDGED` among them, unless the record has been recycled meanwhile:
    /// then nothing happens and the answer is false.
    pub fn judge(&self, found: RecordRef, flags: u64) -> bool {
        let policy = &self.record(found).policy;
        let mut seen = policy.load(Ordering::Acquire);
        while seen >> 32 == u64::from(found.generation) {
            let next = seen | flags | JUDGED;
            match policy.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// The live record in a slot, whatever file it describes.
    pub fn at(&self, index: u32) -> Option<RecordRef> {
        let seq = self
            .records
            .get(index as usize)?
            .seq
            .load(Ordering::Acquire);
        let generation = (seq >> 32) as u32;
        (seq & STATE_MASK == LIVE).then_some(RecordRef { index, generation })
    }

    /// Finds the live record of a file.
    pub fn find(&self, ident: FileIdent) -> Option<RecordRef> {
        self.find_at(ident, ident.hash())
    }

    pub(crate) fn find_at(&self, ident: FileIdent, hash: u64) -> Option<RecordRef> {
        self.probes(hash).find_map(|index| {
            let record = &self.records[index];
            let seq = record.seq.load(Ordering::Acquire);
            let found = RecordRef {
                index: index as u32,
                generation: (seq >> 32) as u32,
            };
            (seq & STATE_MASK == LIVE && record.ident() == ident && self.is_current(found))
                .then_some(found)
        })
    }

    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let mask = self.records.len() - 1;
        (0..PROBES.min(self.records.len())).map(move |nth| (hash as usize).wrapping_add(nth) & mask)
    }

    /// Finds the record of a file or makes one, for process `owner` at `now_ms`. The new record has
    /// no trusted stamp, and the file's epoch moves: blocks of an earlier record are garbage.
    /// `None`: the table is full around this identity, or somebody else is making the record.
    pub fn find_or_create(&self, ident: FileIdent, owner: u16, now_ms: u64) -> Option<RecordRef> {
        let hash = ident.hash();
        if let Some(found) = self.find_at(ident, hash) {
            return Some(found);
        }
        let claimed = self.claim(hash, owner)?;
        let record = self.record(claimed);
        fence(Ordering::SeqCst);
        self.clear(claimed, ident, now_ms);
        fence(Ordering::SeqCst);
        let state = match self.has_twin(ident, hash, claimed) {
            true => FREE,
            false => {
                cell::bump(&self.cells.file(hash).epoch);
                LIVE
            }
        };
        let seq = u64::from(claimed.generation) << 32 | state;
        record.seq.store(seq, Ordering::SeqCst);
        self.find_at(ident, hash)
    }

    /// Two processes may make a record of one file at once; it must never have two, because they
    /// could differ in block size and in stamp. Each names the file in its claimed record before it
    /// looks around, so that one at least sees the other and gives up; perhaps both, until next
    /// time.
    fn has_twin(&self, ident: FileIdent, hash: u64, claimed: RecordRef) -> bool {
        self.probes(hash)
            .filter(|index| *index != claimed.index as usize)
            .any(|index| {
                let twin = &self.records[index];
                let state = twin.seq.load(Ordering::SeqCst) & STATE_MASK;
                state != FREE && twin.ident() == ident
            })
    }

    fn claim(&self, hash: u64, owner: u16) -> Option<RecordRef> {
        let try_claim = |index: usize, recycle: bool| {
            let record = &self.records[index];
            let seq = record.seq.load(Ordering::Acquire);
            let usable = match seq & STATE_MASK {
                FREE => true,
                LIVE => recycle && record.active.load(Ordering::Relaxed) == 0,
                _ => false,
            };
            let generation = ((seq >> 32) as u32).wrapping_add(1);
            let next = u64::from(generation) << 32 | u64::from(owner) << 8 | CLAIMED;
            let swap = |from, to| {
                let swapped =
                    record
                        .seq
                        .compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed);
                swapped.is_ok()
            };
            if !usable || !swap(seq, next) {
                return None;
            }
            // A writer that found the record before it was claimed may still store a stamp in it:
            // it is in flight in the old file's `writes` cell. (It entered that cell first and then
            // looked whether the record is current; one of us sees the other.)
            let writes = &self.cells.file(record.ident().hash()).writes;
            if seq & STATE_MASK == LIVE && !cell::is_quiet(writes.load(Ordering::SeqCst)) {
                swap(next, seq);
                return None;
            }
            Some(RecordRef {
                index: index as u32,
                generation,
            })
        };
        self.probes(hash)
            .find_map(|index| try_claim(index, false))
            .or_else(|| self.probes(hash).find_map(|index| try_claim(index, true)))
    }

    fn clear(&self, claimed: RecordRef, ident: FileIdent, now_ms: u64) {
        let (record, generation) = (self.record(claimed), claimed.generation);
        record.set_stamp(Stamp::default(), Trust::None);
        let counters = [
            &record.want,
            &record.reads,
            &record.hits_local,
            &record.hits_remote,
            &record.writes,
            &record.blocks_held,
        ];
        for word in counters {
            word.store(0, Ordering::Relaxed);
        }
        let policy = u64::from(generation) << 32;
        record.policy.store(policy, Ordering::Relaxed);
        record.dev.store(ident.dev, Ordering::Relaxed);
        record.ino.store(ident.ino, Ordering::Relaxed);
        record.birth_ns.store(ident.birth_ns, Ordering::Relaxed);
        record.first_seen_ms.store(now_ms, Ordering::Relaxed);
        record.active.store(2, Ordering::Relaxed);
    }

    /// Frees records that a process now proved dead was making.
    pub fn release_claims(&self, owner: u16) {
        for record in self.records {
            let seq = record.seq.load(Ordering::Acquire);
            if seq & STATE_MASK == CLAIMED && (seq >> 8) as u16 == owner {
                let free = seq & !0xFFFF_FFFF | FREE;
                let _ = record
                    .seq
                    .compare_exchange(seq, free, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
    }

    /// All live records (hook server: statistics, ageing).
    pub fn live(&self) -> impl Iterator<Item = (RecordRef, &'a FileRecord)> + use<'a> {
        self.records
            .iter()
            .enumerate()
            .filter_map(|(index, record)| {
                let seq = record.seq.load(Ordering::Acquire);
                let found = RecordRef {
                    index: index as u32,
                    generation: (seq >> 32) as u32,
                };
                (seq & STATE_MASK == LIVE).then_some((found, record))
            })
    }

    /// The hook server's verdict on a stamp ("clean at S", or `Trust::None` to distrust): enters
    /// the `writes` cell as the sole writer, starts a new epoch, stores. False: a write is in
    /// flight or came meanwhile; nothing was believed, try again.
    ///
    /// A writer that comes while the verdict is in flight is not alone, so it does not compare
    /// stamps. That is why the epoch moves before anything else, whatever the outcome.
    pub fn prove(&self, found: RecordRef, stamp: Stamp, trust: Trust) -> bool {
        let record = self.record(found);
        let file = self.cells.file(record.ident().hash());
        let Some(word) = cell::enter_alone(&file.writes) else {
            return false;
        };
        cell::bump(&file.epoch);
        // Nobody recycles a record whose file has a writer in flight, and the identity read above
        // was this record's if its generation still stands.
        let is_current = self.is_current(found);
        if is_current {
            record.set_stamp(stamp, trust);
        }
        if cell::leave_if_still(&file.writes, word) {
            return is_current;
        }
        self.distrust_as_last(&file.writes, record, is_current);
        false
    }

    /// A writer overlapped `prove`. If it is gone already, nobody recorded what it left behind: the
    /// stamp is distrusted. If it is still in flight, it will record its own.
    fn distrust_as_last(&self, writes: &AtomicU64, record: &FileRecord, is_current: bool) {
        loop {
            let word = writes.load(Ordering::Acquire);
            if !cell::is_sole(word) {
                cell::leave(writes);
                return;
            }
            if is_current {
                record.set_stamp(Stamp::default(), Trust::None);
            }
            if cell::leave_if_still(writes, word) {
                return;
            }
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use crate::writes::FileCells;
    use std::vec::Vec;

    fn table(records: usize) -> (Vec<FileRecord>, Vec<AtomicU64>, Vec<FileCells>) {
        let cell = || AtomicU64::new(0);
        (
            (0..records).map(|_| FileRecord::free()).collect(),
            (0..64).map(|_| cell()).collect(),
            (0..64).map(|_| FileCells::unused()).collect(),
        )
    }

    #[test]
    fn a_record_is_made_once_found_again_and_moves_the_epoch() {
        let (records, blocks, files) = table(16);
        let cells = Cells {
            blocks: &blocks,
            files: &files,
        };
        let files = Files {
            records: &records,
            cells,
        };
        let ident = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        };
        let before = cells.file(ident.hash()).epoch.load(Ordering::Relaxed);
        let made = files.find_or_create(ident, 1, 5).expect("room");
        assert_eq!(files.find(ident), Some(made));
        assert_eq!(files.find_or_create(ident, 1, 6), Some(made));
        assert_ne!(
            cells.file(ident.hash()).epoch.load(Ordering::Relaxed),
            before
        );
        assert_eq!(files.record(made).stamp().1, Trust::None);
    }

    #[test]
    fn a_full_table_recycles_only_records_at_rest() {
        let (records, blocks, files) = table(8);
        let files = Files {
            records: &records,
            cells: Cells {
                blocks: &blocks,
                files: &files,
            },
        };
        let nth = |ino| FileIdent {
            dev: 1,
            ino,
            birth_ns: 3,
        };
        let first: Vec<_> = (0..8)
            .map(|n| files.find_or_create(nth(n), 1, 0).unwrap())
            .collect();
        assert!(files.find_or_create(nth(99), 1, 0).is_none());
        files.record(first[3]).active.store(0, Ordering::Relaxed);
        let made = files
            .find_or_create(nth(99), 1, 0)
            .expect("recycles the one at rest");
        assert_eq!(made.index, first[3].index);
        assert!(!files.is_current(first[3]));
    }

    #[test]
    fn a_judgement_does_not_reach_the_next_user_of_a_record() {
        let (records, blocks, files) = table(8);
        let files = Files {
            records: &records,
            cells: Cells {
                blocks: &blocks,
                files: &files,
            },
        };
        let nth = |ino| FileIdent {
            dev: 1,
            ino,
            birth_ns: 3,
        };
        let found: Vec<_> = (0..8)
            .map(|n| files.find_or_create(nth(n), 1, 0).unwrap())
            .collect();
        assert!(files.judge(found[5], OWNED));
        assert!(files.record(found[5]).has_policy(OWNED | JUDGED));
        files.record(found[5]).active.store(0, Ordering::Relaxed);
        let next = files.find_or_create(nth(77), 1, 0).expect("recycled");
        assert!(!files.judge(found[5], OWNED));
        assert!(!files.record(next).has_policy(OWNED));
    }

    #[test]
    fn a_proof_under_a_write_in_flight_is_refused() {
        let (records, blocks, files) = table(8);
        let cells = Cells {
            blocks: &blocks,
            files: &files,
        };
        let files = Files {
            records: &records,
            cells,
        };
        let ident = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        };
        let made = files.find_or_create(ident, 1, 0).unwrap();
        let stamp = Stamp {
            size: 10,
            ctime_ns: 20,
        };
        let writes = &cells.file(ident.hash()).writes;
        assert!(cell::enter(writes).counted);
        assert!(!files.prove(made, stamp, Trust::Clean));
        cell::leave(writes);
        assert!(files.prove(made, stamp, Trust::Clean));
        assert_eq!(files.record(made).stamp(), (stamp, Trust::Clean));
    }
}
