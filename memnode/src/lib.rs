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
//! A request runs from its first byte to its last on one thread: `server::worker` owns the
//! connection, `commands` the meaning, `store` the memory.

mod commands;
mod config;
pub mod host;
mod lend;
pub mod metrics;
mod reply;
mod server;
pub mod size;
pub mod store;
pub mod tls;

pub use config::{Budget, Config, MEMORY_BYTES_MIN};
pub use lend::Lend;
pub use server::{Node, NodeError, Stats, run};
pub use store::{Eviction, HugePages};
pub use tls::{Found, Tls, TlsError, TlsProblem};

/// Port of a node unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;
