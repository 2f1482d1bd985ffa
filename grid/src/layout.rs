//! How a region is cut up. Every offset is computed from the counts in `Shape`; the counts stand in
//! the header, so that a process maps a region without knowing how its sizes were chosen.
//!
//! ```text
//!  0        4 KiB
//!  +--------+-------+----------+-----------+-----+------------+-------+-------+---------+
//!  | header | nodes | slot map | processes | ops | file cells | files | cells | index   | ...
//!  +--------+-------+----------+-----------+-----+------------+-------+-------+---------+
//!  ... | refresh headers | refresh content | local tags | local content (sparse) | trace (same) |
//!  each part begins on a page; content of the local cache and the ring of traces are not allocated
//!  up front
//! ```

use crate::files::FileRecord;
use crate::header::Header;
use crate::index::Bucket;
use crate::local::{PAGE_BYTES, Tag, WAYS};
use crate::node::{NODES_MAX, NodeRecord, SLOTS};
use crate::ops::OpSlot;
use crate::process::ProcessRecord;
use crate::refresh::RefreshSlot;
use crate::trace;
use crate::writes::FileCells;

/// log2 of the smallest and largest block.
pub const BLOCK_LOG2_MIN: u8 = 12;
/// log2 of the largest block.
pub const BLOCK_LOG2_MAX: u8 = 16;
/// The least that index, cells and refresh slots together may have.
pub const BUDGET_MIN_BYTES: u64 = 64 * 1024;

/// The counts that everything else follows from. All are powers of two except `processes` and
/// `refresh_slots`; the order is that of `Header::shape`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Process records.
    pub processes: u64,
    /// Operation records.
    pub ops: u64,
    /// Pairs of file cells.
    pub file_cells: u64,
    /// File records.
    pub files: u64,
    /// Block cells.
    pub cells: u64,
    /// Buckets of the index.
    pub buckets: u64,
    /// Refresh slots, and log2 of the bytes of each in the upper half.
    pub refresh: u64,
    /// Tags (and content pages) of the local cache.
    pub local_pages: u64,
}

/// Largest power of two that is at most `value` (1 for 0).
fn floor_power(value: u64) -> u64 {
    1 << (63 - value.max(1).leading_zeros())
}

impl Shape {
    /// Cuts a budget: `budget_bytes` for index, cells and refresh slots; `local_bytes` at most for
    /// the local cache (0: none). `pool_blocks`: how many blocks the nodes can hold, if known.
    pub fn for_budget(budget_bytes: u64, local_bytes: u64, pool_blocks: u64) -> Shape {
        let budget = budget_bytes.max(BUDGET_MIN_BYTES);
        let wanted = pool_blocks.max(4096).next_power_of_two();
        // A half for cells, a quarter for the index (4 bytes an entry), a quarter for refreshes:
        // a host under load may keep the hook server waiting for the time of a hundred blocks.
        let cells = floor_power(budget / 2 / 8).min(wanted * 2);
        let buckets = floor_power(budget / 4 / 64).min(wanted / 8);
        let slot_log2: u64 = match budget {
            0..0x80_0000 => 13,
            0x80_0000..0x200_0000 => 14,
            _ => 16,
        };
        let slots = ((budget / 4) >> slot_log2).clamp(4, 256);
        Shape {
            processes: match budget {
                0..0x10_0000 => 128,
                0x10_0000..0x100_0000 => 256,
                _ => 1024,
            },
            ops: if budget >= 16 << 20 { 4096 } else { 1024 },
            file_cells: if budget >= 32 << 20 { 32768 } else { 8192 },
            // A web server reads thousands of files, however small its memory is.
            files: if budget >= 2 << 20 { 8192 } else { 2048 },
            cells,
            buckets,
            refresh: slot_log2 << 32 | slots,
            local_pages: match local_bytes / PAGE_BYTES as u64 {
                0 => 0,
                pages => floor_power(pages).max(WAYS as u64),
            },
        }
    }

    /// Number of refresh slots.
    pub fn refresh_slots(&self) -> u64 {
        self.refresh & 0xFFFF_FFFF
    }

    /// log2 of the bytes of a refresh slot: also the largest block of this region.
    pub fn refresh_log2(&self) -> u8 {
        (self.refresh >> 32) as u8
    }

    /// As the header stores it.
    pub fn to_words(self) -> [u64; 8] {
        [
            self.processes,
            self.ops,
            self.file_cells,
            self.files,
            self.cells,
            self.buckets,
            self.refresh,
            self.local_pages,
        ]
    }

    /// From the header's words; `None` if they cannot be those of a region.
    pub fn from_words(words: [u64; 8]) -> Option<Shape> {
        let [
            processes,
            ops,
            file_cells,
            files,
            cells,
            buckets,
            refresh,
            local_pages,
        ] = words;
        let shape = Shape {
            processes,
            ops,
            file_cells,
            files,
            cells,
            buckets,
            refresh,
            local_pages,
        };
        let powers = [ops, file_cells, files, cells, buckets, local_pages.max(1)];
        let sane = powers.iter().all(|n| n.is_power_of_two() && *n <= 1 << 32)
            && (1..=4096).contains(&processes)
            && (1..=4096).contains(&shape.refresh_slots())
            && (BLOCK_LOG2_MIN..=BLOCK_LOG2_MAX).contains(&shape.refresh_log2());
        sane.then_some(shape)
    }
}

