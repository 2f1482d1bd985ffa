//! What a read is after: the file, proved by the kernel to be what the table says and unchanged
//! since its blocks were published, and the blocks with the versions they must have.

use grid::files::{EXCLUDED, OWNED, RecordRef, Trust};
use grid::header::switch;
use grid::ident::{FileIdent, block_hash};
use grid::index::Held;
use grid::names::{Bypass, Counter};
use grid::node::{NodeState, Nodes};
use grid::sync::Ordering;
use grid::writes::{self, FileSeen};
use wire::BlockId;

use super::{Request, direct};
use crate::fdtable::{self, Word};
use crate::session::{self, Member};
use crate::sys::file::FileStat;
use crate::{classify, governor, sys, write};

/// Blocks that one call may be served.
pub const BLOCKS_MAX: usize = 32;
/// Bytes of blocks that one call may be served.
pub const BYTES_MAX: u64 = 256 * 1024;

/// log2 of the bytes that are read ahead together: an aligned part of one extent, so of one node.
const AHEAD_LOG2: u8 = 17;
/// A shorter read takes nothing along.
const AHEAD_READ_MIN: u64 = 16 * 1024;

/// The blocks of a read, ready to be looked for.
pub struct Target {
    /// The file.
    pub ident: FileIdent,
    /// Hash of the identity.
    pub hash: u64,
    /// The file's record.
    pub record: RecordRef,
    /// log2 of the block size.
    pub log2: u8,
    /// First block.
    pub first: u64,
    /// Number of blocks.
    pub count: u32,
    /// Offset of the read.
    pub offset: u64,
    /// Length of the read.
    pub len: u64,
    /// The file's cells as seen (rule S1).
    pub seen: FileSeen,
    /// Versions of the blocks as seen.
    pub versions: [u64; BLOCKS_MAX],
    /// Whether the descriptor was opened with `O_DIRECT`.
    pub is_direct: bool,
}

impl Target {
    /// Steps 1 and 2 of a read: `Err` says why it is the kernel's.
    pub fn find(member: Member, request: Request, word: Word) -> Result<Target, Bypass> {
        let header = member.header();
        if member.slot.is_none() {
            return Err(Bypass::NotJoined);
        }
        if !session::is_serving(header, sys::monotonic_ms()) {
            return Err(Bypass::Off);
        }
        let stat = sys::file::stat_fd(request.fd).map_err(|_| Bypass::NotRegular)?;
        let record = record_of(member, request.fd, word, &stat)?;
        let is_direct = direct::admits(request)?;
        let (offset, len) = range(request, &stat)?;
        let log2 = block_size(member, request.fd, record, (offset, len), &stat)?;
        let (first, last) = (offset >> log2, (offset + len - 1) >> log2);
        let count = last - first + 1;
        if count > BLOCKS_MAX as u64 || count << log2 > BYTES_MAX {
            return Err(Bypass::Shape);
        }
        let hash = stat.ident.hash();
        let seen = look(member, request.fd, record, &stat, hash)?;
        let mut versions = [0; BLOCKS_MAX];
        let cells = member.region().cells();
        for (nth, version) in versions.iter_mut().enumerate().take(count as usize) {
            *version =
                writes::look_block(cells, hash, first + nth as u64).ok_or(Bypass::WriteInFlight)?;
        }
        if !member.region().files().is_current(record) {
            return Err(Bypass::TableFull);
        }
        let ident = stat.ident;
        let count = count as u32;
        Ok(Target {
            ident,
            hash,
            record,
            log2,
            first,
            count,
            offset,
            len,
            seen,
            versions,
            is_direct,
        })
    }

