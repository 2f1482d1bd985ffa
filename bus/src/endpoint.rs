//! An address as a program uses it: all channels that end in it, bound together.
//!
//! Sending names the other end; receiving takes from every channel in turn, at most ten messages in
//! a row from one. A message received lies in its ring until the next call, which acknowledges it:
//! a program killed while it worked on a message gets it again, marked. Nothing here allocates once
//! the address is bound.

use std::path::PathBuf;

use crate::address::{Address, Template};
use crate::channel::{Channel, Role};
use crate::directory::Bus;
use crate::error::{Error, Result};
use crate::extension::{Extension, Route, Trace};
use crate::layout::Bell;
use crate::message::{Envelope, Message};
use crate::record::{BACKWARD, TEST};
use crate::ring::{Found, Half, Note};
use crate::sync::AtomicU64;
use crate::sys::{self, WAIT_MAX};
use crate::wait::{self, Pace, Wait};

/// Most messages in a row from one channel while others have some.
const IN_A_ROW_MAX: u32 = 10;
/// Most channels of one address: what one call can sleep on.
pub const CHANNELS_MAX: usize = WAIT_MAX;

/// Whom to send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// This address.
    One(Address),
    /// The first channel there is.
    First,
}

/// How a message went to everybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcast {
    /// Channels that took it.
    pub sent: usize,
    /// Channels that had no room.
    pub full: usize,
}

/// A bound address.
#[derive(Debug)]
pub struct Endpoint {
    bus: Bus,
    address: Address,
    template: Template,
    role: Role,
    channels: Vec<Channel>,
    /// The channel looked at next, and how many messages in a row it has given.
    turn: usize,
    in_a_row: u32,
    /// The message looked at last, written and read field by field (see `Walk::step`).
    found: Found,
    /// The channel whose message `found` is, once it is handed out.
    last: Option<usize>,
    /// Messages of one channel that may be handed out and not acknowledged.
    unacknowledged_max: u64,
    is_manual: bool,
    /// Something was sent since the last wait for a message.
    has_sent: bool,
    pace: Pace,
}

impl Endpoint {
    pub(crate) fn bind(bus: &Bus, address: Address, role: Role) -> Result<Endpoint> {
        let mut endpoint = Endpoint {
            bus: bus.clone(),
            address,
            template: bus.template()?,
            role,
            channels: Vec::with_capacity(CHANNELS_MAX),
            turn: 0,
            in_a_row: 0,
            found: Found::default(),
            last: None,
            unacknowledged_max: 1,
            is_manual: false,
            has_sent: false,
            pace: Pace::default(),
        };
        endpoint.refresh()?;
        if endpoint.channels.is_empty() {
            return Err(Error::NoChannel {
                what: format!(
                    "{} in {}",
                    bus.template()?.show(address),
                    bus.path().display()
                ),
            });
        }
        Ok(endpoint)
    }

    /// Binds channels that were made since, and lets go of those that were removed. Allocates.
    ///
    /// # Errors
    ///
    /// A new channel is bound by somebody else, or there are too many.
    pub fn refresh(&mut self) -> Result<()> {
        self.last = None;
        self.channels
            .retain(|channel| channel.check_removed().is_ok());
        let known: Vec<PathBuf> = self.channels.iter().map(Channel::path).collect();
        for file in self
            .bus
            .files(crate::channel::Access::View)?
            .into_iter()
            .flatten()
        {
            let is_mine = file.header().ends.contains(&self.address);
            if !is_mine || known.iter().any(|path| path == file.path()) {
                continue;
            }
            if self.channels.len() == CHANNELS_MAX {
                return Err(Error::TooMany {
                    what: "channels of one address",
                    most: CHANNELS_MAX,
                });
            }
            self.channels
                .push(Channel::bind(file.path(), self.address, self.role)?);
        }
        Ok(())
    }

    /// The address.
    pub fn address(&self) -> Address {
        self.address
    }

