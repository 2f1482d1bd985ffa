//! The descriptor table: one private word per descriptor number, a hint and never a proof. It says
//! what the number was when it was last looked at; serving and counting ask the kernel again.
//!
//! ```text
//!   63                    36 35          20 19      12 11      4 3    2 1     0
//!  +------------------------+--------------+----------+---------+------+-------+
//!  | generation (28)        | record (16)  | slow     | count   | mode | class |
//!  +------------------------+--------------+----------+---------+------+-------+
//!   class: 0 unknown, 1 left alone (record = reason), 2 a file that may be served,
//!          3 such a file that was only written so far (no record looked up)
//!   mode:  governor (see governor.rs)
//! ```
//!
//! All accesses are relaxed and plain: two threads that read through one descriptor at once may
//! lose a count, nothing else. Whoever opens, closes or duplicates a number sets its word to
//! unknown.

use grid::files::RecordRef;
use grid::names::Bypass;
use grid::sync::{AtomicU32, AtomicU64, Ordering};

use crate::sys::file::Alignment;

/// Descriptors that can be served; a higher number goes to the kernel.
pub const DESCRIPTORS: usize = 65536;

static WORDS: [AtomicU64; DESCRIPTORS] = [const { AtomicU64::new(0) }; DESCRIPTORS];
/// What serving has gained lately, per descriptor; governor.rs draws it.
static GAINS: [AtomicU64; DESCRIPTORS] = [const { AtomicU64::new(0) }; DESCRIPTORS];

/// One word, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

/// What a word says about its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not looked at yet, or forgotten.
    Unknown,
    /// Left to the kernel, for a reason.
    LeftAlone,
    /// A regular file on a served file system.
    File,
    /// The same, written but never read through this descriptor: its record was not looked up.
    Eligible,
}

impl Word {
    /// The class.
    #[inline]
    pub fn class(self) -> Class {
        match self.0 & 3 {
            1 => Class::LeftAlone,
            2 => Class::File,
            3 => Class::Eligible,
            _ => Class::Unknown,
        }
    }

    /// The word of a descriptor that is left alone for `reason`.
    pub fn left_alone(reason: Bypass) -> Word {
        Word(1 | (reason as u64) << 20)
    }

    /// Why it is left alone.
    pub fn reason(self) -> Bypass {
        let number = (self.0 >> 20 & 0xFFFF) as usize;
        Bypass::ALL
            .get(number)
            .copied()
            .unwrap_or(Bypass::NotRegular)
    }

    /// Whether the file can never be served to anybody: its writes need not be counted.
    #[inline]
    pub fn is_never_served(self) -> bool {
        matches!(self.reason(), Bypass::NotRegular | Bypass::FileSystem)
    }

    /// The word of a file that has been written, not read.
    pub fn eligible() -> Word {
        Word(3)
    }

    /// The word of a file with a record, in governor mode `mode`.
    pub fn file(record: RecordRef, mode: u64) -> Word {
        let generation = u64::from(record.generation) & 0xFFF_FFFF;
        Word(2 | mode << 2 | u64::from(record.index & 0xFFFF) << 20 | generation << 36)
    }

    /// The record that the word points to, with the low 28 bits of its generation.
    pub fn record(self) -> (u32, u32) {
        ((self.0 >> 20 & 0xFFFF) as u32, (self.0 >> 36) as u32)
    }

    /// Governor mode.
    #[inline]
    pub fn mode(self) -> u64 {
        self.0 >> 2 & 3
    }

    /// Governor count.
    #[inline]
    pub fn count(self) -> u64 {
        self.0 >> 4 & 0xFF
    }

    /// Slow reads among the sampled ones.
    pub fn slow(self) -> u64 {
        self.0 >> 12 & 0xFF
    }

    /// With another mode, count and number of slow reads.
    #[inline]
    pub fn with(self, mode: u64, count: u64, slow: u64) -> Word {
        Word(self.0 & !0xFFFFC | mode << 2 | (count & 0xFF) << 4 | (slow & 0xFF) << 12)
    }
}

/// The word of a descriptor; `None` beyond the table.
#[inline]
pub fn get(fd: i32) -> Option<Word> {
    WORDS
        .get(fd as usize)
        .map(|word| Word(word.load(Ordering::Relaxed)))
}

/// Stores a word.
#[inline]
pub fn set(fd: i32, word: Word) {
    if let Some(place) = WORDS.get(fd as usize) {
        place.store(word.0, Ordering::Relaxed);
    }
}

/// Forgets a descriptor: somebody opened, closed or replaced the number.
#[inline]
pub fn forget(fd: i32) {
    if let Some(place) = WORDS.get(fd as usize)
        && place.load(Ordering::Relaxed) != 0
    {
        place.store(0, Ordering::Relaxed);
        GAINS[fd as usize].store(0, Ordering::Relaxed);
    }
}

/// Forgets a range of descriptors, `last` included.
pub fn forget_range(first: u32, last: u32) {
    let last = last.min(DESCRIPTORS as u32 - 1);
    for fd in first..=last {
        forget(fd as i32);
    }
}

