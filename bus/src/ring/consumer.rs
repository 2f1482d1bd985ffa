//! The side that empties the ring.

use super::{Contradiction, Half, Next, Step, Walk, filled, origin_of};
use crate::crc;
use crate::extension::{EXTENSION_BYTES_MAX, Extension};
use crate::layout::count;
use crate::record::{HEAD_BYTES, Head, SUMMED};
use crate::sync::Ordering;
use crate::wait;

/// How far ahead of the record being read the lines of the ring are asked for: where the next
/// record begins is known only once this one is here, so that each would be waited for alone.
const FETCH_AHEAD: u64 = 512;

/// The consumer's private knowledge. Everything in it can be learnt again from the ring.
#[derive(Debug)]
pub struct Consumer<H> {
    half: H,
    walk: Walk,
    /// The published head.
    head: u64,
    /// What the last consumer had handed out: up to here, messages are repeats.
    handed_before: u64,
    /// Messages handed out and not yet acknowledged.
    unacknowledged: u64,
    /// Messages handed out, and bytes of their payloads, that the counters do not have yet: they
    /// get them with the acknowledgement.
    uncounted: [u64; 2],
    is_fencing: bool,
}

/// A message at the front of the ring, its head proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its head.
    pub head: Head,
    /// Where its payload lies.
    pub payload_at: u64,
    /// It was handed out before, to a consumer that died before it acknowledged.
    pub is_repeat: bool,
}

impl<H: Half> Consumer<H> {
    /// Takes up where the last consumer stopped. The caller owns the page.
    ///
    /// # Errors
    ///
    /// Head and tail that contradict each other.
    pub fn take_up(half: H, is_fencing: bool) -> Result<Consumer<H>, Contradiction> {
        let head = half.consumer().head.at.load(Ordering::Acquire);
        let tail = half.producer().tail.at.load(Ordering::Acquire);
        filled(head, tail, half.data().capacity())?;
        let handed_before = half.consumer().handed.load(Ordering::Acquire);
        let walk = Walk {
            at: head,
            end: tail,
            last_seq: None,
        };
        Ok(Consumer {
            half,
            walk,
            head,
            handed_before,
            unacknowledged: 0,
            uncounted: [0; 2],
            is_fencing,
        })
    }

    /// The half it empties.
    pub fn half(&self) -> &H {
        &self.half
    }

