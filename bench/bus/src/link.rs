//! What an actor wants of whatever lies between it and the other.

use crate::Result;

/// Both directions between two actors.
pub trait Link {
    /// Sends one message, waiting for room.
    fn send(&mut self, message: &[u8]) -> Result<()>;

    /// Sends messages, waiting for room; by one call if the link has one for that.
    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<()> {
        messages.iter().try_for_each(|message| self.send(message))
    }

    /// Waits for messages and hands over at least one.
    fn receive(&mut self, each: impl FnMut(&[u8])) -> Result<()>;

    /// As `receive`, by the call for many if the link has one.
    fn receive_batch(&mut self, each: impl FnMut(&[u8])) -> Result<()> {
        self.receive(each)
    }

    /// Settles what was received, before the actor ends.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// The first byte of a message: more will come, or this is the last.
pub const MORE: u8 = 0;
/// See `MORE`.
pub const LAST: u8 = 1;
