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
    let slot_bytes = 1 << shape.refresh_log2();
    let size = |bytes: usize| bytes as u64;
    for (part, offset, count, bytes) in [
        ("header", 0, 1, size(size_of::<Header>())),
        (
            "nodes",
            layout.nodes,
            NODES_MAX as u64,
            size(size_of::<NodeRecord>()),
        ),
        ("slot_map", layout.slot_map, SLOTS as u64, 1),
        (
            "processes",
            layout.processes,
            shape.processes,
            size(size_of::<ProcessRecord>()),
        ),
        ("ops", layout.ops, shape.ops, size(size_of::<OpSlot>())),
        (
            "file_cells",
            layout.file_cells,
            shape.file_cells,
            size(size_of::<FileCells>()),
        ),
        (
            "files",
            layout.files,
            shape.files,
            size(size_of::<FileRecord>()),
        ),
        ("cells", layout.cells, shape.cells, 8),
        (
            "index",
            layout.index,
            shape.buckets,
            size(size_of::<Bucket>()),
        ),
        (
            "refresh",
            layout.refresh,
            shape.refresh_slots(),
            size(size_of::<RefreshSlot>()),
        ),
        (
            "refresh_content",
            layout.refresh_content,
            shape.refresh_slots(),
            slot_bytes,
        ),
        (
            "local_tags",
            layout.local_tags,
            shape.local_pages,
            size(size_of::<Tag>()),
        ),
        (
            "local_content",
            layout.local_content,
            shape.local_pages,
            PAGE_BYTES as u64,
        ),
    ] {
        assert_row(
            &document,
            &format!("| `{part}` | {offset} | {count} | {bytes} |"),
        );
    }
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
        ticks_per_us: 8, deadline_us: 8, disk_ns: 8, slow_ns: 8, promote_tokens: 8,
        fill_tokens: 8, local_active: 8, local_wanted: 8, waiting: 8, secret: 32,
        doorbell: 4, asleep: 4,
    );
}