    /// Messages handed out and not yet acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.unacknowledged
    }

    /// Is there something beyond what was handed out?
    ///
    /// # Errors
    ///
    /// A tail that cannot be.
    #[inline]
    pub fn has_more(&mut self) -> Result<bool, Contradiction> {
        if self.walk.at != self.walk.end {
            return Ok(true);
        }
        let tail = self.half.producer().tail.at.load(Ordering::Acquire);
        filled(self.head, tail, self.half.data().capacity())?;
        // A tail behind what was already handed out would make the walk run round the ring.
        if tail.wrapping_sub(self.head) < self.walk.at.wrapping_sub(self.head) {
            return Err(Contradiction {
                head: self.walk.at,
                tail,
            });
        }
        self.walk.end = tail;
        Ok(self.walk.at != tail)
    }

    /// Is there something beyond what was handed out (or a contradiction)? Changes nothing.
    #[inline]
    pub fn looks_ready(&self) -> bool {
        self.walk.at != self.half.producer().tail.at.load(Ordering::Acquire)
    }

    /// Bytes published beyond what was handed out (nonsense where head and tail are). Changes
    /// nothing.
    #[inline]
    pub fn ready_bytes(&self) -> u64 {
        let tail = self.half.producer().tail.at.load(Ordering::Acquire);
        tail.wrapping_sub(self.walk.at)
    }

    /// Asks the processor for the lines of the record to come, while there is none yet: once the
    /// tail is seen to have moved, they are on their way, too.
    #[inline(always)]
    pub fn fetch_next(&self) {
        self.half.data().fetch(self.walk.at);
    }

    /// The next message, gone past but neither handed out nor acknowledged. `None`: nothing more.
    ///
    /// # Errors
    ///
    /// Damage, counted and gone past: call again; or a tail that cannot be.
    #[inline]
    pub fn advance(&mut self) -> Result<Option<Found>, Trouble> {
        let mut found = Found::default();
        Ok(self.advance_into(&mut found)?.then_some(found))
    }

    /// `advance` that fills in what it found where it is wanted (see `Walk::step_into`); `false`:
    /// nothing more.
    ///
    /// # Errors
    ///
    /// As `advance`.
    #[inline(always)]
    pub fn advance_into(&mut self, found: &mut Found) -> Result<bool, Trouble> {
        if !self.has_more()? {
            return Ok(false);
        }
        if self.walk.end.wrapping_sub(self.walk.at) > FETCH_AHEAD {
            let soon = self.walk.at.wrapping_add(FETCH_AHEAD);
            self.half.data().fetch(soon);
        }
        let is_first = self.walk.last_seq.is_none();
        match self.walk.step_into(self.half.data(), &mut found.head) {
            Next::End => Ok(false),
            Next::Message => {
                found.payload_at = self.walk.at.wrapping_sub(found.head.room());
                found.is_repeat = found.head.seq <= self.handed_before;
                if is_first && found.head.seq > self.handed_before.wrapping_add(1) {
                    return Err(self.miss_first(found));
                }
                Ok(true)
            }
            Next::Damage => Err(self.meet_damage()),
        }
    }

    /// The first message of all has a number that says others are missing before it.
    #[cold]
    fn miss_first(&mut self, found: &Found) -> Trouble {
        let missing = found.head.seq - self.handed_before - 1;
        self.put_back(found);
        self.note_damage(0, missing, self.handed_before)
    }

    #[cold]
    fn meet_damage(&mut self) -> Trouble {
        match self.walk.damage(self.half.data()) {
            Step::Damage {
                bytes,
                messages,
                after,
            } => self.note_damage(bytes, messages, after),
            // It was damage a moment ago: somebody writes what is published.
            Step::Message { .. } | Step::End => self.note_damage(0, 0, self.handed_before),
        }
    }

    /// Puts the walk back before a message that `advance` gave and that was not handed out.
    pub fn put_back(&mut self, found: &Found) {
        let record = HEAD_BYTES + u64::from(found.head.extension);
        self.walk.at = found.payload_at.wrapping_sub(record);
        self.walk.last_seq = Some(found.head.seq.wrapping_sub(1));
    }

    /// Copies the payload out; `false`: it is damaged (counted), and must not be used.
    ///
    /// `bytes` must be as long as the payload.
    #[inline]
    #[must_use]
    pub fn copy(&mut self, found: &Found, extension: &mut Extension, bytes: &mut [u8]) -> bool {
        let sum = match self.read_extension(found, extension) {
            Some(sum) => sum,
            None => return self.reject(found),
        };
        self.half.data().read(found.payload_at, bytes);
        match found.head.flags & SUMMED == 0 || crc::extend(sum, bytes) == found.head.crc {
            true => true,
            false => self.reject(found),
        }
    }

    /// `copy` of a message without an extension.
    #[inline(always)]
    #[must_use]
    pub fn copy_plain(&mut self, found: &Found, bytes: &mut [u8]) -> bool {
        self.half.data().read(found.payload_at, bytes);
        match found.head.flags & SUMMED == 0 || crc::of(bytes) == found.head.crc {
            true => true,
            false => self.reject(found),
        }
    }

    /// Is a message without an extension sound where it lies? If not, that is counted.
    #[cfg(not(feature = "model"))]
    #[inline(always)]
    #[must_use]
    pub fn is_sound(&mut self, found: &Found) -> bool {
        if found.head.flags & SUMMED == 0 {
            return true;
        }
        let length = u64::from(found.head.len);
        let sum = crc::of(self.half.data().slice(found.payload_at, length));
        sum == found.head.crc || self.reject(found)
    }

    /// Reads the extension and returns its checksum; `None`: it is damaged.
    #[inline]
    pub fn read_extension(&self, found: &Found, extension: &mut Extension) -> Option<u32> {
        *extension = Extension::default();
        let length = usize::from(found.head.extension);
        if length == 0 {
            return Some(0);
        }
        let mut bytes = [0; EXTENSION_BYTES_MAX];
        let bytes = bytes.get_mut(..length)?;
        let at = found.payload_at.wrapping_sub(length as u64);
        self.half.data().read(at, bytes);
        *extension = Extension::decode(found.head.flags, bytes)?;
        Some(crc::of(bytes))
    }

    /// The payload where it lies, if its checksum holds; `None`: it is damaged (counted).
    #[cfg(not(feature = "model"))]
    pub fn peek(&mut self, found: &Found, extension: &mut Extension) -> Option<&[u8]> {
        let sum = self.read_extension(found, extension);
        let length = u64::from(found.head.len);
        let is_good = sum.is_some_and(|sum| {
            let bytes = self.half.data().slice(found.payload_at, length);
            found.head.flags & SUMMED == 0 || crc::extend(sum, bytes) == found.head.crc
        });
        if !is_good {
            self.reject(found);
            return None;
        }
        Some(self.half.data().slice(found.payload_at, length))
    }

    #[cold]
    fn reject(&mut self, found: &Found) -> bool {
        self.note_damage(found.head.span(), 1, found.head.seq.wrapping_sub(1));
        false
    }

    #[cold]
    fn note_damage(&mut self, bytes: u64, messages: u64, after: u64) -> Trouble {
        let page = self.half.consumer();
        count(&page.counters.damaged_messages, messages);
        count(&page.counters.damaged_bytes, bytes);
        // A producer that takes over must not use their numbers again.
        if let Some(last) = self.walk.last_seq
            && last > page.handed.load(Ordering::Relaxed)
        {
            page.handed.store(last, Ordering::Release);
        }
        self.unacknowledged += 1;
        Trouble::Damage {
            bytes,
            messages,
            after,
        }
    }

    /// Notes, before the program sees it, that a message is handed out.
    #[inline]
    pub fn hand_out(&mut self, found: &Found, extension: &Extension) {
        let page = self.half.consumer();
        if let Some(origin) = extension.origin {
            page.origin_epoch.store(origin.epoch, Ordering::Relaxed);
            page.origin_seq.store(origin.seq, Ordering::Relaxed);
        }
        self.hand_out_plain(found);
    }

    /// `hand_out` of a message without an extension.
    #[inline(always)]
    pub fn hand_out_plain(&mut self, found: &Found) {
        let page = self.half.consumer();
        if found.is_repeat {
            count(&page.counters.redelivered, 1);
        } else {
            page.handed.store(found.head.seq, Ordering::Release);
        }
        self.uncounted[0] += 1;
        self.uncounted[1] += u64::from(found.head.len);
        self.unacknowledged += 1;
    }

    /// Frees everything handed out, by one store, and wakes the producer if it waits for room.
    #[inline]
    pub fn acknowledge(&mut self) {
        self.free();
        self.wake();
    }

    /// The one store. Split from `acknowledge` for the model.
    #[inline]
    pub fn free(&mut self) {
        self.head = self.walk.at;
        self.unacknowledged = 0;
        self.half
            .consumer()
            .head
            .at
            .store(self.head, Ordering::Release);
        self.count_handed_out();
    }

    #[inline]
    fn count_handed_out(&mut self) {
        let counters = &self.half.consumer().counters;
        let [messages, bytes] = std::mem::take(&mut self.uncounted);
        count(&counters.messages, messages);
        count(&counters.bytes, bytes);
    }

    /// Frees what lies before `at`, the end of a record handed out, by one store; what was handed
    /// out after it stays. `false`: `at` lies outside of what was handed out; nothing was done.
    #[must_use]
    pub fn free_to(&mut self, at: u64) -> bool {
        let handed_bytes = self.walk.at.wrapping_sub(self.head);
        let is_inside = at.wrapping_sub(self.head) <= handed_bytes;
        if is_inside {
            self.head = at;
            self.half.consumer().head.at.store(at, Ordering::Release);
            self.count_handed_out();
        }
        is_inside
    }

    /// The position after the last record gone past.
    pub fn position(&self) -> u64 {
        self.walk.at
    }

    /// Wakes the producer if it waits for room.
    #[inline]
    pub fn wake(&self) {
        let page = self.half.consumer();
        let theirs = &self.half.producer().bell;
        wait::ring(&page.bell, theirs, &page.counters.wakes, self.is_fencing);
    }

    /// Throws everything away that is in the ring; returns how many messages. Damage and positions
    /// that contradict each other are thrown away with it.
    pub fn clean(half: &H) -> u64 {
        let page = half.consumer();
        let tail = half.producer().tail.at.load(Ordering::Acquire);
        let mut walk = Walk {
            at: page.head.at.load(Ordering::Acquire),
            end: tail,
            last_seq: None,
        };
        let mut messages = 0;
        if filled(walk.at, tail, half.data().capacity()).is_err() {
            walk.end = walk.at;
        }
        loop {
            match walk.step(half.data()) {
                Step::End => break,
                Step::Damage { .. } => {}
                Step::Message { at, head } => {
                    messages += 1;
                    if let Some(origin) = origin_of(half, at, head) {
                        page.origin_epoch.store(origin.epoch, Ordering::Relaxed);
                        page.origin_seq.store(origin.seq, Ordering::Relaxed);
                    }
                }
            }
        }
        let hint = half.producer().last_seq.load(Ordering::Relaxed);
        let handed = page.handed.load(Ordering::Relaxed);
        let last = walk.last_seq.unwrap_or(handed.max(hint)).max(handed);
        page.handed.store(last, Ordering::Release);
        count(&page.counters.cleaned, messages);
        page.head.at.store(tail, Ordering::Release);
        messages
    }
}

/// Why there is no next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Bytes that are no message were skipped; the next call goes on after them.
    Damage {
        /// Bytes skipped.
        bytes: u64,
        /// Messages lost.
        messages: u64,
        /// Number of the last good message.
        after: u64,
    },
    /// A tail that cannot be.
    Contradiction(Contradiction),
}

impl From<Contradiction> for Trouble {
    fn from(found: Contradiction) -> Trouble {
        Trouble::Contradiction(found)
    }
}

impl From<Trouble> for crate::Error {
    fn from(trouble: Trouble) -> crate::Error {
        match trouble {
            Trouble::Contradiction(found) => found.into(),
            Trouble::Damage {
                bytes,
                messages,
                after,
            } => crate::Error::Damaged {
                messages,
                bytes,
                after,
            },
        }
    }
}
