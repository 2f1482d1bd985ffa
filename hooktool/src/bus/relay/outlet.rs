//! The sending end of a stream: takes messages from a ring, frees them when the far side has them.
//!
//! The rules, which `docs/bus.md` argues:
//!
//! * **R1** The head moves only past messages that the far side says it has committed.
//! * **R2** A message is noted as handed out (C2) before its first byte goes to the socket.
//! * **R3** No more is sent than the far side granted room for.
//! * **R4** What was sent and is not acknowledged is sent again on the next connection, from where
//!   the far ring says it stands, in order.
//!
//! Bytes in, bytes out: no socket, no clock, no task. A relay that is killed loses nothing that is
//! kept here.

use std::collections::VecDeque;
use std::rc::Rc;

use bus::channel::MappedHalf;
use bus::extension::Extension;
use bus::record::{BACKWARD, Head, RELAYED, REPEATED, TEST, span};
use bus::ring::{Consumer, Found, Half, Trouble};
use bus::sync::Ordering;
use bus::sys;
use bus::trace::{Passage, mark};

use super::end::End;
use super::wire::{self, Ack, CHUNK_BYTES, Frame, GAP, MESSAGE_HEAD_BYTES, MessageHead, Opened};

/// Bytes of an origin in an extension: what a relayed message has more than the original.
const ORIGIN_BYTES: u64 = 16;

/// A stream that may send.
#[derive(Debug)]
pub struct Outlet {
    /// Keeps the claim for as long as the ring is emptied.
    _end: Rc<End>,
    consumer: Consumer<MappedHalf>,
    /// Number of the last message sent, or committed before this stream began.
    sent: u64,
    /// Bytes of records sent on this stream, as the far ring counts them.
    sent_bytes: u64,
    limit_bytes: u64,
    /// What was sent and is not acknowledged: number of the last message of a frame, position
    /// behind it.
    flying: VecDeque<(u64, u64)>,
    /// Messages up to here may have been handed out from a far ring that is no more.
    doubt: u64,
}

/// Messages that a far ring took with it when it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Number of the first.
    pub first: u64,
    /// Number of the last.
    pub last: u64,
}

