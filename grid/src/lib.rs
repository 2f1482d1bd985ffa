//! The grid: the shared region that joins the processes of a session and their hook server.
//!
//! The shim reads and writes it in every process, the hook server makes it, keeps it and releases
//! what the dead left behind. Nothing here makes a system call, allocates, waits or takes a lock:
//! every structure is right if any process is killed between any two instructions.
//!
//! Where to start: `cell` and `writes` are the coherence protocol (with `ops` and `reap` for the
//! dead), `files` and `chain` the stamps, `index`, `local` and `refresh` the blocks, `trace` what
//! is read, `layout` and `region` the bytes.
//! `docs/design.md` has the rules and their proofs; `tests/model.rs` checks them.
#![no_std]

#[cfg(any(test, feature = "model"))]
extern crate std;

#[cfg(not(feature = "model"))]
pub mod attach;
pub mod cell;
pub mod chain;
pub mod copy;
pub mod files;
#[cfg(not(feature = "model"))]
pub mod header;
pub mod ident;
pub mod index;
#[cfg(not(feature = "model"))]
pub mod layout;
pub mod local;
pub mod names;
#[cfg(not(feature = "model"))]
pub mod node;
pub mod ops;
#[cfg(not(feature = "model"))]
pub mod process;
pub mod reap;
pub mod refresh;
#[cfg(not(feature = "model"))]
pub mod region;
pub mod sync;
pub mod trace;
pub mod writes;