    /// Number and version of each block.
    pub fn blocks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let versions = self.versions.iter().take(self.count as usize);
        versions
            .enumerate()
            .map(|(nth, version)| (self.first + nth as u64, *version))
    }

    /// The index entry of a block.
    pub fn held(&self, block: u64, version: u64) -> Held {
        Held::new(
            block_hash(self.hash, block),
            self.log2,
            self.seen.epoch(),
            version,
        )
    }

    /// The name of a block on the wire.
    pub fn block_id(&self, block: u64, version: u64) -> BlockId {
        BlockId {
            dev: self.ident.dev,
            ino: self.ident.ino,
            birth_ns: self.ident.birth_ns,
            block_log2: self.log2,
            block,
            epoch: self.seen.epoch(),
            version,
        }
    }

    /// Rule S3: what was seen before the content was fetched still stands.
    pub fn is_unchanged(&self, member: Member) -> bool {
        let cells = member.region().cells();
        writes::file_unchanged(cells, self.hash, self.seen)
            && self
                .blocks()
                .all(|(block, version)| writes::block_unchanged(cells, self.hash, block, version))
    }

    /// The slot of a block of the file.
    pub fn slot_of(&self, member: Member, block: u64) -> usize {
        let salt = member.joined.keys.salt();
        Nodes::slot_of(self.hash ^ salt, block, self.log2)
    }

    /// How many blocks from the first on share its slot; the rest shares another one.
    pub fn count_of_first_slot(&self) -> usize {
        Nodes::blocks_within_extent(self.first, u64::from(self.count), self.log2) as usize
    }

    /// The node of the first block; all blocks must be there.
    pub fn node(&self, member: Member) -> Option<usize> {
        let nodes = member.region().nodes();
        let node = nodes.node_of(self.slot_of(member, self.first))?;
        let last = self.first + u64::from(self.count) - 1;
        (nodes.node_of(self.slot_of(member, last)) == Some(node)).then_some(node)
    }

    /// Step 4: whether a node that is up is believed to hold every block.
    pub fn held_by_node(&self, member: Member) -> Result<(), Bypass> {
        let index = member.region().index();
        if !self
            .blocks()
            .all(|(block, version)| index.heat(self.held(block, version)).is_some())
        {
            return Err(Bypass::NotHeld);
        }
        let node = self.node(member).ok_or(Bypass::NoNode)?;
        match member.region().nodes().records[node].state() {
            NodeState::Up => Ok(()),
            _ => Err(Bypass::NoNode),
        }
    }

    /// Readahead from the node: a large read at the start of a file, or where the last one ended,
    /// takes along what its node holds of the same `AHEAD_BYTES`, for one round trip instead of
    /// several. Not for small reads, which jump about, and only while there is a place to keep it.
    pub fn reach_ahead(&mut self, member: Member) {
        let has_place = member.header().local_active.load(Ordering::Relaxed) != 0;
        if !has_place || self.is_direct || self.len < AHEAD_READ_MIN || self.log2 > AHEAD_LOG2 {
            return;
        }
        let (cells, index) = (member.region().cells(), member.region().index());
        let next = self.first + u64::from(self.count);
        let end = ((next - 1) | ((1 << (AHEAD_LOG2 - self.log2)) - 1)) + 1;
        let most = (BLOCKS_MAX as u64).min(BYTES_MAX >> self.log2);
        for block in next..end.min(self.first + most) {
            let Some(version) = writes::look_block(cells, self.hash, block) else {
                return;
            };
            if index.heat(self.held(block, version)).is_none() {
                return;
            }
            self.versions[self.count as usize] = version;
            self.count += 1;
        }
    }

    /// Step 5: whether the kernel would serve the read from its own page cache.
    pub fn is_resident(&self, member: Member, request: Request) -> bool {
        if member.header().is_on(switch::FILL_ALWAYS) || self.is_direct {
            return false;
        }
        sys::file::is_resident(request.fd, self.offset, self.len)
            .or_else(|| sys::file::is_resident_mincore(request.fd, self.offset, self.len))
            .unwrap_or(false)
    }

    /// Counts a served read.
    pub fn count_hit(&self, member: Member, kind: Counter, served: isize) {
        if let Some(counters) = member.counters() {
            counters.add(Counter::Reads, 1);
            counters.add(kind, 1);
            counters.add(Counter::ReadBytes, served as u64);
        }
        let record = member.region().files().record(self.record);
        record.reads.fetch_add(1, Ordering::Relaxed);
        let hits = if kind == Counter::HitsLocal {
            &record.hits_local
        } else {
            &record.hits_remote
        };
        hits.fetch_add(1, Ordering::Relaxed);
    }
}

