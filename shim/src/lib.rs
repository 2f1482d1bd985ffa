//! The shim: ramgrid's hook driver, loaded into an unmodified program by `LD_PRELOAD`.
//!
//! From the hook to the wire: `hook` declares the intercepted functions; `read` and `write` decide;
//! `fdtable`, `classify` and `governor` know the descriptors; `session` and `join` hold the region
//! (crate `grid`); `read::local` and `read::remote` serve, over `sockets`; `sys` is the only way to
//! the kernel besides the hooked functions themselves.
//!
//! What it never does: allocate, lock what a dead process could hold, start a thread, install a
//! signal handler, print, set `errno`, or call a hooked function. Any doubt is the kernel's call.

mod advise;
mod classify;
mod environment;
mod fdtable;
mod flights;
mod governor;
mod hook;
mod join;
mod lasting;
mod pins;
mod read;
mod rooms;
mod send;
mod session;
mod sockets;
mod start;
mod sys;
mod trace;
mod write;