/// Byte offsets of the parts, and the whole length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The counts.
    pub shape: Shape,
    /// Node records.
    pub nodes: u64,
    /// Slot map.
    pub slot_map: u64,
    /// Process records.
    pub processes: u64,
    /// Operation records.
    pub ops: u64,
    /// File cells.
    pub file_cells: u64,
    /// File records.
    pub files: u64,
    /// Block cells.
    pub cells: u64,
    /// Index.
    pub index: u64,
    /// Headers of the refresh slots.
    pub refresh: u64,
    /// Content of the refresh slots.
    pub refresh_content: u64,
    /// Tags of the local cache.
    pub local_tags: u64,
    /// Content of the local cache; everything before it is allocated up front.
    pub local_content: u64,
    /// Ring of traces, allocated when somebody records.
    pub trace: u64,
    /// Bytes of the whole region.
    pub bytes: u64,
}

impl Layout {
    /// Computes every offset.
    pub fn of(shape: Shape) -> Layout {
        let mut at = 0u64;
        let mut part = |bytes: u64| {
            let offset = at;
            at = (at + bytes).next_multiple_of(4096);
            offset
        };
        part(size_of::<Header>() as u64);
        let nodes = part((NODES_MAX * size_of::<NodeRecord>()) as u64);
        let slot_map = part(SLOTS as u64);
        let processes = part(shape.processes * size_of::<ProcessRecord>() as u64);
        let ops = part(shape.ops * size_of::<OpSlot>() as u64);
        let file_cells = part(shape.file_cells * size_of::<FileCells>() as u64);
        let files = part(shape.files * size_of::<FileRecord>() as u64);
        let cells = part(shape.cells * 8);
        let index = part(shape.buckets * size_of::<Bucket>() as u64);
        let refresh = part(shape.refresh_slots() * size_of::<RefreshSlot>() as u64);
        let refresh_content = part(shape.refresh_slots() << shape.refresh_log2());
        let local_tags = part(shape.local_pages * size_of::<Tag>() as u64);
        let local_content = part(shape.local_pages * PAGE_BYTES as u64);
        let trace = part(trace::SLOTS * 8);
        Layout {
            shape,
            nodes,
            slot_map,
            processes,
            ops,
            file_cells,
            files,
            cells,
            index,
            refresh,
            refresh_content,
            local_tags,
            local_content,
            trace,
            bytes: at,
        }
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn index_cells_and_refreshes_stay_within_their_budget() {
        for budget in [64 << 10, 4 << 20, 100 << 20, 1 << 30] {
            let shape = Shape::for_budget(budget, 0, u64::MAX >> 8);
            let used = shape.cells * 8 + shape.buckets * 64;
            let refresh = shape.refresh_slots() << shape.refresh_log2();
            assert!(
                used + refresh <= budget.max(256 << 10),
                "{budget}: {shape:?}"
            );
            assert_eq!(Shape::from_words(shape.to_words()), Some(shape));
        }
    }

    /// The golden layout. If this fails, a byte of the region has moved: bump `LAYOUT_VERSION`, add
    /// its line of history, update `docs/design.md`, then these numbers.
    #[test]
    fn the_layout_of_four_mebibytes_is_pinned() {
        let layout = Layout::of(Shape::for_budget(4 << 20, 1 << 20, 1 << 20));
        assert_eq!(
            (layout.nodes, layout.slot_map, layout.processes, layout.ops),
            (4096, 8192, 24576, 417_792)
        );
        assert_eq!(
            (layout.file_cells, layout.files, layout.cells),
            (483_328, 745_472, 1_794_048)
        );
        assert_eq!((layout.index, layout.refresh), (3_891_200, 4_939_776));
        assert_eq!(crate::header::LAYOUT_VERSION, 7);
    }

    #[test]
    fn a_thousand_processes_have_places_where_memory_is_not_scarce() {
        for (budget, processes, ops) in [(64 << 10, 128, 1024), (4 << 20, 256, 1024)] {
            let shape = Shape::for_budget(budget, 0, 1 << 20);
            assert_eq!((shape.processes, shape.ops), (processes, ops), "{budget}");
        }
        let shape = Shape::for_budget(16 << 20, 0, 1 << 20);
        assert_eq!((shape.processes, shape.ops), (1024, 4096));
        let layout = Layout::of(shape);
        assert_eq!(layout.ops - layout.processes, 1024 * 1536);
        assert_eq!(layout.file_cells - layout.ops, 4096 * 64);
    }

    #[test]
    fn a_server_of_thousands_of_files_has_records_for_them_in_a_small_cage() {
        for (budget, files) in [(1 << 20, 2048), (2 << 20, 8192), (64 << 20, 8192)] {
            assert_eq!(
                Shape::for_budget(budget, 0, 1 << 20).files,
                files,
                "{budget}"
            );
        }
    }

    #[test]
    fn nonsense_in_a_header_is_refused() {
        assert_eq!(Shape::from_words([0; 8]), None);
        let good = Shape::for_budget(4 << 20, 0, 1000).to_words();
        let mut bad = good;
        bad[4] = 12345;
        assert_eq!(Shape::from_words(bad), None);
    }
}
