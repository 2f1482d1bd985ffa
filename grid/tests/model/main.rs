//! The model check: the code of grid that ships (cells, writes, operation records, reaper, file
//! table, index, local cache, refresh slots), explored by shuttle, which decides before every
//! atomic step who moves next. Run with `cargo test -p ramgrid-grid --features model --test model`.
//!
//! * Property: what a read is given is what the disk held at some instant during the call, at
//!   which no write was half way through. So it is never older than the last write that had ended
//!   when the read began, and never torn.
//! * In the end nothing stays frozen: every file can be proved, filled and served again.
//! * The ring of traces loses nothing uncounted (`trace`).
//! * It bites: with any one rule left out (`faults`) a violation is found.
//!
//! `RAMGRID_MODEL_ITERATIONS` sets the schedules per scenario and scheduler (default 2500, in an
//! unoptimised build 200). Shuttle explores sequentially consistent executions only;
//! `docs/design.md` argues the orderings.

mod actors;
mod faults;
mod scenario;
mod trace;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use faults::Fault;
use grid::cell;
use grid::sync::{Killed, Ordering, doom};
use scenario::Scenario;
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use world::{FILES, World};

/// Schedules per scenario and scheduler; an unoptimised build is some twenty times slower.
const ITERATIONS: usize = if cfg!(debug_assertions) { 200 } else { 2500 };
/// Schedules per scheduler after which a broken rule must have been found out.
const SEARCH_MAX: usize = 60_000;
/// Preemptions that the probabilistic scheduler places.
const PCT_DEPTH: usize = 4;
/// A victim dies before one of so many steps, or survives.
const DOOM_STEPS_MAX: u32 = 70;

fn iterations() -> usize {
    let asked = std::env::var("RAMGRID_MODEL_ITERATIONS").ok();
    asked.map_or(ITERATIONS, |text| {
        text.parse()
            .expect("RAMGRID_MODEL_ITERATIONS: a number of schedules")
    })
}

/// One schedule of a scenario.
fn run(scenario: Scenario, hits: &AtomicU64) {
    let world = Arc::new(World::new(scenario.plan));
    (scenario.setup)(&world);
    let threads: Vec<_> = (0..scenario.actors.len())
        .map(|nth| {
            let world = Arc::clone(&world);
            shuttle::thread::spawn(move || act(scenario, nth, &world))
        })
        .collect();
    for thread in threads {
        thread.join().expect("an actor");
    }
    hits.fetch_add(world.hits(), Relaxed);
    aftermath(&world);
}

fn act(scenario: Scenario, nth: usize, world: &World) {
    let actor = scenario.actors[nth];
    match scenario.victim {
        Some((owner, victim)) if victim == nth => {
            doom(Some(
                shuttle::rand::thread_rng().gen_range(0..DOOM_STEPS_MAX),
            ));
            let fate = catch_unwind(AssertUnwindSafe(|| actor(world)));
            doom(None);
            match fate {
                Err(cause) if cause.is::<Killed>() => world.bury(owner),
                Err(cause) => resume_unwind(cause),
                Ok(()) => {}
            }
        }
        _ => actor(world),
    }
}

/// Everybody is gone: whatever the dead left behind is released, and every file can be served.
fn aftermath(world: &World) {
    let released = (0..3).any(|_| world.reap());
    assert!(
        released,
        "what a dead process had in flight is still frozen"
    );
    for block in world.cells().blocks {
        assert!(
            cell::is_quiet(block.load(Ordering::Relaxed)),
            "a block stays in flight"
        );
    }
    for file in 0..FILES {
        let cells = world.cells().file(world.ident(file).hash());
        assert!(
            cell::is_quiet(cells.writes.load(Ordering::Relaxed)),
            "writes stay in flight"
        );
        let epoch = cells.epoch.load(Ordering::Relaxed);
        if cell::is_poisoned(epoch) {
            assert!(world.plan.ops == 1, "poisoned without need");
            return;
        }
        assert!(cell::is_quiet(epoch), "an epoch stays in flight");
    }
    for file in 0..FILES {
        for other in 0..FILES {
            world.age(other);
        }
        world.open(9, file, 12);
        assert!(
            world.prove(file),
            "nobody writes, and yet nothing can be proved"
        );
        world.fill(9, file, 0);
        let served = world.serve(9, file, 0);
        assert_eq!(served, Some(world.kernel_read(file, 0)), "not served again");
    }
}

