//! Random file calls of several processes, one after the other, against a model; replayable by
//! seed.
//!
//! Three puppets share a session, two more run unhooked. Every call ends before the next begins, so
//! each read has one right answer, also after an outsider's call. A failure is made smaller;
//! `RAMGRID_SEED` and `RAMGRID_STEPS` replay it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{Dice, noise, seed_or};
use harness::mode::Mode;
use harness::model::{Files, grow, put, slice};
use harness::puppet::{Puppets, puppet_words, to_hex};
use harness::session::Hooked;
use harness::shrink::{show, shrink, steps_or};
use harness::stage::stage_planted_shim;
use serde_json::json;

both_modes!(session_and_outsiders, session_alone);

const NAMES: [&str; 3] = ["a", "b", "c"];
const SIZE_MAX: u64 = 160 * 1024;
const OPERATIONS: usize = 4000;
const INSIDERS: usize = 3;
/// So many smaller cases are tried after a failure; each takes seconds.
const SHRINK_TRIES: usize = 40;
/// Plays until one is served.
const PLAYS_MAX: u64 = 5;

struct Stage {
    rows: [Puppets; 2],
    files: Files,
    dice: Dice,
    outsiders: bool,
}

/// Who acts: a row and a place in it.
#[derive(Clone, Copy)]
struct Actor {
    row: usize,
    place: usize,
}

fn session_and_outsiders(mode: Mode) {
    play_in(&Bed::new("model", mode), OPERATIONS, true);
}

fn session_alone(mode: Mode) {
    play_in(&Bed::new("model", mode), OPERATIONS, false);
}

/// Plays so many operations on files of this bed. What fails is made smaller before it is told. A
/// play in which no read was served proves nothing (each is over in a second, and on a busy machine
/// no block may have come to the node by then): then another one is played.
pub(crate) fn play_in(bed: &Bed, operations: usize, outsiders: bool) {
    let first = seed_or(20_260_607);
    let mut seeds = first..first + PLAYS_MAX;
    while let Some(seed) = seeds.next() {
        let line = play_seed(bed, seed, operations, outsiders);
        let stats = line.final_stats();
        if stats.hits() > 0 || seeds.is_empty() {
            return stats.must_have_hits();
        }
    }
}

fn play_seed(bed: &Bed, seed: u64, operations: usize, outsiders: bool) -> Hooked<'_> {
    let steps = steps_or(operations);
    let take = |steps: &[usize]| {
        let line = bed.hooked();
        let played = catch_unwind(AssertUnwindSafe(|| {
            play(bed, &line, seed, steps, outsiders)
        }));
        played.map(|()| line)
    };
    match take(&steps) {
        Ok(line) => line,
        Err(failure) => {
            let small = shrink(&steps, SHRINK_TRIES, |fewer| take(fewer).is_err());
            eprintln!("replay: RAMGRID_SEED={seed} RAMGRID_STEPS={}", show(&small));
            resume_unwind(failure);
        }
    }
}

/// The promise broken on purpose (no write is counted, no stamp compared) is found, and told by
/// fewer steps.
#[test]
fn a_planted_stale_read_is_found_and_shrunk() {
    let bed = Bed::new("model-planted", Mode::Normal);
    let planted = stage_planted_shim(&bed.join("bin"));
    let steps: Vec<usize> = (0..OPERATIONS).collect();
    let fails = |steps: &[usize]| {
        let line = bed.hooked();
        let command = |command: &mut Command| {
            command
                .env("HOOKTOOL_SHIM", &planted)
                .env("HOOKTOOL_PLANT", "stale");
        };
        let played = || play_by(&bed, &line, 1, steps, false, command);
        catch_unwind(AssertUnwindSafe(played)).is_err()
    };
    assert!(fails(&steps), "a stale read was not found");
    let small = shrink(&steps, 3, fails);
    assert!(small.len() < steps.len(), "nothing could be left out");
}