/// The record of the file that the kernel says the descriptor is; the table word is renewed when it
/// said something else.
fn record_of(member: Member, fd: i32, word: Word, stat: &FileStat) -> Result<RecordRef, Bypass> {
    let files = member.region().files();
    let found = match classify::known_record(member, word, stat) {
        Some(found) => found,
        None => {
            if let Err(reason) = classify::eligible(fd, stat) {
                fdtable::set(fd, Word::left_alone(reason));
                return Err(reason);
            }
            if let Err(reason) = classify::look_at_flags(fd) {
                fdtable::set(fd, Word::left_alone(reason));
                return Err(reason);
            }
            let found = classify::record_of(member, stat).ok_or(Bypass::TableFull)?;
            fdtable::set(fd, Word::file(found, governor::SERVE));
            found
        }
    };
    let record = files.record(found);
    if record.active.load(Ordering::Relaxed) < 2 {
        record.active.store(2, Ordering::Relaxed);
    }
    if record.has_policy(EXCLUDED) {
        fdtable::set(fd, Word::left_alone(Bypass::Excluded));
        return Err(Bypass::Excluded);
    }
    if classify::awaits_judgement(member, found) {
        classify::request_proof(member, found, fd);
        return Err(Bypass::Unproved);
    }
    Ok(found)
}

/// Offset and length, if the read lies wholly within the file.
fn range(request: Request, stat: &FileStat) -> Result<(u64, u64), Bypass> {
    let len = request.len().filter(|len| *len > 0).ok_or(Bypass::Shape)?;
    let offset = u64::try_from(request.offset).map_err(|_| Bypass::Shape)?;
    match offset.checked_add(len) {
        Some(end) if end <= stat.stamp.size => Ok((offset, len)),
        _ => Err(Bypass::PastEnd),
    }
}

fn block_size(
    member: Member,
    fd: i32,
    record: RecordRef,
    (offset, len): (u64, u64),
    stat: &FileStat,
) -> Result<u8, Bypass> {
    let record = member.region().files().record(record);
    let largest = member.region().layout().shape.refresh_log2();
    let whole = offset == 0 && len == stat.stamp.size;
    let learnt = governor::learn(fd, member.header(), record, len, offset, largest, whole);
    learnt.ok_or(Bypass::NotHeld)
}

/// The file's cells, and its stamp: recorded, trusted, and still the file's.
fn look(
    member: Member,
    fd: i32,
    found: RecordRef,
    stat: &FileStat,
    hash: u64,
) -> Result<FileSeen, Bypass> {
    let record = member.region().files().record(found);
    let owned = record.has_policy(OWNED) || session::is_planted();
    let cells = member.region().cells();
    let seen = writes::look_file(cells, hash, !owned).ok_or(Bypass::WriteInFlight)?;
    if owned {
        // Asked again under the epoch just loaded: the file may have been disowned in between.
        let still = record.has_policy(OWNED) || session::is_planted();
        return still.then_some(seen).ok_or(Bypass::WriteInFlight);
    }
    let (stamp, trust) = record.stamp();
    if !writes::stamp_was_steady(cells, hash, seen) {
        return Err(Bypass::WriteInFlight);
    }
    if trust == Trust::None || stamp != stat.stamp {
        classify::request_proof(member, found, fd);
        return Err(Bypass::Unproved);
    }
    if trust == Trust::Doubted {
        if !sys::file::is_young(stamp.ctime_ns) {
            write::renew_epoch(member, fd, found, hash);
        }
        return Err(Bypass::Unproved);
    }
    Ok(seen)
}

/// Rule F2, after a filler's read of the kernel and before it publishes: the file still stands
/// under a trusted stamp and the same epoch. The stamp of a file moves when a write *starts*, so
/// what was read before this look holds no byte of an outsider's write.
/// The size of the file then; `None`: it does not stand.
pub fn still_stands(
    member: Member,
    fd: i32,
    found: RecordRef,
    hash: u64,
    seen: FileSeen,
) -> Option<u64> {
    let stat = sys::file::stat_fd(fd).ok()?;
    let record = member.region().files().record(found);
    let stands = record.ident() == stat.ident
        && look(member, fd, found, &stat, hash).is_ok()
        && member.region().files().is_current(found)
        && writes::file_unchanged(member.region().cells(), hash, seen);
    stands.then_some(stat.stamp.size)
}
