//! hooktool: the command line and the hook server of ramgrid.
//!
//! A library with a thin binary, so that tests reach every part. `cli` declares the commands,
//! `settings` resolves what was typed, `run` starts targets, `server` is the hook server, the rest
//! are viewers and checks. No module but `sys` contains unsafe code.

pub mod config;
pub mod control;
pub mod failure;
pub mod ready;
pub mod server;
pub mod sizes;
