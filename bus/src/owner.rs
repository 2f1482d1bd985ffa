//! Who may write a page: one claim word, taken by one compare-and-exchange, given up on purpose or
//! taken over on proof of death. Never by time-out.
//!
//! ```text
//!   bit 0         22                        48              64
//!       +---------+-------------------------+----------------+
//!       |   pid   | start time, low 26 bits |  place, 16 bit |   0: free
//!       +---------+-------------------------+----------------+
//! ```
//!
//! `place` is a hash of pid namespace and boot. The word alone names its owner well enough to be
//! judged while the details are not yet (or never will be) written; `details_of` says whose they
//! are. `proof` does the judging; the model passes judges of its own.

use std::fmt;

use crate::sync::{AtomicU64, Ordering};

/// Bits of a process number (`PID_MAX_LIMIT` is 2^22).
const PID_BITS: u32 = 22;
/// Bits kept of the start time (clock ticks since boot).
const START_BITS: u32 = 26;
/// Words of a name.
const NAME_WORDS: usize = 4;

/// A process, as far as it must be told from every other that was or will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process number in its own pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start_ticks: u64,
    /// Inode of its pid namespace.
    pub namespace: u64,
    /// Hash of the boot it lives in.
    pub boot: u64,
}

impl Identity {
    /// The claim word of this process; never 0.
    pub fn word(&self) -> u64 {
        let start = self.start_ticks & ((1 << START_BITS) - 1);
        u64::from(self.pid) | start << PID_BITS | self.place() << (PID_BITS + START_BITS)
    }

    /// 16 bits that tell this namespace and boot from others.
    fn place(&self) -> u64 {
        let mixed =
            (self.namespace ^ self.boot.rotate_left(17)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed >> 48
    }

    /// Could `word` be of a process of this one's namespace and boot?
    pub fn shares_place(&self, word: u64) -> bool {
        word >> (PID_BITS + START_BITS) == self.place()
    }
}

/// The process number in a claim word.
pub fn pid_of(word: u64) -> u32 {
    (word & ((1 << PID_BITS) - 1)) as u32
}

/// Is `start_ticks` the start time in the claim word, as far as that tells?
pub fn started_at(word: u64, start_ticks: u64) -> bool {
    let mask = (1 << START_BITS) - 1;
    word >> PID_BITS & mask == start_ticks & mask
}

/// What is known of an owner, for judging and for telling users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The claim word.
    pub word: u64,
    /// The rest, unless the owner was stopped (or died) in the middle of its claim.
    pub details: Option<Details>,
}

/// The details of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// Who it is, in full.
    pub identity: Identity,
    /// When it claimed, in nanoseconds since 1970.
    pub since_ns: u64,
    /// It fences after every send, since it could not register for barriers.
    pub is_fencing: bool,
    /// What the program is called.
    pub name: [u8; NAME_WORDS * 8],
}

impl Details {
    /// The program's name, without what fills it up.
    pub fn name(&self) -> String {
        let end = self
            .name
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.name.len());
        self.name[..end]
            .iter()
            .map(|byte| printable(*byte))
            .collect()
    }
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => '?',
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}", pid_of(self.word))?;
        let Some(details) = &self.details else {
            return f.write_str(" (in the middle of binding)");
        };
        write!(f, " ({})", details.name())?;
        let now_ns = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_nanos() as u64);
        write!(
            f,
            ", for {} s",
            now_ns.saturating_sub(details.since_ns) / 1_000_000_000
        )
    }
}

/// The owner record of a page: 256 bytes.
#[repr(C)]
#[derive(Debug)]
pub struct Owner {
    word: AtomicU64,
    /// The claim word the rest belongs to.
    details_of: AtomicU64,
    start_ticks: AtomicU64,
    namespace: AtomicU64,
    boot: AtomicU64,
    since_ns: AtomicU64,
    /// Bit 0: fences.
    flags: AtomicU64,
    name: [AtomicU64; NAME_WORDS],
    #[cfg(not(feature = "model"))]
    _unused: [AtomicU64; 21],
}

/// How a claim ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It was free.
    Fresh,
    /// Its owner was proved dead.
    TakenOver,
    /// Somebody has it.
    Refused(Holder),
}

impl Owner {
    /// Claims the page. `is_dead` must be sure: a holder it condemns loses the page.
    pub fn claim(&self, me: &Details, is_dead: impl Fn(&Holder) -> bool) -> Claim {
        let mine = me.identity.word();
        let found = self.word.load(Ordering::Acquire);
        let how = match found {
            0 => Claim::Fresh,
            _ => Claim::TakenOver,
        };
        if found != 0 {
            let holder = self.holder(found);
            if !is_dead(&holder) {
                return Claim::Refused(holder);
            }
        }
        let taken = self
            .word
            .compare_exchange(found, mine, Ordering::AcqRel, Ordering::Acquire);
        if let Err(other) = taken {
            return Claim::Refused(self.holder(other));
        }
        self.describe(mine, me);
        how
    }

    fn describe(&self, mine: u64, me: &Details) {
        self.start_ticks
            .store(me.identity.start_ticks, Ordering::Relaxed);
        self.namespace
            .store(me.identity.namespace, Ordering::Relaxed);
        self.boot.store(me.identity.boot, Ordering::Relaxed);
        self.since_ns.store(me.since_ns, Ordering::Relaxed);
        self.flags
            .store(u64::from(me.is_fencing), Ordering::Relaxed);
        for (word, bytes) in self.name.iter().zip(me.name.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        self.details_of.store(mine, Ordering::Release);
    }

    /// Gives the page up. Nothing happens if it is not `me`'s.
    pub fn release(&self, me: &Identity) {
        let mine = me.word();
        let _ = self
            .word
            .compare_exchange(mine, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Takes the page from whoever has it: the risk is the caller's.
    pub fn evict(&self, word: u64) {
        let _ = self
            .word
            .compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Who has the page now; `None`: nobody.
    pub fn current(&self) -> Option<Holder> {
        match self.word.load(Ordering::Acquire) {
            0 => None,
            word => Some(self.holder(word)),
        }
    }

    fn holder(&self, word: u64) -> Holder {
        if self.details_of.load(Ordering::Acquire) != word {
            return Holder {
                word,
                details: None,
            };
        }
        let mut name = [0; NAME_WORDS * 8];
        for (bytes, word) in name.as_chunks_mut::<8>().0.iter_mut().zip(&self.name) {
            *bytes = word.load(Ordering::Acquire).to_le_bytes();
        }
        let details = Details {
            identity: Identity {
                pid: pid_of(word),
                start_ticks: self.start_ticks.load(Ordering::Acquire),
                namespace: self.namespace.load(Ordering::Acquire),
                boot: self.boot.load(Ordering::Acquire),
            },
            since_ns: self.since_ns.load(Ordering::Acquire),
            is_fencing: self.flags.load(Ordering::Acquire) & 1 != 0,
            name,
        };
        // A later owner may have begun to write its own over them: then nothing is known.
        let is_whole = self.details_of.load(Ordering::Acquire) == word
            && self.word.load(Ordering::Acquire) == word
            && details.identity.word() == word;
        Holder {
            word,
            details: is_whole.then_some(details),
        }
    }
}

#[cfg(feature = "model")]
impl Default for Owner {
    fn default() -> Owner {
        let zero = |_| AtomicU64::new(0);
        Owner {
            word: zero(0),
            details_of: zero(0),
            start_ticks: zero(0),
            namespace: zero(0),
            boot: zero(0),
            since_ns: zero(0),
            flags: zero(0),
            name: std::array::from_fn(zero),
        }
    }
}
