//! Items in chains of equal chunks: the bytes of a shard, and nothing about which to keep.
//!
//! Called by `shard` (what is where) and by the eviction policies (through the link fields). One
//! size of chunk means that memory never gets stuck in a size nobody asks for any more, and that
//! whatever is evicted can hold whatever comes next.
//!
//! The first chunk of an item carries its header; the value flows on over the chunks linked
//! behind it:
//!
//! ```text
//!   first chunk, 1048 bytes, little endian
//!   0      4      8      12      16     20      24    26      27     28        36
//!   +------+------+------+-------+------+-------+-----+-------+------+---------+-----+-------
//!   | link | prev | next | chain | hash | value | key | marks | pins | expires | key | value
//!   |      |      |      |       |      | bytes | len |       |      |   ms    |     | ...
//!   +------+------+------+-------+------+-------+-----+-------+------+---------+-----+-------
//!   any further chunk
//!   0      4
//!   +------+----------------------------------------------------------------------------------
//!   | link | value continues
//!   +------+----------------------------------------------------------------------------------
//! ```
//!
//! The link of the last chunk leads back to the first, marked; a free chunk links to the next free
//! one; one behind the limit that is nobody's has no link.
//!
//! While an item is pinned its value is being sent from where it lies: it is not written over, and
//! if it is removed meanwhile its chunks come back with the last pin.
//!
//! The chunk size is chosen so that a 4 KiB block with its envelope and its 16-byte key fills
//! exactly four: 4192 bytes, 2.3 % more than 4096 (asserted below).

mod shrink;

use super::arena::{Part, Span};

/// Size of a chunk in bytes.
pub const CHUNK_BYTES: usize = 1048;

const LINK_AT: usize = 0;
const PREV_AT: usize = LINK_AT + 4;
const NEXT_AT: usize = PREV_AT + 4;
const CHAIN_AT: usize = NEXT_AT + 4;
const HASH_AT: usize = CHAIN_AT + 4;
const VALUE_BYTES_AT: usize = HASH_AT + 4;
const KEY_BYTES_AT: usize = VALUE_BYTES_AT + 4;
const MARKS_AT: usize = KEY_BYTES_AT + 2;
const PINS_AT: usize = MARKS_AT + 1;
const EXPIRES_AT: usize = PINS_AT + 1;
const KEY_AT: usize = EXPIRES_AT + 8;

/// In the marks: which queue of its policy the item is in.
const QUEUE_BITS: u8 = 0b011;
/// In the marks: read since its policy last looked.
const SEEN_BIT: u8 = 0b100;
/// In the marks: removed, and pinned still.
const GONE_BIT: u8 = 0b1000;

/// Room for key and value in the first chunk of an item.
const FIRST_ROOM: usize = CHUNK_BYTES - KEY_AT;
/// Room for value in each further chunk.
const NEXT_ROOM: usize = CHUNK_BYTES - PREV_AT;

/// Longest key in bytes: it has to fit into the first chunk.
pub const KEY_BYTES_MAX: usize = 512;
const _: () = assert!(KEY_AT == 36 && KEY_BYTES_MAX <= FIRST_ROOM);
const _: () = assert!(chunks_for(wire::KEY_BYTES, wire::HEADER_BYTES + 4096) == 4);

/// No chunk.
pub const NONE: u32 = u32::MAX;

/// In the link of the last chunk of an item; the rest of it is the first chunk, so that from any
/// chunk its item can be found.
const LAST_BIT: u32 = 1 << 31;

/// How many chunks an item takes.
pub const fn chunks_for(key_bytes: usize, value_bytes: usize) -> u32 {
    let bytes = key_bytes + value_bytes;
    let beyond = bytes.saturating_sub(FIRST_ROOM);
    1 + beyond.div_ceil(NEXT_ROOM) as u32
}

/// The chunks of one shard.
pub struct Slab {
    part: Part,
    /// How many chunks may be used.
    limit: u32,
    /// Chunks from here on were never used, or given back; their pages cost nothing yet.
    fresh: u32,
    /// First chunk of the list of returned chunks, linked through `link`; all below `limit`.
    free: u32,
    /// How many chunks below `limit` can be taken.
    free_chunks: u32,
    /// How many chunks are in items.
    used_chunks: u32,
    /// While it shrinks: returned chunks that were not looked at yet.
    unsorted: u32,
    /// While it shrinks: chunks behind `limit` that are in items or unsorted.
    behind: u32,
}

