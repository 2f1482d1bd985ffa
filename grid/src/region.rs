//! The view of a mapped region: typed slices over the shared memory, computed once from the header.
//! The hook server formats a fresh mapping (`Region::format`), a process opens one
//! (`Region::open`). Mapping and unmapping are the caller's business; this file does no I/O.
//!
//! # Safety
//! What is dangerous here: the slices point into memory that other processes write. They are made
//! of atomics only, so that any bit pattern is valid and concurrent access is defined; content is
//! moved by `copy::copy_shared`. The caller of `format` and `open` promises that the mapping stays
//! in place, unmoved and writable, for `'static`.
#![allow(unsafe_code)]

use crate::copy::copy_shared;
use crate::files::{FileRecord, Files};
use crate::header::{Header, LAYOUT_VERSION, MAGIC};
use crate::index::{Bucket, Index};
use crate::layout::{Layout, Shape};
use crate::local::{Local, PAGE_BYTES, Tag};
use crate::node::{NODES_MAX, NodeRecord, Nodes, SLOTS};
use crate::ops::{OpSlot, Ops};
use crate::process::ProcessRecord;
use crate::refresh::{RefreshSlot, RefreshSlots};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::trace::{self, Trace};
use crate::writes::{Cells, FileCells};

/// Why a mapping is not a region this build can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It does not begin with the magic word.
    Magic,
    /// It has another layout version: hooktool and shim are of different releases.
    Version(u64),
    /// Its counts contradict its length.
    Shape,
}

/// A mapped region. Plain data: copying it copies the view.
#[derive(Clone, Copy)]
pub struct Region {
    base: *mut u8,
    layout: Layout,
}

