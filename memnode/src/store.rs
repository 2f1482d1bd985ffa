//! The store: blocks by key in a fixed amount of memory, the coldest thrown away first.
//!
//! Called by the commands; several threads at once. It is cut into shards by the hash of the key,
//! each with its own lock, memory, index and eviction, so that requests rarely meet and nothing is
//! handed from thread to thread. All memory is reserved when it is built; a value that does not
//! fit pushes others out, and the total never grows.
//!
//! What it never does: persist, replicate, or block a reader for longer than one copy.

mod arena;
mod eviction;
mod ghost;
mod lease;
mod list;
mod lru;
mod s3fifo;
mod scan;
mod shard;
mod slab;

#[cfg(test)]
mod conformance;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, MutexGuard};

pub use arena::HugePages;
pub use eviction::Eviction;
pub use lease::Out;
pub use shard::{Counters, Value};
pub use slab::KEY_BYTES_MAX;

use arena::Arena;
use shard::{INDEX_BYTES_PER_CHUNK, Shard};
use slab::CHUNK_BYTES;

/// Largest value in bytes: what `redis-benchmark` may ask for, sixteen times the largest block.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Most shards.
const SHARDS_MAX: usize = 16;

/// A shard is not made smaller than this, so that the largest value does not empty it.
const SHARD_BYTES_MIN: usize = 8 * VALUE_BYTES_MAX;

/// A shard that gives back keeps so much.
const SHRUNK_SHARD_BYTES: usize = 4 * VALUE_BYTES_MAX;

/// Smallest store in bytes: the largest value and then some.
pub const STORE_BYTES_MIN: usize = 2 * VALUE_BYTES_MAX;

/// What the smallest item takes, index included, in bytes.
pub const ITEM_BYTES_MIN: usize = CHUNK_BYTES + INDEX_BYTES_PER_CHUNK;

/// When a SET may take effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetMode {
    /// Always.
    #[default]
    Always,
    /// Only if the key is not there (NX).
    IfAbsent,
    /// Only if the key is there (XX).
    IfPresent,
}

impl SetMode {
    fn allows(self, present: bool) -> bool {
        match self {
            SetMode::Always => true,
            SetMode::IfAbsent => !present,
            SetMode::IfPresent => present,
        }
    }
}

/// Why a value is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Key or value are over their limit.
    #[error("key over {KEY_BYTES_MAX} bytes or value over {VALUE_BYTES_MAX} bytes")]
    TooLarge,
}

/// Sharded store of fixed size.
pub struct Store {
    /// All values, in one piece of memory; each shard works in its part.
    arena: Arc<Arena>,
    shards: Box<[Mutex<Shard>]>,
    /// Keyed at random, so that nobody can aim at one bucket.
    hasher: RandomState,
    /// What the store may take now, index included, in bytes.
    capacity_bytes: AtomicUsize,
    /// What it was reserved for, in bytes.
    reserved_bytes: usize,
    /// One resize at a time.
    resizing: Mutex<()>,
}

impl Store {
    /// Reserves a store that takes at most `bytes`, index included.
    ///
    /// # Errors
    /// The kernel refuses the memory.
    pub fn reserve(bytes: usize, eviction: Eviction, huge: HugePages) -> io::Result<Store> {
        let bytes = bytes.max(STORE_BYTES_MIN);
        let shards = (bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let chunks = bytes / shards / (CHUNK_BYTES + INDEX_BYTES_PER_CHUNK);
        let chunks = u32::try_from(chunks).unwrap_or(u32::MAX - 1);
        let part_bytes = chunks as usize * CHUNK_BYTES;
        let arena = Arena::reserve(shards * part_bytes, huge)?;
        let parts = (0..).zip(arena.cut(shards, part_bytes));
        Ok(Store {
            shards: parts
                .map(|(number, part)| Mutex::new(Shard::new(number, part, chunks, eviction)))
                .collect(),
            arena,
            hasher: RandomState::new(),
            capacity_bytes: AtomicUsize::new(bytes),
            reserved_bytes: bytes,
            resizing: Mutex::new(()),
        })
    }

    /// Keeps all values out of swap, each page from its first use.
    ///
    /// # Errors
    /// The kernel refuses, usually by RLIMIT_MEMLOCK; the store works without.
    pub fn lock_memory(&self) -> io::Result<()> {
        self.arena.lock()
    }

    /// What the store may take now, index included, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.capacity_bytes.load(Relaxed)
    }

    /// Least that [`Store::resize`] goes to: the largest value, what may be pinned, and as much
    /// again, in every shard.
    #[must_use]
    pub fn resize_bytes_min(&self) -> usize {
        (self.shards.len() * SHRUNK_SHARD_BYTES).min(self.reserved_bytes)
    }

