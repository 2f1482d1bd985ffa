//! `--memory auto`: how much of the host's memory a node may have right now.
//!
//! Run by a node on a thread of its own. Ten times a second, and more often when memory gets
//! scarce, it looks at what the host has to spare (`host`), and decides: under pressure the node
//! gives back at once what is missing, the coldest blocks first; when there was none for a while it
//! takes more, slowly, if it has use for it. A node that had to give back soon after it took waits
//! twice as long the next time, so that it and its neighbour do not swing.
//!
//! The decision is a function of what was seen, and is tested as one; the rest is a loop.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::host::Idle;
use crate::server::Shared;
use crate::size;

/// How often the host is looked at, and how often when less than twice the reserve is available:
/// what bounds the time until memory is given back. A look takes some tens of microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOK_CLOSELY: Duration = Duration::from_millis(20);

/// One part in so many of the host's memory stays available, whatever the node could use.
const RESERVE_SHARE: u64 = 10;

/// The node takes more only where one part in so many is available beyond that.
const MARGIN_SHARE: u64 = 20;

/// Programs that waited for memory for more than one part in so many of the time are in trouble.
const STALLED_SHARE: u32 = 100;

/// Trouble costs the node one part in so many of what it holds, each time it is seen.
const GIVE_SHARE: u64 = 8;

/// The node grows by at most one part in so many at a time.
const TAKE_SHARE: u64 = 8;

/// ... and by so much, if that is more. In bytes.
const TAKE_BYTES_MIN: u64 = 16 << 20;

/// Time between two steps up.
const TAKE_EVERY: Duration = Duration::from_secs(1);

/// After pressure, so long without it before the node takes more: the first time, and the last.
const HOLD_MIN: Duration = Duration::from_secs(10);
const HOLD_MAX: Duration = Duration::from_secs(600);

/// Pressure so soon after a step up was our fault.
const BLAME: Duration = Duration::from_secs(60);

/// After so long without pressure what was is forgotten.
const FORGET: Duration = Duration::from_secs(1800);

/// How far a node follows its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lend {
    /// Never less than this, in bytes.
    pub floor_bytes: usize,
    /// This much at first, in bytes.
    pub begin_bytes: usize,
}

/// What decides. Amounts are of blocks, their index included.
pub struct Lender {
    floor_bytes: u64,
    ceiling_bytes: u64,
    /// How long there must be no pressure before it takes more.
    hold: Duration,
    /// How long there was none.
    calm: Duration,
    /// How long ago it took more.
    taken: Duration,
    /// How long programs had waited for memory at the last look.
    stalled: Option<Duration>,
}

impl Lender {
    /// Between these two, in bytes.
    pub fn new(floor_bytes: u64, ceiling_bytes: u64) -> Lender {
        Lender {
            floor_bytes: floor_bytes.min(ceiling_bytes),
            ceiling_bytes,
            hold: HOLD_MIN,
            calm: Duration::ZERO,
            taken: HOLD_MAX,
            stalled: None,
        }
    }

    /// How much the node may have, which has `now_bytes` and uses `used_bytes` of it, `passed`
    /// after the last look.
    pub fn next(&mut self, idle: &Idle, now_bytes: u64, used_bytes: u64, passed: Duration) -> u64 {
        self.calm += passed;
        self.taken += passed;
        let reserve = idle.total_bytes / RESERVE_SHARE;
        let deficit = reserve.saturating_sub(idle.available_bytes);
        let stalled = match self.stalled.replace(idle.stalled) {
            Some(before) => idle.stalled.saturating_sub(before),
            None => Duration::ZERO,
        };
        // Where memory lies idle, programs that wait for some have a limit of their own.
        let in_trouble = stalled > passed / STALLED_SHARE && idle.free_bytes < reserve;
        if deficit > 0 || in_trouble {
            return self
                .give(deficit, in_trouble, now_bytes.min(used_bytes), reserve)
                .min(now_bytes);
        }
        if self.calm >= FORGET {
            self.hold = HOLD_MIN;
        }
        let margin = reserve + idle.total_bytes / MARGIN_SHARE;
        let spare = idle.available_bytes.saturating_sub(margin);
        let has_use = used_bytes >= now_bytes - now_bytes / 10;
        if self.calm < self.hold || self.taken < TAKE_EVERY || spare == 0 || !has_use {
            return now_bytes;
        }
        let more = (now_bytes / TAKE_SHARE).max(TAKE_BYTES_MIN).min(spare / 2);
        let next = (now_bytes + more).min(self.ceiling_bytes);
        if next > now_bytes {
            self.taken = Duration::ZERO;
        }
        next
    }

    fn give(&mut self, deficit: u64, in_trouble: bool, held: u64, reserve: u64) -> u64 {
        if self.taken < BLAME {
            self.hold = (self.hold * 2).min(HOLD_MAX);
            self.taken = BLAME; // blamed once
        }
        self.calm = Duration::ZERO;
        // More than is missing, or it would be missing again at the next look; and not so much
        // that it would be taken again when it is calm.
        let missing = if deficit > 0 {
            deficit + reserve / 4
        } else {
            0
        };
        let trouble = if in_trouble { held / GIVE_SHARE } else { 0 };
        held.saturating_sub(missing.max(trouble))
            .max(self.floor_bytes)
    }
}

/// The loop of one node; ends when it is told to.
pub(crate) struct Lending {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Lending {
    /// Starts it, if the node follows its host at all.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(shared: &Arc<Shared>) -> std::io::Result<Option<Lending>> {
        let Some(lend) = shared.config.lend else {
            return Ok(None);
        };
        let (end, ended) = channel();
        let shared = shared.clone();
        let thread = thread::Builder::new()
            .name("memnode-lend".to_string())
            .spawn(move || follow(&shared, lend, &ended))?;
        Ok(Some(Lending { end, thread }))
    }

