//! Process records: who is in the session, and its counters. A process writes its own record only,
//! so that counting never contends; the hook server registers, reads, and folds the dead away.
//!
//! ```text
//!  0        64                320         576         704            1088           1472
//!  +--------+-----------------+-----------+-----------+--------------+--------------+-----+
//!  | state  | counters (32)   | bypass(32)| fallb.(16)| remote lat.  | disk latency | pad |
//!  +--------+-----------------+-----------+-----------+--------------+--------------+-----+
//! ```

use crate::names::{Bypass, Counter, Fallback};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Buckets of a latency histogram: four to an octave, from 256 ns.
pub const BUCKETS: usize = 96;
const FIRST_OCTAVE: u32 = 8;

/// A histogram of latencies in nanoseconds.
#[repr(C)]
pub struct Histogram(pub [AtomicU32; BUCKETS]);

impl Histogram {
    /// The bucket of a latency.
    pub fn bucket_of(latency_ns: u64) -> usize {
        let ns = latency_ns.max(1 << FIRST_OCTAVE);
        let octave = 63 - ns.leading_zeros();
        let quarter = (ns >> (octave - 2) & 3) as usize;
        ((octave - FIRST_OCTAVE) as usize * 4 + quarter).min(BUCKETS - 1)
    }

    /// The upper bound of a bucket in nanoseconds.
    pub fn bound_ns(bucket: usize) -> u64 {
        let octave = FIRST_OCTAVE + bucket as u32 / 4;
        (1u64 << octave) + (1u64 << (octave - 2)) * (bucket as u64 % 4 + 1)
    }

    /// Counts one latency.
    pub fn record(&self, latency_ns: u64) {
        self.0[Histogram::bucket_of(latency_ns)].fetch_add(1, Ordering::Relaxed);
    }
}

/// One process: 1536 bytes.
#[repr(C, align(128))]
pub struct ProcessRecord {
    /// 0 free, 1 live (written by the hook server).
    pub state: AtomicU64,
    /// Process id as the hook server sees it.
    pub pid: AtomicU64,
    /// How many processes have had this slot.
    pub generation: AtomicU64,
    /// Monotonic milliseconds of the registration.
    pub since_ms: AtomicU64,
    _unused: [AtomicU64; 4],
    counters: [AtomicU64; 32],
    bypass: [AtomicU64; 32],
    fallback: [AtomicU64; 16],
    /// Latencies of remote reads.
    pub remote_latency: Histogram,
    /// Latencies of reads that the kernel served from the device.
    pub disk_latency: Histogram,
    _pad: [AtomicU64; 8],
}

#[cfg(not(feature = "model"))]
const _: () = assert!(size_of::<ProcessRecord>() == 1536);
const _: () = assert!(Counter::ALL.len() <= 32 && Bypass::ALL.len() <= 32);
const _: () = assert!(Fallback::ALL.len() <= 16);

impl ProcessRecord {
    /// Adds to a counter.
    pub fn add(&self, counter: Counter, amount: u64) {
        self.counters[counter as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// Counts reads left to the kernel.
    pub fn bypassed(&self, reason: Bypass, reads: u64) {
        self.bypass[reason as usize].fetch_add(reads, Ordering::Relaxed);
    }

    /// Counts a read that turned back.
    pub fn fell_back(&self, reason: Fallback) {
        self.fallback[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// A bypass reason's count.
    pub fn bypass(&self, reason: Bypass) -> u64 {
        self.bypass[reason as usize].load(Ordering::Relaxed)
    }

    /// A fallback reason's count.
    pub fn fallback(&self, reason: Fallback) -> u64 {
        self.fallback[reason as usize].load(Ordering::Relaxed)
    }

    /// Sets every counter to zero (hook server, before handing the slot to a new process).
    pub fn reset(&self) {
        let words = self
            .counters
            .iter()
            .chain(&self.bypass)
            .chain(&self.fallback);
        words.for_each(|word| word.store(0, Ordering::Relaxed));
        let buckets = self.remote_latency.0.iter().chain(&self.disk_latency.0);
        buckets.for_each(|bucket| bucket.store(0, Ordering::Relaxed));
    }
}

#[cfg(all(test, not(feature = "model")))]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_within_its_bucket() {
        for ns in [
            1,
            255,
            256,
            300,
            1000,
            36_000,
            81_000,
            5_000_000,
            3_000_000_000,
        ] {
            let bucket = Histogram::bucket_of(ns);
            assert!(Histogram::bound_ns(bucket) >= ns, "{ns}");
            assert!(bucket == 0 || Histogram::bound_ns(bucket - 1) <= ns, "{ns}");
        }
        assert_eq!(Histogram::bucket_of(u64::MAX), BUCKETS - 1);
    }
}
