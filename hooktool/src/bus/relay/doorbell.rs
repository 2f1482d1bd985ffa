//! Wakes the relay's tasks when a program has filled or emptied a ring.
//!
//! Threads sleep on the rings as any receiver or sender does (`bus::wait`), on both rings of up to
//! 64 ends each, and ring for every connection, each of which looks at its own streams. They write
//! nothing but the `waiting` words of the relay's own pages. After each ring they breathe, so that
//! a busy bus costs some thousand wakes a second and not one a message.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::channel::MappedHalf;
use bus::layout::Bell;
use bus::ring::Half;
use bus::wait::{Pace, until};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::end::End;

/// Ends of one thread: two words each of the 128 one call can sleep on.
const ENDS_MAX: usize = bus::sys::WAIT_MAX / 2;
/// Between two rings.
const BREATH: Duration = Duration::from_micros(30);
/// Longest sleep before a change of the list is seen.
const NAP: Duration = Duration::from_millis(100);

/// Both rings of an end.
#[derive(Clone, Debug)]
struct Watch {
    out: MappedHalf,
    back: MappedHalf,
}

/// What threads and tasks share.
#[derive(Debug, Default)]
struct Shared {
    watched: Mutex<Vec<Watch>>,
    /// Counts the changes of `watched`.
    version: AtomicU64,
    listeners: Mutex<Vec<Arc<Notify>>>,
    is_ended: AtomicBool,
}

/// The bell of a relay. Its threads end with it.
#[derive(Debug, Default)]
pub struct Doorbell {
    shared: Arc<Shared>,
    threads: Cell<usize>,
}

impl Drop for Doorbell {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Ordering::Release);
    }
}

impl Doorbell {
    /// Watches these ends from now on (within `NAP`), and no others.
    pub fn watch<'a>(&self, ends: impl Iterator<Item = &'a Rc<End>>) {
        let pair = |end: &Rc<End>| {
            let (out, back) = (end.out_half()?, end.in_half()?);
            Some(Watch { out, back })
        };
        let watched: Vec<Watch> = ends.filter_map(pair).collect();
        let threads = watched.len().div_ceil(ENDS_MAX);
        *self.shared.watched.lock() = watched;
        self.shared.version.fetch_add(1, Ordering::Release);
        for nth in self.threads.get()..threads {
            let shared = Arc::clone(&self.shared);
            let name = format!("doorbell-{nth}");
            let thread = std::thread::Builder::new().name(name);
            if thread.spawn(move || shared.tend(nth)).is_err() {
                // Without it everything goes on, at the pace of the timers.
                break;
            }
            self.threads.set(nth + 1);
        }
    }

    /// A new listener, rung for until it is dropped.
    pub fn listen(&self) -> Arc<Notify> {
        let listener = Arc::new(Notify::new());
        let mut listeners = self.shared.listeners.lock();
        listeners.retain(|other| Arc::strong_count(other) > 1);
        listeners.push(Arc::clone(&listener));
        listener
    }

    /// Rings for everybody.
    pub fn ring(&self) {
        self.shared.ring();
    }
}

impl Shared {
    fn ring(&self) {
        let listeners = self.listeners.lock();
        listeners.iter().for_each(|listener| listener.notify_one());
    }

    /// What the `nth` thread does.
    fn tend(&self, nth: usize) {
        let mut version = 0;
        let mut mine: Vec<(Watch, Cell<[u64; 2]>)> = Vec::new();
        while !self.is_ended.load(Ordering::Acquire) {
            if self.version.load(Ordering::Acquire) != version {
                version = self.version.load(Ordering::Acquire);
                let watched = self.watched.lock();
                let part = watched.iter().skip(nth * ENDS_MAX).take(ENDS_MAX);
                mine = part.map(|watch| (watch.clone(), Cell::default())).collect();
            }
            if mine.is_empty() {
                std::thread::sleep(NAP);
                continue;
            }
            if sleep_until_moved(&mine) {
                self.ring();
                std::thread::sleep(BREATH);
            }
        }
    }
}

/// Sleeps until a program's position is not what was seen last; `false`: not within `NAP`.
fn sleep_until_moved(mine: &[(Watch, Cell<[u64; 2]>)]) -> bool {
    let pairs: Vec<(&Bell, &Bell, &bus::sync::AtomicU64)> = mine
        .iter()
        .flat_map(|(watch, _)| {
            let (receives, fills) = (watch.out.consumer(), watch.out.producer());
            let (sends, empties) = (watch.back.producer(), watch.back.consumer());
            [
                (&receives.bell, &fills.bell, &receives.counters.sleeps),
                (&sends.bell, &empties.bell, &sends.counters.sleeps),
            ]
        })
        .collect();
    let has_moved = |_| {
        let mut has_moved = false;
        for (watch, seen) in mine {
            let tail = &watch.out.producer().tail.at;
            let head = &watch.back.consumer().head.at;
            let now = [tail, head].map(|position| position.load(Ordering::Acquire));
            has_moved |= seen.replace(now) != now;
        }
        has_moved
    };
    let mut pace = Pace::fixed(Duration::ZERO);
    until(
        &pairs,
        &mut pace,
        Instant::now().checked_add(NAP),
        has_moved,
    )
}
