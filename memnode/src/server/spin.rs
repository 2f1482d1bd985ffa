//! Busy waiting, in moderation: for a client that asks one block at a time, the wait for the
//! server to wake up is most of the round trip (30 to 70 us on an idle virtual processor).
//!
//! One spinner runs on each worker beside its connections. While requests follow each other within
//! a few tens of microseconds it keeps the runtime looking at its sockets instead of sleeping. It
//! gives up by itself: when requests come too far apart to be worth waiting for, when the machine's
//! processors are wanted by others, and when enough other workers wait busily already.

use std::cell::{Cell, OnceCell};
use std::fs;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Shared;

/// Weight of the latest gap between requests in their moving average: one part in so many.
const GAP_WEIGHT: u64 = 8;

/// A longer gap counts like this, so that one pause is soon forgotten. In nanoseconds.
const GAP_NS_MAX: u64 = 1_000_000;

/// How often it is looked at whether processors are scarce.
const PRESSURE_EVERY: Duration = Duration::from_millis(100);

/// Scarce: somebody on this machine waited for a processor for so many percent of the last ten
/// seconds. (The kernel renews that figure every two seconds, so it notices late.)
const MACHINE_WAITED_PERCENT_MAX: f32 = 40.0;

/// Scarce: this thread, when it wanted to run, waited for more than one part in so many of the
/// time. (Noticed at once, but it says nothing about others.)
const WAITED_SHARE: u64 = 2;

thread_local! {
    static SPINNER: OnceCell<Rc<Spinner>> = const { OnceCell::new() };
}

/// What one worker knows about its traffic.
struct Spinner {
    shared: Arc<Shared>,
    /// When the last request was answered.
    answered: Cell<Instant>,
    /// Moving average from one answer to the next request, in nanoseconds.
    gap_ns: Cell<u64>,
    /// Is the loop below awake?
    awake: Cell<bool>,
    wake: Notify,
    /// How long this thread had waited for a processor when last asked, in microseconds, and when.
    waited: Cell<(u64, Instant)>,
    contended: Cell<bool>,
}

/// Tells the worker's spinner that a request has arrived.
pub fn arrived() {
    with_spinner(|spinner| {
        let gap_ns = spinner
            .answered
            .get()
            .elapsed()
            .as_nanos()
            .min(u128::from(GAP_NS_MAX)) as u64;
        let mean = spinner.gap_ns.get();
        spinner
            .gap_ns
            .set(mean - mean / GAP_WEIGHT + gap_ns / GAP_WEIGHT);
    });
}

/// Tells the worker's spinner that everything that had arrived is answered.
pub fn answered() {
    with_spinner(|spinner| {
        spinner.answered.set(Instant::now());
        if !spinner.awake.get() && !spinner.patience().is_zero() {
            spinner.wake.notify_one();
        }
    });
}

fn with_spinner(tell: impl FnOnce(&Spinner)) {
    SPINNER.with(|spinner| {
        if let Some(spinner) = spinner.get() {
            tell(spinner);
        }
    });
}

/// Runs this worker's spinner, for ever.
pub async fn run(shared: Arc<Shared>) {
    if shared.config.busy_poll_us_max == 0 {
        return std::future::pending().await;
    }
    let spinner = Rc::new(Spinner {
        shared,
        answered: Cell::new(Instant::now()),
        gap_ns: Cell::new(GAP_NS_MAX),
        awake: Cell::new(false),
        wake: Notify::new(),
        waited: Cell::new((waited_us(), Instant::now())),
        contended: Cell::new(false),
    });
    SPINNER.with(|place| drop(place.set(spinner.clone())));
    loop {
        spinner.wake.notified().await;
        spinner.awake.set(true);
        spinner.wait_busily().await;
        spinner.awake.set(false);
    }
}

impl Spinner {
    /// How long to wait for the next request: twice as long as it usually takes, if that is worth
    /// it at all.
    fn patience(&self) -> Duration {
        let answered = self.answered.get();
        if self.contended.get() && answered.duration_since(self.waited.get().1) < PRESSURE_EVERY {
            return Duration::ZERO;
        }
        let most = Duration::from_micros(self.shared.config.busy_poll_us_max);
        let mean = Duration::from_nanos(self.gap_ns.get());
        if mean > most {
            Duration::ZERO
        } else {
            (mean * 2).min(most)
        }
    }

    async fn wait_busily(&self) {
        let Some(_turn) = Turn::take(&self.shared) else {
            return;
        };
        loop {
            let now = Instant::now();
            if now.duration_since(self.answered.get()) > self.patience() || self.contended(now) {
                return;
            }
            // The very client that was just answered may have been woken on this processor: let it
            // run. Alone here, this returns at once.
            std::thread::yield_now();
            // Back here after the runtime has looked at its sockets once, without sleeping.
            tokio::task::yield_now().await;
        }
    }

    fn contended(&self, now: Instant) -> bool {
        let (before_us, then) = self.waited.get();
        let passed = now.duration_since(then);
        if passed >= PRESSURE_EVERY {
            let waited_us = waited_us();
            let most_us = passed.as_micros() as u64 / WAITED_SHARE;
            let waited_long = waited_us.saturating_sub(before_us) > most_us;
            let scarce = waited_long || machine_waited_percent() > MACHINE_WAITED_PERCENT_MAX;
            self.contended.set(scarce);
            self.waited.set((waited_us, now));
        }
        self.contended.get()
    }
}

/// Leave to wait busily: at most half of the processors do.
struct Turn<'a>(&'a Shared);

impl Turn<'_> {
    fn take(shared: &Shared) -> Option<Turn<'_>> {
        if shared.spinning.fetch_add(1, Relaxed) < shared.spinning_max {
            return Some(Turn(shared));
        }
        shared.spinning.fetch_sub(1, Relaxed);
        None
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.spinning.fetch_sub(1, Relaxed);
    }
}

/// How much of the last ten seconds somebody on this machine waited for a processor, in percent;
/// 0 on a kernel without pressure accounting.
fn machine_waited_percent() -> f32 {
    let text = fs::read_to_string("/proc/pressure/cpu").unwrap_or_default();
    some_avg10(&text).unwrap_or(0.0)
}

/// `some avg10=1.79 avg60=2.23 avg300=1.71 total=27010513` and more lines.
fn some_avg10(text: &str) -> Option<f32> {
    text.lines()
        .next()?
        .split_once("avg10=")?
        .1
        .split(' ')
        .next()?
        .parse()
        .ok()
}

/// How long this thread has waited for a processor so far, in microseconds.
fn waited_us() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    run_delay_us(&text).unwrap_or(0)
}

/// `ran_ns waited_ns slices`.
fn run_delay_us(text: &str) -> Option<u64> {
    text.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()
        .map(|ns| ns / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_accounts_are_read() {
        let text = "some avg10=1.79 avg60=2.23 avg300=1.71 total=27010513\nfull total=0\n";
        assert_eq!(some_avg10(text), Some(1.79));
        assert_eq!(some_avg10("nonsense"), None);
        assert_eq!(run_delay_us("1000 42000 7\n"), Some(42));
    }
}
