//! The file of a channel: made whole or not at all, checked when opened, mapped once.
//!
//! It is written under a name nobody looks for, its memory allocated up front (a file system that
//! is full says so here and not by SIGBUS later), and then given its name, unless that exists. It
//! is never resized. Called by `Channel` (to bind), `directory` (to make, remove, clean) and `view`
//! (to look). The descriptor is closed once the file is mapped, so that no `closefrom` can hurt.
//!
//! # Safety
//!
//! A mapping shared with other processes. Its control words are atomics, its bytes are copied, and
//! every offset was checked against the size of the file when it was opened. Somebody of the file's
//! group who truncates it makes every access a SIGBUS: outside of what can be promised.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fs;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

use super::Role;
use crate::address::{Address, Template};
use crate::error::{Error, Result};
use crate::header::{Flaw, HEADER_BYTES, Header, MAJOR, MINOR, Place, REMOVED_OFFSET, places};
use crate::layout::{
    ConsumerPage, MESSAGE_SHARE, PAGE_BYTES, ProducerPage, RING_BYTES_MAX, RING_BYTES_MIN,
};
use crate::memory::Data;
use crate::owner::Owner;
use crate::ring::Half;
use crate::sync::{AtomicU64, Ordering};
use crate::{guard, proof, sys};

/// Ring of one direction where nobody says otherwise: larger than the second cache of most
/// processors. In full flow the lines of a ring that fits that cache are still in the sender's when
/// the receiver comes, and fetching them from there takes three times as long (docs/benchmarks.md).
pub const RING_BYTES_DEFAULT: u64 = 2 << 20;

/// What a channel is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How its addresses are written.
    pub template: Template,
    /// The two ends.
    pub ends: [Address; 2],
    /// Bytes of the rings, first to second and back; rounded up to powers of two.
    pub ring_bytes: [u64; 2],
    /// Largest message in bytes, each way; `None`: a quarter of the ring.
    pub message_bytes_max: Option<u64>,
    /// Checksum of every payload.
    pub is_summed: bool,
    /// Time of sending in every message.
    pub is_stamped: bool,
    /// Kept for the user.
    pub priority: u32,
    /// Kept for the user.
    pub description: String,
}

impl Spec {
    /// The ring sizes as they will be.
    ///
    /// # Errors
    ///
    /// `BadSpec`: a size beyond the limits, both ends the same.
    pub fn rounded(&self) -> Result<[u64; 2]> {
        let [a, b] = self.ends.map(|end| self.template.show(end));
        let bad = |why: String| Error::BadSpec {
            what: format!("channel {a} to {b}"),
            why,
        };
        if self.ends[0] == self.ends[1] {
            return Err(bad("both ends are the same address".into()));
        }
        if self.ring_bytes.iter().any(|bytes| *bytes > RING_BYTES_MAX) {
            return Err(bad(format!("a ring has at most {RING_BYTES_MAX} bytes")));
        }
        let rounded = self
            .ring_bytes
            .map(|bytes| bytes.max(RING_BYTES_MIN).next_power_of_two());
        let least = rounded[0].min(rounded[1]) / MESSAGE_SHARE;
        match self.message_bytes_max {
            Some(most) if most > least => Err(bad(format!(
                "a message has at most a quarter of its ring: {least} bytes here"
            ))),
            _ => Ok(rounded),
        }
    }

    fn header(&self) -> Result<Header> {
        let rings = self.rounded()?;
        let (places, file_bytes) = places(rings);
        let most = |ring: u64| self.message_bytes_max.unwrap_or(ring / MESSAGE_SHARE) as u32;
        Ok(Header {
            minor: MINOR,
            writer_features: 0,
            epoch: guard::random()?,
            created_ns: sys::wall_clock_ns(),
            template: self.template,
            ends: self.ends,
            is_summed: self.is_summed,
            is_stamped: self.is_stamped,
            file_bytes,
            places,
            message_bytes_max: rings.map(most),
            boot: proof::boot()?.0,
            priority: self.priority,
            description: self.description.clone(),
        })
    }
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look only: mapped read-only.
    View,
    /// To be used or changed.
    Bind,
}

