//! The ring of traces: two processes note what they read, one of them may die between its steps,
//! and a reader takes what it finds and loses patience now and then.
//!
//! * Property: no run is taken that nobody noted, none twice, and those taken, lost and dropped are
//!   together those noted. Where nobody died and the reader was patient, each process' runs come in
//!   its order and none is lost.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use grid::sync::{AtomicU64, Killed, Ordering, doom};
use grid::trace::{Ends, Run, Taken, Trace};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// Places of the ring: few, so that it is full now and then.
const PLACES: usize = 3;
/// Runs that each process notes.
const RUNS: u64 = 4;
/// A victim dies before one of so many steps, or survives.
const DOOM_STEPS_MAX: u32 = 24;

struct Ring {
    ends: Ends,
    slots: Vec<AtomicU64>,
}

impl Ring {
    fn new() -> Ring {
        let zero = || AtomicU64::new(0);
        Ring {
            ends: Ends {
                head: zero(),
                tail: zero(),
                dropped: zero(),
            },
            slots: (0..PLACES).map(|_| zero()).collect(),
        }
    }

    fn trace(&self) -> Trace<'_> {
        Trace {
            ends: &self.ends,
            slots: &self.slots,
        }
    }
}

/// Notes its runs; how many it has noted to the end, or has begun to.
fn note(ring: &Ring, record: u16) {
    for first in 0..RUNS {
        ring.trace().note(Run {
            record,
            is_write: false,
            first,
            blocks: 1,
        });
    }
}

/// What the reader has seen.
#[derive(Default)]
struct Seen {
    taken: Vec<Run>,
    lost: u64,
}

impl Seen {
    /// Looks so many times; of an awaited place it leaves one in four behind, if `hasty`.
    fn look(&mut self, ring: &Ring, looks: u32, hasty: bool) {
        for _ in 0..looks {
            match ring.trace().take() {
                Taken::Run(run) => self.taken.push(run),
                Taken::Empty => {}
                Taken::Awaited if hasty && shuttle::rand::thread_rng().gen_ratio(1, 4) => {
                    ring.trace().leave();
                    self.lost += 1;
                }
                Taken::Awaited => {}
            }
            shuttle::thread::yield_now();
        }
    }

    /// Nobody notes any more: takes or leaves behind all there is.
    fn finish(&mut self, ring: &Ring) {
        loop {
            match ring.trace().take() {
                Taken::Run(run) => self.taken.push(run),
                Taken::Empty => return,
                Taken::Awaited => {
                    ring.trace().leave();
                    self.lost += 1;
                }
            }
        }
    }
}

fn run(kills: bool, hasty: bool) {
    let ring = Arc::new(Ring::new());
    let victim = shuttle::thread::spawn({
        let ring = Arc::clone(&ring);
        move || {
            if kills {
                let steps = shuttle::rand::thread_rng().gen_range(0..DOOM_STEPS_MAX);
                doom(Some(steps));
            }
            let fate = catch_unwind(AssertUnwindSafe(|| note(&ring, 1)));
            doom(None);
            match fate {
                Err(cause) if !cause.is::<Killed>() => resume_unwind(cause),
                fate => fate.is_err(),
            }
        }
    });
    let other = shuttle::thread::spawn({
        let ring = Arc::clone(&ring);
        move || note(&ring, 2)
    });
    let mut seen = Seen::default();
    seen.look(&ring, 12, hasty);
    let died = victim.join().expect("a process");
    other.join().expect("a process");
    seen.finish(&ring);
    judge(&ring, &seen, died, hasty);
}

fn judge(ring: &Ring, seen: &Seen, died: bool, hasty: bool) {
    let dropped = ring.ends.dropped.load(Ordering::Relaxed);
    let counted = seen.taken.len() as u64 + seen.lost + dropped;
    match died {
        true => assert!((RUNS..=2 * RUNS).contains(&counted), "{counted} counted"),
        false => assert_eq!(counted, 2 * RUNS),
    }
    let mut times = HashMap::new();
    for run in &seen.taken {
        assert!((1..=2).contains(&run.record) && run.first < RUNS && run.blocks == 1);
        *times.entry((run.record, run.first)).or_insert(0) += 1;
    }
    assert!(times.values().all(|times| *times == 1), "taken twice");
    if !died && !hasty {
        assert_eq!(seen.lost, 0);
        for record in [1, 2] {
            let of = seen.taken.iter().filter(|run| run.record == record);
            assert!(of.map(|run| run.first).is_sorted(), "out of order");
        }
    }
}

fn explore(kills: bool, hasty: bool) {
    let mut config = Config::new();
    config.silence_warnings = true;
    let random = RandomScheduler::new(super::iterations());
    Runner::new(random, config.clone()).run(move || run(kills, hasty));
    let pct = PctScheduler::new(super::PCT_DEPTH, super::iterations());
    Runner::new(pct, config).run(move || run(kills, hasty));
}

#[test]
fn traced_runs_come_in_order_and_none_is_lost() {
    explore(false, false);
}

#[test]
fn traced_runs_are_counted_by_a_reader_in_a_hurry() {
    explore(false, true);
}

#[test]
fn traced_runs_are_counted_where_a_process_is_killed_anywhere() {
    explore(true, true);
}
