//! A directory as a value: names, kinds, modes and contents, for comparing what two runs left.
//!
//! Times and owners are left out: they differ between any two runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What lies under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A directory and its mode.
    Directory(u32),
    /// A file, its mode and its bytes.
    File(u32, Vec<u8>),
    /// A symbolic link and its target.
    Link(String),
    /// A pipe, socket or device.
    Other,
}

/// All entries under a directory, by relative path.
pub type Tree = BTreeMap<String, Entry>;

/// Reads a directory whole.
pub fn read_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    visit(root, "", &mut tree);
    tree
}

fn visit(dir: &Path, prefix: &str, tree: &mut Tree) {
    for entry in fs::read_dir(dir).expect("read a directory").flatten() {
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let meta = fs::symlink_metadata(&path).expect("stat an entry");
        let mode = meta.permissions().mode() & 0o7777;
        let kind = if meta.is_symlink() {
            Entry::Link(
                fs::read_link(&path)
                    .expect("read a link")
                    .display()
                    .to_string(),
            )
        } else if meta.is_dir() {
            visit(&path, &format!("{name}/"), tree);
            Entry::Directory(mode)
        } else if meta.is_file() {
            Entry::File(mode, fs::read(&path).expect("read a file"))
        } else {
            Entry::Other
        };
        tree.insert(name, kind);
    }
}

/// Fails unless both directories hold the same.
#[track_caller]
pub fn assert_same_tree(native: &Path, hooked: &Path, what: &str) {
    let (native, hooked) = (read_tree(native), read_tree(hooked));
    let names: BTreeSet<&String> = native
        .keys()
        .chain(hooked.keys())
        .filter(|name| native.get(*name) != hooked.get(*name))
        .collect();
    assert!(
        names.is_empty(),
        "{what}: native and hooked left different files: {names:?}"
    );
}
