//! Measures the envelope: how many gigabytes per second `seal` and `open` get through.
//!
//! Run it by hand: `cargo run --release -p ramgrid-wire --example seal_speed`. It is no test: a
//! busy machine must not fail a build.

use std::hint::black_box;
use std::time::Instant;

use wire::{BlockId, Keys};

const ROUNDS: u32 = 20_000;

fn main() {
    let keys = Keys::derive(&[7; 32]);
    let id = BlockId {
        dev: 1,
        ino: 2,
        block_log2: 13,
        block: 3,
        ..BlockId::default()
    };
    println!("keys: {} bytes", size_of::<Keys>());
    println!(
        "wire_key: {:.0} ns",
        nanos(|| keys.wire_key(black_box(&id), black_box(4711)))
    );
    for kib in [4usize, 8, 16, 64] {
        let payload = vec![0x5a; kib * 1024];
        let header = keys.seal(&id, &payload);
        let seal = nanos(|| keys.seal(&id, black_box(&payload)));
        let open = nanos(|| keys.open(&id, &header, black_box(&payload)));
        let rate = |nanos: f64| payload.len() as f64 / nanos;
        println!("{kib:>3} KiB: seal {seal:>5.0} ns, {:.1} GB/s", rate(seal));
        println!("{kib:>3} KiB: open {open:>5.0} ns, {:.1} GB/s", rate(open));
    }
}

/// Nanoseconds per call, mean over [`ROUNDS`].
fn nanos<T>(mut call: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(call());
    }
    start.elapsed().as_nanos() as f64 / f64::from(ROUNDS)
}