fn play(bed: &Bed, hooked: &Hooked<'_>, seed: u64, steps: &[usize], outsiders: bool) {
    play_by(bed, hooked, seed, steps, outsiders, |_| ());
}

fn play_by(
    bed: &Bed,
    hooked: &Hooked<'_>,
    seed: u64,
    steps: &[usize],
    outsiders: bool,
    change: impl Fn(&mut Command),
) {
    let dir = bed.dir_of(&format!("files-{}", hooked.name));
    let mut command = hooked.command(&dir, &puppet_words(bed, INSIDERS));
    change(&mut command);
    let inside = Puppets::start(command);
    let outside = Puppets::start(bed.native(&dir, &puppet_words(bed, 2)));
    let mut stage = Stage {
        rows: [inside, outside],
        files: Files::default(),
        dice: Dice::new(seed),
        outsiders,
    };
    for &step in steps {
        // Dice of its own: a step means the same whichever others are left out.
        stage.dice = Dice::new(seed ^ Dice::new(step as u64).roll());
        stage.step(step, &dir);
    }
    for row in stage.rows {
        let (status, errors) = row.end();
        assert!(status.success(), "{status}\n{errors}");
    }
}

impl Stage {
    fn step(&mut self, step: usize, dir: &Path) {
        let actor = self.actor();
        let name = NAMES[usize::try_from(self.dice.below(3)).expect("small")];
        let handle = format!("{}-{}-{name}", actor.row, actor.place);
        if !self.files.is_open(&handle) {
            let flags = ["c", "c", "t"][usize::try_from(self.dice.below(3)).expect("small")];
            self.rows[actor.row].done(actor.place, "open", &json!([handle, name, flags]));
            self.files.open(&handle, name);
            if flags == "t" {
                self.files.at_handle(&handle).clear();
            }
        }
        match self.dice.below(24) {
            0..=3 => self.write(actor, &handle, step),
            4 => self.resize(actor, &handle, name),
            5 => self.shift(actor, &handle),
            6 if self.dice.below(4) == 0 => self.rename(actor, name),
            7 => {
                self.rows[actor.row].done(actor.place, "close", &json!([handle]));
                self.files.close(&handle);
            }
            8 => self.store(actor, name, step),
            9 if self.dice.below(4) == 0 => self.stream(actor, name, step),
            _ => self.read(actor, &handle, step, dir),
        }
    }

    fn actor(&mut self) -> Actor {
        let outside = self.outsiders && self.dice.below(12) == 0;
        let places = if outside { 2 } else { INSIDERS as u64 };
        let place = usize::try_from(self.dice.below(places)).expect("small");
        Actor {
            row: usize::from(outside),
            place,
        }
    }

    fn range(&mut self) -> (usize, usize) {
        let count =
            [1, 100, 4096, 8192, 20_000][usize::try_from(self.dice.below(5)).expect("small")];
        let at = usize::try_from(self.dice.below(SIZE_MAX)).expect("small");
        let aligned = self.dice.below(2) == 0;
        (if aligned { at & !4095 } else { at }, count)
    }

    fn write(&mut self, actor: Actor, handle: &str, step: usize) {
        let (at, count) = self.range();
        let piece = noise(step as u64, count);
        let call = ["pwrite", "pwritev", "write"][usize::try_from(self.dice.below(3)).expect("3")];
        let wrote =
            self.rows[actor.row].done(actor.place, call, &json!([handle, at, to_hex(&piece)]));
        assert_eq!(wrote, json!(count), "step {step}");
        put(self.files.at_handle(handle), at, &piece);
    }

    fn resize(&mut self, actor: Actor, handle: &str, name: &str) {
        let size = usize::try_from(self.dice.below(SIZE_MAX)).expect("small");
        let row = &mut self.rows[actor.row];
        let file = if self.dice.below(2) == 0 && self.files.at_name(name).is_some() {
            row.done(actor.place, "truncate", &json!([name, size]));
            self.files.at_name(name).expect("just seen")
        } else {
            row.done(actor.place, "ftruncate", &json!([handle, size]));
            self.files.at_handle(handle)
        };
        file.truncate(size);
        grow(file, size);
    }