    /// Changes how much it may take, index included, up to what was reserved. What is over goes
    /// back to the kernel, the coldest blocks first; the caller waits for that, others do not.
    ///
    /// # Errors
    /// The kernel does not take the memory back.
    pub fn resize(&self, bytes: usize) -> io::Result<()> {
        let _alone = self.resizing.lock();
        let bytes = bytes.clamp(self.resize_bytes_min(), self.reserved_bytes);
        let per_shard = bytes / self.shards.len() / (CHUNK_BYTES + INDEX_BYTES_PER_CHUNK);
        let chunks = u32::try_from(per_shard).unwrap_or(u32::MAX - 1);
        self.capacity_bytes.store(bytes, Relaxed);
        let mut outcome = Ok(());
        for place in &self.shards {
            let mut shard = place.lock();
            if chunks >= shard.chunks() {
                shard.grow(chunks);
                continue;
            }
            shard.begin_shrink(chunks);
            loop {
                match shard.shrink_step() {
                    Ok(true) => break,
                    Ok(false) => MutexGuard::bump(&mut shard), // who waits comes first
                    Err(error) => outcome = Err(error),
                }
            }
        }
        outcome
    }

    /// What the items take now, index included, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.counters().chunks_used * (CHUNK_BYTES + INDEX_BYTES_PER_CHUNK) as u64
    }

    /// How many bytes one of so many workers may have pinned at a time: an eighth of the smallest
    /// shard, all workers together, so that what comes next always finds room.
    #[must_use]
    pub fn lease_bytes_max(&self, workers: usize) -> usize {
        self.reserved_bytes / self.shards.len() / 8 / workers.max(1)
    }

    /// The same for a store that may be made smaller.
    #[must_use]
    pub fn lease_bytes_min(&self, workers: usize) -> usize {
        self.resize_bytes_min() / self.shards.len() / 8 / workers.max(1)
    }

    /// The counters of all shards together.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for shard in &self.shards {
            let one = shard.lock().counters();
            sum.items += one.items;
            sum.expiring += one.expiring;
            sum.chunks_used += one.chunks_used;
            sum.item_bytes += one.item_bytes;
            sum.hits += one.hits;
            sum.misses += one.misses;
            sum.evictions += one.evictions;
            sum.expirations += one.expirations;
            sum.sets += one.sets;
        }
        sum
    }

    /// Starts to count anew.
    pub fn forget_counts(&self) {
        self.shards
            .iter()
            .for_each(|shard| shard.lock().forget_counts());
    }

    /// Reads a value under the lock of its shard: `found` sees it, and what it makes of it is
    /// returned. `None` is a miss. Counted, and good news for the item.
    pub fn get<T>(&self, key: &[u8], found: impl FnOnce(Value<'_>) -> T) -> Option<T> {
        let (shard, hash) = self.place(key);
        shard.lock().get(hash, key, unix_ms).map(found)
    }

    /// Looks at a value like [`Store::get`], without a trace.
    pub fn peek<T>(&self, key: &[u8], found: impl FnOnce(Value<'_>) -> T) -> Option<T> {
        let (shard, hash) = self.place(key);
        shard.lock().peek(hash, key, unix_ms).map(found)
    }

    /// Was the key there? Good news for it, and no read.
    pub fn touch(&self, key: &[u8]) -> bool {
        let (shard, hash) = self.place(key);
        shard.lock().touch(hash, key, unix_ms)
    }

    /// Changes when a key expires: `change` sees the time (Unix milliseconds, 0 for never) and may
    /// name another. `None`: no such key; else whether it was changed.
    pub fn expire(&self, key: &[u8], change: impl FnOnce(u64) -> Option<u64>) -> Option<bool> {
        let (shard, hash) = self.place(key);
        shard.lock().expire(hash, key, unix_ms, change)
    }

    /// Stores a value; `false` if `mode` forbids it. `expires_ms` is Unix time, 0 for never, `None`
    /// to keep what the key had.
    ///
    /// # Errors
    /// [`SetError::TooLarge`].
    pub fn set(
        &self,
        key: &[u8],
        value: &[u8],
        expires_ms: Option<u64>,
        mode: SetMode,
    ) -> Result<bool, SetError> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(SetError::TooLarge);
        }
        let (shard, hash) = self.place(key);
        shard
            .lock()
            .set((hash, key), value, expires_ms, mode, unix_ms)
    }

    /// Removes a key; was it there?
    pub fn remove(&self, key: &[u8]) -> bool {
        let (shard, hash) = self.place(key);
        shard.lock().remove(hash, key, unix_ms)
    }

    /// Removes everything, one shard after the other.
    pub fn clear(&self) {
        self.shards.iter().for_each(|shard| shard.lock().clear());
    }

    fn place(&self, key: &[u8]) -> (&Mutex<Shard>, u32) {
        let (shard, hash) = self.locate(key);
        (&self.shards[shard], hash)
    }

    /// The shard by the upper half of the hash, the place in it by the lower.
    fn locate(&self, key: &[u8]) -> (usize, u32) {
        let hash = self.hasher.hash_one(key);
        let shard = ((hash >> 32) * self.shards.len() as u64) >> 32;
        (shard as usize, hash as u32)
    }
}

/// Milliseconds of Unix time.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
