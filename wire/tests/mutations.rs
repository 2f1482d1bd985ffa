//! The fuzz targets without a fuzzer: the corpus, and random mutations of it, on stable Rust.
//!
//! Each target gets its corpus file by file and then a hundred thousand mutations from a fixed
//! seed, so that a failure here is a failure everywhere. libFuzzer goes further: see `fuzz/`.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

/// Mutations per target.
const MUTATIONS: u32 = 100_000;

/// Bytes that parsers care about.
const SPICE: &[u8] = b"$*+-:_#,(%~>=!\r\n0123456789 \0\xff";

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 3, "the corpus of {target} is missing");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

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

fn mutate(random: &mut Random, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, SPICE[random.below(SPICE.len())]),
            2 => bytes.extend_from_slice(&seeds[random.below(seeds.len())]),
            3 => drop(bytes.drain(..at.min(bytes.len() / 2))),
            _ if bytes.is_empty() => {}
            4 => bytes[at.min(at.saturating_sub(1))] = SPICE[random.below(SPICE.len())],
            _ => {
                let place = at.saturating_sub(1);
                bytes[place] ^= 1 << random.below(8);
            }
        }
    }
}

fn run(target: &str, body: impl Fn(&[u8])) {
    let seeds = corpus(target);
    seeds.iter().for_each(|seed| body(seed));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..MUTATIONS {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        mutate(&mut random, &mut bytes, &seeds);
        body(&bytes);
    }
}

#[test]
fn requests_survive_mutation() {
    run("request", bodies::request);
}

#[test]
fn replies_survive_mutation() {
    run("reply", bodies::reply);
}

#[test]
fn envelopes_survive_mutation() {
    run("envelope", bodies::envelope);
}