/// Explores a scenario under both schedulers; returns schedules run and reads served.
fn explore(scenario: Scenario, iterations: usize) -> (usize, u64) {
    let hits = Arc::new(AtomicU64::new(0));
    let body = |hits: Arc<AtomicU64>| move || run(scenario, &hits);
    let mut config = Config::new();
    config.max_steps = MaxSteps::FailAfter(50_000);
    config.silence_warnings = true;
    config.failure_persistence = match scenario.plan.fault {
        None => FailurePersistence::Print,
        Some(_) => FailurePersistence::None,
    };
    let random = RandomScheduler::new(iterations);
    let mut done = Runner::new(random, config.clone()).run(body(Arc::clone(&hits)));
    let pct = PctScheduler::new(PCT_DEPTH, iterations);
    done += Runner::new(pct, config).run(body(Arc::clone(&hits)));
    (done, hits.load(Relaxed))
}

macro_rules! holds {
    ($($test:ident: $scenario:ident;)*) => {
        $(
            #[test]
            fn $test() {
                let (schedules, hits) = explore(scenario::$scenario, iterations());
                println!("{}: {schedules} schedules, {hits} reads served", stringify!($test));
                assert!(hits > 0, "nothing was ever served: the scenario proves nothing");
            }
        )*
    };
}

holds! {
    writers_and_readers_of_one_page: WRITERS;
    a_writer_killed_anywhere: KILLED;
    writers_of_an_owned_file: OWNED_WRITERS;
    a_writer_of_an_owned_file_killed_anywhere: OWNED;
    an_outsider_under_locks: OUTSIDER;
    an_outsider_while_the_session_reads: ONLY_OUTSIDER;
    files_that_share_their_cells: COLLIDING;
    a_recycled_record_with_other_blocks: RECYCLED;
    a_recycled_record_with_stamps_its_maker_killed: RECYCLED_STAMPS;
    a_file_that_many_meet_at_once: FIRST_MEETING;
    refresh_slots_and_a_killed_filler: REFRESH;
    local_tags_that_change_hands: TAGS;
    a_stream_open_for_writing: STREAM;
    too_few_operation_records: FEW_RECORDS;
    an_owned_file_that_is_disowned: DISOWNED;
}

/// Looks for a violation in a scenario with one rule left out, in growing portions.
fn bites(scenario: Scenario, fault: Fault) {
    let broken = scenario.without(fault);
    let mut searched = 0;
    let mut portion = 500;
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
    ($($test:ident: $fault:ident in $scenario:ident;)*) => {
        $(
            #[test]
            fn $test() {
                bites(scenario::$scenario, Fault::$fault);
            }
        )*
    };
}

without! {
    without_w1_a_dead_writer_blocks_its_cells_for_ever: RecordLate in KILLED;
    without_w2_a_stale_page_is_served: NoEnter in OWNED_WRITERS;
    without_f1_a_mixed_page_is_served: FillInFlight in OWNED_WRITERS;
    without_f2_an_outsiders_half_page_is_served: FillOneStamp in ONLY_OUTSIDER;
    without_s2_a_torn_page_is_served: NoSequence in TAGS;
    without_s3_a_mixed_page_is_served: NoRecheck in OWNED_WRITERS;
    without_r2_a_living_writer_loses_its_count: Subtract in OWNED;
    without_r3_a_living_writer_loses_its_mark: ThawBlind in OWNED;
    a_proof_without_a_new_epoch_serves_old_pages: ProveSameEpoch in ONLY_OUTSIDER;
    a_proof_that_lets_go_quietly_hides_an_outsider: ProveLeavesQuietly in OUTSIDER;
    a_record_made_anew_without_an_epoch_serves_old_pages: RecycleSameEpoch in RECYCLED;
    a_writer_with_stale_numbering_is_not_seen: StaleNumbering in RECYCLED;
    without_the_chain_an_outsider_goes_unnoticed: NoCompare in OUTSIDER;
    colliding_files_must_not_vouch_for_each_other: CollidingVouch in COLLIDING;
    without_the_stamp_an_outsider_goes_unnoticed: NoStamp in ONLY_OUTSIDER;
    a_newcomer_answered_too_early_goes_unnoticed: DisownLate in DISOWNED;
}
