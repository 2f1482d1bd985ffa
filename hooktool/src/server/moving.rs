//! The mover: slots that are to go from a node that answers to another one are taken along block by
//! block, so that reads go on being served: by the old node until the slot is moved, by the new one
//! from then on.
//!
//! One thread a session runs `run`; the pool wakes it. It goes through the files once and notes
//! which parts of them lie in the slots that are to go; then, a few slots at a time, it finds their
//! blocks by the index of each region, asks the old node for them, leaves them with the new one,
//! and moves the slots. It takes a quarter of its time, and no more than `--fill-rate`. Nothing
//! rests on it: a block that it has missed is one miss for whoever reads it. It never waits for a
//! node longer than `NODE_LIMIT`, and holds no lock while it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::files::{FileRecord, RecordRef};
use grid::ident::block_hash;
use grid::index::Held;
use grid::layout::BLOCK_LOG2_MIN;
use grid::node::{EXTENT_LOG2, Nodes, SLOTS};
use grid::sync::Ordering;
use grid::writes::{look_block, look_file};
use wire::resp::{SET_TAIL, encode_get, encode_set_head, set_head_bytes};
use wire::{BlockId, HEADER_BYTES, KEY_BYTES};

use super::client::{Client, NodeError, Reply};
use super::domain::Domain;
use super::look;
use super::nodes::Node;
use super::session::{DOMAINS_MAX, Session};

/// Slots moved at a time.
const SLOTS_AT_A_TIME: usize = 64;

/// Blocks asked for at a time.
const BLOCKS_AT_A_TIME: usize = 16;

/// Longest wait for an answer.
const NODE_LIMIT: Duration = Duration::from_millis(1000);

/// Of its time it rests so many parts for each that it works.
const REST: u32 = 3;

/// Between two looks whether there is anything to do, unless woken.
const IDLE: Duration = Duration::from_secs(1);

/// After a failure of the node that takes blocks: its keeper finds out how it is.
const SULK: Duration = Duration::from_secs(1);

/// Extents that are looked at in a pass: 16 TiB of the files of each region.
const EXTENTS_MAX: u64 = 1 << 24;

/// Extents that are noted in a pass, 24 bytes each. Where more lie in the slots that are to go,
/// half of these slots wait for the next pass.
const NOTES_MAX: usize = 1 << 17;

/// Slots on their way, all from one node to another.
pub struct Move {
    /// Where they are.
    pub from: Arc<Node>,
    /// Where they belong.
    pub to: Arc<Node>,
    /// Which.
    pub slots: Vec<usize>,
}

/// A part of a file that lies in one of the slots that are to go.
struct Note {
    slot: u16,
    domain: u8,
    /// Size of the blocks that it was counted in.
    log2: u8,
    file: RecordRef,
    /// Its first block.
    first: u64,
}

const _: () = assert!(size_of::<Note>() == 24 && SLOTS <= 1 << 16 && DOMAINS_MAX <= 1 << 8);

/// A block that the index knows, as it would be asked for now.
struct Block {
    id: BlockId,
    held: Held,
    slot: usize,
}

/// Why a block could not be brought.
enum Failed {
    /// The old node does not give: what it holds is lost.
    Giving(NodeError),
    /// The new node does not take: the slots stay where they are.
    Taking(NodeError),
}

/// Moves slots until the session ends.
pub fn run(session: &Session) {
    let mut roads = HashMap::new();
    while !session.is_ending() {
        match session.next_move() {
            Some(next) => pass(session, next, &mut roads),
            None => {
                roads.clear();
                std::thread::park_timeout(IDLE);
            }
        }
    }
}

/// One pass through the files: moves the slots of `next`, or some of them, or none if the pool has
/// changed its mind.
fn pass(session: &Session, mut next: Move, roads: &mut Roads) {
    let domains = session.domains();
    let notes = take_notes(&domains, &mut next.slots);
    for slots in next.slots.chunks(SLOTS_AT_A_TIME) {
        let mut some = Move {
            slots: slots.to_vec(),
            from: Arc::clone(&next.from),
            to: Arc::clone(&next.to),
        };
        session.revise_move(&mut some);
        let (Some(first), Some(last)) = (some.slots.first(), some.slots.last()) else {
            return;
        };
        let start = notes.partition_point(|note| usize::from(note.slot) < *first);
        let end = notes.partition_point(|note| usize::from(note.slot) <= *last);
        for (number, domain) in domains.iter().enumerate() {
            let notes = notes[start..end].iter().filter(|note| {
                let slot = usize::from(note.slot);
                usize::from(note.domain) == number && some.slots.binary_search(&slot).is_ok()
            });
            if !carry(session, domain, notes, &some, roads) {
                std::thread::sleep(SULK);
                return;
            }
        }
        session.finish_move(&some);
    }
}