/// What `O_DIRECT` asks of reads of a descriptor; 0: not opened so. One word:
///
/// ```text
///   31             16 15              0
///  +-----------------+-----------------+
///  | log2 of offset  | log2 of memory  |      alignment, each + 1
///  +-----------------+-----------------+
/// ```
static ALIGNMENTS: [AtomicU32; DESCRIPTORS] = [const { AtomicU32::new(0) }; DESCRIPTORS];

/// Notes whether a descriptor is direct, before its word says that it is a file.
pub fn set_alignment(fd: i32, alignment: Option<Alignment>) {
    if let Some(place) = ALIGNMENTS.get(fd as usize) {
        let word = alignment.map_or(0, |known| {
            (known.offset.trailing_zeros() + 1) << 16 | (known.memory.trailing_zeros() + 1)
        });
        if place.load(Ordering::Relaxed) != word {
            place.store(word, Ordering::Relaxed);
        }
    }
}

/// What a direct descriptor asks for; `None`: reads pass through the page cache.
pub fn alignment(fd: i32) -> Option<Alignment> {
    let word = ALIGNMENTS.get(fd as usize)?.load(Ordering::Relaxed);
    let bytes = |log2_and_1: u32| Some(1 << log2_and_1.checked_sub(1)?.min(31));
    Some(Alignment {
        offset: bytes(word >> 16)?,
        memory: bytes(word & 0xFFFF)?,
    })
}

/// How a descriptor is being read in sequence. One word:
///
/// ```text
///   63                          20 19    16 15                    0
///  +------------------------------+--------+-----------------------+
///  | offset where the next begins | reads  | bytes left / 256      |
///  +------------------------------+--------+-----------------------+
///   reads: in sequence so far, up to 15; bytes left: brought by readahead and not read yet
/// ```
pub struct Run(&'static AtomicU64);

static RUNS: [AtomicU64; DESCRIPTORS] = [const { AtomicU64::new(0) }; DESCRIPTORS];

/// Reads in sequence that make a run.
pub const RUN_READS: u64 = 8;

impl Run {
    /// Notes a read. How many reads in sequence it goes on from, up to 15 and itself among them.
    pub fn step(&self, offset: u64, len: u64) -> u64 {
        let word = self.0.load(Ordering::Relaxed);
        let goes_on = word >> 20 == offset;
        let reads = if goes_on { (word >> 16 & 0xF) + 1 } else { 0 };
        let reads = reads.min(15);
        let next = (offset + len) << 20 | reads << 16 | word & 0xFFFF;
        self.0.store(next, Ordering::Relaxed);
        reads
    }

    /// After the kernel's read of `len` bytes, for which the device was made to read `brought`:
    /// true if it did, or if the read is one in sequence and what is left of earlier ones covers
    /// it. A read elsewhere in between (the inner page of a tree) neither takes from that nor ends
    /// it.
    pub fn credit(&self, len: u64, brought: u64) -> bool {
        let in_sequence = self.0.load(Ordering::Relaxed) >> 16 & 0xF != 0;
        let covered = self.settle(if in_sequence { len } else { 0 }, brought);
        brought > 0 || in_sequence && covered
    }

    /// The same for `len` bytes of reads that were not noted one by one.
    pub fn credit_unnoted(&self, len: u64, brought: u64) -> bool {
        self.settle(len, brought)
    }

    /// Takes `len` bytes from what was brought. False: there was less.
    fn settle(&self, len: u64, brought: u64) -> bool {
        let word = self.0.load(Ordering::Relaxed);
        let had = ((word & 0xFFFF) << 8).saturating_add(brought);
        let left = had.saturating_sub(len) >> 8;
        self.0
            .store(word & !0xFFFF | left.min(0xFFFF), Ordering::Relaxed);
        had >= len
    }

    /// Reading in sequence brought no readahead: it is no better than reading at random.
    pub fn restart(&self) {
        self.0.fetch_and(!0xF_FFFF, Ordering::Relaxed);
    }
}

/// The run of a descriptor.
pub fn run(fd: i32) -> Run {
    Run(&RUNS[fd as usize % DESCRIPTORS])
}

/// Bytes that the device was made to read by this thread since the last look through this
/// descriptor; 0 if another thread looked last.
pub fn device_bytes_since(fd: i32, thread: u32, device_bytes: u64) -> u64 {
    /// Thread << 32 | units of 512 bytes that it had read, the lower half.
    static LOOKS: [AtomicU64; DESCRIPTORS] = [const { AtomicU64::new(0) }; DESCRIPTORS];
    let now = (device_bytes / 512) as u32;
    let look = u64::from(thread) << 32 | u64::from(now);
    let last = LOOKS[fd as usize % DESCRIPTORS].swap(look, Ordering::Relaxed);
    if last >> 32 != u64::from(thread) {
        return 0;
    }
    u64::from(now.wrapping_sub(last as u32)) * 512
}

/// The gain word of a descriptor.
pub fn gain(fd: i32) -> &'static AtomicU64 {
    &GAINS[fd as usize % DESCRIPTORS]
}
