//! Contents with a memory: bytes that say which file, block and version they belong to.
//!
//! Tests fill files with these, so that a foreign, old or torn block is recognised by looking at
//! it, and draw their choices from a seeded generator, so that a failure can be replayed.

/// A small seeded generator (SplitMix64); not for secrets.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that roll the same for the same seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

/// The seed named by `RAMGRID_SEED`, or this one. Tests print it, so that a failure can be
/// replayed.
pub fn seed_or(usual: u64) -> u64 {
    let named = std::env::var("RAMGRID_SEED").ok();
    let seed = named.map_or(usual, |text| {
        text.parse().expect("RAMGRID_SEED is a number")
    });
    println!("RAMGRID_SEED={seed}");
    seed
}

/// `length` bytes that no other `seed` has.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&dice.roll().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Text of about `length` bytes: lines with a number and a word each, in no order.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut bytes = Vec::with_capacity(length + 32);
    while bytes.len() < length {
        let (number, word) = (dice.below(100_000), dice.roll());
        bytes.extend_from_slice(format!("{number:05} word{word:016x}\n").as_bytes());
    }
    bytes
}
