//! `docs/design.md` draws the region; this test compares its tables with the code, so that the
//! document cannot lie about an offset. It reads the document and changes nothing.
#![cfg(not(feature = "model"))]

use std::mem::offset_of;

use grid::files::FileRecord;
use grid::header::Header;
use grid::index::Bucket;
use grid::layout::{Layout, Shape};
use grid::local::{PAGE_BYTES, Tag};
use grid::node::{NODES_MAX, NodeRecord, SLOTS};
use grid::ops::OpSlot;
use grid::process::ProcessRecord;
use grid::refresh::RefreshSlot;
use grid::writes::FileCells;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/design.md");
    std::fs::read_to_string(path).expect("docs/design.md")
}

#[track_caller]
fn assert_row(document: &str, row: &str) {
    let found = document.lines().any(|line| line.starts_with(row));
    assert!(
        found,
        "docs/design.md has no row {row:?}: draw the region as it is"
    );
}

#[test]
fn the_parts_of_the_region_lie_where_the_document_says() {
    let document = document();
    let shape = Shape::for_budget(4 << 20, 1 << 20, 1 << 20);
    let layout = Layout::of(shape);
    let size = |bytes: usize| bytes as u64;
    let row = |part: &str, offset: u64, count: u64, bytes: u64| {
        assert_row(
            &document,
            &format!("| `{part}` | {offset} | {count} | {bytes} |"),
        );
    };
    let (nodes, slots) = (size(NODES_MAX), size(SLOTS));
    row("header", 0, 1, size(size_of::<Header>()));
    row("nodes", layout.nodes, nodes, size(size_of::<NodeRecord>()));
    row("slot_map", layout.slot_map, slots, 1);
    let processes = size(size_of::<ProcessRecord>());
    row("processes", layout.processes, shape.processes, processes);
    row("ops", layout.ops, shape.ops, size(size_of::<OpSlot>()));
    let file_cells = size(size_of::<FileCells>());
    row(
        "file_cells",
        layout.file_cells,
        shape.file_cells,
        file_cells,
    );
    row(
        "files",
        layout.files,
        shape.files,
        size(size_of::<FileRecord>()),
    );
    row("cells", layout.cells, shape.cells, 8);
    row(
        "index",
        layout.index,
        shape.buckets,
        size(size_of::<Bucket>()),
    );
    let (refresh, in_slot) = (shape.refresh_slots(), 1 << shape.refresh_log2());
    row(
        "refresh",
        layout.refresh,
        refresh,
        size(size_of::<RefreshSlot>()),
    );
    row("refresh_content", layout.refresh_content, refresh, in_slot);
    let (pages, tag) = (shape.local_pages, size(size_of::<Tag>()));
    row("local_tags", layout.local_tags, pages, tag);
    row(
        "local_content",
        layout.local_content,
        pages,
        size(PAGE_BYTES),
    );
    row("trace", layout.trace, grid::trace::SLOTS, 8);
}

#[test]
fn the_header_is_laid_out_as_the_document_says() {
    let document = document();
    macro_rules! rows {
        ($($field:ident: $bytes:literal),* $(,)?) => {
            $(
                let offset = offset_of!(Header, $field);
                let field = stringify!($field);
                assert_row(&document, &format!("| {offset} | {} | `{field}` |", $bytes));
            )*
        };
    }
    rows!(
        magic: 8, layout_version: 8, shape: 64, heartbeat_ms: 8, switches: 8, verify_ppm: 8,
        ticks_per_us: 8, deadline_us: 8, slow_ns: 8, local_active: 8, secret: 32, pool_changes: 8,
        integrity: 8,
        disk_ns: 8, promote_tokens: 8, fill_tokens: 8, local_wanted: 8, doorbell: 4, asleep: 4,
        disk_alone_ns: 8,
        moved: 8,
        trace: 24,
    );
}