    /// Ends it.
    pub fn end(self) {
        drop(self.end);
        let _ = self.thread.join();
    }
}

fn follow(shared: &Shared, lend: Lend, ended: &Receiver<()>) {
    let ceiling = shared.budget.store_bytes as u64;
    let fixed = shared.config.memory_bytes as u64 - ceiling;
    let least = shared.store.resize_bytes_min() as u64;
    let floor = (lend.floor_bytes as u64).saturating_sub(fixed).max(least);
    let mut lender = Lender::new(floor, ceiling);
    let (mut looked, mut pause) = (Instant::now(), LOOK_EVERY);
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let Some(idle) = (shared.config.host)() else {
            continue;
        };
        pause = match idle.available_bytes < idle.total_bytes / RESERVE_SHARE * 2 {
            true => LOOK_CLOSELY,
            false => LOOK_EVERY,
        };
        let now = shared.store.capacity_bytes() as u64;
        let used = shared.store.used_bytes();
        let next = lender.next(&idle, now, used, looked.elapsed());
        looked = Instant::now();
        if next == now {
            continue;
        }
        let outcome = shared.store.resize(next as usize);
        let took = looked.elapsed();
        let [was, is, available] = [now + fixed, next + fixed, idle.available_bytes]
            .map(|bytes| size::format(bytes >> 20 << 20));
        if next < now {
            shared.gave_back(used.saturating_sub(next));
            tracing::info!(%was, %is, %available, ?took, "gave memory back to the host");
        } else {
            tracing::debug!(%was, %is, %available, "took more memory");
        }
        if let Err(error) = outcome {
            tracing::warn!(%error, "the kernel did not take some memory back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A host of 16 GiB on which `others` use so much.
    fn host(others: u64, node: u64, stalled_ms: u64) -> Idle {
        let available_bytes = (16 * GIB).saturating_sub(others + node);
        Idle {
            total_bytes: 16 * GIB,
            available_bytes,
            free_bytes: available_bytes / 2,
            stalled: Duration::from_millis(stalled_ms),
        }
    }

    /// So many looks at a host whose others use so much; a node that is always full.
    fn looks(lender: &mut Lender, now: u64, others: u64, count: u32) -> u64 {
        (0..count).fold(now, |now, _| {
            lender.next(&host(others, now, 0), now, now, LOOK_EVERY)
        })
    }

    #[test]
    fn what_another_program_needs_is_given_back_at_the_next_look() {
        let mut lender = Lender::new(GIB, 8 * GIB);
        let now = looks(&mut lender, 6 * GIB, 4 * GIB, 4);
        assert_eq!(now, 6 * GIB, "before it was calm for a while");
        let now = looks(&mut lender, now, 10 * GIB, 1);
        let idle = host(10 * GIB, now, 0);
        assert!(
            idle.available_bytes >= idle.total_bytes / RESERVE_SHARE,
            "{now}"
        );
        assert!(now > 3 * GIB, "more than needed was given: {now}");
        assert_eq!(looks(&mut lender, now, 30 * GIB, 4), GIB, "the floor stays");
    }

    #[test]
    fn it_takes_again_when_there_was_no_pressure_for_a_while_and_never_over_the_ceiling() {
        let mut lender = Lender::new(GIB, 8 * GIB);
        let low = looks(&mut lender, 6 * GIB, 14 * GIB, 4);
        assert_eq!(looks(&mut lender, low, 2 * GIB, 90), low, "too soon");
        let high = looks(&mut lender, low, 2 * GIB, 1000);
        assert_eq!(high, 8 * GIB);
        let mut idle_node = Lender::new(GIB, 8 * GIB);
        let unused = idle_node.next(&host(0, 0, 0), 2 * GIB, GIB, HOLD_MAX);
        assert_eq!(unused, 2 * GIB, "it has no use for more");
    }

    #[test]
    fn it_does_not_swing() {
        // The neighbour comes back each time the node has taken: the pauses double.
        let mut lender = Lender::new(GIB, 8 * GIB);
        let mut now = 2 * GIB;
        let mut turns = 0;
        for _ in 0..10 * 3600 {
            let others = if now > 2 * GIB + GIB / 2 {
                13 * GIB
            } else {
                4 * GIB
            };
            let next = lender.next(&host(others, now, 0), now, now, LOOK_EVERY);
            turns += u32::from(next < now);
            now = next;
        }
        assert!(
            (3..=16).contains(&turns),
            "gave back {turns} times in an hour"
        );
    }

    #[test]
    fn programs_that_wait_for_memory_are_helped_if_memory_is_what_the_host_lacks() {
        let mut lender = Lender::new(GIB, 8 * GIB);
        let tight = |stalled_ms| Idle {
            free_bytes: GIB / 2,
            ..host(4 * GIB, 6 * GIB, stalled_ms)
        };
        assert_eq!(
            lender.next(&tight(1000), 6 * GIB, 6 * GIB, LOOK_EVERY),
            6 * GIB
        );
        let next = lender.next(&tight(1100), 6 * GIB, 6 * GIB, LOOK_EVERY);
        assert_eq!(next, 6 * GIB - 6 * GIB / GIVE_SHARE);
        let mut other = Lender::new(GIB, 8 * GIB);
        other.next(&host(4 * GIB, 6 * GIB, 0), 6 * GIB, 6 * GIB, LOOK_EVERY);
        let caged = other.next(&host(4 * GIB, 6 * GIB, 200), 6 * GIB, 6 * GIB, LOOK_EVERY);
        assert_eq!(
            caged,
            6 * GIB,
            "a limit of their own is not the node's business"
        );
    }
}
