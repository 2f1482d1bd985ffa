//! The model of a few files: what every read must return, whoever wrote.
//!
//! Names point to files, handles point to files, files are bytes: no more is needed to say what
//! rename, unlink, recreate and truncate mean. Kept by `it/exact/model.rs` beside its puppets.

use std::collections::BTreeMap;

/// Index of a file, never reused.
type FileId = usize;

/// Files, their names, and who has them open.
#[derive(Default)]
pub struct Files {
    files: Vec<Vec<u8>>,
    names: BTreeMap<String, FileId>,
    handles: BTreeMap<String, FileId>,
}

impl Files {
    /// Opens `name`, making it when absent.
    pub fn open(&mut self, handle: &str, name: &str) {
        let next = self.files.len();
        let id = *self.names.entry(name.into()).or_insert(next);
        if id == next {
            self.files.push(Vec::new());
        }
        self.handles.insert(handle.into(), id);
    }

    /// Forgets a handle.
    pub fn close(&mut self, handle: &str) {
        self.handles.remove(handle);
    }

    /// Is this handle open?
    pub fn is_open(&self, handle: &str) -> bool {
        self.handles.contains_key(handle)
    }

    /// The bytes behind a handle.
    pub fn at_handle(&mut self, handle: &str) -> &mut Vec<u8> {
        &mut self.files[self.handles[handle]]
    }

    /// The bytes behind a name.
    pub fn at_name(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        self.names.get(name).map(|&id| &mut self.files[id])
    }

    /// rename(2).
    pub fn rename(&mut self, old: &str, new: &str) {
        if let Some(id) = self.names.remove(old) {
            self.names.insert(new.into(), id);
        }
    }

    /// unlink(2).
    pub fn unlink(&mut self, name: &str) {
        self.names.remove(name);
    }
}

/// Overlays `piece` at `at`, growing with zeros.
pub fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    grow(bytes, at + piece.len());
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

/// Grows to `size`, with zeros.
pub fn grow(bytes: &mut Vec<u8>, size: usize) {
    if bytes.len() < size {
        bytes.resize(size, 0);
    }
}

/// What a read of `count` bytes at `at` returns.
pub fn slice(bytes: &[u8], at: usize, count: usize) -> &[u8] {
    let start = at.min(bytes.len());
    &bytes[start..(start + count).min(bytes.len())]
}
