//! Passing a message on, answering it, and sending an answer back the way the question came.
//!
//! A forwarded message carries the addresses it came through. Everything here works on the message
//! received last, which lies in its ring until the next receive. Part of `Endpoint`.

use super::{Endpoint, damaged};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::extension::{Extension, Route};
use crate::record::BACKWARD;
use crate::ring::{Found, Half, Note};
use crate::wait::Wait;

impl Endpoint {
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
        let found = self.envelope.found;
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