/// A mapped channel file.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    header: Arc<Header>,
    mapping: Arc<Mapping>,
}

/// A mapping, undone when nobody uses it any more.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is memory shared with other processes anyway; what lies in it is atomic or
// accessed by the protocol of `ring`, whose two sides may be on any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `File::open` with this length; whoever points into it holds the Arc.
        let _ = unsafe { munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

/// One direction of a mapped file.
#[derive(Clone, Debug)]
pub struct MappedHalf {
    producer: NonNull<ProducerPage>,
    consumer: NonNull<ConsumerPage>,
    data: Data,
    _mapping: Arc<Mapping>,
}

// SAFETY: see Mapping; the pointers point into it, and the Arc keeps it.
unsafe impl Send for MappedHalf {}
// SAFETY: as above.
unsafe impl Sync for MappedHalf {}

impl Half for MappedHalf {
    #[inline]
    fn producer(&self) -> &ProducerPage {
        // SAFETY: a page within the mapping, aligned to 4096, all atomics, kept by the Arc.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &ConsumerPage {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn data(&self) -> &Data {
        &self.data
    }
}

impl File {
    /// Makes the file of a channel under its final name.
    ///
    /// # Errors
    ///
    /// `BadSpec`, `NoSpace`, or the kernel's refusal; "exists" if there is one of this name.
    pub fn create(path: &Path, spec: &Spec) -> Result<()> {
        let header = spec.header()?;
        let hidden = path.with_extension(format!("new-{:x}", header.epoch));
        let made = write_new(&hidden, &header).and_then(|()| {
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                &hidden,
                rustix::fs::CWD,
                path,
                RenameFlags::NOREPLACE,
            )
            .map_err(|errno| Error::system(path, "make", errno))
        });
        if made.is_err() {
            let _ = fs::remove_file(&hidden);
        }
        made
    }

    /// Opens and checks a file.
    ///
    /// # Errors
    ///
    /// It may not be opened, is no channel, is damaged, or is of a version that is not known.
    pub fn open(path: &Path, access: Access) -> Result<File> {
        let (flags, prot) = match access {
            Access::View => (OFlags::RDONLY, ProtFlags::READ),
            Access::Bind => (OFlags::RDWR, ProtFlags::READ | ProtFlags::WRITE),
        };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::system(path, "open", errno))?;
        let mut bytes = [0; HEADER_BYTES];
        let read = rustix::io::pread(&file, &mut bytes, 0)
            .map_err(|errno| Error::system(path, "read", errno))?;
        let stat = rustix::fs::fstat(&file).map_err(|errno| Error::system(path, "stat", errno))?;
        let short = Flaw::NotOne("it is too short".into());
        let header = match read == HEADER_BYTES {
            true => Header::decode(&bytes, stat.st_size as u64),
            false => Err(short),
        };
        let header = header.map_err(|flaw| named(path, flaw))?;
        if access == Access::Bind && header.writer_features != 0 {
            let minor = header.minor;
            return Err(named(
                path,
                Flaw::Version {
                    major: MAJOR,
                    minor,
                },
            ));
        }
        let bytes = header.file_bytes as usize;
        // SAFETY: a new mapping at an address of the kernel's choosing touches nothing that exists.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                prot,
                MapFlags::SHARED,
                &file,
                0,
            )
        };
        let base = base.map_err(|errno| Error::system(path, "map", errno))?;
        let base = NonNull::new(base.cast()).ok_or(Error::system(path, "map", Errno::NOMEM))?;
        Ok(File {
            path: path.to_path_buf(),
            header: Arc::new(header),
            mapping: Arc::new(Mapping { base, bytes }),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The direction that the end `side` sends into.
    pub fn half(&self, side: usize) -> MappedHalf {
        let Place {
            producer,
            consumer,
            data,
            data_bytes,
        } = self.header.places[side];
        MappedHalf {
            producer: self.at(producer).cast(),
            consumer: self.at(consumer).cast(),
            // SAFETY: the header's check put data and its bytes within the mapping, on a page; the
            // mapping lives as long as the Arc beside it.
            data: unsafe { Data::new(self.at(data), data_bytes) },
            _mapping: Arc::clone(&self.mapping),
        }
    }

    fn at(&self, offset: u64) -> NonNull<u8> {
        debug_assert!(offset < self.mapping.bytes as u64);
        // SAFETY: every offset of a header was checked against the size that is mapped.
        unsafe { self.mapping.base.add(offset as usize) }
    }

    /// Where in the file an owner record lies.
    pub(crate) fn offset_of(&self, owner: &Owner) -> u64 {
        let address = std::ptr::from_ref(owner).addr();
        (address - self.mapping.base.addr().get()) as u64
    }

    fn removed(&self) -> &AtomicU64 {
        // SAFETY: page 0 is mapped, the offset is aligned to 8 and within it.
        unsafe { self.at(REMOVED_OFFSET).cast::<AtomicU64>().as_ref() }
    }

    /// Tells everybody who has it mapped that it was removed.
    pub fn set_removed(&self) {
        self.removed()
            .store(sys::wall_clock_ns(), Ordering::Release);
    }

    /// Was it removed?
    ///
    /// # Errors
    ///
    /// `Removed` if so.
    pub fn check_removed(&self) -> Result<()> {
        match self.removed().load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(Error::Removed),
        }
    }

    /// Takes from this mapping the right to write what the end `side` has no business in. Where the
    /// machine's pages are larger than the layout's it stays as it is.
    pub(crate) fn protect(&self, side: usize, role: Role) {
        if rustix::param::page_size() as u64 != PAGE_BYTES {
            return;
        }
        let (out, back) = (self.header.places[side], self.header.places[1 - side]);
        let mut closed = vec![(0, PAGE_BYTES), (out.consumer, PAGE_BYTES)];
        closed.extend([(back.producer, PAGE_BYTES), (back.data, back.data_bytes)]);
        if role == Role::Receive {
            closed.extend([(out.producer, PAGE_BYTES), (out.data, out.data_bytes)]);
        }
        if role == Role::Send {
            closed.push((back.consumer, PAGE_BYTES));
        }
        for (offset, bytes) in closed {
            let place = self.at(offset).as_ptr().cast::<c_void>();
            // SAFETY: whole pages of this mapping, which nothing here writes from now on. A failure
            // leaves them writable: no harm.
            let _ = unsafe { mprotect(place, bytes as usize, MprotectFlags::READ) };
        }
    }
}

