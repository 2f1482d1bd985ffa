//! Bad input: one clear message, the pinned exit status, nothing half-started left.
//!
//! Each message must say what failed and what to type: it names the offending word, and it is not
//! empty, not a panic and not a page.

#[path = "bad_input/hooktool.rs"]
mod hooktool;
#[path = "bad_input/memnode.rs"]
mod memnode;
#[path = "bad_input/wire.rs"]
mod wire;

use harness::run::Outcome;

/// Fails unless the run ended with `status` and a short message that names `word`.
#[track_caller]
fn must_refuse(outcome: &Outcome, status: i32, word: &str) {
    let errors = outcome.errors();
    assert_eq!(outcome.code(), Some(status), "{}", outcome.story());
    assert!(
        errors.contains(word),
        "the message does not name `{word}`: {errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
    let lines = errors.lines().count();
    assert!(
        (1..=12).contains(&lines),
        "a message of {lines} lines: {errors}"
    );
    assert!(
        outcome.stdout.is_empty(),
        "data on standard output: {}",
        outcome.text()
    );
}
