//! One shard: its chunks, the index over them, the policy that empties them, its counters.
//!
//! Called by `store`, under the shard's lock, which a request holds from its first look to its
//! last copied byte: nothing is handed over, nothing is counted in two places. It never allocates
//! after it was built.

use super::arena::{Part, Span};
use super::eviction::{Eviction, Policy};
use super::ghost::GHOST_BYTES_PER_CHUNK;
use super::slab::{CHUNK_BYTES, LINK_BYTES_PER_CHUNK, NONE, Slab, chunks_for};
use super::{SetError, SetMode};

/// Chunks per bucket of the index: about one bucket per 4 KiB block.
const CHUNKS_PER_BUCKET: u32 = 4;

/// One part in so many of the memory may lie free in pieces too short for what comes, before an
/// item is cut. Measured with six sizes at random: one value in three is whole without, four in
/// five with a 64th, 24 in 25 with a 16th.
const SCATTERED_SHARE: u32 = 64;

/// Steps of shrinking, each of some ten microseconds to some hundred: returned chunks looked at,
/// chunks looked at, bytes given back.
const SORT_STEP: u32 = 1024;
const SWEEP_STEP: usize = 64;
const GIVE_STEP_BYTES: usize = 1024 * 1024;

/// Bytes of index, ghost and links per chunk of slab.
pub const INDEX_BYTES_PER_CHUNK: usize =
    size_of::<u32>() / CHUNKS_PER_BUCKET as usize + GHOST_BYTES_PER_CHUNK + LINK_BYTES_PER_CHUNK;

/// What a shard counts, since the start except for `items` and `chunks_used`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Items held now.
    pub items: u64,
    /// Chunks in items now.
    pub chunks_used: u64,
    /// Items held now that will expire.
    pub expiring: u64,
    /// Bytes of keys and values held now.
    pub item_bytes: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Items given up for lack of room.
    pub evictions: u64,
    /// Items given up because their time had come.
    pub expirations: u64,
    /// Values stored.
    pub sets: u64,
}

/// One shard.
pub struct Shard {
    /// Which one it is, for whoever pins.
    number: u32,
    slab: Slab,
    /// First item of each chain.
    buckets: Vec<u32>,
    policy: Box<dyn Policy>,
    eviction: Eviction,
    /// How many chunks it was made for.
    room: u32,
    counters: Counters,
    /// While it shrinks: the next chunk to look at.
    sweep: u32,
}

impl Shard {
    /// A shard of so many chunks in its part of the arena.
    pub fn new(number: u32, part: Part, chunks: u32, eviction: Eviction) -> Shard {
        Shard {
            number,
            slab: Slab::new(part, chunks),
            buckets: vec![NONE; (chunks / CHUNKS_PER_BUCKET).max(1) as usize],
            policy: eviction.policy(chunks),
            eviction,
            room: chunks,
            counters: Counters::default(),
            sweep: 0,
        }
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        Counters {
            chunks_used: u64::from(self.slab.used_chunks()),
            ..self.counters
        }
    }

    /// Starts to count anew, except for what is held now.
    pub fn forget_counts(&mut self) {
        self.counters = Counters {
            items: self.counters.items,
            expiring: self.counters.expiring,
            item_bytes: self.counters.item_bytes,
            ..Counters::default()
        };
    }