impl Slab {
    /// All chunks that fit into a part of the arena.
    pub fn new(part: Part, chunks: u32) -> Slab {
        assert!(chunks < LAST_BIT, "a shard of 2 TiB");
        Slab {
            part,
            limit: chunks,
            fresh: 0,
            free: NONE,
            free_chunks: chunks,
            used_chunks: 0,
            unsorted: NONE,
            behind: 0,
        }
    }

    /// How many chunks may be used.
    pub fn chunks(&self) -> u32 {
        self.limit
    }

    /// How many chunks are in items.
    pub fn used_chunks(&self) -> u32 {
        self.used_chunks
    }

    /// How many chunks can be taken.
    pub fn free_chunks(&self) -> u32 {
        self.free_chunks
    }

    /// Takes chunks for an item of these sizes and writes it; `None` if too few are free.
    /// Its links and marks are blank.
    pub fn insert(&mut self, key: &[u8], value: &[u8], hash: u32) -> Option<u32> {
        let wanted = chunks_for(key.len(), value.len());
        if wanted > self.free_chunks {
            return None;
        }
        self.used_chunks += wanted;
        let last = self.take();
        let mut first = last;
        for _ in 1..wanted {
            let chunk = self.take();
            self.set_word(chunk, LINK_AT, first);
            first = chunk;
        }
        self.set_word(last, LINK_AT, first | LAST_BIT);
        self.set_word(first, HASH_AT, hash);
        self.set_word(first, PREV_AT, NONE);
        self.set_word(first, NEXT_AT, NONE);
        self.set_word(first, CHAIN_AT, NONE);
        self.write(first, key, value);
        self.set_byte(first, MARKS_AT, 0);
        self.set_byte(first, PINS_AT, 0);
        self.set_expires_ms(first, 0);
        Some(first)
    }

    /// Gives an item's chunks back, at once or with its last pin.
    pub fn remove(&mut self, item: u32) {
        if self.byte(item, PINS_AT) > 0 {
            let marks = self.byte(item, MARKS_AT);
            self.set_byte(item, MARKS_AT, marks | GONE_BIT);
        } else {
            self.free_item(item);
        }
    }

    /// Pins an item and names where its value lies; `false` if it has as many pins as it can have.
    pub fn pin(&mut self, item: u32, mut found: impl FnMut(Span)) -> bool {
        let pins = self.byte(item, PINS_AT);
        if pins == u8::MAX {
            return false;
        }
        self.set_byte(item, PINS_AT, pins + 1);
        self.each_run(item, |slab, at, bytes| found(slab.part.span(at, bytes)));
        true
    }

    /// Takes a pin away.
    pub fn unpin(&mut self, item: u32) {
        let pins = self.byte(item, PINS_AT);
        debug_assert!(pins > 0);
        self.set_byte(item, PINS_AT, pins - 1);
        if pins == 1 && self.byte(item, MARKS_AT) & GONE_BIT != 0 {
            self.free_item(item);
        }
    }

    /// Is its value being sent?
    pub fn is_pinned(&self, item: u32) -> bool {
        self.byte(item, PINS_AT) > 0
    }

    fn free_item(&mut self, item: u32) {
        let mut rest = Some(item);
        while let Some(chunk) = rest {
            rest = self.following(chunk);
            self.free_chunk(chunk);
            self.used_chunks -= 1;
        }
    }

    /// The next chunk of the same item.
    fn following(&self, chunk: u32) -> Option<u32> {
        let link = self.word(chunk, LINK_AT);
        (link & LAST_BIT == 0).then_some(link)
    }

    /// Notes that a chunk holds nothing any more; behind the limit it is nobody's from now on.
    fn free_chunk(&mut self, chunk: u32) {
        if chunk >= self.limit {
            self.set_word(chunk, LINK_AT, NONE);
            self.behind -= 1;
            return;
        }
        self.set_word(chunk, LINK_AT, self.free);
        self.free = chunk;
        self.free_chunks += 1;
    }

    /// Writes another value over an item of the same number of chunks that is not pinned.
    pub fn overwrite(&mut self, item: u32, value: &[u8]) {
        debug_assert!(!self.is_pinned(item));
        let key_bytes = self.key_bytes(item);
        debug_assert_eq!(self.chunks_of(item), chunks_for(key_bytes, value.len()));
        self.set_word(item, VALUE_BYTES_AT, value.len() as u32);
        self.write_value(item, key_bytes, value);
    }

    fn take(&mut self) -> u32 {
        self.free_chunks -= 1;
        if self.free == NONE {
            self.fresh += 1;
            return self.fresh - 1;
        }
        let chunk = self.free;
        self.free = self.word(chunk, LINK_AT);
        chunk
    }

