//! How often a command was called and how long it took, for INFO commandstats and latencystats.
//!
//! Called by `commands` around each command. Two looks at the clock would be a good part of what a
//! GET takes, so calls are sampled: the first few of a command are timed, then one in `EVERY`, and
//! they stand for the others. A prime number, so that a pipeline of any usual depth does not have
//! the same of its requests timed each time. What a command waits for the network is not in it.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Instant;

/// So many calls of a command are all timed.
const FIRST_CALLS: u64 = 16;

/// Later, one in so many is.
const EVERY: u64 = 31;

/// Parts of an octave of times.
const PARTS: usize = 4;

/// The least power of two that is told apart, in nanoseconds.
const LEAST_LOG2: usize = 4;

/// Times up to `2^(4 + 32)` ns, 68 s; a longer one counts as that.
const BUCKETS: usize = 32 * PARTS;

/// One command's.
pub struct Timing {
    calls: AtomicU64,
    /// Calls that were timed, and their time.
    timed: AtomicU64,
    timed_ns: AtomicU64,
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            calls: AtomicU64::new(0),
            timed: AtomicU64::new(0),
            timed_ns: AtomicU64::new(0),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }
}

impl Timing {
    /// Counts a call; when it began, if it is to be timed.
    pub fn begin(&self) -> Option<Instant> {
        let earlier = self.calls.fetch_add(1, Relaxed);
        (earlier < FIRST_CALLS || earlier.is_multiple_of(EVERY)).then(Instant::now)
    }

    /// After a call that `begin` wanted timed.
    pub fn end(&self, began: Instant) {
        self.note(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }

    fn note(&self, ns: u64) {
        self.timed.fetch_add(1, Relaxed);
        self.timed_ns.fetch_add(ns, Relaxed);
        self.buckets[bucket_of(ns)].fetch_add(1, Relaxed);
    }

    /// How often it was called.
    pub fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// How long a call takes on the average, in nanoseconds; 0 before the first.
    pub fn mean_ns(&self) -> f64 {
        match self.timed.load(Relaxed) {
            0 => 0.0,
            timed => self.timed_ns.load(Relaxed) as f64 / timed as f64,
        }
    }

    /// The time that so many calls in a thousand do not exceed, in nanoseconds, to a fifth or so.
    /// `None` before the first.
    pub fn permille_ns(&self, permille: u64) -> Option<u64> {
        let counts = self.buckets.iter().map(|count| count.load(Relaxed));
        let total: u64 = counts.clone().map(u64::from).sum();
        let rank = (total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        let index = counts.into_iter().position(|count| {
            seen += u64::from(count);
            seen >= rank
        });
        index.map(end_of)
    }

    /// Begins anew.
    pub fn forget(&self) {
        let words = [&self.calls, &self.timed, &self.timed_ns];
        words.iter().for_each(|word| word.store(0, Relaxed));
        self.buckets
            .iter()
            .for_each(|count| count.store(0, Relaxed));
    }
}

/// The bucket of a time.
fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(1 << LEAST_LOG2);
    let log2 = ns.ilog2() as usize;
    let part = (ns >> (log2 - 2)) as usize & (PARTS - 1);
    ((log2 - LEAST_LOG2) * PARTS + part).min(BUCKETS - 1)
}

/// Where a bucket ends, in nanoseconds.
fn end_of(bucket: usize) -> u64 {
    let (log2, part) = (bucket / PARTS + LEAST_LOG2, bucket % PARTS + 1);
    (PARTS + part) as u64 * (1 << (log2 - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for bucket in 0..BUCKETS - 1 {
            let end = end_of(bucket);
            assert_eq!((bucket_of(end - 1), bucket_of(end)), (bucket, bucket + 1));
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_what_was_noted() {
        let timing = Timing::default();
        assert_eq!(timing.permille_ns(500), None);
        for ns in 1..=1000 {
            timing.note(ns * 1000);
        }
        for (permille, ns) in [(500, 500_000), (990, 990_000), (999, 999_000)] {
            let found = timing.permille_ns(permille).unwrap();
            assert!(found >= ns && found <= ns + ns / 4, "{permille}: {found}");
        }
        assert!((timing.mean_ns() - 500_500.0).abs() < 1.0);
        timing.forget();
        assert_eq!((timing.permille_ns(500), timing.calls()), (None, 0));
    }

    #[test]
    fn the_first_calls_are_timed_and_then_few() {
        let timing = Timing::default();
        let timed = (0..3100).filter(|_| timing.begin().is_some()).count();
        assert_eq!(timed, 16 + 99);
        assert_eq!(timing.calls(), 3100);
    }
}