/// What lies in these slots, by slot. Where that is too much, the later slots are left out.
fn take_notes(domains: &[Arc<Domain>], slots: &mut Vec<usize>) -> Vec<Note> {
    let mut notes = Vec::new();
    for (number, domain) in domains.iter().enumerate() {
        let mut left = EXTENTS_MAX;
        for (file, record) in domain.region.files().live() {
            let Some(log2) = block_log2(domain, record) else {
                continue;
            };
            let size = bytes_of(domain, file.index, record);
            let extents = size.div_ceil(1 << EXTENT_LOG2).min(left);
            left -= extents;
            let hash = record.ident().hash() ^ domain.keys.salt();
            for first in (0..extents).map(|extent| extent * blocks_each(log2)) {
                let slot = Nodes::slot_of(hash, first, log2);
                if slots.binary_search(&slot).is_err() {
                    continue;
                }
                let (slot, domain) = (slot as u16, number as u8);
                if has_room(&mut notes, slots) {
                    notes.push(Note {
                        slot,
                        domain,
                        log2,
                        file,
                        first,
                    });
                }
            }
        }
    }
    notes.retain(|note| slots.binary_search(&usize::from(note.slot)).is_ok());
    notes.sort_unstable_by_key(|note| note.slot);
    notes
}

/// Whether one more note can be taken, after half of the slots were left out if need be.
fn has_room(notes: &mut Vec<Note>, slots: &mut Vec<usize>) -> bool {
    while notes.len() >= NOTES_MAX && slots.len() > SLOTS_AT_A_TIME {
        slots.truncate((slots.len() / 2).max(SLOTS_AT_A_TIME));
        notes.retain(|note| slots.binary_search(&usize::from(note.slot)).is_ok());
    }
    notes.len() < NOTES_MAX
}

/// The size of a file's blocks, if it is one.
fn block_log2(domain: &Domain, record: &FileRecord) -> Option<u8> {
    let log2_max = domain.region.layout().shape.refresh_log2();
    let log2 = record.block_log2()?;
    (BLOCK_LOG2_MIN..=log2_max).contains(&log2).then_some(log2)
}

/// Blocks of an extent.
fn blocks_each(log2: u8) -> u64 {
    1 << EXTENT_LOG2.saturating_sub(log2)
}

/// Connections of the mover's own, by the generation of the node.
type Roads = HashMap<u32, Client>;

/// Brings the blocks of some slots from one node to another; false: the slots cannot be moved now.
fn carry<'a>(
    session: &Session,
    domain: &Domain,
    notes: impl Iterator<Item = &'a Note>,
    next: &Move,
    roads: &mut Roads,
) -> bool {
    let mut carried = 0;
    for note in notes {
        for some in blocks_of(domain, note).chunks(BLOCKS_AT_A_TIME) {
            if session.is_ending() || next.from.is_gone() || next.to.is_gone() {
                return false;
            }
            let start = Instant::now();
            match bring(domain, some, next, roads) {
                Ok(count) => carried += count,
                // Health is the keepers' business.
                Err(failed) => {
                    roads.clear();
                    return give_up(next, &failed);
                }
            }
            rest(session, start.elapsed(), some);
        }
    }
    let (from, to) = (domain.node(next.from.number), domain.node(next.to.number));
    let less = from.blocks.load(Ordering::Relaxed).saturating_sub(carried);
    from.blocks.store(less, Ordering::Relaxed);
    to.blocks.fetch_add(carried, Ordering::Relaxed);
    true
}

/// Whether the slots are moved all the same: what is not brought is read from the disk then.
fn give_up(next: &Move, failed: &Failed) -> bool {
    let (from, to) = (&next.from.shown, &next.to.shown);
    match failed {
        Failed::Giving(error) => tracing::debug!(%from, %to, %error, "blocks stay"),
        Failed::Taking(error) => tracing::debug!(%from, %to, %error, "slots stay"),
    }
    matches!(failed, Failed::Giving(_))
}

/// Lets others have the nodes, the processors and the network.
fn rest(session: &Session, worked: Duration, blocks: &[Block]) {
    let bytes: u64 = blocks.iter().map(|block| 1 << block.id.block_log2).sum();
    let rate = session.config.fill_rate_bytes_per_s.unwrap_or(u64::MAX);
    let least = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
    std::thread::sleep((worked * REST).max(least).min(IDLE));
}

/// Bytes of a file: by its stamp, or by its path where no stamp is kept.
fn bytes_of(domain: &Domain, index: u32, record: &FileRecord) -> u64 {
    let known = record.stamp().0.size;
    if known != 0 {
        return known;
    }
    let path = domain
        .paths
        .lock()
        .get(&index)
        .map(|(_, path)| path.clone());
    path.and_then(|path| look::size_at(&path, record.ident()))
        .unwrap_or(0)
}

