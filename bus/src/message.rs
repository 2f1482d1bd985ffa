//! A message as a program sees it: payload where it lies in the ring, and what came with it.

use crate::address::Address;
use crate::extension::{Extension, Route, Trace};
use crate::record::{BACKWARD, REPEATED, TEST};
use crate::ring::Found;

/// What is known of a message besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub(crate) found: Found,
    pub(crate) source: Address,
    pub(crate) destination: Address,
}

impl Envelope {
    /// Who sent it (the last station, if it was forwarded).
    pub fn source(&self) -> Address {
        self.source
    }

    /// Who receives it.
    pub fn destination(&self) -> Address {
        self.destination
    }

    /// Its number in the ring, from 1 without gaps.
    pub fn seq(&self) -> u64 {
        self.found.head.seq
    }

    /// Bytes of the payload.
    pub fn len(&self) -> usize {
        self.found.head.len as usize
    }

    /// Is the payload empty?
    pub fn is_empty(&self) -> bool {
        self.found.head.len == 0
    }

    /// When it was sent, in nanoseconds since 1970, if that was noted.
    pub fn sent_ns(&self) -> Option<u64> {
        (self.found.head.sent_ns != 0).then_some(self.found.head.sent_ns)
    }

    /// It may have been handed out before, to a receiver that died before it acknowledged.
    pub fn is_redelivered(&self) -> bool {
        self.found.is_repeat || self.found.head.flags & REPEATED != 0
    }

    /// Was it written by a tool to try the channel?
    pub fn is_test(&self) -> bool {
        self.found.head.flags & TEST != 0
    }

    /// Is it an answer on its way back along a route?
    pub fn is_backward(&self) -> bool {
        self.found.head.flags & BACKWARD != 0
    }
}

/// A message still in its ring. The next call on the endpoint acknowledges it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub(crate) envelope: &'a Envelope,
    /// Proved when the message was handed out; read again by who wants it.
    pub(crate) extension: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The payload, in place.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Everything that came with it besides the payload.
    pub fn extension(&self) -> Extension {
        Extension::decode(self.envelope.found.head.flags, self.extension).unwrap_or_default()
    }

    /// The stations it was forwarded through, oldest first.
    pub fn route(&self) -> Route {
        self.extension().route.unwrap_or_default()
    }

    /// Its trace, if it has one.
    pub fn trace(&self) -> Option<Trace> {
        self.extension().trace
    }
}

impl std::ops::Deref for Message<'_> {
    type Target = Envelope;

    fn deref(&self) -> &Envelope {
        self.envelope
    }
}
