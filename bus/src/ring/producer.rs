//! The side that fills the ring.

use super::{Contradiction, Half, Rules, Step, Walk, filled, origin_of};
use crate::crc;
use crate::extension::{EXTENSION_BYTES_MAX, Extension, Origin};
use crate::layout::count;
use crate::record::{HEAD_BYTES, Head, PAD, SUMMED, span};
use crate::sync::Ordering;
use crate::wait;

/// How far ahead of the record being written the lines of the ring are asked for: they are the
/// consumer's, and the processor's queue of stores reaches only a few records.
const FETCH_AHEAD: u64 = 512;

/// What a message carries besides its payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Note {
    /// Flags of `record` beyond those that follow from the rest.
    pub flags: u16,
    /// When it was sent, in nanoseconds since 1970; 0: not noted.
    pub sent_ns: u64,
    /// Route, trace, origin.
    pub extension: Extension,
}

impl Note {
    /// Does nothing come with the payload?
    #[inline]
    pub fn is_plain(&self) -> bool {
        let Extension {
            route,
            trace,
            origin,
        } = &self.extension;
        let is_bare = route.is_none() && trace.is_none() && origin.is_none();
        is_bare && self.flags == 0 && self.sent_ns == 0
    }
}

/// The producer's private knowledge. Everything in it can be learnt again from the ring.
#[derive(Debug)]
pub struct Producer<H> {
    half: H,
    rules: Rules,
    /// Where the next record goes; beyond the published tail while a batch is being written.
    at: u64,
    /// The published tail.
    tail: u64,
    /// The head as last seen: at least this much is free.
    head: u64,
    /// Number of the last record written.
    seq: u64,
    /// Payload bytes written and not yet published.
    bytes: u64,
    /// Origin of the last relayed message ever committed here.
    origin: Origin,
    is_fencing: bool,
}

impl<H: Half> Producer<H> {
    /// Takes up where the last producer stopped. The caller owns the page.
    ///
    /// # Errors
    ///
    /// Head and tail that contradict each other.
    pub fn take_up(half: H, rules: Rules, is_fencing: bool) -> Result<Producer<H>, Contradiction> {
        let tail = half.producer().tail.at.load(Ordering::Acquire);
        let head = half.consumer().head.at.load(Ordering::Acquire);
        filled(head, tail, half.data().capacity())?;
        // The consumer notes what it hands out before it frees it, so where the ring is empty,
        // these are of the last message there was.
        let handed = half.consumer().handed.load(Ordering::Acquire);
        let mut origin = Origin {
            epoch: half.consumer().origin_epoch.load(Ordering::Acquire),
            seq: half.consumer().origin_seq.load(Ordering::Acquire),
        };
        let mut walk = Walk {
            at: head,
            end: tail,
            last_seq: None,
        };
        let mut was_damaged = false;
        loop {
            match walk.step(half.data()) {
                Step::End => break,
                Step::Damage { .. } => was_damaged = true,
                Step::Message { at, head } => origin = origin_of(&half, at, head).unwrap_or(origin),
            }
        }
        let mut seq = walk.last_seq.unwrap_or(handed);
        if was_damaged {
            // The last records may be among the damaged: better a gap than a number used twice.
            let hint = half.producer().last_seq.load(Ordering::Relaxed);
            seq = seq.max(hint).max(handed);
        }
        Ok(Producer {
            half,
            rules,
            at: tail,
            tail,
            head,
            seq,
            bytes: 0,
            origin,
            is_fencing,
        })
    }

    /// The half it fills.
    pub fn half(&self) -> &H {
        &self.half
    }

    /// The rules of the channel.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Number of the last message published or written.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Origin of the last relayed message ever committed here.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Is there room for a message with so many bytes after its head? Looks at the consumer only if
    /// what it last saw does not suffice.
    ///
    /// # Errors
    ///
    /// A head that cannot be.
    #[inline]
    pub fn has_room(&mut self, bytes: u64) -> Result<bool, Contradiction> {
        self.has_room_for(span(bytes))
    }

    /// The same for a record of `span` bytes.
    #[inline(always)]
    fn has_room_for(&mut self, span: u64) -> Result<bool, Contradiction> {
        let need = self.need(span);
        let capacity = self.half.data().capacity();
        if self.at.wrapping_add(need).wrapping_sub(self.head) <= capacity {
            return Ok(true);
        }
        self.look_for_room(need)
    }

    #[cold]
    fn look_for_room(&mut self, need: u64) -> Result<bool, Contradiction> {
        let capacity = self.half.data().capacity();
        self.head = self.half.consumer().head.at.load(Ordering::Acquire);
        filled(self.head, self.tail, capacity)?;
        Ok(self.at.wrapping_add(need).wrapping_sub(self.head) <= capacity)
    }

    /// Bytes that a record of `span` takes, with the padding before it.
    #[inline]
    fn need(&self, span: u64) -> u64 {
        let to_wrap = self.to_wrap();
        match span <= to_wrap {
            true => span,
            false => to_wrap + span,
        }
    }

    #[inline]
    fn to_wrap(&self) -> u64 {
        let capacity = self.half.data().capacity();
        capacity - (self.at & (capacity - 1))
    }

