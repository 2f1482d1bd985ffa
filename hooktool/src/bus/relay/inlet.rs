//! The receiving end of a stream: puts messages into a ring, each once, and says what it has.
//!
//! The rules, which `docs/bus.md` argues:
//!
//! * **R5** A message carries, in its own record, the epoch and the number it had in the ring it
//!   comes from: both become visible by the store that publishes it. The last such record says
//!   from where a stream goes on, and what is numbered no higher is refused.
//! * **R6** Only what is published is acknowledged.
//! * **R7** Room is granted once, as free bytes of the ring less the longest padding, so that
//!   whatever was granted fits.
//! * **R8** The youngest stream of a channel fills the ring; older ones are ended.
//!
//! Bytes in, bytes out, as `outlet`.

use std::rc::Rc;

use bus::extension::{EXTENSION_BYTES_MAX, Extension, Origin};
use bus::record::{BACKWARD, REPEATED, ROUTED, TEST, TRACED, span};
use bus::ring::{Half, Note};
use bus::sync::Ordering;
use bus::sys;
use bus::trace::{Passage, mark};

use super::end::End;
use super::wire::{Ack, GAP, MESSAGE_BYTES_MAX, MessageHead, Open, Opened, u64_at};

/// A share of the ring whose freeing is worth a frame of its own.
const ROOM_SHARE: u64 = 8;

/// A stream that is received.
#[derive(Debug)]
pub struct Inlet {
    end: Rc<End>,
    /// This stream among all that were ever granted here.
    filler: u64,
    /// Epoch of the ring the messages come from.
    epoch: u64,
    /// Number, there, of the last one committed here.
    last: u64,
    /// Bytes of records put into the ring by this stream.
    received_bytes: u64,
    /// The longest padding, which no grant may count on.
    reserve_bytes: u64,
    ring_bytes: u64,
    /// What the sender was told last.
    told: Ack,
}

impl Inlet {
    /// Grants a stream into the ring of `end`.
    ///
    /// # Errors
    ///
    /// Why not, in words for the sender's user.
    pub fn grant(end: &Rc<End>, open: &Open, filler: u64) -> Result<(Inlet, Opened), String> {
        let (epoch, message_bytes_max) = end.says(end.far);
        if open.message_bytes_max > message_bytes_max || message_bytes_max > MESSAGE_BYTES_MAX {
            return Err(format!(
                "messages of up to {} bytes: this side takes {}; set message_max in both tables",
                open.message_bytes_max,
                message_bytes_max.min(MESSAGE_BYTES_MAX)
            ));
        }
        if end.filler.get() != 0 && end.filler_epoch.get() != open.epoch {
            return Err("another host sends from this address just now: look for its twin".into());
        }
        end.filler.set(filler);
        end.filler_epoch.set(open.epoch);
        let origin = end.with_producer(|producer| producer.origin());
        let origin = origin.ok_or("the end is not bound to send")?;
        let last = match origin.epoch == open.epoch {
            true => origin.seq,
            false => 0,
        };
        let half = end.in_half().ok_or("the end is not bound to send")?;
        let mut inlet = Inlet {
            end: Rc::clone(end),
            filler,
            epoch: open.epoch,
            last,
            received_bytes: 0,
            reserve_bytes: span(EXTENSION_BYTES_MAX as u64 + message_bytes_max),
            ring_bytes: half.data().capacity(),
            told: Ack::default(),
        };
        let ack = inlet.standing()?;
        inlet.told = ack;
        Ok((inlet, Opened { epoch, ack }))
    }

    /// Does this stream still fill the ring?
    pub fn is_current(&self) -> bool {
        self.end.filler.get() == self.filler && !self.end.is_gone.get()
    }

