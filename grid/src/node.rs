//! The node table: what the session knows about each memory node, and which node holds which part
//! of a file. Kept by the hook server; the processes read it and open the breaker when a node fails
//! them, for everybody at once.
//!
//! Placement: an extent (1 MiB of a file) hashes to one of 16384 slots, the slot map names the
//! node. One read of neighbouring blocks is therefore one round trip to one node.
//!
//! A number that is free again may be given to another node: the generation of its record tells
//! them apart, so that nobody asks one node over a connection to another, or blames it for one.

use crate::ident::block_hash;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Memory nodes of a session at most.
pub const NODES_MAX: usize = 16;
/// Slots of the slot map (the number Redis Cluster uses).
pub const SLOTS: usize = 16384;
/// log2 of the extent that is placed on one node.
pub const EXTENT_LOG2: u8 = 20;
/// Failures in a row that open the breaker.
pub const FAILURES_MAX: u64 = 3;

/// State of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum NodeState {
    /// Not configured.
    Absent = 0,
    /// Serving.
    Up = 1,
    /// The breaker is open: nobody asks until the hook server has probed it.
    Broken = 2,
    /// Unreachable when last probed.
    Down = 3,
}

impl NodeState {
    /// The one spelling.
    pub fn word(self) -> &'static str {
        match self {
            NodeState::Absent => "absent",
            NodeState::Up => "up",
            NodeState::Broken => "broken",
            NodeState::Down => "down",
        }
    }
}

/// One node: one cache line.
#[repr(C, align(64))]
pub struct NodeRecord {
    state: AtomicU64,
    /// Failures in a row, over all processes.
    failures: AtomicU64,
    /// Round trip of a probe in nanoseconds, smoothed.
    pub rtt_ns: AtomicU64,
    /// Blocks pushed to it and still indexed.
    pub blocks: AtomicU64,
    /// Bytes it reports in use.
    pub bytes: AtomicU64,
    /// Bytes it may use at most.
    pub bytes_max: AtomicU64,
    /// Monotonic milliseconds of the last failure.
    failed_ms: AtomicU64,
    /// Who has the number, and where: moves when the number changes hands and when the node turns
    /// out to live at another address. Never the same twice in a session.
    generation: AtomicU64,
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<NodeRecord>() == 64);

impl NodeRecord {
    /// The node's state.
    pub fn state(&self) -> NodeState {
        match self.state.load(Ordering::Relaxed) {
            1 => NodeState::Up,
            2 => NodeState::Broken,
            3 => NodeState::Down,
            _ => NodeState::Absent,
        }
    }

