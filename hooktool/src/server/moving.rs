//! The mover: slots that are to go from a node that answers to another one are taken along block by
//! block, so that reads go on being served: by the old node until the slot is moved, by the new one
//! from then on.
//!
//! One thread a session runs `run`; the pool wakes it. It finds the blocks of a slot by the files
//! and the index of each region, asks the old node for them, leaves them with the new one, and
//! moves the slots then, a few at a time. It takes a quarter of its time, and no more than
//! `--fill-rate`. Nothing rests on it: a block that it has missed is one miss for whoever reads it.
//! It never waits for a node longer than `NODE_LIMIT`, and holds no lock while it does.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::files::FileRecord;
use grid::ident::block_hash;
use grid::index::Held;
use grid::layout::BLOCK_LOG2_MIN;
use grid::node::{EXTENT_LOG2, Nodes};
use grid::sync::Ordering;
use grid::writes::{look_block, look_file};
use wire::resp::{SET_TAIL, encode_get, encode_set_head, set_head_bytes};
use wire::{BlockId, HEADER_BYTES, KEY_BYTES};

use super::client::{Client, NodeError, Reply};
use super::domain::Domain;
use super::look;
use super::nodes::Node;
use super::session::Session;

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

/// Extents of a file that are looked at: 16 TiB of it.
const EXTENTS_MAX: u64 = 1 << 24;

/// Slots on their way, all from one node to another.
pub struct Move {
    /// Where they are.
    pub from: Arc<Node>,
    /// Where they belong.
    pub to: Arc<Node>,
    /// Which.
    pub slots: Vec<usize>,
}

/// A block that the index knows, as it would be asked for now.
struct Block {
    id: BlockId,
    held: Held,
    slot: usize,
}

/// Moves slots until the session ends.
pub fn run(session: &Session) {
    let mut roads = HashMap::new();
    while !session.is_ending() {
        match session.next_move(SLOTS_AT_A_TIME) {
            Some(next) => {
                for domain in session.domains() {
                    carry(session, &domain, &next, &mut roads);
                }
                session.finish_move(&next);
            }
            None => {
                roads.clear();
                std::thread::park_timeout(IDLE);
            }
        }
    }
}

/// Connections of the mover's own, by the generation of the node.
type Roads = HashMap<u32, Client>;

/// Brings the blocks of some slots from one node to another.
fn carry(session: &Session, domain: &Domain, next: &Move, roads: &mut Roads) {
    let files = domain.region.files();
    let mut carried = 0;
    for (found, record) in files.live() {
        let blocks = blocks_of(domain, record, size_of(domain, found.index, record), next);
        for some in blocks.chunks(BLOCKS_AT_A_TIME) {
            if session.is_ending() || next.from.is_gone() || next.to.is_gone() {
                return;
            }
            let start = Instant::now();
            match bring(domain, some, next, roads) {
                Ok(count) => carried += count,
                Err(error) => {
                    // What is not brought is read from the disk; health is the keepers' business.
                    let (from, to) = (&next.from.shown, &next.to.shown);
                    tracing::debug!(%from, %to, %error, "blocks stay");
                    roads.clear();
                    return;
                }
            }
            rest(session, start.elapsed(), some);
        }
    }
    let (from, to) = (domain.node(next.from.number), domain.node(next.to.number));
    let less = from.blocks.load(Ordering::Relaxed).saturating_sub(carried);
    from.blocks.store(less, Ordering::Relaxed);
    to.blocks.fetch_add(carried, Ordering::Relaxed);
}

/// Lets others have the nodes, the processors and the network.
fn rest(session: &Session, worked: Duration, blocks: &[Block]) {
    let bytes: u64 = blocks.iter().map(|block| 1 << block.id.block_log2).sum();
    let rate = session.config.fill_rate_bytes_per_s.unwrap_or(u64::MAX);
    let least = Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
    std::thread::sleep((worked * REST).max(least).min(IDLE));
}

/// Bytes of a file: by its stamp, or by its path where no stamp is kept.
fn size_of(domain: &Domain, index: u32, record: &FileRecord) -> u64 {
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

/// The blocks of a file that lie in these slots and that the index knows.
fn blocks_of(domain: &Domain, record: &FileRecord, size: u64, next: &Move) -> Vec<Block> {
    let (ident, log2_max) = (record.ident(), domain.region.layout().shape.refresh_log2());
    let log2 = record.block_log2().unwrap_or(0);
    let seen = look_file(domain.region.cells(), ident.hash(), false);
    let (Some(seen), true) = (seen, (BLOCK_LOG2_MIN..=log2_max).contains(&log2)) else {
        return Vec::new();
    };
    let each = 1_u64 << EXTENT_LOG2.saturating_sub(log2);
    let extents = size.div_ceil(1 << EXTENT_LOG2).min(EXTENTS_MAX);
    let mut blocks = Vec::new();
    for first in (0..extents).map(|extent| extent * each) {
        let slot = Nodes::slot_of(ident.hash() ^ domain.keys.salt(), first, log2);
        if next.slots.binary_search(&slot).is_err() {
            continue;
        }
        for block in first..first + each {
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
            blocks.push(Block { id, held, slot });
        }
    }
    blocks
}

/// Asks one node for blocks and leaves what it gives with another; how many it were. A block that
/// is not what it should be stays behind: its reader must not blame the new node for it.
fn bring(
    domain: &Domain,
    blocks: &[Block],
    next: &Move,
    roads: &mut Roads,
) -> Result<u64, NodeError> {
    let mut request = vec![0; blocks.len() * 64];
    let mut filled = 0;
    for block in blocks {
        let key = domain.keys.wire_key(&block.id, block.slot);
        filled += encode_get(&mut request[filled..], &key).unwrap_or(0);
    }
    let from = road(&next.from, roads)?;
    from.send(&request[..filled])?;
    let mut request = Vec::new();
    let mut sent = Vec::new();
    for block in blocks {
        match from.reply()? {
            Reply::Bulk(value) if is_right(domain, &block.id, &value) => {
                stage(
                    &mut request,
                    &domain.keys.wire_key(&block.id, block.slot),
                    &value,
                );
                sent.push(block);
            }
            // It has evicted it, or never had it.
            _ => {}
        }
    }
    let to = road(&next.to, roads)?;
    to.send(&request)?;
    let mut taken = 0;
    for block in sent {
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