    /// Takes the body of a `Data` frame; what was new in it is committed when this returns.
    ///
    /// # Errors
    ///
    /// The sender does not keep to the protocol; what came before the fault is committed.
    pub fn take(&mut self, body: &[u8]) -> Result<(), String> {
        let after = u64_at(body, 0);
        if after != self.last {
            return Err(format!(
                "messages after number {after} came, after {} are due",
                self.last
            ));
        }
        let mut rest = &body[8..];
        let mut outcome = Ok(());
        while !rest.is_empty() {
            let Some((head, extension, payload, more)) = MessageHead::decode(rest) else {
                outcome = Err("a message is cut off".into());
                break;
            };
            rest = more;
            outcome = self.write(&head, extension, payload);
            if outcome.is_err() {
                break;
            }
        }
        self.end.with_producer(|producer| producer.commit());
        outcome
    }

    fn write(&mut self, head: &MessageHead, bytes: &[u8], payload: &[u8]) -> Result<(), String> {
        let seq = head.seq;
        let is_next = seq == self.last + 1 || (seq > self.last && head.flags & GAP != 0);
        if !is_next {
            return Err(format!("number {seq} came, {} is due", self.last + 1));
        }
        let extension = Extension::decode(head.flags & (ROUTED | TRACED), bytes);
        let mut extension = extension.ok_or("a route or trace that is none")?;
        extension.origin = Some(Origin {
            epoch: self.epoch,
            seq,
        });
        let written = self.end.with_producer(|producer| {
            let rules = producer.rules();
            if payload.len() as u64 > rules.message_bytes_max {
                return Err("a message is larger than was agreed".to_string());
            }
            let sent_ns = match rules.is_stamped && head.sent_ns == 0 {
                true => sys::wall_clock_ns(),
                false => head.sent_ns,
            };
            let note = Note {
                flags: head.flags & (TEST | BACKWARD | REPEATED),
                sent_ns,
                extension,
            };
            let written = producer.write(&[payload], &note);
            let number = written.map_err(|found| bus::Error::from(found).to_string())?;
            let number = number.ok_or("more messages than there was room granted for")?;
            if let Some(trace) = extension.trace {
                let passage = Passage {
                    id: trace.id,
                    at_ns: sys::wall_clock_ns(),
                    seq: number,
                    bytes: payload.len() as u64,
                };
                mark(&producer.half().producer().traces, passage);
            }
            Ok(())
        });
        written.unwrap_or_else(|| Err("the end is not bound to send".into()))?;
        let (_, length, _) = extension.encode();
        self.received_bytes += span((length + payload.len()) as u64);
        self.last = seq;
        Ok(())
    }

    /// Where the stream stands.
    fn standing(&mut self) -> Result<Ack, String> {
        let free = self.end.with_producer(|producer| {
            let page = producer.half().consumer();
            let epoch = page.origin_epoch.load(Ordering::Acquire);
            let handed = page.origin_seq.load(Ordering::Acquire);
            (producer.free_bytes(), epoch, handed)
        });
        let (free, epoch, handed) = free.ok_or("the end is not bound to send")?;
        let free = free.map_err(|found| bus::Error::from(found).to_string())?;
        let granted = self.received_bytes + free.saturating_sub(self.reserve_bytes);
        Ok(Ack {
            committed: self.last,
            handed: match epoch == self.epoch {
                true => handed,
                false => 0,
            },
            limit_bytes: self.told.limit_bytes.max(granted),
        })
    }

    /// What the sender should be told now, if anything, and whether something was left for later.
    /// `is_slow`: also what can wait.
    ///
    /// # Errors
    ///
    /// Positions that contradict each other.
    pub fn news(&mut self, is_slow: bool) -> Result<(Option<Ack>, bool), String> {
        let ack = self.standing()?;
        let grown = ack.limit_bytes - self.told.limit_bytes;
        let left = self.told.limit_bytes.saturating_sub(self.received_bytes);
        let is_due = ack.committed != self.told.committed
            || grown >= self.ring_bytes / ROOM_SHARE
            || (grown > 0 && left < self.reserve_bytes)
            || (is_slow && ack != self.told);
        if !is_due {
            return Ok((None, ack != self.told));
        }
        self.told = ack;
        Ok((Some(ack), false))
    }
}

impl Drop for Inlet {
    /// Makes way for a stream from another ring.
    fn drop(&mut self) {
        if self.end.filler.get() == self.filler {
            self.end.filler.set(0);
        }
    }
}
