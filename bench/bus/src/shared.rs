//! Two words in a file that both actors map: what the floors are measured with.
//!
//! # Safety
//!
//! The file is made here, with its size, before it is mapped, and nobody truncates it; the words
//! are atomics, so that it does not matter who writes them.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapOptions, MmapRaw};

use crate::Result;

/// Bytes of the file, and of the distance between its words.
const FILE_BYTES: u64 = 4096;
const APART: usize = 2048;

/// The words, each alone in its cache lines.
pub struct Words(MmapRaw);

impl Words {
    /// Maps the words of a stage, making the file if it is not there.
    pub fn open(stage: &Path) -> Result<Words> {
        let path = stage.join("words");
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false);
        let file = file.open(path)?;
        file.set_len(FILE_BYTES)?;
        Ok(Words(
            MmapOptions::new().len(FILE_BYTES as usize).map_raw(&file)?,
        ))
    }

    /// The word of the one side or of the other.
    pub fn word(&self, is_first: bool) -> &AtomicU32 {
        let place = self
            .0
            .as_mut_ptr()
            .wrapping_add(if is_first { 0 } else { APART });
        // SAFETY: within the mapping, which lives as long as self; aligned to a page's fraction;
        // any bytes are an AtomicU32.
        unsafe { AtomicU32::from_ptr(place.cast()) }
    }
}
