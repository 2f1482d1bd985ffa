//! What to throw away when memory is full: one trait, two policies, one suite for both.
//!
//! Called by `shard`. A policy decides about items; it never frees memory and never touches the
//! index. Each shard has its own, behind the shard's lock.

use super::ghost::Ghost;
use super::lru::Lru;
use super::s3fifo::S3Fifo;
use super::slab::Slab;

/// Which policy a node runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// S3-FIFO with a one-bit counter: resists scans, and a hit writes one bit. The default.
    #[default]
    S3Fifo,
    /// Least recently used, to compare with.
    Lru,
}

impl Eviction {
    /// The name in flags and in INFO.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Eviction::S3Fifo => "s3fifo",
            Eviction::Lru => "lru",
        }
    }

    /// The policy called so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Eviction> {
        [Eviction::S3Fifo, Eviction::Lru]
            .into_iter()
            .find(|eviction| eviction.name() == name)
    }

    /// A policy for a shard of so many chunks.
    pub(super) fn policy(self, chunks: u32) -> Box<dyn Policy> {
        match self {
            Eviction::S3Fifo => Box::new(S3Fifo::new(chunks, Ghost::new(chunks))),
            Eviction::Lru => Box::new(Lru::new()),
        }
    }
}

/// What a shard tells its policy, and the one thing it asks.
pub(super) trait Policy: Send {
    /// The item is new.
    fn inserted(&mut self, slab: &mut Slab, item: u32);
    /// The item was read, or written again in place.
    fn touched(&mut self, slab: &mut Slab, item: u32);
    /// The item is about to be deleted by a client, or has expired.
    fn removed(&mut self, slab: &mut Slab, item: u32);
    /// An item lies elsewhere now, with all that its header says.
    fn moved(&mut self, slab: &mut Slab, item: u32);
    /// The shard has so many chunks from now on.
    fn resized(&mut self, chunks: u32);
    /// Names the item to give up and forgets it; `None` if there is none at all.
    fn victim(&mut self, slab: &mut Slab) -> Option<u32>;
}
