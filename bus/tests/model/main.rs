//! The model check: the code of the ring that ships (producer, consumer, bells, owners), explored
//! by shuttle, which decides before every atomic step who moves next, while either side may be
//! killed before any of its steps. Run with `cargo test -p ramgrid-bus --features model --test
//! model`.
//!
//! * Property: the receivers see every message, in order, whole, once; a second time only if a
//!   receiver was killed meanwhile, at most one message for each, and marked.
//! * Nobody sleeps for ever while there is something to do.
//! * It bites: with any one rule broken (`Fault`) a violation is found.
//!
//! `RAMGRID_MODEL_ITERATIONS` sets the schedules per scenario and scheduler. Shuttle explores
//! sequentially consistent executions only; `docs/bus.md` argues the orderings.

mod actors;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bus::wait::FutexWorld;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use world::World;

/// Schedules per scenario and scheduler; an unoptimised build is some twenty times slower.
const ITERATIONS: usize = if cfg!(debug_assertions) { 150 } else { 2500 };
/// Schedules per scheduler after which a broken rule must have been found out.
const SEARCH_MAX: usize = 60_000;
/// Preemptions that the probabilistic scheduler places.
const PCT_DEPTH: usize = 4;

/// A rule left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The tail moves before the record is written.
    PublishFirst,
    /// The head moves before the payload is copied.
    FreeFirst,
    /// The program sees a message before it is noted in `handed`.
    NoteLate,
    /// The head moves before the message is noted in `handed`.
    NoteAfterFree,
    /// The sleeper does not look again after it has announced itself.
    NoRecheck,
    /// The waker rings before it publishes.
    RingFirst,
    /// The sleeper's ticket is one that was rung for already.
    OldTicket,
    /// The page is taken from a living owner.
    Steal,
}

/// Who takes part.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Bytes of the ring.
    pub ring_bytes: u64,
    /// Messages to be sent.
    pub messages: u64,
    /// Deaths of senders, at most.
    pub sender_deaths: u32,
    /// Deaths of receivers, at most.
    pub receiver_deaths: u32,
    /// Processes that want to send.
    pub senders: u32,
    /// The rule left out.
    pub fault: Option<Fault>,
}

const QUIET: Scenario = Scenario {
    ring_bytes: 256,
    messages: 6,
    sender_deaths: 0,
    receiver_deaths: 0,
    senders: 1,
    fault: None,
};
const DYING: Scenario = Scenario {
    sender_deaths: 2,
    receiver_deaths: 2,
    ..QUIET
};
const RIVALS: Scenario = Scenario {
    senders: 2,
    messages: 4,
    sender_deaths: 1,
    ..QUIET
};

fn iterations() -> usize {
    let asked = std::env::var("RAMGRID_MODEL_ITERATIONS").ok();
    asked.map_or(ITERATIONS, |text| {
        text.parse()
            .expect("RAMGRID_MODEL_ITERATIONS: a number of schedules")
    })
}

/// One schedule.
fn run(scenario: Scenario) {
    // Where nobody dies nobody needs to wake by himself, and a lost wake is found as a deadlock.
    let is_deadly = scenario.sender_deaths + scenario.receiver_deaths > 0;
    FutexWorld::install(is_deadly || scenario.senders > 1);
    let world = Arc::new(World::new(scenario));
    let mut threads = Vec::new();
    for nth in 0..scenario.senders {
        let world = Arc::clone(&world);
        threads.push(shuttle::thread::spawn(move || {
            actors::send_all(&world, nth)
        }));
    }
    let receiver = Arc::clone(&world);
    threads.push(shuttle::thread::spawn(move || {
        actors::receive_all(&receiver)
    }));
    for thread in threads {
        thread.join().expect("an actor");
    }
    world.judge();
}

/// Explores a scenario under both schedulers; returns the schedules run.
fn explore(scenario: Scenario, iterations: usize) -> usize {
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(60_000);
    config.silence_warnings = true;
    config.stack_size = 256 << 10;
    config.failure_persistence = match scenario.fault {
        None => FailurePersistence::Print,
        Some(_) => FailurePersistence::None,
    };
    let random = RandomScheduler::new(iterations);
    let done = Runner::new(random, config.clone()).run(move || run(scenario));
    // Where sleeps end by themselves a scheduler that never preempts would starve the other side.
    if scenario.sender_deaths + scenario.receiver_deaths > 0 || scenario.senders > 1 {
        return done;
    }
    let pct = PctScheduler::new(PCT_DEPTH, iterations);
    done + Runner::new(pct, config).run(move || run(scenario))
}

macro_rules! holds {
    ($($test:ident: $scenario:expr;)*) => {
        $(
            #[test]
            fn $test() {
                let schedules = explore($scenario, iterations());
                println!("{}: {schedules} schedules", stringify!($test));
            }
        )*
    };
}

holds! {
    messages_arrive_and_nobody_sleeps_for_ever: QUIET;
    a_larger_ring_that_is_seldom_full: Scenario { ring_bytes: 1024, ..QUIET };
    both_sides_killed_anywhere: DYING;
    only_senders_killed: Scenario { receiver_deaths: 0, sender_deaths: 4, ..DYING };
    only_receivers_killed: Scenario { sender_deaths: 0, receiver_deaths: 4, ..DYING };
    two_that_want_to_send: RIVALS;
}

/// Looks for a violation in a scenario with one rule broken, in growing portions.
fn bites(scenario: Scenario, fault: Fault) {
    let broken = Scenario {
        fault: Some(fault),
        ..scenario
    };
    let (mut searched, mut portion) = (0, 500);
    while searched < SEARCH_MAX {
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| explore(broken, portion))) {
            let what = cause.downcast_ref::<String>().map_or("", String::as_str);
            let within = searched + portion;
            return println!("{fault:?}: found within {within} schedules of each: {what}");
        }
        searched += portion;
        portion *= 2;
    }
    panic!("{fault:?} went unnoticed in {searched} schedules of each kind");
}

macro_rules! without {
    ($($test:ident: $fault:ident in $scenario:expr;)*) => {
        $(
            #[test]
            fn $test() {
                bites($scenario, Fault::$fault);
            }
        )*
    };
}

without! {
    a_tail_that_moves_first_shows_garbage: PublishFirst in QUIET;
    a_head_that_moves_first_loses_the_payload: FreeFirst in QUIET;
    a_message_noted_late_comes_again_unmarked: NoteLate in DYING;
    a_message_noted_after_it_was_freed_has_its_number_used_twice: NoteAfterFree in DYING;
    a_sleeper_that_does_not_look_again_sleeps_for_ever: NoRecheck in QUIET;
    a_waker_that_rings_first_wakes_nobody: RingFirst in QUIET;
    an_old_ticket_is_never_rung_for: OldTicket in QUIET;
    a_page_taken_from_the_living_is_ruined: Steal in RIVALS;
}
