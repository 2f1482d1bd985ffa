//! Reading records from one position to another, past whatever is damaged.
//!
//! Used by the consumer, by a producer that takes over, and by viewers. Nothing in a record is
//! believed before its head is proved: checksum of the head, size within what was published and
//! within the ring, number after the last one. From a damaged place the walk goes on at the next
//! head that proves itself *and* is followed by another (or by the end), so that a copy of an old
//! record inside a payload does not pass for a record.

use crate::layout::RECORD_ALIGN;
use crate::memory::Data;
use crate::record::{HEAD_BYTES, Head, is_head};

/// What lies at the walk's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing more.
    End,
    /// A message; its head is proved, its payload is not.
    Message {
        /// Where its head lies.
        at: u64,
        /// Its head.
        head: Head,
    },
    /// Bytes that are no record; the walk has gone past them.
    Damage {
        /// Bytes skipped.
        bytes: u64,
        /// Messages that were in them, as far as the numbering tells.
        messages: u64,
        /// Number of the last message before.
        after: u64,
    },
}

/// What `step_into` met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more.
    End,
    /// A message; its head is filled in.
    Message,
    /// Bytes that are no record, or a gap in the numbers.
    Damage,
}

/// A reader of the records in `at..end`.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// The next position to look at.
    pub at: u64,
    /// Where what is published ends.
    pub end: u64,
    /// Number of the last message before `at`; `None`: not known.
    pub last_seq: Option<u64>,
}

impl Walk {
    /// The next step; goes past what it returns.
    pub fn step(&mut self, data: &Data) -> Step {
        let mut head = Head::default();
        match self.step_into(data, &mut head) {
            Next::End => Step::End,
            Next::Message => Step::Message {
                at: self.at.wrapping_sub(head.span()),
                head,
            },
            Next::Damage => self.damage(data),
        }
    }

    /// `step` that fills in the head of a message where it is wanted, and goes past it: a head that
    /// is handed on through memory is read in other pieces than it was written in, and then the
    /// processor waits for its own stores (a third of the time a message took). At damage it stays,
    /// for `damage` to say what it is, and changes nothing, as at the end.
    #[inline(always)]
    pub fn step_into(&mut self, data: &Data, found: &mut Head) -> Next {
        while self.at != self.end {
            let words = data.head(self.at);
            let head = Head::of(&words);
            if !is_head(&words) || !is_possible(&head, data, self.at, self.end, self.last_seq) {
                return Next::Damage;
            }
            if head.is_pad() {
                self.at = self.at.wrapping_add(head.span());
                continue;
            }
            if let Some(last) = self.last_seq
                && head.seq != last.wrapping_add(1)
            {
                return Next::Damage;
            }
            self.at = self.at.wrapping_add(head.span());
            self.last_seq = Some(head.seq);
            *found = head;
            return Next::Message;
        }
        Next::End
    }

    /// The damage that `step_into` met; goes past it.
    #[cold]
    pub fn damage(&mut self, data: &Data) -> Step {
        let Some(head) = head_at(data, self.at, self.end, self.last_seq) else {
            return self.skip(data);
        };
        // The numbers say that something is missing: told once, then the message.
        let last = self.last_seq.unwrap_or_default();
        self.last_seq = Some(head.seq.wrapping_sub(1));
        Step::Damage {
            bytes: 0,
            messages: head.seq.wrapping_sub(last).wrapping_sub(1),
            after: last,
        }
    }

    /// Goes past a damaged place.
    fn skip(&mut self, data: &Data) -> Step {
        let begun = self.at;
        let after = self.last_seq;
        let found = self.resume_from(data, begun.wrapping_add(RECORD_ALIGN));
        self.at = found.map_or(self.end, |(at, _)| at);
        if let Some((_, seq)) = found {
            self.last_seq = Some(seq.wrapping_sub(1));
        }
        Step::Damage {
            bytes: self.at.wrapping_sub(begun),
            messages: match (after, found) {
                (Some(after), Some((_, seq))) => seq.wrapping_sub(after).wrapping_sub(1),
                // The number of the next message will tell.
                (Some(_), None) => 0,
                (None, _) => 1,
            },
            after: after.unwrap_or(0),
        }
    }

    /// The first position from which records follow each other again, and the number there.
    fn resume_from(&self, data: &Data, mut at: u64) -> Option<(u64, u64)> {
        while at != self.end {
            let lost_max = at.wrapping_sub(self.at) / RECORD_ALIGN;
            if let Some(head) = head_at(data, at, self.end, self.last_seq) {
                let next = at.wrapping_add(head.span());
                let is_near = match self.last_seq {
                    Some(last) => head.seq.wrapping_sub(last) <= lost_max + 1,
                    None => true,
                };
                let expected = match head.is_pad() {
                    true => head.seq,
                    false => head.seq.wrapping_add(1),
                };
                let is_followed = next == self.end
                    || head_at(data, next, self.end, None).is_some_and(|then| then.seq == expected);
                if is_near && is_followed {
                    return Some((at, head.seq));
                }
            }
            at = at.wrapping_add(RECORD_ALIGN);
        }
        None
    }
}

/// The head at a position, if it is one: proved by its checksum, and possible there.
fn head_at(data: &Data, at: u64, end: u64, last_seq: Option<u64>) -> Option<Head> {
    let head = Head::decode(data.head(at))?;
    is_possible(&head, data, at, end, last_seq).then_some(head)
}

/// Can this head stand there: within `end` and within the ring, numbered after `last_seq`? A
/// padding record reaches exactly to the end of the ring and has the number of the message after
/// it.
#[inline(always)]
fn is_possible(head: &Head, data: &Data, at: u64, end: u64, last_seq: Option<u64>) -> bool {
    let to_wrap = data.capacity() - (at & (data.capacity() - 1));
    let span = head.span();
    let fits = match head.is_pad() {
        true => span == to_wrap && u64::from(head.len) + HEAD_BYTES == to_wrap,
        false => span <= to_wrap,
    };
    let is_later =
        last_seq.is_none_or(|last| head.seq.wrapping_sub(last).wrapping_sub(1) < 1 << 62);
    fits && is_later && span <= end.wrapping_sub(at)
}
