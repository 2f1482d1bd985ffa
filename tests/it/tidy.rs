//! The house law, applied to the tree this test was built from.
//!
//! Run by `make check` and by every `make test`. The law itself, with a planted violation for each
//! of its rules, is in `src/tidy/`.

use std::path::Path;

use harness::tidy;

#[test]
fn the_house_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the house");
    let found = tidy::check_tree(root);
    for violation in &found {
        eprintln!("{violation}");
    }
    assert!(
        found.is_empty(),
        "{} violations of the house law, listed above",
        found.len()
    );
}