fn named(path: &Path, flaw: Flaw) -> Error {
    let path = path.to_path_buf();
    match flaw {
        Flaw::NotOne(why) => Error::NotAChannel { path, why },
        Flaw::Version { major, minor } => Error::Version {
            path,
            found_major: major,
            found_minor: minor,
            known: MAJOR,
        },
    }
}

/// Writes a whole new file under a name nobody looks for.
fn write_new(path: &Path, header: &Header) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
    let file =
        rustix::fs::open(path, flags, mode).map_err(|errno| Error::system(path, "make", errno))?;
    // The group may use it, whatever the umask of who made it.
    rustix::fs::fchmod(&file, mode).map_err(|errno| Error::system(path, "chmod", errno))?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, header.file_bytes) {
        Ok(()) => {}
        Err(Errno::NOSPC | Errno::DQUOT) => {
            return Err(Error::NoSpace {
                path: path.parent().unwrap_or(path).to_path_buf(),
                bytes: header.file_bytes,
            });
        }
        Err(errno) => return Err(Error::system(path, "allocate", errno)),
    }
    let written = rustix::io::pwrite(&file, &header.encode(), 0)
        .map_err(|errno| Error::system(path, "write", errno))?;
    match written == HEADER_BYTES {
        true => Ok(()),
        false => Err(Error::system(path, "write", Errno::IO)),
    }
}
