//! Counters of a process record, read out: to be summed up over processes, and kept when a process
//! is gone. `members` folds the dead away, `stats` adds the living.

use grid::names::{Bypass, Counter, Fallback};
use grid::process::{BUCKETS, Histogram, ProcessRecord};
use grid::sync::Ordering;

/// A sum of process records.
#[derive(Clone, Debug)]
pub struct Totals {
    counters: [u64; Counter::ALL.len()],
    bypass: [u64; Bypass::ALL.len()],
    fallback: [u64; Fallback::ALL.len()],
    remote_latency: [u64; BUCKETS],
    disk_latency: [u64; BUCKETS],
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            counters: [0; Counter::ALL.len()],
            bypass: [0; Bypass::ALL.len()],
            fallback: [0; Fallback::ALL.len()],
            remote_latency: [0; BUCKETS],
            disk_latency: [0; BUCKETS],
        }
    }
}

impl Totals {
    /// Adds what a record says now.
    pub fn add_record(&mut self, record: &ProcessRecord) {
        for (nth, counter) in Counter::ALL.iter().enumerate() {
            add(&mut self.counters[nth], record.counter(*counter));
        }
        for (nth, reason) in Bypass::ALL.iter().enumerate() {
            add(&mut self.bypass[nth], record.bypass(*reason));
        }
        for (nth, reason) in Fallback::ALL.iter().enumerate() {
            add(&mut self.fallback[nth], record.fallback(*reason));
        }
        add_histogram(&mut self.remote_latency, &record.remote_latency);
        add_histogram(&mut self.disk_latency, &record.disk_latency);
    }

    /// Adds another sum.
    pub fn add(&mut self, other: &Totals) {
        let pairs = [
            (&mut self.counters[..], &other.counters[..]),
            (&mut self.bypass[..], &other.bypass[..]),
            (&mut self.fallback[..], &other.fallback[..]),
            (&mut self.remote_latency[..], &other.remote_latency[..]),
            (&mut self.disk_latency[..], &other.disk_latency[..]),
        ];
        for (mine, theirs) in pairs {
            mine.iter_mut()
                .zip(theirs)
                .for_each(|(sum, value)| add(sum, *value));
        }
    }

    /// A counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// Reasons for not trying that occurred, with their counts.
    pub fn bypasses(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Bypass::ALL.iter().zip(self.bypass);
        all.filter(|(_, count)| *count != 0)
            .map(|(reason, count)| (reason.word(), count))
    }

    /// Reasons for turning back that occurred, with their counts.
    pub fn fallbacks(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Fallback::ALL.iter().zip(self.fallback);
        all.filter(|(_, count)| *count != 0)
            .map(|(reason, count)| (reason.word(), count))
    }

    /// How often a read was not tried for this reason.
    pub fn bypass(&self, reason: Bypass) -> u64 {
        self.bypass[reason as usize]
    }

    /// How often a read turned back for this reason.
    pub fn fallback(&self, reason: Fallback) -> u64 {
        self.fallback[reason as usize]
    }

    /// Mean time of reads from the device in microseconds; `None` without any.
    pub fn disk_us_mean(&self) -> Option<f64> {
        let count: u64 = self.disk_latency.iter().sum();
        let pairs = self.disk_latency.iter().enumerate();
        let sum_ns = pairs.map(|(at, count)| *count as f64 * Histogram::bound_ns(at) as f64);
        (count != 0).then(|| sum_ns.sum::<f64>() / count as f64 / 1000.0)
    }

    /// A percentile of remote reads in microseconds; `None` without any.
    pub fn remote_us(&self, percent: u64) -> Option<f64> {
        percentile_us(&self.remote_latency, percent)
    }

    /// A percentile of reads from the device in microseconds; `None` without any.
    pub fn disk_us(&self, percent: u64) -> Option<f64> {
        percentile_us(&self.disk_latency, percent)
    }
}

/// Adds without overflow: a process may write what it likes into its record.
fn add(sum: &mut u64, value: u64) {
    *sum = sum.saturating_add(value);
}

fn add_histogram(sum: &mut [u64; BUCKETS], histogram: &Histogram) {
    for (sum, bucket) in sum.iter_mut().zip(&histogram.0) {
        add(sum, bucket.load(Ordering::Relaxed).into());
    }
}

/// The upper bound of the bucket in which the percentile falls.
fn percentile_us(buckets: &[u64; BUCKETS], percent: u64) -> Option<f64> {
    let count: u64 = buckets.iter().sum();
    let rank = (count * percent).div_ceil(100).max(1);
    let mut below = 0;
    let bucket = buckets.iter().position(|bucket| {
        below += bucket;
        below >= rank
    })?;
    Some(Histogram::bound_ns(bucket) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_fall_into_the_right_buckets() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(percentile_us(&buckets, 50), None);
        buckets[Histogram::bucket_of(30_000)] = 98;
        buckets[Histogram::bucket_of(3_000_000)] = 2;
        let (p50, p99) = (percentile_us(&buckets, 50), percentile_us(&buckets, 99));
        assert!((30.0..40.0).contains(&p50.unwrap()), "{p50:?}");
        assert!((3000.0..4000.0).contains(&p99.unwrap()), "{p99:?}");
    }

    #[test]
    fn sums_add_up() {
        let (mut sum, mut part) = (Totals::default(), Totals::default());
        part.counters[Counter::Writes as usize] = 3;
        part.fallback[Fallback::Missing as usize] = 2;
        sum.add(&part);
        sum.add(&part);
        assert_eq!(sum.counter(Counter::Writes), 6);
        assert_eq!(sum.fallbacks().collect::<Vec<_>>(), [("missing", 4)]);
    }
}
