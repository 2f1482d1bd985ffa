//! The tests' own small programs in Python, copied into the bed where every user may read them.

use std::path::{Path, PathBuf};

use crate::bed::Bed;

/// Copies `scripts/NAME` into the bed.
pub fn script(bed: &Bed, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("scripts")
        .join(name);
    let bytes = std::fs::read(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    bed.write(name, &bytes)
}