/// The blocks of a noted extent that the index knows.
fn blocks_of(domain: &Domain, note: &Note) -> Vec<Block> {
    let files = domain.region.files();
    let record = files.record(note.file);
    let (ident, log2) = (record.ident(), note.log2);
    let seen = look_file(domain.region.cells(), ident.hash(), false);
    // The record may be another file's by now: the look above was at whatever it is.
    let is_current = files.is_current(note.file) && record.block_log2() == Some(log2);
    let (Some(seen), true) = (seen, is_current) else {
        return Vec::new();
    };
    let mut blocks = Vec::new();
    for block in note.first..note.first + blocks_each(log2) {
        let Some(version) = look_block(domain.region.cells(), ident.hash(), block) else {
            continue;
        };
        let hash = block_hash(ident.hash(), block);
        let held = Held::new(hash, log2, seen.epoch(), version);
        if domain.region.index().heat(held).is_none() {
            continue;
        }
        let id = BlockId {
            dev: ident.dev,
            ino: ident.ino,
            birth_ns: ident.birth_ns,
            block_log2: log2,
            block,
            epoch: seen.epoch(),
            version,
        };
        let slot = usize::from(note.slot);
        blocks.push(Block { id, held, slot });
    }
    blocks
}

/// Asks one node for blocks and leaves what it gives with another; how many it were. A block that
/// is not what it should be stays behind: its reader must not blame the new node for it.
fn bring(domain: &Domain, blocks: &[Block], next: &Move, roads: &mut Roads) -> Result<u64, Failed> {
    let given = take_from(domain, blocks, road(&next.from, roads)).map_err(Failed::Giving)?;
    leave_with(domain, given, road(&next.to, roads)).map_err(Failed::Taking)
}

/// Asks for blocks: those that came, each with its value.
fn take_from<'a>(
    domain: &Domain,
    blocks: &'a [Block],
    road: Result<&mut Client, NodeError>,
) -> Result<Vec<(&'a Block, Vec<u8>)>, NodeError> {
    let mut request = vec![0; blocks.len() * 64];
    let mut filled = 0;
    for block in blocks {
        let key = domain.keys.wire_key(&block.id, block.slot);
        filled += encode_get(&mut request[filled..], &key).unwrap_or(0);
    }
    let from = road?;
    from.send(&request[..filled])?;
    let mut given = Vec::new();
    for block in blocks {
        match from.reply()? {
            Reply::Bulk(value) if is_right(domain, &block.id, &value) => {
                given.push((block, value));
            }
            // It has evicted it, or never had it.
            _ => {}
        }
    }
    Ok(given)
}

/// Leaves blocks; how many were taken.
fn leave_with(
    domain: &Domain,
    given: Vec<(&Block, Vec<u8>)>,
    road: Result<&mut Client, NodeError>,
) -> Result<u64, NodeError> {
    let mut request = Vec::new();
    for (block, value) in &given {
        let key = domain.keys.wire_key(&block.id, block.slot);
        stage(&mut request, &key, value);
    }
    let to = road?;
    to.send(&request)?;
    let mut taken = 0;
    for (block, _) in given {
        match to.reply()? {
            Reply::Simple(_) => taken += 1,
            _ => domain.region.index().remove(block.held),
        }
    }
    Ok(taken)
}

/// Looks at a copy, which is decrypted where blocks are sealed: what is sent on stays as it came.
fn is_right(domain: &Domain, id: &BlockId, value: &[u8]) -> bool {
    let Some((header, payload)) = value.split_at_checked(HEADER_BYTES) else {
        return false;
    };
    let mut payload = payload.to_vec();
    payload.len() == 1 << id.block_log2 && domain.keys.open(id, header, &mut payload).is_ok()
}

/// Appends a SET.
fn stage(request: &mut Vec<u8>, key: &[u8; KEY_BYTES], value: &[u8]) {
    let head_bytes = set_head_bytes(KEY_BYTES, value.len());
    let start = request.len();
    request.resize(start + head_bytes, 0);
    let written = encode_set_head(&mut request[start..], key, value.len());
    debug_assert_eq!(written, Some(head_bytes));
    request.extend_from_slice(value);
    request.extend_from_slice(SET_TAIL);
}

/// The mover's own connection to a node.
fn road<'a>(node: &Node, roads: &'a mut Roads) -> Result<&'a mut Client, NodeError> {
    use std::collections::hash_map::Entry;
    match roads.entry(node.generation()) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => {
            let stream = node.take_soon();
            let none = || std::io::Error::other("no connection is ready");
            let client = Client::of(stream.ok_or_else(none)?, NODE_LIMIT)?;
            Ok(place.insert(client))
        }
    }
}