impl Outlet {
    /// The frame that asks for the stream.
    pub fn ask(end: &End) -> Frame<'static> {
        let (epoch, message_bytes_max) = end.says(end.local);
        Frame::Open(wire::Open {
            from: end.local.0,
            to: end.far.0,
            epoch,
            message_bytes_max,
        })
    }

    /// Begins the stream the far side granted: frees what it has, and stands ready to send the
    /// rest. Tells what was lost with an earlier far ring.
    ///
    /// # Errors
    ///
    /// What is wrong, in words: positions that contradict each other, an answer that cannot be.
    pub fn begin(end: &Rc<End>, opened: &Opened) -> Result<(Outlet, Option<Loss>), String> {
        let half = end.out_half().ok_or("the end is not bound to receive")?;
        let consumer = Consumer::take_up(half, !sys::register_for_barriers());
        let consumer = consumer.map_err(|found| bus::Error::from(found).to_string())?;
        let mut outlet = Outlet {
            _end: Rc::clone(end),
            consumer,
            sent: opened.ack.committed,
            sent_bytes: 0,
            limit_bytes: opened.ack.limit_bytes,
            flying: VecDeque::new(),
            doubt: 0,
        };
        let handed = outlet.page().handed.load(Ordering::Acquire);
        if opened.ack.committed > handed {
            return Err(format!(
                "the far ring has number {}, this one sent no more than {handed}",
                opened.ack.committed
            ));
        }
        let loss = outlet.meet(opened, handed)?;
        outlet.skip_committed()?;
        outlet.note_read(opened.ack.handed);
        Ok((outlet, loss))
    }

    fn page(&self) -> &bus::layout::ConsumerPage {
        self.consumer.half().consumer()
    }

    /// Compares the far ring with the one known before.
    fn meet(&mut self, opened: &Opened, handed: u64) -> Result<Option<Loss>, String> {
        let acknowledged = match self.next()? {
            Some(found) => {
                self.consumer.put_back(&found);
                found.head.seq.saturating_sub(1)
            }
            None => handed,
        };
        let page = self.page();
        let before = page.far_epoch.load(Ordering::Acquire);
        if before == opened.epoch {
            self.doubt = page.far_doubt.load(Ordering::Acquire);
            return Ok(None);
        }
        let read = page.far_read.load(Ordering::Acquire);
        if before != 0 {
            page.far_doubt.store(handed, Ordering::Release);
        }
        page.far_read.store(acknowledged, Ordering::Release);
        page.far_epoch.store(opened.epoch, Ordering::Release);
        self.doubt = self.page().far_doubt.load(Ordering::Acquire);
        let is_lost = before != 0 && acknowledged > read;
        Ok(is_lost.then_some(Loss {
            first: read + 1,
            last: acknowledged,
        }))
    }

    /// The next message, past whatever is damaged (the ring counts that).
    fn next(&mut self) -> Result<Option<Found>, String> {
        loop {
            match self.consumer.advance() {
                Ok(found) => return Ok(found),
                Err(Trouble::Damage { .. }) => {}
                Err(Trouble::Contradiction(found)) => {
                    return Err(bus::Error::from(found).to_string());
                }
            }
        }
    }

    /// Frees what the far side already has.
    fn skip_committed(&mut self) -> Result<(), String> {
        while let Some(found) = self.next()? {
            if found.head.seq > self.sent {
                self.consumer.put_back(&found);
                break;
            }
            let position = self.consumer.position();
            self.free_to(position)?;
        }
        self.consumer.wake();
        Ok(())
    }

    fn free_to(&mut self, position: u64) -> Result<(), String> {
        match self.consumer.free_to(position) {
            true => Ok(()),
            false => Err("acknowledged beyond what was sent".into()),
        }
    }

    /// Appends one frame of messages to `out`, as far as there are some and there is room for them;
    /// `false`: none.
    ///
    /// # Errors
    ///
    /// Positions that contradict each other.
    pub fn fill(&mut self, stream: u32, out: &mut Vec<u8>) -> Result<bool, String> {
        if !self.consumer.looks_ready() {
            return Ok(false);
        }
        let begun = wire::begin_data(stream, self.sent, out);
        let before = self.sent;
        while out.len() - begun < CHUNK_BYTES {
            let Some(found) = self.next()? else { break };
            if !self.put(&found, out) {
                break;
            }
        }
        if self.sent == before {
            out.truncate(begun);
            return Ok(false);
        }
        wire::end(begun, out);
        self.flying.push_back((self.sent, self.consumer.position()));
        Ok(true)
    }

    /// Appends a message; `false`: there is no room for it over there, and it was put back.
    fn put(&mut self, found: &Found, out: &mut Vec<u8>) -> bool {
        let far_bytes = far_span(&found.head);
        if self.sent_bytes + far_bytes > self.limit_bytes {
            self.consumer.put_back(found);
            return false;
        }
        let begun = out.len();
        let mut extension = Extension::default();
        let _ = self.consumer.read_extension(found, &mut extension);
        extension.origin = None;
        let (bytes, length, flags) = extension.encode();
        let seq = found.head.seq;
        let mut head = MessageHead {
            len: found.head.len,
            flags: flags | found.head.flags & (TEST | BACKWARD | REPEATED),
            extension: length as u16,
            seq,
            sent_ns: found.head.sent_ns,
        };
        if seq != self.sent + 1 {
            head.flags |= GAP;
        }
        if seq <= self.doubt {
            head.flags |= REPEATED;
        }
        out.extend_from_slice(&head.encode());
        out.extend_from_slice(&bytes[..length]);
        out.resize(begun + MESSAGE_HEAD_BYTES + length + head.len as usize, 0);
        let payload = &mut out[begun + MESSAGE_HEAD_BYTES + length..];
        let mut proved = Extension::default();
        if !self.consumer.copy(found, &mut proved, payload) {
            // Damaged, counted by the ring: the next number tells the far side.
            out.truncate(begun);
            return true;
        }
        self.consumer.hand_out(found, &proved);
        if let Some(trace) = proved.trace {
            let passage = Passage {
                id: trace.id,
                at_ns: sys::wall_clock_ns(),
                seq,
                bytes: u64::from(head.len),
            };
            mark(&self.page().traces, passage);
        }
        self.sent = seq;
        self.sent_bytes += far_bytes;
        true
    }

    /// Takes an acknowledgement: frees what is committed.
    ///
    /// # Errors
    ///
    /// It acknowledges what was never sent.
    pub fn acknowledge(&mut self, ack: &Ack) -> Result<(), String> {
        if ack.committed > self.sent {
            return Err(format!(
                "number {} was acknowledged, the last one sent is {}",
                ack.committed, self.sent
            ));
        }
        let mut position = None;
        while let Some((seq, behind)) = self.flying.front().copied()
            && seq <= ack.committed
        {
            position = Some(behind);
            self.flying.pop_front();
        }
        if let Some(position) = position {
            self.free_to(position)?;
            self.consumer.wake();
        }
        self.note_read(ack.handed);
        self.limit_bytes = self.limit_bytes.max(ack.limit_bytes);
        Ok(())
    }

    fn note_read(&self, handed: u64) {
        let page = self.page();
        if handed > page.far_read.load(Ordering::Relaxed) && handed <= self.sent {
            page.far_read.store(handed, Ordering::Release);
        }
    }
}

/// Bytes a record will have in the far ring.
fn far_span(head: &Head) -> u64 {
    let extension = u64::from(head.extension);
    let origin = match head.flags & RELAYED {
        0 => ORIGIN_BYTES,
        _ => 0,
    };
    span(extension + origin + u64::from(head.len))
}
