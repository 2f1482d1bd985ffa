//! An end of a channel that the relay holds in place of a far address.
//!
//! To the program at the other end the relay is its peer: it empties the ring that the program
//! fills (`outlet`) and fills the ring that the program empties (`inlet`). Binding and letting go
//! are here; which ends there are is `hub`'s business.

use std::cell::{Cell, RefCell};
use std::path::Path;

use bus::channel::MappedHalf;
use bus::ring::Producer;
use bus::{Address, Channel, Result, Role, Template};

use super::super::routes::table::Target;

/// A bound end.
#[derive(Debug)]
pub struct End {
    /// The program's address.
    pub local: Address,
    /// The address the relay stands for.
    pub far: Address,
    /// How they are written.
    pub template: Template,
    /// The relay that has the far address.
    pub to: RefCell<Target>,
    /// The channel, bound at the far address's end.
    pub channel: RefCell<Channel>,
    /// It is no longer of the bus, or no longer routed: let go of it.
    pub is_gone: Cell<bool>,
    /// The inbound stream that fills the ring: the youngest. 0: none.
    pub filler: Cell<u64>,
    /// Epoch of the ring that stream comes from.
    pub filler_epoch: Cell<u64>,
}

impl End {
    /// Binds the end of the channel at `path` that belongs to `far`.
    ///
    /// # Errors
    ///
    /// As `Channel::bind`.
    pub fn bind(path: &Path, far: Address, to: &Target) -> Result<End> {
        let channel = Channel::bind(path, far, Role::Both)?;
        Ok(End {
            local: channel.peer(),
            far,
            template: channel.header().template,
            to: RefCell::new(to.clone()),
            channel: RefCell::new(channel),
            is_gone: Cell::new(false),
            filler: Cell::new(0),
            filler_epoch: Cell::new(0),
        })
    }

    /// The way out, in words.
    pub fn way_out(&self) -> String {
        let [from, to] = [self.local, self.far].map(|end| self.template.show(end));
        format!("{from} -> {to}")
    }

    /// Epoch of the channel, and the largest message of the direction `from` sends in.
    pub fn says(&self, from: Address) -> (u64, u64) {
        let channel = self.channel.borrow();
        let header = channel.header();
        let side = usize::from(header.ends[0] != from);
        (header.epoch, u64::from(header.message_bytes_max[side]))
    }

    /// The ring that the program fills.
    pub fn out_half(&self) -> Option<MappedHalf> {
        let mut channel = self.channel.borrow_mut();
        channel
            .consumer_mut()
            .map(|consumer| consumer.half().clone())
    }

    /// The ring that the program empties.
    pub fn in_half(&self) -> Option<MappedHalf> {
        self.with_producer(|producer| producer.half().clone())
    }

    /// Does something with the ring that the program empties.
    pub fn with_producer<T>(&self, act: impl FnOnce(&mut Producer<MappedHalf>) -> T) -> Option<T> {
        self.channel.borrow_mut().producer_mut().map(act)
    }
}