// SAFETY: the base points to shared memory that is only ever reached through atomics or
// `copy_shared`, from whatever thread.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Formats a fresh, zeroed mapping.
    ///
    /// # Safety
    /// `base` must be the start of a page-aligned, writable mapping of at least `Layout::of(shape)`
    /// bytes, all zero, that is never unmapped or moved.
    pub unsafe fn format(base: *mut u8, shape: Shape) -> Region {
        let region = Region {
            base,
            layout: Layout::of(shape),
        };
        let header = region.header();
        for (word, value) in header.shape.iter().zip(shape.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        header
            .layout_version
            .store(LAYOUT_VERSION, Ordering::Relaxed);
        header.magic.store(MAGIC, Ordering::Release);
        region
    }

    /// Opens a mapping that a hook server formatted.
    ///
    /// # Safety
    /// `base` must be the start of a page-aligned, writable mapping of `bytes` bytes that is never
    /// unmapped or moved.
    pub unsafe fn open(base: *mut u8, bytes: u64) -> Result<Region, OpenError> {
        if bytes < size_of::<Header>() as u64 {
            return Err(OpenError::Shape);
        }
        // SAFETY: in bounds by the check above, aligned to a page, all atomics.
        let header = unsafe { &*base.cast::<Header>() };
        if header.magic.load(Ordering::Acquire) != MAGIC {
            return Err(OpenError::Magic);
        }
        match header.layout_version.load(Ordering::Relaxed) {
            LAYOUT_VERSION => {}
            other => return Err(OpenError::Version(other)),
        }
        let words = core::array::from_fn(|nth| header.shape[nth].load(Ordering::Relaxed));
        let layout = Layout::of(Shape::from_words(words).ok_or(OpenError::Shape)?);
        match layout.bytes <= bytes {
            true => Ok(Region { base, layout }),
            false => Err(OpenError::Shape),
        }
    }

    /// Where the parts lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Address of the mapping.
    pub fn base(&self) -> *mut u8 {
        self.base
    }

    fn slice<T>(&self, offset: u64, count: u64) -> &'static [T] {
        // SAFETY: `Layout::of` keeps every part within the mapping and page-aligned; all `T` used
        // in this file consist of atomics; the mapping lives for ever (promise of the
        // constructors).
        unsafe {
            core::slice::from_raw_parts(self.base.add(offset as usize).cast(), count as usize)
        }
    }

    /// The header page.
    pub fn header(&self) -> &'static Header {
        &self.slice::<Header>(0, 1)[0]
    }

    /// Nodes and slot map.
    pub fn nodes(&self) -> Nodes<'static> {
        Nodes {
            records: self.slice::<NodeRecord>(self.layout.nodes, NODES_MAX as u64),
            slot_map: self.slice::<AtomicU32>(self.layout.slot_map, SLOTS as u64 / 4),
        }
    }

    /// Process records.
    pub fn processes(&self) -> &'static [ProcessRecord] {
        self.slice(self.layout.processes, self.layout.shape.processes)
    }

    /// Operation records.
    pub fn ops(&self) -> Ops<'static> {
        Ops(self.slice::<OpSlot>(self.layout.ops, self.layout.shape.ops))
    }

    /// Version cells.
    pub fn cells(&self) -> Cells<'static> {
        Cells {
            blocks: self.slice::<AtomicU64>(self.layout.cells, self.layout.shape.cells),
            files: self.slice::<FileCells>(self.layout.file_cells, self.layout.shape.file_cells),
        }
    }

    /// File table.
    pub fn files(&self) -> Files<'static> {
        Files {
            records: self.slice::<FileRecord>(self.layout.files, self.layout.shape.files),
            cells: self.cells(),
        }
    }

    /// Block index.
    pub fn index(&self) -> Index<'static> {
        Index(self.slice::<Bucket>(self.layout.index, self.layout.shape.buckets))
    }

    /// Refresh slots.
    pub fn refresh(&self) -> RefreshSlots<'static> {
        let count = self.layout.shape.refresh_slots();
        RefreshSlots(self.slice::<RefreshSlot>(self.layout.refresh, count))
    }

    /// Address of a refresh slot's content, `1 << refresh_log2` bytes.
    pub fn refresh_content(&self, slot: usize) -> *mut u8 {
        let offset = self.layout.refresh_content as usize;
        let slot = slot % self.layout.shape.refresh_slots() as usize;
        // SAFETY: within the mapping by the modulo above.
        unsafe {
            self.base
                .add(offset + (slot << self.layout.shape.refresh_log2()))
        }
    }

    /// Local cache.
    pub fn local(&self) -> Local<'static> {
        Local {
            tags: self.slice::<Tag>(self.layout.local_tags, self.layout.shape.local_pages),
            active: &self.header().local_active,
        }
    }

    /// Ring of traces.
    pub fn trace(&self) -> Trace<'static> {
        Trace {
            ends: &self.header().trace,
            slots: self.slice::<AtomicU64>(self.layout.trace, trace::SLOTS),
        }
    }

    /// Address of a content page of the local cache. `slot` must be below `local_pages`.
    pub fn local_page(&self, slot: usize) -> *mut u8 {
        let last = (self.layout.shape.local_pages as usize).saturating_sub(1);
        let offset = self.layout.local_content as usize + slot.min(last) * PAGE_BYTES;
        // SAFETY: within the mapping by the minimum above.
        unsafe { self.base.add(offset) }
    }

    /// Copies `bytes.len()` bytes from shared content at `from` into private memory.
    ///
    /// # Safety
    /// `from` must lie in this region with as many bytes behind it.
    pub unsafe fn copy_out(&self, from: *const u8, bytes: &mut [u8]) {
        // SAFETY: `from` by the caller's promise, `bytes` is an exclusive reference.
        unsafe { copy_shared(from, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copies private bytes into shared content at `to`.
    ///
    /// # Safety
    /// `to` must lie in this region with room for `bytes.len()` bytes.
    pub unsafe fn copy_in(&self, to: *mut u8, bytes: &[u8]) {
        // SAFETY: `to` by the caller's promise, `bytes` is a shared reference to private memory.
        unsafe { copy_shared(bytes.as_ptr(), to, bytes.len()) }
    }
}
