//! pgbench as a background load with events in its middle.
//!
//! The events are tied to the progress of the load (rows of `pgbench_history`), not to a clock, so
//! that they really fall into it on any machine.

use crate::postgres::Postgres;
use crate::run::{Outcome, run, wait_until};

/// Transactions of each of the four clients.
const TRANSACTIONS: &str = "3000";

/// Makes the tables.
pub fn prepare(postgres: &Postgres) {
    postgres.pgbench(&["-i", "-q", "-s", "3"]);
}

/// Runs a mixed load of four clients; `events` is called once the load is under way, and gets a
/// function that waits for so many more written rows (or for the end of the load). Fails when any
/// transaction failed or a connection was lost.
pub fn under_load(postgres: &Postgres, events: impl FnOnce(&dyn Fn(u64))) {
    let words = ["-n", "-c", "4", "-j", "2", "-t", TRANSACTIONS];
    let mix = ["-b", "simple-update@1", "-b", "select-only@4", "postgres"];
    let mut command = postgres.client("pgbench", &[&words[..], &mix[..]].concat());
    let outcome = std::thread::scope(|scope| {
        let load = scope.spawn(|| run(&mut command));
        let advance = |rows: u64| {
            let goal = written(postgres) + rows;
            wait_until("the load goes on", || {
                load.is_finished() || written(postgres) >= goal
            });
        };
        advance(100);
        events(&advance);
        load.join().expect("the load came to its end")
    });
    must_be_undisturbed(&outcome);
}

fn written(postgres: &Postgres) -> u64 {
    postgres
        .sql("select count(*) from pgbench_history")
        .trim()
        .parse()
        .expect("a number")
}

#[track_caller]
fn must_be_undisturbed(outcome: &Outcome) {
    assert!(outcome.status.success(), "{}", outcome.story());
    let text = outcome.text();
    assert!(
        text.contains("number of failed transactions: 0 "),
        "{}",
        outcome.story()
    );
    assert!(!outcome.errors().contains("error"), "{}", outcome.story());
}
