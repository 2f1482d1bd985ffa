//! The one door to atomics. Everything in this crate that is shared between processes takes its
//! atomics from here, so that the model check (`--features model`) runs the code that ships, with
//! shuttle deciding who moves next. Never use `core::sync` anywhere else in this crate.

#[cfg(not(feature = "model"))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(feature = "model")]
pub use shuttle::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Shuttle explores sequentially consistent executions only, in which a fence does nothing.
#[cfg(feature = "model")]
pub fn fence(_order: Ordering) {}
