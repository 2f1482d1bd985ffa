//! The node table: what the session knows about each memory node, and which node holds which part
//! of a file. Kept by the hook server; the processes read it and open the breaker when a node fails
//! them, for everybody at once.
//!
//! Placement: an extent (1 MiB of a file) hashes to one of 16384 slots, the slot map names the
//! node. One read of neighbouring blocks is therefore one round trip to one node.

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
    _unused: AtomicU64,
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
    /// The slot of the extent that `block` of a file lies in.
    pub fn slot_of(file_hash: u64, block: u64, log2: u8) -> usize {
        let extent = block >> EXTENT_LOG2.saturating_sub(log2);
        block_hash(file_hash ^ 0x5851_F42D_4C95_7F2D, extent) as usize % SLOTS
    }

    /// The node that a slot is placed on.
    pub fn node_of(&self, slot: usize) -> Option<usize> {
        let word = self.slot_map[slot / 4].load(Ordering::Relaxed);
        let byte = (word >> (slot % 4 * 8) & 0xFF) as usize;
        byte.checked_sub(1)
    }

    /// Places the slots: rendezvous hashing over the nodes for which `usable` holds (hook server).
    /// `names[n]` is a stable hash of node n's address, so that a node lost moves only its share.
    pub fn place(&self, names: &[u64], usable: impl Fn(usize) -> bool) {
        for (nth, word) in self.slot_map.iter().enumerate() {
            let bytes = (0..4).map(|part| {
                let slot = (nth * 4 + part) as u64;
                let best = (0..names.len())
                    .filter(|node| usable(*node))
                    .max_by_key(|node| block_hash(names[*node], slot));
                best.map_or(0, |node| node as u32 + 1) << (part * 8)
            });
            word.store(bytes.fold(0, |all, byte| all | byte), Ordering::Relaxed);
        }
    }
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
        let names = [11, 22, 33, 44];
        nodes.place(&names, |_| true);
        let before: Vec<_> = (0..SLOTS).map(|slot| nodes.node_of(slot)).collect();
        nodes.place(&names, |node| node != 2);
        let mut shares = [0usize; 4];
        for (slot, node) in before.iter().enumerate() {
            shares[node.expect("placed")] += 1;
            if *node != Some(2) {
                assert_eq!(nodes.node_of(slot), *node);
            }
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
    }
}
