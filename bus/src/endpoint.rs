//! An address as a program uses it: all channels that end in it, bound together.
//!
//! Sending names the other end; receiving takes from every channel in turn, at most ten messages in
//! a row from one. A message received lies in its ring until the next call, which acknowledges it:
//! a program killed while it worked on a message gets it again, marked. Nothing here allocates once
//! the address is bound.

mod routes;

use std::path::{Path, PathBuf};

use crate::address::{Address, Template};
use crate::channel::{Access, Channel, File, MappedHalf, Role};
use crate::directory::Bus;
use crate::error::{Error, Result};
use crate::extension::{Extension, Trace};
use crate::layout::Bell;
use crate::message::{Envelope, Message};
use crate::record::TEST;
use crate::ring::{Consumer, Found, Note};
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
    /// Files that by their names are channels of this address, and cannot be used.
    unusable: Vec<PathBuf>,
    /// The channel looked at next, and how many messages in a row it has given.
    turn: usize,
    in_a_row: u32,
    /// Damage met behind a batch that was handed out, to be told next.
    trouble: Option<Error>,
    /// The message looked at last, filled in where it lies (see `Walk::step_into`).
    envelope: Envelope,
    /// The channel whose message that is, once it is handed out.
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
            unusable: Vec::new(),
            turn: 0,
            in_a_row: 0,
            trouble: None,
            envelope: Envelope {
                found: Found::default(),
                source: address,
                destination: address,
            },
            last: None,
            unacknowledged_max: 1,
            is_manual: false,
            has_sent: false,
            pace: Pace::default(),
        };
        endpoint.refresh()?;
        if !endpoint.channels.is_empty() {
            return Ok(endpoint);
        }
        if let Some(path) = endpoint.unusable.first() {
            File::open(path, Access::View)?;
        }
        Err(Error::NoChannel {
            what: format!("{} in {}", endpoint.show(address), bus.path().display()),
        })
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
        self.unusable.clear();
        let known: Vec<PathBuf> = self.channels.iter().map(Channel::path).collect();
        for file in self.bus.files(Access::View)? {
            let file = match file {
                Ok(file) => file,
                Err(error) => {
                    self.note_unusable(&error);
                    continue;
                }
            };
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

    /// Remembers a channel of this address that cannot be used; the others can.
    fn note_unusable(&mut self, error: &Error) {
        let me = self.show(self.address).to_string();
        let path = error.path();
        let stem = path.and_then(|path| path.file_stem()?.to_str());
        let is_mine = stem.is_some_and(|stem| stem.split('_').any(|end| end == me));
        self.unusable
            .extend(path.filter(|_| is_mine).map(Path::to_path_buf));
    }

    /// Why there is no channel to an address: there is none, or its file cannot be used.
    #[cold]
    fn why_not(&self, target: Address) -> Error {
        let path = self.bus.path_of(self.template, [self.address, target]);
        if self.unusable.contains(&path)
            && let Err(error) = File::open(&path, Access::View)
        {
            return error;
        }
        Error::no_pair(self.show(self.address), self.show(target))
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

    /// How this bus writes addresses.
    pub fn template(&self) -> Template {
        self.template
    }

    /// Writes an address as this bus does.
    pub fn show(&self, address: Address) -> crate::address::Dotted {
        self.template.show(address)
    }

    /// The rings it empties, and how far it has looked in each.
    pub(crate) fn receiving(&self) -> impl Iterator<Item = (&MappedHalf, u64)> + '_ {
        let receivers = self.channels.iter().filter_map(|it| it.receiver.as_ref());
        receivers.map(|receiver| (receiver.half(), receiver.position()))
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
        let is_it = |channel: &Channel| match to {
            To::First => true,
            To::One(address) => channel.peer() == address,
        };
        if let Some(nth) = self.channels.iter().position(is_it) {
            return Ok(&mut self.channels[nth]);
        }
        Err(match to {
            To::First => Error::Removed,
            To::One(address) => self.why_not(address),
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
        let (channel, envelope) = (&mut self.channels[index], &self.envelope);
        if !channel.hand_out_in_place(&envelope.found) {
            return Err(damaged(&envelope.found));
        }
        self.last = Some(index);
        let (extension, payload) = self.channels[index].bytes_of(&envelope.found);
        Ok(Message {
            envelope,
            extension,
            payload,
        })
    }

    /// Hands messages of one channel that are there to `each`, at most `most`; waits only for the
    /// first, and returns how many. They are acknowledged together, as `receive` would the last, so
    /// that all of them come again, marked, if this process is killed before.
    ///
    /// # Errors
    ///
    /// As `receive`. Damage after the first message is told by the next call.
    #[inline]
    pub fn receive_batch(
        &mut self,
        most: usize,
        wait: Wait,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<usize> {
        let index = self.find(wait)?;
        let mut count = 0;
        let (channel, envelope) = (&mut self.channels[index], &mut self.envelope);
        loop {
            if !channel.hand_out_in_place(&envelope.found) {
                self.trouble = (count > 0).then(|| damaged(&envelope.found));
                break;
            }
            count += 1;
            let (extension, payload) = channel.bytes_of(&envelope.found);
            each(Message {
                envelope,
                extension,
                payload,
            });
            if count >= most {
                break;
            }
            match channel.advance(&mut envelope.found) {
                Ok(true) => {}
                Ok(false) => break,
                Err(trouble) => {
                    self.trouble = Some(trouble);
                    break;
                }
            }
        }
        if count == 0 {
            return Err(damaged(&envelope.found));
        }
        self.last = Some(index);
        if self.channels.len() > 1 {
            // Whoever else has messages is next.
            self.in_a_row = IN_A_ROW_MAX;
        }
        Ok(count)
    }

    /// Receives the next message into a buffer, checked after it was copied.
    ///
    /// # Errors
    ///
    /// As `receive`; `BufferTooSmall`, and the message stays.
    #[inline]
    pub fn receive_into(&mut self, buffer: &mut [u8], wait: Wait) -> Result<Envelope> {
        let index = self.find(wait)?;
        let found = &self.envelope.found;
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
        if !channel.hand_out_copy(found, target) {
            return Err(damaged(found));
        }
        self.last = Some(index);
        Ok(self.envelope)
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
        if self.trouble.is_some()
            && let Some(trouble) = self.trouble.take()
        {
            return Err(trouble);
        }
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
            let channel = &mut self.channels[index];
            if self.in_a_row < IN_A_ROW_MAX && channel.advance(&mut self.envelope.found)? {
                self.envelope.source = channel.peer();
                // With one channel there is nobody to give way to.
                self.in_a_row += u32::from(self.channels.len() > 1);
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
            if is_ready && !self.has_sent {
                let receivers = self.channels.iter().filter_map(|it| it.receiver.as_ref());
                pace.note_found(
                    receivers
                        .map(Consumer::ready_bytes)
                        .fold(0, u64::saturating_add),
                );
            }
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
        let is_ready = |is_fetching| {
            let mut channels = self.channels.iter();
            channels.any(|channel| channel.has_more(is_fetching))
        };
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
}

fn damaged(found: &Found) -> Error {
    Error::Damaged {
        messages: 1,
        bytes: found.head.span(),
        after: found.head.seq.wrapping_sub(1),
    }
}
