//! Replies that are sent from the arena: a buffer with holes, filled by pinned values.
//!
//! Called by the commands, which append to an [`Out`], and by the connection, which sends it with
//! as few writes as the kernel allows and then gives the pins back. A turn waits for nothing, so a
//! pin lives for microseconds; what the socket does not take is copied before the pins go. Once a
//! worker's buffers have grown to their size, nothing here allocates.

use std::io::{self, IoSlice};

use super::arena::{Arena, Span};
use super::{Store, Value};

/// Smaller values are copied: that costs less than the pin.
const LEASE_BYTES_MIN: usize = 2 * 1024;

/// Values in pieces shorter than this on average are copied, unless they lie in one: the kernel
/// takes longer over many pieces than a copy costs.
const PIECE_BYTES_MIN: usize = 4 * 1024;

/// Pieces of one write: sixteen 4 KiB blocks and what stands between them.
const PIECES_MAX: usize = 128;

/// A pinned item.
struct Lease {
    shard: u32,
    item: u32,
}

/// Replies on their way out.
pub struct Out {
    /// Everything but the leased values.
    bytes: Vec<u8>,
    /// Pieces of leased values: each comes after so many of `bytes`.
    spans: Vec<(usize, Span)>,
    leases: Vec<Lease>,
    /// Bytes of all spans together.
    leased_bytes: usize,
    /// Beyond this values are copied. 0: always.
    leased_bytes_max: usize,
}

/// How far an [`Out`] was at some time.
#[derive(Clone, Copy)]
pub struct Mark {
    bytes: usize,
    spans: usize,
    leased_bytes: usize,
}

impl Out {
    /// An empty one with room for so many bytes of its own; it leases nothing yet.
    #[must_use]
    pub fn new(bytes: usize) -> Out {
        Out {
            bytes: Vec::with_capacity(bytes),
            spans: Vec::new(),
            leases: Vec::new(),
            leased_bytes: 0,
            leased_bytes_max: 0,
        }
    }

    /// Lets it lease at most so many bytes; beyond that, values are copied.
    pub fn lease_up_to(&mut self, bytes: usize) {
        self.leased_bytes_max = bytes;
    }

