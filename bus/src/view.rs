//! A channel as tools see it: read-only, while others use it.
//!
//! Nothing here writes to the file, and nothing read is trusted: positions are checked, records are
//! proved, and what changes meanwhile is at worst told as it was a moment ago.

use crate::address::Address;
use crate::channel::{File, MappedHalf};
use crate::owner::Holder;
use crate::record::{HEAD_BYTES, Head, SUMMED};
use crate::ring::{Half, Step, Walk, filled};
use crate::sync::Ordering;
use crate::trace::{Passage, read};
use crate::{crc, extension::Extension};

/// One direction.
#[derive(Debug)]
pub struct Queue {
    half: MappedHalf,
    /// Who sends.
    pub from: Address,
    /// Who receives.
    pub to: Address,
    /// Position of the consumer.
    pub head: u64,
    /// Position of the producer.
    pub tail: u64,
    /// Bytes of the ring.
    pub ring_bytes: u64,
    /// Number of the last message handed out.
    pub handed: u64,
    /// Number of the last message sent.
    pub last_seq: u64,
    /// Counters of the sender.
    pub sent: Totals,
    /// Counters of the receiver.
    pub received: Totals,
    /// Who may send.
    pub sender: Option<Holder>,
    /// Who may receive.
    pub receiver: Option<Holder>,
}

/// The counters of one side; meanings as in `layout::Counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Totals {
    pub messages: u64,
    pub bytes: u64,
    pub full: u64,
    pub sleeps: u64,
    pub wakes: u64,
    pub bound_ns: u64,
    pub takeovers: u64,
    pub redelivered: u64,
    pub damaged_messages: u64,
    pub damaged_bytes: u64,
    pub cleaned: u64,
}

impl Totals {
    fn of(counters: &crate::layout::Counters) -> Totals {
        let get = |counter: &crate::sync::AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            messages: get(&counters.messages),
            bytes: get(&counters.bytes),
            full: get(&counters.full),
            sleeps: get(&counters.sleeps),
            wakes: get(&counters.wakes),
            bound_ns: get(&counters.bound_ns),
            takeovers: get(&counters.takeovers),
            redelivered: get(&counters.redelivered),
            damaged_messages: get(&counters.damaged_messages),
            damaged_bytes: get(&counters.damaged_bytes),
            cleaned: get(&counters.cleaned),
        }
    }
}

/// A queued message, copied.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its head.
    pub head: Head,
    /// Route, trace, origin.
    pub extension: Extension,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its checksum holds (or it has none).
    pub is_good: bool,
}

/// Both directions of a channel.
pub fn queues(file: &File) -> [Queue; 2] {
    [0, 1].map(|side| queue(file, side))
}

fn queue(file: &File, side: usize) -> Queue {
    let half = file.half(side);
    let (producer, consumer) = (half.producer(), half.consumer());
    // Head first: a head read after the tail might have passed it.
    let head = consumer.head.at.load(Ordering::Acquire);
    let tail = producer.tail.at.load(Ordering::Acquire);
    Queue {
        from: file.header().ends[side],
        to: file.header().ends[1 - side],
        head,
        tail,
        ring_bytes: half.data().capacity(),
        handed: consumer.handed.load(Ordering::Relaxed),
        last_seq: producer.last_seq.load(Ordering::Relaxed),
        sent: Totals::of(&producer.counters),
        received: Totals::of(&consumer.counters),
        sender: producer.owner.current(),
        receiver: consumer.owner.current(),
        half,
    }
}

impl Queue {
    /// Bytes queued; `None`: the positions contradict each other.
    pub fn bytes(&self) -> Option<u64> {
        filled(self.head, self.tail, self.ring_bytes).ok()
    }

    /// Number of the first message queued, and how many there are.
    pub fn messages(&self) -> (Option<u64>, u64) {
        let (mut first, mut count) = (None, 0);
        let mut walk = self.walk();
        loop {
            match walk.step(self.half.data()) {
                Step::End => return (first, count),
                Step::Damage { .. } => {}
                Step::Message { head, .. } => {
                    first = first.or(Some(head.seq));
                    count += 1;
                }
            }
        }
    }

    fn walk(&self) -> Walk {
        let end = self.bytes().map_or(self.head, |_| self.tail);
        Walk {
            at: self.head,
            end,
            last_seq: None,
        }
    }

    /// The queued messages, at most `messages_max`, each payload cut to `bytes_max`. One that is
    /// received while it is copied may come out damaged.
    pub fn dump(&self, messages_max: usize, bytes_max: usize) -> Vec<Queued> {
        let mut found = Vec::new();
        let mut walk = self.walk();
        while found.len() < messages_max {
            match walk.step(self.half.data()) {
                Step::End => break,
                Step::Damage { .. } => {}
                Step::Message { at, head } => found.push(self.copy(at, head, bytes_max)),
            }
        }
        found
    }

    fn copy(&self, at: u64, head: Head, bytes_max: usize) -> Queued {
        let extension_bytes = usize::from(head.extension);
        let mut bytes = vec![0; extension_bytes + head.len as usize];
        self.half
            .data()
            .read(at.wrapping_add(HEAD_BYTES), &mut bytes);
        let extension = Extension::decode(head.flags, &bytes[..extension_bytes]);
        let is_summed = head.flags & SUMMED != 0;
        let is_good = extension.is_some() && (!is_summed || crc::of(&bytes) == head.crc);
        let mut payload = bytes.split_off(extension_bytes);
        payload.truncate(bytes_max);
        Queued {
            head,
            extension: extension.unwrap_or_default(),
            payload,
            is_good,
        }
    }

    /// Traced messages that were sent here, and that were received.
    pub fn passages(&self) -> (Vec<Passage>, Vec<Passage>) {
        let sent = read(&self.half.producer().traces).collect();
        (sent, read(&self.half.consumer().traces).collect())
    }
}