    fn write(&mut self, item: u32, key: &[u8], value: &[u8]) {
        self.set_word(item, VALUE_BYTES_AT, value.len() as u32);
        let key_bytes = (key.len() as u16).to_le_bytes();
        self.put(item, KEY_BYTES_AT, &key_bytes);
        self.put(item, KEY_AT, key);
        self.write_value(item, key.len(), value);
    }

    fn write_value(&mut self, item: u32, key_bytes: usize, value: &[u8]) {
        let (mut chunk, mut from, mut rest) = (item, KEY_AT + key_bytes, value);
        loop {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - from));
            self.put(chunk, from, now);
            if later.is_empty() {
                return;
            }
            (chunk, from, rest) = (self.word(chunk, LINK_AT), PREV_AT, later);
        }
    }

    /// Appends an item's value to `out`.
    pub fn read_value(&self, item: u32, out: &mut Vec<u8>) {
        out.reserve(self.value_bytes(item));
        self.each_run(item, |slab, at, bytes| {
            out.extend_from_slice(slab.part.read(at, bytes));
        });
    }

    /// Names each run of an item's value, in order: where it lies in the part, and its bytes.
    fn each_run(&self, item: u32, mut found: impl FnMut(&Slab, usize, usize)) {
        let (mut chunk, mut from) = (item, KEY_AT + self.key_bytes(item));
        let mut rest = self.value_bytes(item);
        while rest > 0 {
            let now = rest.min(CHUNK_BYTES - from);
            if now > 0 {
                found(self, place(chunk, from), now);
            }
            rest -= now;
            (chunk, from) = (self.word(chunk, LINK_AT), PREV_AT);
        }
    }

    /// An item's key.
    pub fn key(&self, item: u32) -> &[u8] {
        self.part.read(place(item, KEY_AT), self.key_bytes(item))
    }

    /// Length of an item's value in bytes.
    pub fn value_bytes(&self, item: u32) -> usize {
        self.word(item, VALUE_BYTES_AT) as usize
    }

    /// How many chunks an item has.
    pub fn chunks_of(&self, item: u32) -> u32 {
        chunks_for(self.key_bytes(item), self.value_bytes(item))
    }

    /// When an item expires, in milliseconds of Unix time; 0 is never.
    pub fn expires_ms(&self, item: u32) -> u64 {
        let bytes = self.part.read(place(item, EXPIRES_AT), 8).first_chunk();
        u64::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    /// Sets when an item expires, in milliseconds of Unix time; 0 is never.
    pub fn set_expires_ms(&mut self, item: u32, expires_ms: u64) {
        self.put(item, EXPIRES_AT, &expires_ms.to_le_bytes());
    }

    /// The hash an item was inserted with.
    pub fn hash(&self, item: u32) -> u32 {
        self.word(item, HASH_AT)
    }

    /// The next item in the same bucket of the index.
    pub fn chain(&self, item: u32) -> u32 {
        self.word(item, CHAIN_AT)
    }

    /// Sets the next item in the same bucket of the index.
    pub fn set_chain(&mut self, item: u32, chain: u32) {
        self.set_word(item, CHAIN_AT, chain);
    }

    /// The neighbour towards the head of the item's queue.
    pub fn prev(&self, item: u32) -> u32 {
        self.word(item, PREV_AT)
    }

    /// The neighbour towards the tail of the item's queue.
    pub fn next(&self, item: u32) -> u32 {
        self.word(item, NEXT_AT)
    }

    /// Sets the neighbour towards the head.
    pub fn set_prev(&mut self, item: u32, prev: u32) {
        self.set_word(item, PREV_AT, prev);
    }

    /// Sets the neighbour towards the tail.
    pub fn set_next(&mut self, item: u32, next: u32) {
        self.set_word(item, NEXT_AT, next);
    }

    /// Which queue of its policy the item is in; the policy gives the number its meaning.
    pub fn queue(&self, item: u32) -> u8 {
        self.byte(item, MARKS_AT) & QUEUE_BITS
    }

    /// Notes which queue the item is in.
    pub fn set_queue(&mut self, item: u32, queue: u8) {
        let others = self.byte(item, MARKS_AT) & !QUEUE_BITS;
        self.set_byte(item, MARKS_AT, others | (queue & QUEUE_BITS));
    }

    /// Was the item read since its policy last looked?
    pub fn seen(&self, item: u32) -> bool {
        self.byte(item, MARKS_AT) & SEEN_BIT != 0
    }

    /// Marks the item as read, or not.
    pub fn set_seen(&mut self, item: u32, seen: bool) {
        let marks = self.byte(item, MARKS_AT);
        let wanted = if seen {
            marks | SEEN_BIT
        } else {
            marks & !SEEN_BIT
        };
        if wanted != marks {
            self.set_byte(item, MARKS_AT, wanted);
        }
    }

    fn key_bytes(&self, item: u32) -> usize {
        let bytes = self.part.read(place(item, KEY_BYTES_AT), 2).first_chunk();
        usize::from(u16::from_le_bytes(bytes.copied().unwrap_or_default()))
    }

    fn byte(&self, chunk: u32, at: usize) -> u8 {
        self.part.read(place(chunk, at), 1)[0]
    }

    fn set_byte(&mut self, chunk: u32, at: usize, byte: u8) {
        self.part.write(place(chunk, at), 1)[0] = byte;
    }

    fn word(&self, chunk: u32, at: usize) -> u32 {
        let bytes = self.part.read(place(chunk, at), 4).first_chunk();
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    fn set_word(&mut self, chunk: u32, at: usize, word: u32) {
        self.put(chunk, at, &word.to_le_bytes());
    }

    /// Writes some bytes of a chunk and borrows no others.
    fn put(&mut self, chunk: u32, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= CHUNK_BYTES);
        self.part
            .write(place(chunk, at), bytes.len())
            .copy_from_slice(bytes);
    }
}