    /// The addresses at the other ends, in the order of the channels' making.
    pub fn peers(&self) -> impl Iterator<Item = Address> + '_ {
        self.channels.iter().map(Channel::peer)
    }

    /// Reads an address as this bus writes them.
    ///
    /// # Errors
    ///
    /// `BadAddress`.
    pub fn parse(&self, text: &str) -> Result<Address> {
        self.template.address(text)
    }

    /// Writes an address as this bus does.
    pub fn show(&self, address: Address) -> crate::address::Dotted {
        self.template.show(address)
    }

    /// Sets how long this end spins before it sleeps.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.channels
            .iter_mut()
            .for_each(|channel| channel.set_pace(pace));
    }

    /// Lets so many messages of a channel be handed out before the first is acknowledged: fewer
    /// stores, and so many repeats if this process is killed.
    pub fn set_unacknowledged_max(&mut self, messages: u64) {
        self.unacknowledged_max = messages.max(1);
    }

    /// From now on only `acknowledge` acknowledges.
    pub fn set_manual(&mut self, is_manual: bool) {
        self.is_manual = is_manual;
    }

    /// The channel to an address.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn channel(&mut self, to: To) -> Result<&mut Channel> {
        self.has_sent = true;
        let from = self.show(self.address);
        let found = match to {
            To::First => self.channels.first_mut(),
            To::One(address) => {
                let target = self.show(address);
                let found = self
                    .channels
                    .iter_mut()
                    .find(|channel| channel.peer() == address);
                return found.ok_or_else(|| Error::no_pair(from, target));
            }
        };
        found.ok_or_else(|| Error::NoChannel {
            what: from.to_string(),
        })
    }

    /// Sends a message; returns its number in the channel.
    ///
    /// # Errors
    ///
    /// No such channel, `Full`, `TooLarge`, `Forked`, `Removed`, or a contradiction in the ring.
    #[inline]
    pub fn send(&mut self, to: Address, payload: &[u8], wait: Wait) -> Result<u64> {
        self.send_parts(to, &[payload], wait)
    }

    /// Sends a message that lies in parts.
    ///
    /// # Errors
    ///
    /// As `send`.
    #[inline]
    pub fn send_parts(&mut self, to: Address, parts: &[&[u8]], wait: Wait) -> Result<u64> {
        self.channel(To::One(to))?
            .send(parts, &Note::default(), wait)
    }

    /// Sends messages, as many as find room in the time given; returns how many.
    ///
    /// # Errors
    ///
    /// As `send`; `Full` only if none found room.
    pub fn send_batch(&mut self, to: Address, messages: &[&[u8]], wait: Wait) -> Result<usize> {
        self.channel(To::One(to))?.send_batch(messages, wait)
    }

    /// Sends a message whose way is noted at every step; returns the number of its trace.
    ///
    /// # Errors
    ///
    /// As `send`.
    pub fn send_traced(&mut self, to: Address, payload: &[u8], wait: Wait) -> Result<u64> {
        let id = crate::guard::random()? | 1;
        let begun_ns = sys::wall_clock_ns();
        let extension = Extension {
            trace: Some(Trace { id, begun_ns }),
            ..Extension::default()
        };
        let note = Note {
            sent_ns: begun_ns,
            extension,
            flags: 0,
        };
        self.channel(To::One(to))?.send(&[payload], &note, wait)?;
        Ok(id)
    }

    /// Sends a message that its receiver can tell from real ones.
    ///
    /// # Errors
    ///
    /// As `send`.
    pub fn send_test(&mut self, to: Address, payload: &[u8], wait: Wait) -> Result<u64> {
        let note = Note {
            flags: TEST,
            sent_ns: sys::wall_clock_ns(),
            ..Note::default()
        };
        self.channel(To::One(to))?.send(&[payload], &note, wait)
    }

    /// Sends to every channel, without waiting for any.
    ///
    /// # Errors
    ///
    /// What is no answer of a single channel: `TooLarge`, `Forked`, `Removed`, a contradiction.
    pub fn broadcast(&mut self, payload: &[u8]) -> Result<Broadcast> {
        let mut done = Broadcast::default();
        for channel in &mut self.channels {
            match channel.send(&[payload], &Note::default(), Wait::No) {
                Ok(_) => done.sent += 1,
                Err(Error::Full) => done.full += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Receives the next message, from whichever channel has one. What was received before is
    /// acknowledged (see `set_unacknowledged_max`, `set_manual`).
    ///
    /// # Errors
    ///
    /// `Empty` if nothing came in the time given; `Damaged` (call again: what follows is there);
    /// `Forked`, `Removed`, or a contradiction in a ring.
    pub fn receive(&mut self, wait: Wait) -> Result<Message<'_>> {
        let index = self.find(wait)?;
        let found = &self.found;
        let mut extension = Extension::default();
        let channel = &mut self.channels[index];
        let is_good = match &mut channel.receiver {
            Some(receiver) => receiver.peek(found, &mut extension).is_some(),
            None => false,
        };
        if !is_good {
            return Err(damaged(found));
        }
        let envelope = channel.hand_out(found, &extension);
        self.last = Some(index);
        let (extension, payload) = self.bytes_of(index, &self.found);
        Ok(Message {
            envelope,
            extension,
            payload,
        })
    }

    /// Extension and payload of a message, where they lie.
    #[inline]
    fn bytes_of(&self, index: usize, found: &Found) -> (&[u8], &[u8]) {
        let Some(receiver) = &self.channels[index].receiver else {
            return (&[], &[]);
        };
        let extension_bytes = u64::from(found.head.extension);
        let begin = found.payload_at.wrapping_sub(extension_bytes);
        let bytes = extension_bytes + u64::from(found.head.len);
        receiver
            .half()
            .data()
            .slice(begin, bytes)
            .split_at(extension_bytes as usize)
    }

    /// Receives the next message into a buffer, checked after it was copied.
    ///
    /// # Errors
    ///
    /// As `receive`; `BufferTooSmall`, and the message stays.
    #[inline]
    pub fn receive_into(&mut self, buffer: &mut [u8], wait: Wait) -> Result<Envelope> {
        let index = self.find(wait)?;
        let found = &self.found;
        let length = found.head.len as usize;
        let room = buffer.len() as u64;
        let channel = &mut self.channels[index];
        let Some(receiver) = &mut channel.receiver else {
            return Err(Error::Empty);
        };
        let Some(target) = buffer.get_mut(..length) else {
            receiver.put_back(found);
            return Err(Error::BufferTooSmall {
                bytes: length as u64,
                room,
            });
        };
        let mut extension = Extension::default();
        if !receiver.copy(found, &mut extension, target) {
            return Err(damaged(found));
        }
        let envelope = channel.hand_out(found, &extension);
        self.last = Some(index);
        Ok(envelope)
    }

    /// Acknowledges everything received: it will not come again.
    pub fn acknowledge(&mut self) {
        self.last = None;
        self.channels.iter_mut().for_each(Channel::acknowledge);
    }

    /// Acknowledges everything received, then gives the address up. (Dropping it instead leaves the
    /// last message to come again.)
    pub fn close(mut self) {
        self.acknowledge();
    }

    /// Finds the next message, waiting if need be, and acknowledges what is due.
    #[inline]
    fn find(&mut self, wait: Wait) -> Result<usize> {
        match self.channels.first() {
            Some(channel) => channel.check()?,
            // All of them were removed.
            None => return Err(Error::Removed),
        }
        if !self.is_manual
            && let Some(index) = self.last
            && self.channels[index].unacknowledged() >= self.unacknowledged_max
        {
            self.channels[index].acknowledge();
        }
        self.last = None;
        if let Some(index) = self.find_now()? {
            return Ok(index);
        }
        if !self.is_manual {
            self.channels.iter_mut().for_each(Channel::acknowledge);
        }
        self.wait(wait)
    }

    /// The channel with the next message, which is then in `found`.
    #[inline(always)]
    fn find_now(&mut self) -> Result<Option<usize>> {
        for _ in 0..=self.channels.len() {
            let index = self.turn;
            if self.in_a_row < IN_A_ROW_MAX
                && let Some(found) = self.channels[index].advance()?
            {
                // With one channel there is nobody to give way to.
                self.in_a_row += u32::from(self.channels.len() > 1);
                self.found = found;
                return Ok(Some(index));
            }
            self.turn = (index + 1) % self.channels.len();
            self.in_a_row = 0;
        }
        Ok(None)
    }

    #[cold]
    fn wait(&mut self, wait: Wait) -> Result<usize> {
        let deadline = match wait {
            Wait::No => {
                self.channels.iter().try_for_each(Channel::check_removed)?;
                return Err(Error::Empty);
            }
            wait => wait.deadline(),
        };
        loop {
            let mut pace = self.pace;
            pace.set_sink(!self.has_sent);
            let is_ready = self.sleep(&mut pace, deadline);
            self.pace = pace;
            self.has_sent = false;
            if is_ready && let Some(found) = self.find_now()? {
                return Ok(found);
            }
            self.channels.iter().try_for_each(Channel::check_removed)?;
            if !is_ready {
                return Err(Error::Empty);
            }
        }
    }

    fn sleep(&self, pace: &mut Pace, deadline: Option<std::time::Instant>) -> bool {
        let is_ready = || self.channels.iter().any(Channel::has_more);
        let mut bells = self.channels.iter().filter_map(Channel::bells);
        let Some(first) = bells.next() else {
            return false;
        };
        let mut pairs: [(&Bell, &Bell, &AtomicU64); WAIT_MAX] = [first; WAIT_MAX];
        let mut count = 1;
        for (pair, bell) in pairs[1..].iter_mut().zip(bells) {
            *pair = bell;
            count += 1;
        }
        wait::until(&pairs[..count], pace, deadline, is_ready)
    }

    /// Sends the message received last on to another address, and notes in it where it came from,
    /// so that an answer finds its way back. It stays unacknowledged until the next receive.
    ///
    /// # Errors
    ///
    /// As `send`; `Empty` if there is no such message; `TooMany` stations.
    pub fn forward(&mut self, to: Address, wait: Wait) -> Result<u64> {
        let (index, found, mut extension) = self.last()?;
        let mut route = extension.route.unwrap_or_default();
        if !route.push(self.channels[index].peer()) {
            return Err(Error::TooMany {
                what: "stations of a route",
                most: crate::extension::STATIONS_MAX,
            });
        }
        extension.route = Some(route);
        extension.origin = None;
        let note = Note {
            flags: 0,
            sent_ns: found.head.sent_ns,
            extension,
        };
        self.send_on(index, &found, to, &note, wait)
    }

    /// What came with the message received last besides its payload.
    ///
    /// # Errors
    ///
    /// `Empty` if there is no such message.
    pub fn extension(&self) -> Result<Extension> {
        self.last().map(|(.., extension)| extension)
    }

    /// The message received last, and what came with it.
    fn last(&self) -> Result<(usize, Found, Extension)> {
        let index = self.last.ok_or(Error::Empty)?;
        let found = self.found;
        let receiver = self.channels[index].receiver.as_ref().ok_or(Error::Empty)?;
        let mut extension = Extension::default();
        match receiver.read_extension(&found, &mut extension) {
            Some(_) => Ok((index, found, extension)),
            None => Err(damaged(&found)),
        }
    }

    /// Sends a payload on that lies in a ring only this end frees: it stays meanwhile.
    fn send_on(
        &mut self,
        from: usize,
        found: &Found,
        to: Address,
        note: &Note,
        wait: Wait,
    ) -> Result<u64> {
        let target = self
            .channels
            .iter()
            .position(|channel| channel.peer() == to);
        let target =
            target.ok_or_else(|| Error::no_pair(self.show(self.address), self.show(to)))?;
        let receiver = self.channels[from].receiver.as_ref().ok_or(Error::Empty)?;
        let half = receiver.half().clone();
        let payload = half.data().slice(found.payload_at, found.head.len.into());
        self.channels[target].send(&[payload], note, wait)
    }

    /// Answers the message received last: to its source, and on along the route it came by.
    ///
    /// # Errors
    ///
    /// As `send`; `Empty` if there is no such message.
    pub fn answer(&mut self, payload: &[u8], wait: Wait) -> Result<u64> {
        let (index, _, extension) = self.last()?;
        let note = back(&extension, extension.route);
        self.has_sent = true;
        self.channels[index].send(&[payload], &note, wait)
    }

    /// Sends an answer received last one step back along its route.
    ///
    /// # Errors
    ///
    /// As `send`; `Empty` if there is no such message; `NoRoute` if it has arrived.
    pub fn backward(&mut self, wait: Wait) -> Result<u64> {
        let (index, found, extension) = self.last()?;
        let mut route = extension.route.ok_or(Error::NoRoute)?;
        let to = route.pop().ok_or(Error::NoRoute)?;
        self.send_on(index, &found, to, &back(&extension, Some(route)), wait)
    }
}

/// The note of a message on its way back.
fn back(extension: &Extension, route: Option<Route>) -> Note {
    let extension = Extension {
        route: Some(route.unwrap_or_default()),
        trace: extension.trace,
        origin: None,
    };
    Note {
        flags: BACKWARD,
        sent_ns: 0,
        extension,
    }
}

fn damaged(found: &Found) -> Error {
    Error::Damaged {
        messages: 1,
        bytes: found.head.span(),
        after: found.head.seq.wrapping_sub(1),
    }
}
