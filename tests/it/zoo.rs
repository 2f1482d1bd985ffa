//! The zoo, fed: every hostile little program natively, hooked, and hooked under the oracle.
//!
//! Each animal must say and do the same in all three, and meets a grid that is already warm
//! (`harness::warm`).

use harness::bed::Bed;
use harness::mode::Mode;
use harness::run::{assert_same, run};
use harness::warm::{run_warm, scratch};
use harness::zoo::{animals, compile};

fn feed(name: &str, mode: Mode) {
    feed_as(&format!("zoo-{name}"), name, mode, false);
}

/// `owns`: the session owns the animal's files, so no change of a stamp makes good what was not
/// counted.
fn feed_as(title: &str, name: &str, mode: Mode, owns: bool) {
    let bed = Bed::new(title, mode);
    let program = compile(&bed, name);
    let dir = scratch(&bed, "native");
    let native = run(&mut bed.native(&dir, &[program.as_path(), &dir]));

    let dir = scratch(&bed, "hooked");
    let hooked = match owns {
        true => bed.hooked().flag("--own", dir.join("**")),
        false => bed.hooked(),
    };
    let outcome = run_warm(&bed, &hooked, &dir, &[program.as_path(), &dir]);
    assert_same(&native, &outcome, name);
    hooked.final_stats().must_have_hits();
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
    cancelled_writers,
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
    handler_forks,
    high_numbers,
    holes,
    in_handler,
    iovecs,
    libaio,
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
    sends,
    small_stack,
    stdio_writer,
    thread_storm,
    truncates,
    vfork_reader,
);

#[test]
fn a_write_that_returns_twice_is_counted_once() {
    feed_as("zoo-twice-counted", "handler_forks", Mode::Normal, true);
}

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
