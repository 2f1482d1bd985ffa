//! The memory that blocks live in: anonymous pages, reserved once, never dumped.
//!
//! Called by `slab`, one arena per shard. Pages are touched as they fill, so a node that holds
//! little costs little; what was touched stays. It never grows.
//!
//! # Safety
//! The one unsafe call locks pages that this arena owns for as long as it lives; locking changes
//! where pages may be (not in swap), never what they hold.
#![allow(unsafe_code)]

use std::io;

use memmap2::{Advice, MmapMut, MmapOptions};
use rustix::mm::{MlockFlags, mlock_with};

/// One anonymous mapping.
pub struct Arena {
    map: MmapMut,
}

impl Arena {
    /// Reserves `bytes` of address space; the kernel gives pages as they are touched.
    ///
    /// # Errors
    /// The kernel refuses the mapping: over a limit of this process or of the machine.
    pub fn reserve(bytes: usize) -> io::Result<Arena> {
        let map = MmapOptions::new().len(bytes).map_anon()?;
        // Blocks are other people's data: never in a core file. Large pages spare TLB misses.
        // Both are wishes: a kernel that knows neither still serves.
        let _ = map.advise(Advice::DontDump);
        let _ = map.advise(Advice::HugePage);
        Ok(Arena { map })
    }

    /// Keeps the pages out of swap, each from the moment it is touched. Usually refused to
    /// ordinary users by RLIMIT_MEMLOCK; the node works without.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn lock(&self) -> io::Result<()> {
        let (start, bytes) = (self.map.as_ptr().cast_mut().cast(), self.map.len());
        // SAFETY: the range is exactly the mapping owned by `self.map`, alive during the call.
        unsafe { mlock_with(start, bytes, MlockFlags::ONFAULT) }?;
        Ok(())
    }

    /// All bytes, to read.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// All bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}
