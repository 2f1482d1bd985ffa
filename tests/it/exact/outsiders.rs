//! Outsiders change files in every way there is, at random, while hooked readers check each word.
//!
//! Two meddlers run unhooked: in place, through a mapping, by rename, unlink, truncation. Two
//! watchers share a session. Every read has bounds for what it may show (`zoo/meddler.c`). The
//! hook server is stopped now and then meanwhile, and must not hold an outsider's call up.
//! `RAMGRID_OUTSIDERS_S` makes it longer (at most 150), `RAMGRID_SEED` other.

use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::bed::Bed;
use harness::both_modes;
use harness::files::{Dice, seed_or};
use harness::mode::Mode;
use harness::processes::the_hook_server;
use harness::run::{run, wait_until};
use harness::zoo::compile_meddler;
use rustix::process::{Signal, kill_process};

both_modes!(meddle_while_hooked_readers_watch);

const FILES: usize = 24;
/// Words shared by meddlers and watchers: `struct notes`, rounded up to pages.
const NOTES_BYTES: usize = 16 * 1024;
/// A lease in the way of a call would hold it up for the kernel's lease-break time, 45 s.
const HELD_UP_US: f64 = 20e6;

fn meddle_while_hooked_readers_watch(mode: Mode) {
    let lasts = std::env::var("RAMGRID_OUTSIDERS_S").map_or(12, |seconds| {
        seconds.parse().expect("RAMGRID_OUTSIDERS_S: whole seconds")
    });
    let until = Instant::now() + Duration::from_secs(u64::min(lasts, 150));
    let seed = seed_or(14) % 1000 * 2;
    let bed = Bed::new("outsiders", mode);
    bed.write("notes", &vec![0; NOTES_BYTES]);
    let program = compile_meddler(&bed);
    let words = |role: &str, seed: u64| -> [PathBuf; 6] {
        [
            program.clone(),
            role.into(),
            bed.path().into(),
            FILES.to_string().into(),
            seed.to_string().into(),
            bed.join("stop"),
        ]
    };
    let hooked = bed.hooked();
    let watchers = {
        let watch = |seed| {
            let words = words("watch", seed);
            let quoted = words.map(|word| format!("'{}'", word.display()));
            quoted.join(" ")
        };
        let script = format!("{} & {} ; wait", watch(seed), watch(seed + 1));
        ["/bin/sh".to_string(), "-c".to_string(), script]
    };
    thread::scope(|scope| {
        let meddle = |seed: u64| {
            let mut command: Command = bed.native(bed.path(), &words("meddle", seed));
            move || run(&mut command)
        };
        let meddlers = [scope.spawn(meddle(seed)), scope.spawn(meddle(seed + 1))];
        let file = |number: usize| bed.join(format!("file-{number}"));
        wait_until("the files are there", || {
            (0..FILES).all(|number| file(number).exists()) || meddlers[0].is_finished()
        });
        let mut command = hooked.command(bed.path(), &watchers);
        let watching = scope.spawn(move || run(&mut command));
        wait_until("reads are served", || {
            watching.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > 2000)
        });
        disturb(&bed, &mut Dice::new(seed), || {
            Instant::now() > until || watching.is_finished()
        });
        std::fs::write(bed.join("stop"), b"").expect("stop them");
        let outcome = watching.join().expect("the watchers ended").must_pass();
        assert_eq!(
            outcome.text().matches("right ").count(),
            2,
            "{}",
            outcome.story()
        );
        for meddler in meddlers {
            let said = meddler.join().expect("the meddler ended").must_pass();
            let slowest = said.text();
            let slowest_us: f64 = slowest
                .split_whitespace()
                .nth(3)
                .and_then(|number| number.parse().ok())
                .unwrap_or_else(|| panic!("{}", said.story()));
            assert!(slowest_us < HELD_UP_US, "a call was held up: {slowest}");
            println!("{slowest}");
        }
    });
    hooked.final_stats().must_have_hits();
}

/// Stops the hook server for up to two seconds at a time, until it is `enough`.
fn disturb(bed: &Bed, dice: &mut Dice, enough: impl Fn() -> bool) {
    let server = the_hook_server(bed);
    while !enough() {
        thread::sleep(Duration::from_millis(500 + dice.below(3000)));
        kill_process(server, Signal::STOP).expect("stop the hook server");
        thread::sleep(Duration::from_millis(dice.below(2000)));
        kill_process(server, Signal::CONT).expect("continue the hook server");
    }
}
