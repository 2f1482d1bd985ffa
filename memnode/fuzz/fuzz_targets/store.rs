//! Fuzz target `store`: `cargo +nightly fuzz run store` in `memnode/`.
//!
//! What it checks is in `bodies.rs`, which `cargo test` runs too.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::store(data));
