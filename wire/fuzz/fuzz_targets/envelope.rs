//! Fuzz target `envelope`: `cargo +nightly fuzz run envelope` in `wire/`.
//!
//! What it checks is in `bodies.rs`, which `cargo test` runs too.

#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::envelope(data));
