//! The bus: message channels in shared memory that outlive the processes at their ends.
//!
//! A channel joins two addresses by two rings, one each way, in one file. A process binds an
//! address and sends to the addresses at the other ends:
//!
//! ```no_run
//! use bus::{Bus, Wait};
//!
//! let mut me = Bus::open("default")?.bind("0.0.2.1")?;
//! let message = me.receive(Wait::Forever)?;
//! println!("{}: {:?}", message.seq(), message.payload());
//! # Ok::<(), bus::Error>(())
//! ```
//!
//! Where to start: `ring` (producer and consumer: the protocol), `wait` (sleeping without a fence
//! on the sender's side), `owner` (who may write, and proof of death), `layout` (the bytes),
//! `channel` (the file), `endpoint` (what programs use). `docs/bus.md` has the invariants and the
//! argument that any process may die between any two instructions; `tests/model` explores it.
//!
//! After an address is bound, sending and receiving never allocate, never take a lock, open no
//! descriptor and start no thread.

pub mod address;
#[cfg(not(feature = "model"))]
pub mod channel;
pub mod crc;
#[cfg(not(feature = "model"))]
pub mod directory;
#[cfg(not(feature = "model"))]
pub mod endpoint;
pub mod error;
pub mod extension;
#[cfg(not(feature = "model"))]
pub mod guard;
pub mod header;
pub mod layout;
pub mod memory;
#[cfg(not(feature = "model"))]
pub mod message;
pub mod owner;
#[cfg(not(feature = "model"))]
pub mod proof;
pub mod record;
pub mod ring;
pub mod sync;
#[cfg(not(feature = "model"))]
pub mod sys;
pub mod trace;
#[cfg(not(feature = "model"))]
pub mod view;
pub mod wait;
#[cfg(not(feature = "model"))]
pub mod waiter;

pub use address::{Address, Template};
#[cfg(not(feature = "model"))]
pub use channel::{Channel, RING_BYTES_DEFAULT, Role, Spec};
#[cfg(not(feature = "model"))]
pub use directory::Bus;
#[cfg(not(feature = "model"))]
pub use endpoint::{Endpoint, To};
pub use error::{Error, Result};
#[cfg(not(feature = "model"))]
pub use message::Message;
#[cfg(not(feature = "model"))]
pub use wait::Wait;
#[cfg(not(feature = "model"))]
pub use waiter::Waiter;
