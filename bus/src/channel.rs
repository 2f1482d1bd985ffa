//! One channel, bound at one end: the file, its claims, sending and receiving.
//!
//! `file` makes, maps and removes; here is what a process does with a channel it has bound.
//! Waiting, counting and refusing are here; the protocol itself is `ring`. Usually used through
//! `Endpoint`, which holds all channels of an address.

pub mod file;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::address::Address;
use crate::error::{Error, Result};
use crate::extension::Extension;
use crate::guard;
use crate::header::Header;
use crate::layout::Bell;
use crate::owner::{Claim, Details, Owner};
use crate::proof;
use crate::record::span;
use crate::ring::{Consumer, Found, Half, Note, Producer, Rules};
use crate::sync::{AtomicU64, Ordering};
use crate::sys;
use crate::trace::{Passage, mark};
use crate::wait::{self, Pace, Wait};

pub use file::{Access, File, MappedHalf, RING_BYTES_DEFAULT, Spec};

/// What a process wants of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// To send and to receive.
    Both,
    /// To send only: another process may receive.
    Send,
    /// To receive only: another process may send.
    Receive,
}

/// A bound channel.
#[derive(Debug)]
pub struct Channel {
    file: File,
    /// 0: this end is the header's first address; 1: its second.
    side: usize,
    pub(crate) sender: Option<Producer<MappedHalf>>,
    pub(crate) receiver: Option<Consumer<MappedHalf>>,
    me: Details,
    incarnation: u64,
    /// How this end spins.
    pub(crate) pace: Pace,
}

impl Channel {
    /// Binds one end of the channel in the file at `path`.
    ///
    /// # Errors
    ///
    /// The file is no channel, is of another version, or may not be opened; the address is not one
    /// of its ends; the end is bound by somebody who is not proved dead.
    pub fn bind(path: &Path, address: Address, role: Role) -> Result<Channel> {
        let mut channel = Channel::open(path, address)?;
        if role != Role::Receive {
            channel.claim_sender()?;
        }
        if role != Role::Send {
            channel.claim_receiver()?;
        }
        channel.file.protect(channel.side, role);
        Ok(channel)
    }

