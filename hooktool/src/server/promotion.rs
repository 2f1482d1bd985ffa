//! Promotion: how fast blocks that keep being fetched from nodes are brought back into the page
//! cache, and never in the way of a read that needs the device.
//!
//! `tend` asks on every tick how many promotions a domain may make until the next one. Each of them
//! is up to 128 KiB of readahead, which may take several requests where parts are cached. What the
//! device can do is not known in advance: the cap of a cgroup or of a cloud volume lets through a
//! burst at full speed and then holds back everything. So the rate is felt out as TCP feels out a
//! link (slow start, additive increase, multiplicative decrease): it rises while the session's own
//! reads from the device are quick, and stops as soon as one was slow. Nothing here waits.

use grid::process::Histogram;
use grid::sync::Ordering;

use super::domain::Domain;
use super::tend::TICKS_PER_S;

/// Promotions of the first tick, and the growth of the rate until a read has been slow.
const FIRST: f64 = 8.0;
const SLOW_START: f64 = 1.25;

/// Promotions of a tick at least, once the device has been quick for a while.
const LEAST: f64 = 0.5;

/// Added to the rate in a tick after that: a little, and a hundredth.
const ADDED: f64 = 0.1;
const GROWTH: f64 = 1.01;

/// Ticks without promotions after a slow read.
const PAUSE_TICKS: u64 = TICKS_PER_S;

/// Ticks whose promotions may pile up while nobody uses them.
const TICKS_HELD: f64 = 2.0;

/// The rate of one domain.
#[derive(Debug)]
pub struct Pace {
    /// Promotions that a tick may grant, but for what the device's speed allows.
    per_tick: f64,
    /// No read has been slow yet.
    is_starting: bool,
    /// Ticks until promotions go on.
    pause: u64,
    /// Slow reads of the domain's processes at the last tick.
    slow_seen: u64,
    /// Fraction of a promotion that was granted and could not be written.
    rest: f64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            per_tick: FIRST,
            is_starting: true,
            pause: 0,
            slow_seen: 0,
            rest: 0.0,
        }
    }
}

impl Pace {
    /// One tick: the tokens that the domain holds from now on, after `left` that nobody used.
    /// `slow` is the running total of slow reads, `most_per_tick` what the device's speed allows.
    fn tick(&mut self, slow: u64, most_per_tick: f64, left: u64) -> u64 {
        // A process that is gone took its count along: fewer than before is nothing new.
        let was_slow = slow > self.slow_seen;
        self.slow_seen = slow;
        if was_slow {
            if self.pause == 0 {
                self.per_tick = (self.per_tick / 2.0).max(LEAST);
            }
            self.is_starting = false;
            self.pause = PAUSE_TICKS;
        }
        if self.pause > 0 {
            self.pause -= 1;
            self.rest = 0.0;
            return 0;
        }
        let granted = self.per_tick.min(most_per_tick);
        // A rate that nobody uses says nothing about the device.
        if left == 0 && granted == self.per_tick {
            self.per_tick = match self.is_starting {
                true => self.per_tick * SLOW_START,
                false => self.per_tick * GROWTH + ADDED,
            };
        }
        let held = left as f64 + granted + self.rest;
        self.rest = held.fract();
        (held as u64).min((granted * TICKS_HELD).ceil() as u64)
    }

    /// One tick of a domain: at most `share` of what its device can do is granted.
    pub fn grant(&mut self, domain: &Domain, share: f64) {
        let header = domain.region.header();
        let disk_ns = header.disk_ns.load(Ordering::Relaxed);
        if disk_ns == 0 {
            return;
        }
        let most_per_tick = 1e9 / disk_ns as f64 * share / TICKS_PER_S as f64;
        let bound_us = header.deadline_us.load(Ordering::Relaxed);
        let slow = slow_reads(domain, bound_us.saturating_mul(1000));
        let left = header.promote_tokens.load(Ordering::Relaxed);
        let held = self.tick(slow, most_per_tick, left);
        header.promote_tokens.store(held, Ordering::Relaxed);
    }

    /// A tick in which memory is short: nothing is promoted.
    pub fn forbid(&mut self, domain: &Domain) {
        self.rest = 0.0;
        let header = domain.region.header();
        header.promote_tokens.store(0, Ordering::Relaxed);
    }
}

/// Reads of the domain's living processes that took the device longer than `bound_ns`, as far as
/// the buckets of the histograms tell.
fn slow_reads(domain: &Domain, bound_ns: u64) -> u64 {
    let first = Histogram::bucket_of(bound_ns) + 1;
    let processes = domain.region.processes().iter();
    let living = processes.filter(|record| record.state.load(Ordering::Relaxed) != 0);
    living
        .flat_map(|record| record.disk_latency.0.iter().skip(first))
        .map(|bucket| u64::from(bucket.load(Ordering::Relaxed)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: f64 = 1e6;

    /// Ticks in which everything granted is used; what they granted.
    fn used(pace: &mut Pace, ticks: u64, slow: u64) -> u64 {
        (0..ticks).map(|_| pace.tick(slow, PLENTY, 0)).sum()
    }

    #[test]
    fn the_rate_rises_while_the_device_is_quick_and_every_promotion_is_used() {
        let mut pace = Pace::default();
        let first = used(&mut pace, 5, 0);
        assert!(used(&mut pace, 5, 0) > 2 * first);
        let rate = pace.per_tick;
        let left = pace.tick(0, PLENTY, 1);
        pace.tick(0, PLENTY, left);
        assert_eq!(pace.per_tick, rate);
    }

    #[test]
    fn after_a_slow_read_nothing_for_a_second_and_then_half_as_much() {
        let mut pace = Pace::default();
        used(&mut pace, 20, 0);
        let before = pace.per_tick;
        assert_eq!(used(&mut pace, PAUSE_TICKS, 1), 0);
        let after = used(&mut pace, 1, 1) as f64;
        assert!(after > before / 3.0 && after < before * 2.0 / 3.0);
        // From here on it rises by little.
        assert!((used(&mut pace, 1, 1) as f64) < after * 1.1);
    }

    #[test]
    fn a_device_that_is_slow_all_the_time_is_left_alone() {
        let mut pace = Pace::default();
        let all: u64 = (1..1000).map(|slow| pace.tick(slow, PLENTY, 0)).sum();
        assert_eq!(all, 0);
        // ... and found out about again, from the little that is ever tried.
        assert!(used(&mut pace, 600, 999) > 600);
    }

    #[test]
    fn fewer_slow_reads_than_before_are_no_slow_read() {
        let mut pace = Pace::default();
        pace.tick(7, PLENTY, 0);
        used(&mut pace, PAUSE_TICKS, 7);
        assert!(used(&mut pace, 3, 2) > 0);
    }

    #[test]
    fn what_nobody_uses_does_not_pile_up() {
        let mut pace = Pace::default();
        let mut left = 0;
        for _ in 0..100 {
            left = pace.tick(0, PLENTY, left);
        }
        assert!(left as f64 <= TICKS_HELD * pace.per_tick + 1.0);
    }

    #[test]
    fn the_share_of_the_device_bounds_the_rate_and_fractions_add_up() {
        let mut pace = Pace::default();
        let all: u64 = (0..100).map(|_| pace.tick(0, 0.25, 0)).sum();
        assert_eq!(all, 25);
    }
}