    /// Sets the state and forgets failures (hook server).
    pub fn set_state(&self, state: NodeState) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.store(state as u64, Ordering::Release);
    }

    /// Whose number it is now.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed) as u32
    }

    /// Gives the number to a node, or to nobody (`Absent`): connections of earlier generations are
    /// of no use from now on (hook server).
    pub fn begin(&self, generation: u32, state: NodeState) {
        self.generation
            .store(u64::from(generation), Ordering::SeqCst);
        for word in [&self.rtt_ns, &self.blocks, &self.bytes, &self.bytes_max] {
            word.store(0, Ordering::Relaxed);
        }
        self.set_state(state);
    }

    /// A process got a right answer.
    pub fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A process was failed by the node. Opens the breaker at once if that is `certain` (the
    /// connection is gone, the envelope was wrong), else after `FAILURES_MAX` in a row. Failures
    /// within `span_ms` of each other count as one: a single stall fails everybody who waits.
    pub fn failed(&self, certain: bool, now_ms: u64, span_ms: u64) {
        let last = self.failed_ms.load(Ordering::Relaxed);
        if !certain && now_ms.saturating_sub(last) < span_ms {
            return;
        }
        self.failed_ms.store(now_ms, Ordering::Relaxed);
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if certain || failures >= FAILURES_MAX {
            let _ = self.state.compare_exchange(
                NodeState::Up as u64,
                NodeState::Broken as u64,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }
}

/// The nodes and the slot map.
#[derive(Clone, Copy)]
pub struct Nodes<'a> {
    /// The records.
    pub records: &'a [NodeRecord],
    /// Four slots of the map to a word, one byte each: node number + 1, 0 nobody.
    pub slot_map: &'a [AtomicU32],
}

impl Nodes<'_> {
    /// The slot of the extent that `block` of a file lies in. `file_hash` has the session's salt
    /// mixed in (`wire::Keys::salt`): keys tell the slot.
    pub fn slot_of(file_hash: u64, block: u64, log2: u8) -> usize {
        let extent = block >> EXTENT_LOG2.saturating_sub(log2);
        block_hash(file_hash ^ 0x5851_F42D_4C95_7F2D, extent) as usize % SLOTS
    }

    /// How many of `count` blocks from `first` on lie in the extent of the first.
    pub fn blocks_within_extent(first: u64, count: u64, log2: u8) -> u64 {
        let extent = 1 << EXTENT_LOG2.saturating_sub(log2);
        count.min(extent - first % extent)
    }

    /// The node that a slot is placed on.
    pub fn node_of(&self, slot: usize) -> Option<usize> {
        let word = self.slot_map[slot / 4].load(Ordering::Relaxed);
        let byte = (word >> (slot % 4 * 8) & 0xFF) as usize;
        byte.checked_sub(1)
    }

    /// How many slots are placed on each node, by its number.
    pub fn shares(&self) -> [u32; NODES_MAX] {
        let mut shares = [0; NODES_MAX];
        for slot in 0..SLOTS {
            if let Some(share) = self.node_of(slot).and_then(|node| shares.get_mut(node)) {
                *share += 1;
            }
        }
        shares
    }

    /// Places the slots where `place_of` says (hook server, one thread at a time).
    pub fn place(&self, place_of: impl Fn(usize) -> Option<usize>) {
        for (nth, word) in self.slot_map.iter().enumerate() {
            let bytes = (0..4).map(|part| {
                let place = place_of(nth * 4 + part);
                place.map_or(0, |node| node as u32 + 1) << (part * 8)
            });
            let new = bytes.fold(0, |all, byte| all | byte);
            if word.load(Ordering::Relaxed) != new {
                word.store(new, Ordering::Relaxed);
            }
        }
    }

    /// Places one slot (hook server, one thread at a time).
    pub fn place_one(&self, slot: usize, node: Option<usize>) {
        let word = &self.slot_map[slot / 4];
        let shift = slot % 4 * 8;
        let byte = node.map_or(0, |node| node as u32 + 1);
        let others = word.load(Ordering::Relaxed) & !(0xFF << shift);
        word.store(others | byte << shift, Ordering::Relaxed);
    }
}

/// The node that rendezvous hashing chooses for a slot: `names[n]` is a stable hash of node n's
/// address, `None` for a node that is not to be chosen. A node lost or won moves only its share.
pub fn rendezvous(names: &[Option<u64>; NODES_MAX], slot: usize) -> Option<usize> {
    let named = names.iter().enumerate();
    let named = named.filter_map(|(node, name)| Some((node, (*name)?)));
    named
        .max_by_key(|(_, name)| block_hash(*name, slot as u64))
        .map(|(node, _)| node)
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_lost_node_moves_only_its_own_slots() {
        let slot_map: Vec<AtomicU32> = (0..SLOTS / 4).map(|_| AtomicU32::new(0)).collect();
        let nodes = Nodes {
            records: &[],
            slot_map: &slot_map,
        };
        let mut names = [None; NODES_MAX];
        for (node, name) in [11, 22, 33, 44].into_iter().enumerate() {
            names[node] = Some(name);
        }
        nodes.place(|slot| rendezvous(&names, slot));
        let before: Vec<_> = (0..SLOTS).map(|slot| nodes.node_of(slot)).collect();
        let lost = names[2].take();
        nodes.place(|slot| rendezvous(&names, slot));
        let mut shares = [0usize; 4];
        for (slot, node) in before.iter().enumerate() {
            shares[node.expect("placed")] += 1;
            if *node != Some(2) {
                assert_eq!(nodes.node_of(slot), *node);
            }
        }
        assert_eq!(nodes.shares()[2], 0);
        // Under another number the node gets the very slots that it had.
        names[9] = lost;
        nodes.place_one(5, None);
        nodes.place(|slot| rendezvous(&names, slot));
        for (slot, node) in before.iter().enumerate() {
            let node = node.map(|node| if node == 2 { 9 } else { node });
            assert_eq!(nodes.node_of(slot), node);
        }
        assert!(
            shares.iter().all(|share| (3500..4700).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn neighbouring_blocks_share_an_extent() {
        assert_eq!(Nodes::slot_of(5, 0, 13), Nodes::slot_of(5, 127, 13));
        assert_ne!(Nodes::slot_of(5, 0, 13), Nodes::slot_of(5, 128, 13));
        assert_eq!(Nodes::blocks_within_extent(0, 128, 13), 128);
        assert_eq!(Nodes::blocks_within_extent(127, 5, 13), 1);
        assert_eq!(Nodes::blocks_within_extent(256, 5, 13), 5);
    }
}