    /// Bytes free for the next records, at least, as far as it takes no look at the consumer.
    pub fn free_bytes(&mut self) -> Result<u64, Contradiction> {
        let capacity = self.half.data().capacity();
        self.head = self.half.consumer().head.at.load(Ordering::Acquire);
        Ok(capacity - filled(self.head, self.at, capacity)?)
    }

    /// Writes a message behind the tail, for `commit` to publish. `None`: no room.
    ///
    /// # Errors
    ///
    /// A head that cannot be.
    #[inline]
    pub fn write(&mut self, parts: &[&[u8]], note: &Note) -> Result<Option<u64>, Contradiction> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let (extension, extension_bytes, extension_flags) = match note.extension {
            Extension {
                route: None,
                trace: None,
                origin: None,
            } => ([0; EXTENSION_BYTES_MAX], 0, 0),
            extension => extension.encode(),
        };
        let extension = &extension[..extension_bytes];
        if !self.has_room((payload + extension_bytes) as u64)? {
            return Ok(None);
        }
        self.pad_for(span((payload + extension_bytes) as u64));
        let mut head = Head {
            len: payload as u32,
            crc: 0,
            seq: self.seq.wrapping_add(1),
            sent_ns: note.sent_ns,
            flags: note.flags | extension_flags,
            extension: extension_bytes as u16,
        };
        let mut at = self.at.wrapping_add(HEAD_BYTES);
        let extension = (!extension.is_empty()).then_some(&extension);
        for part in extension.into_iter().chain(parts) {
            if self.rules.is_summed {
                head.crc = crc::extend(head.crc, part);
            }
            self.half.data().write(at, part);
            at = at.wrapping_add(part.len() as u64);
        }
        if self.rules.is_summed {
            head.flags |= SUMMED;
        }
        self.half.data().put_head(self.at, head.encode());
        self.at = self.at.wrapping_add(head.span());
        self.seq = head.seq;
        self.bytes += payload as u64;
        self.origin = note.extension.origin.unwrap_or(self.origin);
        Ok(Some(head.seq))
    }

    /// Writes messages that carry nothing but their payloads behind the tail, for `commit` to
    /// publish, as long as there is room; returns how many. The hot path: `write` in short.
    ///
    /// # Errors
    ///
    /// A head that cannot be.
    #[inline]
    pub fn write_plain(
        &mut self,
        payloads: &[&[u8]],
        sent_ns: u64,
    ) -> Result<usize, Contradiction> {
        let mut written = 0;
        let flags = if self.rules.is_summed { SUMMED } else { 0 };
        for payload in payloads {
            let span = span(payload.len() as u64);
            if !self.has_room_for(span)? {
                break;
            }
            self.pad_for(span);
            if payloads.len() > 1 {
                self.half
                    .data()
                    .fetch_to_write(self.at.wrapping_add(FETCH_AHEAD));
            }
            self.seq = self.seq.wrapping_add(1);
            let head = Head {
                len: payload.len() as u32,
                crc: match self.rules.is_summed {
                    true => crc::of(payload),
                    false => 0,
                },
                seq: self.seq,
                sent_ns,
                flags,
                extension: 0,
            };
            self.half.data().put_head(self.at, head.encode());
            let payload_at = self.at.wrapping_add(HEAD_BYTES);
            self.half.data().write(payload_at, payload);
            self.at = self.at.wrapping_add(span);
            self.bytes += payload.len() as u64;
            written += 1;
        }
        Ok(written)
    }

    /// Fills the ring to its end if a record of `span` would cross it.
    #[inline]
    fn pad_for(&mut self, span: u64) {
        let to_wrap = self.to_wrap();
        if span > to_wrap {
            self.pad(to_wrap);
        }
    }

    #[cold]
    fn pad(&mut self, to_wrap: u64) {
        let pad = Head {
            len: (to_wrap - HEAD_BYTES) as u32,
            seq: self.seq.wrapping_add(1),
            flags: PAD,
            ..Head::default()
        };
        self.half.data().put_head(self.at, pad.encode());
        self.at = self.at.wrapping_add(to_wrap);
    }

    /// Publishes everything written, by one store, and wakes the consumer if it sleeps.
    #[inline]
    pub fn commit(&mut self) {
        self.publish();
        self.wake();
    }

    /// The one store. Split from `commit` for the model.
    #[inline]
    pub fn publish(&mut self) {
        let page = self.half.producer();
        let before = page.last_seq.load(Ordering::Relaxed);
        page.tail.at.store(self.at, Ordering::Release);
        page.last_seq.store(self.seq, Ordering::Relaxed);
        count(&page.counters.messages, self.seq.wrapping_sub(before));
        count(&page.counters.bytes, self.bytes);
        self.tail = self.at;
        self.bytes = 0;
    }

    /// Wakes the consumer if it sleeps.
    #[inline]
    pub fn wake(&self) {
        let page = self.half.producer();
        let theirs = &self.half.consumer().bell;
        wait::ring(&page.bell, theirs, &page.counters.wakes, self.is_fencing);
    }

    /// Notes that there was no room.
    #[cold]
    pub fn note_full(&self) {
        let counters = &self.half.producer().counters;
        count(&counters.full, 1);
        counters
            .depth_bytes_max
            .store(self.half.data().capacity(), Ordering::Relaxed);
    }
}
