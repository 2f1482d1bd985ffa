//! The zoo, fed: every hostile little program natively, hooked, and hooked under the oracle.
//!
//! Each animal must say and do the same in all three. Before a hooked animal starts, a warmer process
//! of the same session reads `warm.dat` until the session's own statistics say that reads are served
//! from memory; then the warmer becomes the animal. So each animal meets a warm grid, on any machine
//! and at any load, and no test decides by the clock.

use std::path::{Path, PathBuf};

use harness::bed::Bed;
use harness::mode::Mode;
use harness::run::{assert_same, run, wait_until};
use harness::zoo::{animals, compile, compile_warmer};

/// The size of warm.dat, as `zoo.h` says it.
const WARM_BYTES: u64 = 64 * 4096;

/// Pattern version 0 of `zoo.h`.
fn pattern(offset: u64) -> u8 {
    u8::try_from((offset * 31 + (offset >> 12) * 7) & 0xFF).expect("masked")
}

/// A fresh scratch directory with warm.dat in it.
fn scratch(bed: &Bed, name: &str) -> PathBuf {
    let dir = bed.dir_of(name);
    harness::session::open_to_all(&dir);
    let bytes: Vec<u8> = (0..WARM_BYTES).map(pattern).collect();
    std::fs::write(dir.join("warm.dat"), bytes).expect("write warm.dat");
    dir
}

fn feed(name: &str, mode: Mode) {
    let bed = Bed::new(&format!("zoo-{name}"), mode);
    let program = compile(&bed, name);
    let dir = scratch(&bed, "native");
    let native = run(&mut bed.native(&dir, &[program.as_path(), &dir]));

    let dir = scratch(&bed, "hooked");
    let stop = bed.join("stop");
    let warmer = compile_warmer(&bed);
    let warm = dir.join("warm.dat");
    let hooked = bed.hooked();
    let words: [&Path; 5] = [&warmer, &warm, &stop, &program, &dir];
    let mut command = hooked.command(&dir, &words);
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        wait_until("reads of warm.dat are served", || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > 200)
        });
        std::fs::write(&stop, b"").expect("stop the warmer");
        running.join().expect("the run came to its end")
    });
    assert_same(&native, &outcome, name);
    let stats = hooked.final_stats();
    stats.must_have_hits();
}

macro_rules! zoo {
    ($($name:ident),+ $(,)?) => {
        const FED: &[&str] = &[$(stringify!($name)),+];
        $(
            mod $name {
                use harness::mode::Mode;

                #[test]
                fn normal() {
                    super::feed(stringify!($name), Mode::Normal);
                }

                #[test]
                fn oracle() {
                    super::feed(stringify!($name), Mode::Oracle);
                }
            }
        )+
    };
}

zoo!(
    aio,
    append,
    bad_buffer,
    bare_environment,
    before_and_after_main,
    cancelled,
    closes_all,
    copies,
    direct,
    drops_rights,
    dup_family,
    edges,
    errno_kept,
    fclose_reuse,
    fork_kin,
    fortified,
    high_numbers,
    holes,
    in_handler,
    iovecs,
    locked_turns,
    mapped,
    no_calls_left,
    offsets,
    open_twins,
    other_worlds,
    passed_numbers,
    raw_calls,
    renames,
    rooted,
    small_stack,
    stdio_writer,
    thread_storm,
    truncates,
    vfork_reader,
);

/// An animal nobody feeds proves nothing.
#[test]
fn every_animal_is_fed() {
    assert_eq!(animals(), FED);
}

/// What an animal says must not depend on the run, or a comparison would prove nothing.
#[test]
fn animals_repeat_themselves() {
    let bed = Bed::bare("zoo-twice", Mode::Normal);
    for name in FED {
        let program = compile(&bed, name);
        let runs = [1, 2].map(|nth| {
            let dir = scratch(&bed, &format!("{name}-{nth}"));
            run(&mut bed.native(&dir, &[program.as_path(), &dir]))
        });
        assert_same(&runs[0], &runs[1], &format!("{name}, natively, twice"));
        let said = runs[0].text();
        assert!(!said.contains("not true"), "{name} fails natively:\n{said}");
    }
}
