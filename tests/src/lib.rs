//! The harness of the whole-system tests: beds, runs, nodes, sessions, servers, and the house law.
//!
//! Used by the test targets under `it/` only. A test makes a [`bed::Bed`] (a directory on a real
//! disk file system with the release artefacts staged beside it), runs the same command natively
//! and under `hooktool run`, and compares what came out. Every run has a watchdog; no time limit
//! ever decides between right and wrong. The harness never reaches into the region or the shim: it
//! sees what a user sees, which is command lines, exit statuses, `hooktool stats -j` and the node's
//! RESP.

pub mod bed;
pub mod cable;
pub mod cluster;
pub mod daemon;
pub mod files;
pub mod http;
pub mod liar;
pub mod load;
pub mod mode;
pub mod model;
pub mod mount;
pub mod node;
pub mod postgres;
pub mod processes;
pub mod proxy;
pub mod puppet;
pub mod resp;
pub mod run;
pub mod script;
pub mod session;
pub mod shrink;
pub mod sqlite;
pub mod stage;
pub mod stats;
pub mod tidy;
pub mod tls;
pub mod tree;
pub mod users;
pub mod warm;
pub mod zoo;
