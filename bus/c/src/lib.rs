//! The bus for C programs: `libramgrid_bus.so`, `libramgrid_bus.a`, `include/ramgrid_bus.h`.
//!
//! A thin face over the crate `bus`: handles, plain pointers, status codes. Nothing here panics
//! outward, prints, starts a thread or installs a handler. Once an address is bound nothing
//! allocates. `calls` has the functions, `status` the codes.

// Names as C writes them.
#![allow(non_camel_case_types)]

pub mod calls;
pub mod status;

pub use calls::*;
pub use status::*;
