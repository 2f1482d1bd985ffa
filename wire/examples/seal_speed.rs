//! Measures the envelope: how long `seal` and `open` take for each way to protect a block.
//!
//! Run it by hand: `cargo run --release -p ramgrid-wire --example seal_speed`. It is no test: a
//! busy machine must not fail a build.

use std::hint::black_box;
use std::time::Instant;

use wire::{BlockId, Integrity, Keys};

/// Calls timed together.
const CALLS: u32 = 2_000;

/// Times of which the best counts: what else runs on the machine only ever adds.
const ROUNDS: u32 = 9;

fn main() {
    let id = BlockId {
        dev: 1,
        ino: 2,
        block_log2: 13,
        block: 3,
        ..BlockId::default()
    };
    println!("keys: {} bytes", size_of::<Keys>());
    let keys = Keys::derive(&[7; 32], Integrity::Tag);
    println!(
        "wire_key: {:.0} ns",
        nanos(|| keys.wire_key(black_box(&id), black_box(4711)))
    );
    for integrity in [Integrity::Checksum, Integrity::Tag, Integrity::Sealed] {
        let keys = Keys::derive(&[7; 32], integrity);
        for kib in [4usize, 8, 16, 64] {
            let mut payload = vec![0x5a; kib * 1024];
            let bytes = payload.len() as f64;
            let mut header = [0; wire::HEADER_BYTES];
            let seal = nanos(|| header = keys.seal(&id, black_box(&mut payload)));
            // Opened over and over, a sealed payload is what was sealed the first time only: the
            // refusal comes last, after all of the work.
            let open = nanos(|| keys.open(&id, &header, black_box(&mut payload)));
            println!(
                "{integrity:?} {kib:>2} KiB: seal {seal:>6.0} ns, {:>4.1} GB/s; \
                 open {open:>6.0} ns, {:>4.1} GB/s",
                bytes / seal,
                bytes / open
            );
        }
    }
}

/// Nanoseconds per call: the best mean of [`ROUNDS`].
fn nanos<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut round = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::MAX, f64::min)
}