    /// Length in bytes, leased ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + self.leased_bytes
    }

    /// Nothing to send?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends bytes.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one byte.
    pub fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Its own bytes, without the leased values.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How far it is now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            spans: self.spans.len(),
            leased_bytes: self.leased_bytes,
        }
    }

    /// Back to a mark. Pins stay until [`Out::finish`].
    pub fn rollback(&mut self, mark: Mark) {
        self.bytes.truncate(mark.bytes);
        self.spans.truncate(mark.spans);
        self.leased_bytes = mark.leased_bytes;
    }

    /// Appends a value of the store: a large one by reference.
    pub fn value(&mut self, value: &mut Value<'_>) {
        let bytes = value.len();
        if bytes < LEASE_BYTES_MIN
            || self.leased_bytes + bytes > self.leased_bytes_max
            || value.pieces() > 1 + bytes / (2 * PIECE_BYTES_MIN)
        {
            return value.copy_to(&mut self.bytes);
        }
        let (at, spans) = (self.bytes.len(), &mut self.spans);
        match value.pin(|span| spans.push((at, span))) {
            None => value.copy_to(&mut self.bytes),
            Some(item) => {
                self.leased_bytes += bytes;
                let shard = value.shard();
                self.leases.push(Lease { shard, item });
            }
        }
    }

    /// Sends what comes after the first `sent` bytes, by `write`, until all is sent or `write`
    /// fails; returns how many bytes are sent in all, and the failure.
    pub fn send(
        &self,
        store: &Store,
        mut sent: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> (usize, io::Result<()>) {
        while sent < self.len() {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut count = 0;
            let mut skip = sent;
            for piece in self.pieces(&store.arena) {
                if skip >= piece.len() {
                    skip -= piece.len();
                    continue;
                }
                slices[count] = IoSlice::new(&piece[skip..]);
                skip = 0;
                count += 1;
                if count == PIECES_MAX {
                    break;
                }
            }
            match write(&slices[..count]) {
                Ok(0) => return (sent, Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => sent += bytes,
                Err(error) => return (sent, Err(error)),
            }
        }
        (sent, Ok(()))
    }

    /// A copy of what comes after the first `sent` bytes.
    #[must_use]
    pub fn rest(&self, store: &Store, sent: usize) -> Vec<u8> {
        let mut rest = Vec::with_capacity(self.len() - sent);
        let mut skip = sent;
        for piece in self.pieces(&store.arena) {
            let from = skip.min(piece.len());
            skip -= from;
            rest.extend_from_slice(&piece[from..]);
        }
        rest
    }

    /// Gives the pins back and forgets everything; keeps room for so many bytes.
    pub fn finish(&mut self, store: &Store, keep_bytes: usize) {
        for lease in self.leases.drain(..) {
            store.shards[lease.shard as usize].lock().unpin(lease.item);
        }
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
        self.spans.clear();
        self.leased_bytes = 0;
    }

    /// All pieces in the order in which they are sent; none is empty.
    fn pieces<'a>(&'a self, arena: &'a Arena) -> impl Iterator<Item = &'a [u8]> {
        let mut from = 0;
        let mut spans = self.spans.iter().peekable();
        std::iter::from_fn(move || {
            let next = spans.peek().map_or(self.bytes.len(), |(at, _)| *at);
            if from < next {
                let piece = &self.bytes[from..next];
                from = next;
                return Some(piece);
            }
            let (_, span) = spans.next()?;
            Some(arena.pinned(*span))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Eviction, HugePages, STORE_BYTES_MIN, SetMode};
    use super::*;

    fn leasing(bytes: usize) -> Out {
        let mut out = Out::new(0);
        out.lease_up_to(bytes);
        out
    }

    fn store() -> Store {
        Store::reserve(STORE_BYTES_MIN, Eviction::Lru, HugePages::Off).unwrap()
    }

    fn set(store: &Store, key: &[u8], value: &[u8]) {
        assert_eq!(store.set(key, value, Some(0), SetMode::Always), Ok(true));
    }

    /// Sends everything in writes of at most `most` bytes.
    fn sent(out: &Out, store: &Store, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let (bytes, result) = out.send(store, 0, |slices| {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let now = joined.len().min(most);
            all.extend_from_slice(&joined[..now]);
            Ok(now)
        });
        result.unwrap();
        assert_eq!((bytes, all.len()), (out.len(), out.len()));
        all
    }

    #[test]
    fn values_and_bytes_leave_in_the_order_they_came_however_they_are_cut() {
        let store = store();
        set(&store, b"large", &vec![7; 80_000]);
        set(&store, b"small", &[8; 10]);
        let mut out = leasing(1_000_000);
        let mut expected = Vec::new();
        for round in 0..60u8 {
            for (key, byte, bytes) in [(&b"large"[..], 7, 80_000), (b"small", 8, 10)] {
                out.extend_from_slice(&[round]);
                store.get(key, |mut value| out.value(&mut value)).unwrap();
                expected.push(round);
                expected.extend(std::iter::repeat_n(byte, bytes));
            }
        }
        for most in [1 << 30, 50_000, 7777] {
            assert!(sent(&out, &store, most) == expected, "writes of {most}");
        }
        assert!(out.rest(&store, 1234) == expected[1234..]);
        out.finish(&store, 0);
        assert!(out.is_empty());
    }

    #[test]
    fn what_is_being_sent_is_not_written_over() {
        let store = store();
        set(&store, b"k", &[1; 80_000]);
        let used = store.used_bytes();
        let mut out = leasing(1 << 20);
        store.get(b"k", |mut value| out.value(&mut value)).unwrap();
        set(&store, b"k", &[2; 80_000]);
        assert!(store.remove(b"k"));
        (0..1000u32).for_each(|n| set(&store, &n.to_le_bytes(), &[3; 4096]));
        assert!(sent(&out, &store, 1 << 30) == [1; 80_000]);
        store.clear();
        assert_eq!(store.used_bytes(), used);
        assert!(sent(&out, &store, 1 << 30) == [1; 80_000]);
        out.finish(&store, 0);
        assert_eq!(store.used_bytes(), 0);
    }

    #[test]
    fn a_rollback_takes_back_the_bytes_and_finish_the_pins() {
        let store = store();
        set(&store, b"k", &[1; 80_000]);
        let mut out = leasing(1 << 20);
        out.extend_from_slice(b"before");
        let mark = out.mark();
        store.get(b"k", |mut value| out.value(&mut value)).unwrap();
        out.rollback(mark);
        assert_eq!(sent(&out, &store, 1 << 30), b"before");
        out.finish(&store, 0);
        store.clear();
        assert_eq!(store.used_bytes(), 0);
    }
}
