//! Items in chunks of one size: the bytes of a shard, and nothing about which to keep.
//!
//! Called by `shard` (what is where) and by the eviction policies (through the link fields). An
//! item takes as many chunks as it needs, neighbours where there are any (`free`), so that a value
//! usually lies in one piece; where there are none it takes what there is. One size of chunk
//! means that memory never gets stuck in a size nobody asks for any more, and that whatever is
//! evicted can hold whatever comes next.
//!
//! An item begins with its header:
//!
//! ```text
//!   first chunk of an item, 1044 bytes, little endian
//!   0      4      8       12     16      20    22      23     24        32
//!   +------+------+-------+------+-------+-----+-------+------+---------+-----+------------
//!   | prev | next | chain | hash | value | key | marks | pins | expires | key | value ...
//!   |      |      |       |      | bytes | len |       |      |   ms    |     | goes on
//!   +------+------+-------+------+-------+-----+-------+------+---------+-----+------------
//!
//!   link of each chunk, in a table beside the arena so that values are not cut by it
//!   31 30 29              0
//!   +-----+---------------+
//!   | 0 0 | the next chunk of the same item
//!   | 1 0 | last chunk of an item; the first one, so that from any chunk its item is found
//!   | 0 1 | first or last chunk of a free run; how many chunks it has
//!   | 1 1 | nobody's (behind the limit)
//!   +-----+---------------+
//! ```
//!
//! While an item is pinned its value is being sent from where it lies: it is not written over, and
//! if it is removed meanwhile its chunks come back with the last pin.
//!
//! The chunk size is chosen so that a 4 KiB block with its envelope and its 16-byte key fills
//! exactly four: 4176 bytes and four links, 2.3 % more than 4096 (asserted below).

mod free;
mod shrink;

use super::arena::{Part, Span};
use free::Runs;

/// Size of a chunk in bytes.
pub const CHUNK_BYTES: usize = 1044;

/// Bytes of the table of links per chunk.
pub const LINK_BYTES_PER_CHUNK: usize = size_of::<u32>();

const PREV_AT: usize = 0;
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

/// Longest key in bytes: it has to fit into the first chunk.
pub const KEY_BYTES_MAX: usize = 512;
const _: () = assert!(KEY_AT == 32 && KEY_AT + KEY_BYTES_MAX <= CHUNK_BYTES);
const _: () = assert!(chunks_for(wire::KEY_BYTES, wire::HEADER_BYTES + 4096) == 4);

/// No chunk.
pub const NONE: u32 = u32::MAX;

/// The two upper bits of a link, see the head of this file.
const TAG_BITS: u32 = 0b11 << 30;
const LAST_TAG: u32 = 0b10 << 30;
const FREE_TAG: u32 = 0b01 << 30;

/// How many chunks an item takes.
pub const fn chunks_for(key_bytes: usize, value_bytes: usize) -> u32 {
    (KEY_AT + key_bytes + value_bytes).div_ceil(CHUNK_BYTES) as u32
}

/// The chunks of one shard.
pub struct Slab {
    part: Part,
    /// What each chunk says about itself.
    links: Vec<u32>,
    /// How many chunks may be used.
    limit: u32,
    /// Chunks from here on were never used, or given back; their pages cost nothing yet.
    fresh: u32,
    /// Returned chunks, all below `limit`.
    free: Runs,
    /// How many chunks below `limit` can be taken.
    free_chunks: u32,
    /// How many chunks are in items.
    used_chunks: u32,
    /// While it shrinks: returned chunks that were not looked at yet.
    unsorted: Runs,
    /// While it shrinks: chunks behind `limit` that are in items or unsorted.
    behind: u32,
}

impl Slab {
    /// All chunks that fit into a part of the arena.
    pub fn new(part: Part, chunks: u32) -> Slab {
        assert!(chunks < FREE_TAG, "a shard of 1 TiB");
        Slab {
            part,
            links: vec![0; chunks as usize],
            limit: chunks,
            fresh: 0,
            free: Runs::none(),
            free_chunks: chunks,
            used_chunks: 0,
            unsorted: Runs::none(),
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
        let first = self.take(wanted);
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
        while let Some(start) = rest {
            let (chunks, following) = self.run(start);
            rest = following;
            self.used_chunks -= chunks;
            self.free_run(start, chunks);
        }
    }

    /// How many chunks of an item lie side by side from this one on, and which comes after them.
    fn run(&self, start: u32) -> (u32, Option<u32>) {
        let mut chunk = start;
        loop {
            let following = self.following(chunk);
            if following != Some(chunk + 1) {
                return (chunk + 1 - start, following);
            }
            chunk += 1;
        }
    }

    /// The next chunk of the same item.
    fn following(&self, chunk: u32) -> Option<u32> {
        let link = self.link(chunk);
        (link & TAG_BITS == 0).then_some(link)
    }

    fn link(&self, chunk: u32) -> u32 {
        self.links[chunk as usize]
    }

    fn set_link(&mut self, chunk: u32, link: u32) {
        self.links[chunk as usize] = link;
    }

    /// Writes another value over an item of the same number of chunks that is not pinned.
    pub fn overwrite(&mut self, item: u32, value: &[u8]) {
        debug_assert!(!self.is_pinned(item));
        let key_bytes = self.key_bytes(item);
        debug_assert_eq!(self.chunks_of(item), chunks_for(key_bytes, value.len()));
        self.set_word(item, VALUE_BYTES_AT, value.len() as u32);
        self.write_value(item, key_bytes, value);
    }

    fn write(&mut self, item: u32, key: &[u8], value: &[u8]) {
        self.set_word(item, VALUE_BYTES_AT, value.len() as u32);
        let key_bytes = (key.len() as u16).to_le_bytes();
        self.put(item, KEY_BYTES_AT, &key_bytes);
        self.put(item, KEY_AT, key);
        self.write_value(item, key.len(), value);
    }

    fn write_value(&mut self, item: u32, key_bytes: usize, value: &[u8]) {
        let (mut start, mut from, mut rest) = (item, KEY_AT + key_bytes, value);
        loop {
            let (chunks, following) = self.run(start);
            let room = chunks as usize * CHUNK_BYTES - from;
            let (now, later) = rest.split_at(rest.len().min(room));
            let at = place(start, from);
            self.part.write(at, now.len()).copy_from_slice(now);
            match following {
                Some(next) => (start, from, rest) = (next, 0, later),
                None => return,
            }
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
        let (mut start, mut from) = (item, KEY_AT + self.key_bytes(item));
        let mut rest = self.value_bytes(item);
        while rest > 0 {
            let (chunks, following) = self.run(start);
            let now = rest.min(chunks as usize * CHUNK_BYTES - from);
            if now > 0 {
                found(self, place(start, from), now);
            }
            rest -= now;
            (start, from) = (following.unwrap_or(start), 0);
        }
    }

    /// In how many pieces an item lies.
    pub fn pieces(&self, item: u32) -> u32 {
        let (mut pieces, mut rest) = (0, Some(item));
        while let Some(start) = rest {
            rest = self.run(start).1;
            pieces += 1;
        }
        pieces
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
