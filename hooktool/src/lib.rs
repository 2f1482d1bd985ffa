//! hooktool: the command line and the hook server of ramgrid.
//!
//! A library with a thin binary, so that tests reach every part. `cli` declares the commands,
//! `settings` resolves what was typed, `launch` starts targets, `server` is the hook server, the
//! rest are viewers and checks. No module but `sys` contains unsafe code.

pub mod bus;
pub mod carriers;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod coverage;
pub mod doctor;
pub mod dry_run;
pub mod elf;
pub mod enter;
pub mod environment;
pub mod failure;
pub mod globs;
pub mod init;
pub mod launch;
pub mod layers;
pub mod libraries;
pub mod limits;
pub mod locate;
pub mod logging;
pub mod nodes;
pub mod orphans;
pub mod pool;
pub mod precheck;
pub mod probe;
pub mod ps;
pub mod ready;
pub mod seal;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod shim;
pub mod sizes;
pub mod spawn;
pub mod srv;
pub mod stats;
pub mod sys;
pub mod tls;
pub mod trace;
pub mod viewer;
