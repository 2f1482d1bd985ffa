//! The store's fuzz target without a fuzzer: the corpus, and random mutations of it.
//!
//! From a fixed seed, so that a failure here is a failure everywhere. libFuzzer goes further: see
//! `fuzz/` and `make fuzz`.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

/// Mutations of the corpus.
const MUTATIONS: u32 = 300;

/// Marsaglia's xorshift: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

#[test]
fn the_store_keeps_its_word_whatever_is_done_to_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/store");
    let mut seeds: Vec<Vec<u8>> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 4, "the corpus is missing");
    seeds.iter().for_each(|seed| bodies::store(seed));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        // The end of another one, in whole operations, and some bytes changed.
        bytes.truncate(random.below(bytes.len() / 4) * 4);
        bytes.extend_from_slice(&other[random.below(other.len() / 4) * 4..]);
        for _ in 0..random.below(20) {
            let place = random.below(bytes.len());
            bytes[place] = random.below(256) as u8;
        }
        bodies::store(&bytes);
    }
}
