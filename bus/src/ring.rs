//! One direction of a channel: the producer that fills the ring, the consumer that empties it.
//!
//! The protocol in five sentences. The producer writes head, extension and payload of its records
//! behind the tail, where nobody looks, and publishes them with one release store of the tail. The
//! consumer reads the tail, checks each record before it believes it, notes its number in `handed`
//! before the program sees it, and frees it with one release store of the head. Whoever dies
//! anywhere leaves either the old or the new position; there is nothing to repair. A producer that
//! takes over learns its number from the ring itself, or, where that is empty, from `handed`. What
//! a consumer hands out although it was handed out before (it died before it freed it) is marked.
//!
//! `docs/bus.md` has the invariants; `tests/model` lets both sides die at every step. Nothing here
//! waits, allocates or makes a system call.

mod consumer;
mod producer;
mod walk;

pub use consumer::{Consumer, Found, Trouble};
pub use producer::{Note, Producer};
pub use walk::{Next, Step, Walk};

use crate::extension::{EXTENSION_BYTES_MAX, Extension, Origin};
use crate::layout::{ConsumerPage, ProducerPage, RECORD_ALIGN};
use crate::memory::Data;
use crate::record::{HEAD_BYTES, Head, RELAYED};

/// The three parts of one direction, wherever they are mapped.
pub trait Half {
    /// The producer's page.
    fn producer(&self) -> &ProducerPage;
    /// The consumer's page.
    fn consumer(&self) -> &ConsumerPage;
    /// The bytes.
    fn data(&self) -> &Data;
}

/// What the channel's table says about a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Most bytes of extension and payload together.
    pub message_bytes_max: u64,
    /// Payloads carry a checksum.
    pub is_summed: bool,
    /// Every message carries the time it was sent.
    pub is_stamped: bool,
}

/// Two positions that no two sides that keep to the protocol can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The consumer's position.
    pub head: u64,
    /// The producer's position.
    pub tail: u64,
}

impl From<Contradiction> for crate::Error {
    fn from(found: Contradiction) -> crate::Error {
        crate::Error::Contradiction {
            head: found.head,
            tail: found.tail,
        }
    }
}

/// Bytes in the ring, if the positions can be.
pub fn filled(head: u64, tail: u64, capacity: u64) -> Result<u64, Contradiction> {
    let bytes = tail.wrapping_sub(head);
    let is_sane = bytes <= capacity && (head | tail).is_multiple_of(RECORD_ALIGN);
    is_sane.then_some(bytes).ok_or(Contradiction { head, tail })
}

/// The origin in the extension of a relayed message.
fn origin_of<H: Half>(half: &H, at: u64, head: Head) -> Option<Origin> {
    if head.flags & RELAYED == 0 || usize::from(head.extension) > EXTENSION_BYTES_MAX {
        return None;
    }
    let mut bytes = [0; EXTENSION_BYTES_MAX];
    let bytes = &mut bytes[..usize::from(head.extension)];
    half.data().read(at.wrapping_add(HEAD_BYTES), bytes);
    Extension::decode(head.flags, bytes)?.origin
}