    /// The item under `key`, read and counted; `None` is a miss.
    pub fn get(&mut self, hash: u32, key: &[u8], now_ms: impl Fn() -> u64) -> Option<Value<'_>> {
        let Some(item) = self.find_live(hash, key, now_ms) else {
            self.counters.misses += 1;
            return None;
        };
        self.counters.hits += 1;
        self.policy.touched(&mut self.slab, item);
        Some(Value {
            slab: &mut self.slab,
            item,
            number: self.number,
        })
    }

    /// The item under `key`, looked at without a trace.
    pub fn peek(&mut self, hash: u32, key: &[u8], now_ms: impl Fn() -> u64) -> Option<Value<'_>> {
        let item = self.find_live(hash, key, now_ms)?;
        Some(Value {
            slab: &mut self.slab,
            item,
            number: self.number,
        })
    }

    /// Was the key there? Good news for it, and no read.
    pub fn touch(&mut self, hash: u32, key: &[u8], now_ms: impl Fn() -> u64) -> bool {
        let found = self.find_live(hash, key, now_ms);
        if let Some(item) = found {
            self.policy.touched(&mut self.slab, item);
        }
        found.is_some()
    }

    /// Changes when an item expires; `None`: no such key, else whether it was changed.
    pub fn expire(
        &mut self,
        hash: u32,
        key: &[u8],
        now_ms: impl Fn() -> u64,
        change: impl FnOnce(u64) -> Option<u64>,
    ) -> Option<bool> {
        let item = self.find_live(hash, key, now_ms)?;
        let changed = change(self.slab.expires_ms(item));
        if let Some(at) = changed {
            self.set_expires_ms(item, at);
        }
        Some(changed.is_some())
    }

    fn set_expires_ms(&mut self, item: u32, expires_ms: u64) {
        self.counters.expiring -= u64::from(self.slab.expires_ms(item) != 0);
        self.counters.expiring += u64::from(expires_ms != 0);
        self.slab.set_expires_ms(item, expires_ms);
    }

    /// How many chains the index has.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Shows each live key of one chain.
    pub fn each_key(&self, bucket: usize, now_ms: u64, mut found: impl FnMut(&[u8])) {
        let mut item = self.buckets.get(bucket).copied().unwrap_or(NONE);
        while item != NONE {
            let expires_ms = self.slab.expires_ms(item);
            if expires_ms == 0 || expires_ms > now_ms {
                found(self.slab.key(item));
            }
            item = self.slab.chain(item);
        }
    }

    /// Stores a value; `false` if `mode` forbids it. `expires_ms` `None` keeps what is there.
    ///
    /// # Errors
    /// The value is larger than the whole shard.
    pub fn set(
        &mut self,
        (hash, key): (u32, &[u8]),
        value: &[u8],
        expires_ms: Option<u64>,
        mode: SetMode,
        now_ms: impl Fn() -> u64,
    ) -> Result<bool, SetError> {
        let wanted = chunks_for(key.len(), value.len());
        if wanted > self.slab.chunks() {
            return Err(SetError::TooLarge);
        }
        let found = self.find_live(hash, key, now_ms);
        if !mode.allows(found.is_some()) {
            return Ok(false);
        }
        self.counters.sets += 1;
        let kept = found.map_or(0, |item| self.slab.expires_ms(item));
        let item = match found {
            Some(item) if self.slab.chunks_of(item) == wanted && !self.slab.is_pinned(item) => {
                self.counters.item_bytes -= self.slab.value_bytes(item) as u64;
                self.counters.item_bytes += value.len() as u64;
                self.slab.overwrite(item, value);
                self.policy.touched(&mut self.slab, item);
                item
            }
            found => {
                found.into_iter().for_each(|item| self.delete(item));
                self.insert(hash, key, value).ok_or(SetError::TooLarge)?
            }
        };
        self.set_expires_ms(item, expires_ms.unwrap_or(kept));
        Ok(true)
    }

    /// Removes the item under `key`; was there one?
    pub fn remove(&mut self, hash: u32, key: &[u8], now_ms: impl Fn() -> u64) -> bool {
        let found = self.find_live(hash, key, now_ms);
        found.into_iter().for_each(|item| self.delete(item));
        found.is_some()
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        for bucket in 0..self.buckets.len() {
            while self.buckets[bucket] != NONE {
                let item = self.buckets[bucket];
                self.delete(item);
            }
        }
        self.policy = self.eviction.policy(self.room);
        self.policy.resized(self.slab.chunks());
    }

    /// How many chunks it may use.
    pub fn chunks(&self) -> u32 {
        self.slab.chunks()
    }

    /// May use more chunks from now on.
    pub fn grow(&mut self, chunks: u32) {
        self.slab.grow(chunks);
        self.policy.resized(self.slab.chunks());
    }

    /// May use fewer chunks from now on; [`Shard::shrink_step`] makes it so.
    pub fn begin_shrink(&mut self, chunks: u32) {
        self.slab.begin_shrink(chunks);
        self.policy.resized(chunks);
        self.sweep = self.slab.chunks();
    }

    /// A bounded step of shrinking: the coldest items go, others move together, and what they
    /// leave is given back to the kernel. `true` at the end.
    ///
    /// # Errors
    /// The kernel does not take this piece of memory back; there may be more.
    pub fn shrink_step(&mut self) -> std::io::Result<bool> {
        if !self.slab.sort_free(SORT_STEP) {
            return Ok(false);
        }
        if self.slab.behind() == 0 {
            return self.slab.give_back(GIVE_STEP_BYTES);
        }
        for _ in 0..SWEEP_STEP {
            if self.sweep == self.slab.fresh() {
                self.sweep = self.slab.chunks(); // somebody was pinned: round again
            }
            if self.pull_in(self.sweep) {
                self.sweep += 1;
            }
            if self.slab.behind() == 0 {
                break;
            }
        }
        Ok(false)
    }

    /// Moves what the item of a chunk has behind the limit; `false` if another had to be given up
    /// for room.
    fn pull_in(&mut self, chunk: u32) -> bool {
        let owner = self.slab.owner(chunk);
        let Some(item) = owner.filter(|item| !self.slab.is_pinned(*item)) else {
            return true;
        };
        if self.slab.free_chunks() < self.slab.chunks_behind(item) {
            let Some(victim) = self.policy.victim(&mut self.slab) else {
                return true;
            };
            self.drop_item(victim);
            self.counters.evictions += 1;
            return false;
        }
        let bucket = self.bucket(self.slab.hash(item));
        let now = self.slab.pull_in(item);
        if now != item {
            self.replace(bucket, item, now);
            self.policy.moved(&mut self.slab, now);
        }
        true
    }

    /// Whoever points to an item in its chain points to another from now on.
    fn replace(&mut self, bucket: usize, item: u32, by: u32) {
        if self.buckets[bucket] == item {
            self.buckets[bucket] = by;
            return;
        }
        let mut before = self.buckets[bucket];
        while self.slab.chain(before) != item {
            before = self.slab.chain(before);
        }
        self.slab.set_chain(before, by);
    }

    /// Takes away a pin that [`Value::pin`] has set.
    pub fn unpin(&mut self, item: u32) {
        self.slab.unpin(item);
    }

    fn insert(&mut self, hash: u32, key: &[u8], value: &[u8]) -> Option<u32> {
        let wanted = chunks_for(key.len(), value.len());
        while !self.has_room(wanted) {
            match self.policy.victim(&mut self.slab) {
                Some(victim) => self.drop_item(victim),
                None if self.slab.free_chunks() < wanted => return None,
                None => break,
            }
            self.counters.evictions += 1;
        }
        let item = self.slab.insert(key, value, hash)?;
        let bucket = self.bucket(hash);
        self.slab.set_chain(item, self.buckets[bucket]);
        self.buckets[bucket] = item;
        self.policy.inserted(&mut self.slab, item);
        self.counters.items += 1;
        self.counters.item_bytes += (key.len() + value.len()) as u64;
        Some(item)
    }

    /// Is there room, and in one piece? For that a little more is given up where sizes are mixed;
    /// where they are not, room and piece are the same.
    fn has_room(&self, wanted: u32) -> bool {
        let free = self.slab.free_chunks();
        let scattered_max = self.slab.chunks() / SCATTERED_SHARE;
        free >= wanted && (free >= wanted + scattered_max || self.slab.has_run(wanted))
    }

    fn find_live(&mut self, hash: u32, key: &[u8], now_ms: impl Fn() -> u64) -> Option<u32> {
        let item = self.find(hash, key)?;
        let expires_ms = self.slab.expires_ms(item);
        if expires_ms == 0 || expires_ms > now_ms() {
            return Some(item);
        }
        self.delete(item);
        self.counters.expirations += 1;
        None
    }

    fn find(&self, hash: u32, key: &[u8]) -> Option<u32> {
        let mut item = self.buckets[self.bucket(hash)];
        while item != NONE {
            if self.slab.hash(item) == hash && self.slab.key(item) == key {
                return Some(item);
            }
            item = self.slab.chain(item);
        }
        None
    }

    /// Takes an item that the policy still knows out of everything.
    fn delete(&mut self, item: u32) {
        self.policy.removed(&mut self.slab, item);
        self.drop_item(item);
    }

    /// Takes an item that the policy has forgotten out of the index and frees it.
    fn drop_item(&mut self, item: u32) {
        let bucket = self.bucket(self.slab.hash(item));
        let following = self.slab.chain(item);
        self.replace(bucket, item, following);
        let bytes = self.slab.key(item).len() + self.slab.value_bytes(item);
        self.counters.item_bytes -= bytes as u64;
        self.counters.items -= 1;
        self.counters.expiring -= u64::from(self.slab.expires_ms(item) != 0);
        self.slab.remove(item);
    }

    fn bucket(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }
}

/// A value in its chunks, readable while the shard is locked, and longer once it is pinned.
pub struct Value<'a> {
    slab: &'a mut Slab,
    item: u32,
    /// Which shard this is.
    number: u32,
}

impl Value<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.value_bytes(self.item)
    }

    /// Is it empty? (It is still there.)
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When it expires in milliseconds of Unix time; 0 is never.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.slab.expires_ms(self.item)
    }

    /// What it takes in memory, key, header and index included, in bytes.
    #[must_use]
    pub fn cost_bytes(&self) -> usize {
        self.slab.chunks_of(self.item) as usize * (CHUNK_BYTES + INDEX_BYTES_PER_CHUNK)
    }

    /// In how many pieces of memory it lies.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.slab.pieces(self.item) as usize
    }

    /// Appends it to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        self.slab.read_value(self.item, out);
    }

    /// Which shard holds it.
    pub(super) fn shard(&self) -> u32 {
        self.number
    }

    /// Pins it, so that it can be sent from where it lies; `None` if it has too many pins already.
    /// The item's number is for [`Shard::unpin`].
    pub(super) fn pin(&mut self, found: impl FnMut(Span)) -> Option<u32> {
        self.slab.pin(self.item, found).then_some(self.item)
    }
}