/// Where a byte of a chunk lies in the part.
fn place(chunk: u32, at: usize) -> usize {
    chunk as usize * CHUNK_BYTES + at
}

#[cfg(test)]
pub mod testing {
    //! A slab with an arena of its own.

    use super::super::arena::{Arena, HugePages};
    use super::{CHUNK_BYTES, Slab};

    /// A slab of so many chunks.
    pub fn slab(chunks: u32) -> Slab {
        let bytes = chunks as usize * CHUNK_BYTES;
        let arena = Arena::reserve(bytes, HugePages::Off).unwrap();
        Slab::new(arena.cut(1, bytes).remove(0), chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_length_read_back_and_give_their_chunks_back() {
        let mut slab = testing::slab(64);
        let content: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8).collect();
        for bytes in (0..5000).chain([40_000]) {
            let item = slab
                .insert(b"a key of 16 byte", &content[..bytes], 7)
                .unwrap();
            assert_eq!(slab.key(item), b"a key of 16 byte");
            assert_eq!(slab.free_chunks(), 64 - slab.chunks_of(item));
            let mut out = Vec::new();
            slab.read_value(item, &mut out);
            assert_eq!(out, content[..bytes], "{bytes}");
            assert_eq!(slab.chunks_of(item), chunks_for(16, bytes));
            slab.remove(item);
            assert_eq!(slab.free_chunks(), 64);
        }
    }

    #[test]
    fn a_pinned_item_outlives_its_removal_and_not_its_last_pin() {
        let mut slab = testing::slab(8);
        let item = slab.insert(b"k", &[7; 3000], 7).unwrap();
        let mut bytes = 0;
        assert!(slab.pin(item, |span| bytes += span.len()));
        assert!(slab.pin(item, |_| {}));
        assert_eq!(bytes, 3000);
        slab.remove(item);
        assert_eq!(slab.free_chunks(), 5);
        slab.unpin(item);
        assert_eq!(slab.free_chunks(), 5);
        slab.unpin(item);
        assert_eq!(slab.free_chunks(), 8);
        let item = slab.insert(b"k", &[7; 3000], 7).unwrap();
        assert!((0..255).all(|_| slab.pin(item, |_| {})));
        assert!(!slab.pin(item, |_| {}), "one more than can be counted");
        (0..255).for_each(|_| slab.unpin(item));
        assert!(!slab.is_pinned(item));
    }

    #[test]
    fn an_item_that_does_not_fit_takes_nothing() {
        let mut slab = testing::slab(4);
        assert_eq!(slab.insert(b"k", &[0; 5000], 7), None);
        assert_eq!(slab.free_chunks(), 4);
        assert!(slab.insert(b"k", &[0; 4100], 7).is_some());
        assert_eq!(slab.free_chunks(), 0);
    }

    #[test]
    fn a_four_kib_block_costs_less_than_three_percent() {
        let chunks = chunks_for(wire::KEY_BYTES, wire::HEADER_BYTES + 4096);
        let bytes = chunks as usize * (CHUNK_BYTES + super::super::shard::INDEX_BYTES_PER_CHUNK);
        assert!(
            bytes * 100 <= 4096 * 103,
            "{bytes} bytes for a block of 4096"
        );
    }
}
