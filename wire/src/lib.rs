//! What goes over the wire: the block envelope and the Redis protocol, and nothing else.
//!
//! Who calls it: the shim (inside somebody else's program), the hook server and memnode.
//! What it never does: I/O, allocation, locks, panics. The shim runs this code on the threads of
//! a stranger, in signal handlers and on tiny stacks, so the lints below make indexing and
//! `unwrap` a compile error outside tests, and `no_std` leaves no allocator to call.
//!
//! * [`BlockId`]: which block of which file, at which version.
//! * [`Keys`]: what a session knows and a memory node does not. Names blocks, seals and opens them.
//! * [`Integrity`]: whether blocks are readable on a node, and how they prove themselves.
//! * [`hash_tag`]: the bytes that place a key on a slot of a Redis Cluster.
//! * [`EnvelopeError`]: why a value that came back from a node is not what it should be.
//! * [`resp`]: requests encoded into a caller's buffer, replies and requests parsed in place.

#![no_std]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable
    )
)]

#[cfg(test)]
extern crate std;

mod block;
mod cipher;
mod envelope;
pub mod hash_tag;
mod integrity;
mod keys;
pub mod resp;

pub use block::BlockId;
pub use envelope::{EnvelopeError, FormatVersion, HEADER_BYTES, PAYLOAD_BYTES_MAX};
pub use integrity::Integrity;
pub use keys::{KEY_BYTES, Keys, SECRET_BYTES};