    /// Throws away what is queued for an end; returns how many messages. Whoever cleans is the
    /// receiver for that moment; positions that contradict each other are put right.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn clean(path: &Path, address: Address) -> Result<u64> {
        let channel = Channel::open(path, address)?;
        let half = channel.file.half(1 - channel.side);
        let counters = &half.consumer().counters;
        channel.claim(&half.consumer().owner, &counters.takeovers, "receiving")?;
        let messages = Consumer::clean(&half);
        channel.unclaim(&half.consumer().owner);
        Ok(messages)
    }

    fn open(path: &Path, address: Address) -> Result<Channel> {
        let incarnation = guard::enter()?;
        let me = proof::me(!sys::register_for_barriers())?;
        let file = File::open(path, Access::Bind)?;
        file.check_removed()?;
        let ends = file.header().ends;
        let side = ends.iter().position(|end| *end == address);
        let side = side.ok_or_else(|| Error::NoChannel {
            what: file.header().template.show(address).to_string(),
        })?;
        Ok(Channel {
            file,
            side,
            sender: None,
            receiver: None,
            me,
            incarnation,
            pace: Pace::default(),
        })
    }

    fn claim_sender(&mut self) -> Result<()> {
        let half = self.file.half(self.side);
        self.claim(
            &half.producer().owner,
            &half.producer().counters.takeovers,
            "sending",
        )?;
        half.producer()
            .counters
            .bound_ns
            .store(self.me.since_ns, Ordering::Relaxed);
        let place = self.file.header().message_bytes_max[self.side];
        let rules = Rules {
            message_bytes_max: u64::from(place),
            is_summed: self.file.header().is_summed,
            is_stamped: self.file.header().is_stamped,
        };
        let owner = half.clone();
        let taken = Producer::take_up(half, rules, self.me.is_fencing);
        self.sender = Some(taken.inspect_err(|_| self.unclaim(&owner.producer().owner))?);
        Ok(())
    }

    fn claim_receiver(&mut self) -> Result<()> {
        let half = self.file.half(1 - self.side);
        self.claim(
            &half.consumer().owner,
            &half.consumer().counters.takeovers,
            "receiving",
        )?;
        half.consumer()
            .counters
            .bound_ns
            .store(self.me.since_ns, Ordering::Relaxed);
        let owner = half.clone();
        let taken = Consumer::take_up(half, self.me.is_fencing);
        self.receiver = Some(taken.inspect_err(|_| self.unclaim(&owner.consumer().owner))?);
        Ok(())
    }

    fn claim(&self, owner: &Owner, takeovers: &AtomicU64, what: &str) -> Result<()> {
        let key = self.key(owner);
        let identity = self.me.identity;
        let claim = owner.claim(&self.me, |holder| {
            proof::is_dead(holder, &identity, guard::holds(key))
        });
        match claim {
            Claim::Fresh => {}
            Claim::TakenOver => crate::layout::count(takeovers, 1),
            Claim::Refused(holder) => {
                let address = self.file.header().template.show(self.address());
                return Err(Error::Bound {
                    what: format!("{address} ({what}, {})", self.file.path().display()),
                    owner: Box::new(holder),
                });
            }
        }
        guard::hold(key).inspect_err(|_| owner.release(&self.me.identity))
    }

    fn unclaim(&self, owner: &Owner) {
        owner.release(&self.me.identity);
        guard::let_go(self.key(owner));
    }

    /// Names a page of this channel within this process: epoch and place in the file.
    fn key(&self, owner: &Owner) -> u64 {
        self.file.header().epoch ^ self.file.offset_of(owner) | 1
    }

    /// The address of this end.
    pub fn address(&self) -> Address {
        self.file.header().ends[self.side]
    }

    /// The address of the other end.
    pub fn peer(&self) -> Address {
        self.file.header().ends[1 - self.side]
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        self.file.header()
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.file.path().to_path_buf()
    }

    /// Sets how long this end spins before it sleeps.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The ring this end fills, for who takes its steps apart (the relay, the crash tests).
    pub fn producer_mut(&mut self) -> Option<&mut Producer<MappedHalf>> {
        self.sender.as_mut()
    }

    /// The ring this end empties, for who takes its steps apart.
    pub fn consumer_mut(&mut self) -> Option<&mut Consumer<MappedHalf>> {
        self.receiver.as_mut()
    }

    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        match guard::is(self.incarnation) {
            true => Ok(()),
            false => Err(Error::Forked),
        }
    }

    #[inline]
    fn sending(&mut self) -> Result<&mut Producer<MappedHalf>> {
        self.sender.as_mut().ok_or_else(|| Error::NoChannel {
            what: String::from("sending: this end was bound to receive only"),
        })
    }

    /// Sends one message, given in parts; returns its number.
    ///
    /// # Errors
    ///
    /// `Full` if there was no room in the time given, `TooLarge`, `Forked`, `Removed`, or a
    /// contradiction in the ring.
    #[inline]
    pub fn send(&mut self, parts: &[&[u8]], note: &Note, wait: Wait) -> Result<u64> {
        self.check()?;
        if let [payload] = parts
            && note.is_plain()
            && self.write_plain(std::slice::from_ref(payload))? == 1
        {
            let sender = self.sending()?;
            sender.commit();
            return Ok(sender.seq());
        }
        if let Some(seq) = self.write(parts, note)? {
            self.commit(seq, parts, note);
            return Ok(seq);
        }
        let deadline = self.refuse_now(wait)?;
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>() + 64;
        loop {
            self.wait_for_room(bytes, deadline)?;
            if let Some(seq) = self.write(parts, note)? {
                self.commit(seq, parts, note);
                return Ok(seq);
            }
        }
    }

    /// Sends messages, as many as find room in the time given; returns how many. Each `commit` of
    /// the ring is all or nothing.
    ///
    /// # Errors
    ///
    /// `Full` if not even one found room; the others as `send`.
    pub fn send_batch(&mut self, messages: &[&[u8]], wait: Wait) -> Result<usize> {
        self.check()?;
        let mut sent = 0;
        let mut deadline = None;
        while sent < messages.len() {
            let written = self.write_plain(&messages[sent..])?;
            sent += written;
            if written > 0 {
                self.sending()?.commit();
            }
            let Some(next) = messages.get(sent) else {
                break;
            };
            if next.len() as u64 > self.sending()?.rules().message_bytes_max {
                // Those before it are sent; it is refused.
                continue;
            }
            if deadline.is_none() {
                match self.refuse_now(wait) {
                    Ok(fixed) => deadline = Some(fixed),
                    Err(_) if sent > 0 => break,
                    Err(error) => return Err(error),
                }
            }
            match self.wait_for_room(next.len() as u64, deadline.flatten()) {
                Ok(()) => {}
                Err(Error::Full) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    /// Writes payloads that nothing comes with, as many as find room.
    #[inline]
    fn write_plain(&mut self, payloads: &[&[u8]]) -> Result<usize> {
        let sender = self.sending()?;
        let rules = sender.rules();
        let too_large = payloads
            .iter()
            .position(|payload| payload.len() as u64 > rules.message_bytes_max);
        if too_large == Some(0) {
            return Err(Error::TooLarge {
                bytes: payloads[0].len() as u64,
                bytes_max: rules.message_bytes_max,
            });
        }
        let sent_ns = match rules.is_stamped {
            true => sys::wall_clock_ns(),
            false => 0,
        };
        Ok(sender.write_plain(&payloads[..too_large.unwrap_or(payloads.len())], sent_ns)?)
    }

    #[inline]
    fn write(&mut self, parts: &[&[u8]], note: &Note) -> Result<Option<u64>> {
        let sender = self.sending()?;
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let bytes_max = sender.rules().message_bytes_max;
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        match sender.rules().is_stamped && note.sent_ns == 0 {
            false => Ok(sender.write(parts, note)?),
            true => {
                let sent_ns = sys::wall_clock_ns();
                Ok(sender.write(parts, &Note { sent_ns, ..*note })?)
            }
        }
    }

    #[inline]
    fn commit(&mut self, seq: u64, parts: &[&[u8]], note: &Note) {
        let Some(sender) = &mut self.sender else {
            return;
        };
        sender.publish();
        if let Some(trace) = note.extension.trace {
            let passage = Passage {
                id: trace.id,
                at_ns: sys::wall_clock_ns(),
                seq,
                bytes: parts.iter().map(|part| part.len() as u64).sum(),
            };
            mark(&sender.half().producer().traces, passage);
        }
        sender.wake();
    }

    /// There is no room: counts it, and fixes the deadline unless the caller does not wait.
    #[cold]
    fn refuse_now(&mut self, wait: Wait) -> Result<Option<Instant>> {
        self.file.check_removed()?;
        self.sending()?.note_full();
        match wait {
            Wait::No => Err(Error::Full),
            wait => Ok(wait.deadline()),
        }
    }

    fn wait_for_room(&mut self, bytes: u64, deadline: Option<Instant>) -> Result<()> {
        let Some(sender) = &self.sender else {
            return Err(Error::Full);
        };
        let half = sender.half();
        let (mine, theirs) = (half.producer(), half.consumer());
        let tail = mine.tail.at.load(Ordering::Relaxed);
        // Twice the record: the padding before it is at most as long.
        let need = (span(bytes) * 2).min(half.data().capacity());
        let file = &self.file;
        let has_room = |_| {
            let used = tail.wrapping_sub(theirs.head.at.load(Ordering::Acquire));
            used.wrapping_add(need) <= half.data().capacity()
                || used > half.data().capacity()
                || file.check_removed().is_err()
        };
        let pairs = [(&mine.bell, &theirs.bell, &mine.counters.sleeps)];
        // The receiver is given the time to free more than one message.
        self.pace.set_sink(true);
        let is_ready = wait::until(&pairs, &mut self.pace, deadline, has_room);
        self.file.check_removed()?;
        is_ready.then_some(()).ok_or(Error::Full)
    }

    /// The words a receiver sleeps by.
    pub(crate) fn bells(&self) -> Option<(&Bell, &Bell, &AtomicU64)> {
        let half = self.receiver.as_ref()?.half();
        let counters = &half.consumer().counters;
        Some((
            &half.consumer().bell,
            &half.producer().bell,
            &counters.sleeps,
        ))
    }

    /// Is there something to receive (or a contradiction, or a removal, to report)?
    #[inline]
    pub(crate) fn has_more(&self, is_fetching: bool) -> bool {
        if is_fetching && let Some(receiver) = &self.receiver {
            receiver.fetch_next();
        }
        self.receiver.as_ref().is_some_and(Consumer::looks_ready)
            || self.file.check_removed().is_err()
    }

    /// The next message, gone past, neither handed out nor acknowledged.
    /// `false`: there is none.
    #[inline(always)]
    pub(crate) fn advance(&mut self, found: &mut Found) -> Result<bool> {
        match &mut self.receiver {
            Some(receiver) => Ok(receiver.advance_into(found)?),
            None => Ok(false),
        }
    }

    /// Notes that a message is handed out, and what came with it.
    #[inline]
    pub(crate) fn hand_out(&mut self, found: &Found, extension: &Extension) {
        if let Some(receiver) = &mut self.receiver {
            receiver.hand_out(found, extension);
            if let Some(trace) = extension.trace {
                let passage = Passage {
                    id: trace.id,
                    at_ns: sys::wall_clock_ns(),
                    seq: found.head.seq,
                    bytes: u64::from(found.head.len),
                };
                mark(&receiver.half().consumer().traces, passage);
            }
        }
    }

    /// Hands out a message where it lies. `false`: it is damaged, and was counted so.
    #[inline(always)]
    pub(crate) fn hand_out_in_place(&mut self, found: &Found) -> bool {
        if found.head.extension != 0 {
            return self.hand_out_extended(found);
        }
        let Some(receiver) = &mut self.receiver else {
            return false;
        };
        let is_sound = receiver.is_sound(found);
        if is_sound {
            receiver.hand_out_plain(found);
        }
        is_sound
    }

    #[cold]
    fn hand_out_extended(&mut self, found: &Found) -> bool {
        let mut extension = Extension::default();
        let receiver = self.receiver.as_mut();
        let is_sound = receiver.is_some_and(|it| it.peek(found, &mut extension).is_some());
        if is_sound {
            self.hand_out(found, &extension);
        }
        is_sound
    }

    /// Hands out a copy of a message, checked after it was copied. `false`: it is damaged.
    #[inline(always)]
    pub(crate) fn hand_out_copy(&mut self, found: &Found, target: &mut [u8]) -> bool {
        if found.head.extension != 0 {
            return self.hand_out_extended_copy(found, target);
        }
        let Some(receiver) = &mut self.receiver else {
            return false;
        };
        let is_sound = receiver.copy_plain(found, target);
        if is_sound {
            receiver.hand_out_plain(found);
        }
        is_sound
    }

    #[cold]
    fn hand_out_extended_copy(&mut self, found: &Found, target: &mut [u8]) -> bool {
        let mut extension = Extension::default();
        let receiver = self.receiver.as_mut();
        let is_sound = receiver.is_some_and(|it| it.copy(found, &mut extension, target));
        if is_sound {
            self.hand_out(found, &extension);
        }
        is_sound
    }

    /// Extension and payload of a message, where they lie.
    #[inline(always)]
    pub(crate) fn bytes_of(&self, found: &Found) -> (&[u8], &[u8]) {
        let Some(receiver) = &self.receiver else {
            return (&[], &[]);
        };
        let data = receiver.half().data();
        let extension = u64::from(found.head.extension);
        let begin = found.payload_at.wrapping_sub(extension);
        data.slice(begin, extension + u64::from(found.head.len))
            .split_at(extension as usize)
    }

    /// Acknowledges everything handed out here.
    #[inline]
    pub fn acknowledge(&mut self) {
        if let Some(receiver) = &mut self.receiver
            && receiver.unacknowledged() > 0
        {
            receiver.acknowledge();
        }
    }

    /// Messages handed out and not acknowledged.
    pub fn unacknowledged(&self) -> u64 {
        self.receiver.as_ref().map_or(0, Consumer::unacknowledged)
    }

    /// Bytes free for sending.
    ///
    /// # Errors
    ///
    /// Bound to receive only, or a contradiction in the ring.
    pub fn free_bytes(&mut self) -> Result<u64> {
        Ok(self.sending()?.free_bytes()?)
    }

    /// Was the channel removed?
    ///
    /// # Errors
    ///
    /// `Removed` if so.
    pub fn check_removed(&self) -> Result<()> {
        self.file.check_removed()
    }

    /// Origin of the last relayed message ever sent here (for the relay).
    pub fn sent_origin(&self) -> crate::extension::Origin {
        self.sender
            .as_ref()
            .map(Producer::origin)
            .unwrap_or_default()
    }
}

impl Drop for Channel {
    /// Gives the end up. What was handed out and not acknowledged stays, and comes again.
    fn drop(&mut self) {
        if !guard::is(self.incarnation) {
            // A forked child: the claims are the parent's.
            return;
        }
        if let Some(sender) = self.sender.take() {
            self.unclaim(&sender.half().producer().owner);
        }
        if let Some(receiver) = self.receiver.take() {
            self.unclaim(&receiver.half().consumer().owner);
        }
    }
}