    /// Changes without a buffer: allocate, punch, copy from another place.
    fn shift(&mut self, actor: Actor, handle: &str) {
        let (at, count) = self.range();
        let row = &mut self.rows[actor.row];
        let file = self.files.at_handle(handle);
        match self.dice.below(3) {
            0 => {
                row.done(actor.place, "allocate", &json!([handle, at, count]));
                grow(file, at + count);
            }
            1 => {
                row.done(actor.place, "punch", &json!([handle, at, count]));
                let end = (at + count).min(file.len());
                if at < end {
                    file[at..end].fill(0);
                }
            }
            _ => {
                let to = at + 40_960;
                let mut moved = slice(file, at, count).to_vec();
                let copied = row.done(actor.place, "copy", &json!([handle, at, handle, to, count]));
                // xfs and btrfs share the whole blocks of a range and stop there.
                let copied = copied
                    .as_u64()
                    .and_then(|count| usize::try_from(count).ok());
                let whole = moved.len() & !4095;
                assert!(copied == Some(moved.len()) || copied == Some(whole) && whole > 0);
                moved.truncate(copied.expect("a count"));
                if !moved.is_empty() {
                    put(file, to, &moved);
                }
            }
        }
    }

    fn rename(&mut self, actor: Actor, name: &str) {
        if self.files.at_name(name).is_none() {
            return;
        }
        let row = &mut self.rows[actor.row];
        let other = NAMES[usize::try_from(self.dice.below(3)).expect("small")];
        if other == name {
            row.done(actor.place, "unlink", &json!([name]));
            self.files.unlink(name);
        } else {
            row.done(actor.place, "rename", &json!([name, other]));
            self.files.rename(name, other);
        }
    }

    /// Stores through a short-lived shared mapping of the file that has the name now.
    fn store(&mut self, actor: Actor, name: &str, step: usize) {
        let (at, count) = self.range();
        let Some(file) = self.files.at_name(name) else {
            return;
        };
        let count = count.min(file.len().saturating_sub(at));
        if count == 0 {
            return;
        }
        let piece = noise(step as u64, count);
        let row = &mut self.rows[actor.row];
        row.done(actor.place, "store", &json!([name, at, to_hex(&piece)]));
        put(file, at, &piece);
    }

    /// Writes through stdio, the file that has the name now.
    fn stream(&mut self, actor: Actor, name: &str, step: usize) {
        let (at, count) = self.range();
        let Some(file) = self.files.at_name(name) else {
            return;
        };
        let piece = noise(step as u64, count);
        let row = &mut self.rows[actor.row];
        row.done(actor.place, "fwrite", &json!([name, at, to_hex(&piece)]));
        put(file, at, &piece);
    }

    /// Reads twice: the first may fill, the second may be served; both must be right.
    fn read(&mut self, actor: Actor, handle: &str, step: usize, dir: &Path) {
        const CALLS: [&str; 5] = ["pread", "pread", "preadv", "dread", "sendfile"];
        let (mut at, mut count) = self.range();
        let call = CALLS[usize::try_from(self.dice.below(5)).expect("small")];
        if call == "dread" {
            (at, count) = (at & !4095, count.next_multiple_of(4096));
        }
        for time in ["first", "second"] {
            let row = &mut self.rows[actor.row];
            let got = row.read(actor.place, call, &json!([handle, at, count]));
            let want = slice(self.files.at_handle(handle), at, got.len().max(count));
            // preadv of the puppets asks for a few bytes more than `count`
            let same = if call == "preadv" {
                got.starts_with(want)
            } else {
                got == want
            };
            assert!(
                same,
                "step {step}, {time} {call} of {handle} at {at}, {count} bytes: {} and {} differ \
                 first at {:?}; in {}",
                got.len(),
                want.len(),
                got.iter().zip(want).position(|(a, b)| a != b),
                dir.display()
            );
        }
    }
}
