//! memnode: a memory node. Keeps blocks in RAM for others and speaks the Redis protocol.
//!
//! Called by the `memnode` program and by the hook server, which embeds one where no neighbour has
//! memory to lend. What it never does: write to a disk, speak first, trust what it is sent, or
//! take more memory than it was given.
//!
//! * [`Config`]: what a node needs to know; [`Node`]: a node, its memory reserved.
//! * [`Node::run`] takes its socket and its end from outside, so one function serves the program,
//!   the hook server and the tests; [`Node::stats`] looks in from outside.
//! * [`store`]: the blocks, and what is thrown away when memory is full.
//!
//! Without the feature `server` there is the store alone, for the fuzz target.
//!
//! A request runs from its first byte to its last on one thread: `server::worker` owns the
//! connection, `commands` the meaning, `store` the memory.

#[cfg(feature = "server")]
mod commands;
#[cfg(feature = "server")]
mod config;
#[cfg(feature = "server")]
pub mod host;
#[cfg(feature = "server")]
mod lend;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
mod reply;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
pub mod size;
pub mod store;
#[cfg(feature = "server")]
mod timing;
#[cfg(feature = "server")]
pub mod tls;

#[cfg(feature = "server")]
pub use config::{Budget, Config, MEMORY_BYTES_MIN};
#[cfg(feature = "server")]
pub use lend::Lend;
#[cfg(feature = "server")]
pub use server::{Node, NodeError, Stats, run};
pub use store::{Eviction, HugePages};
#[cfg(feature = "server")]
pub use tls::{Found, Tls, TlsError, TlsProblem};

/// Port of a node unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;
