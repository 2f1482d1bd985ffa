//! The zoo, fed: every hostile little program natively, hooked, and hooked under the oracle.
//!
//! Each animal must say and do the same in all three, and meets a grid that is already warm
//! (`harness::warm`).

use harness::bed::Bed;
use harness::mode::Mode;
use harness::mount::Mount;
use harness::run::{assert_same, run};
use harness::session::Hooked;
use harness::stage::root_or_say;
use harness::warm::{run_warm, scratch};
use harness::zoo::{animals, compile};

fn feed(name: &str, mode: Mode) {
    feed_as(&format!("zoo-{name}"), name, mode, false);
}

/// `owns`: the session owns the animal's files, so no change of a stamp makes good what was not
/// counted.
fn feed_as(title: &str, name: &str, mode: Mode, owns: bool) {
    feed_in(&Bed::new(title, mode), name, owns);
}

fn feed_in(bed: &Bed, name: &str, owns: bool) {
    feed_by(bed, name, owns, |hooked| hooked);
}

/// `with` adds to the line that starts the animal.
fn feed_by<'a>(bed: &'a Bed, name: &str, owns: bool, with: impl Fn(Hooked<'a>) -> Hooked<'a>) {
    let program = compile(bed, name);
    let dir = scratch(bed, "native");
    let native = run(&mut bed.native(&dir, &[program.as_path(), &dir]));

    let dir = scratch(bed, "hooked");
    let hooked = match owns {
        true => bed.hooked().flag("--own", dir.join("**")),
        false => bed.hooked(),
    };
    let hooked = with(hooked);
    let outcome = run_warm(bed, &hooked, &dir, &[program.as_path(), &dir]);
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
    calls_forbidden,
    cancelled,
    cancelled_writers,
    cloned_child,
    closes_all,
    copies,
    direct,
    drops_rights,
    dup_family,
    edges,
    errno_kept,
    fclose_reuse,
    first_in_handler,
    flips_rights,
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
    no_descriptors,
    offsets,
    open_twins,
    other_worlds,
    own_allocator,
    passed_numbers,
    raw_calls,
    renames,
    rooted,
    sends,
    shared_offsets,
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

/// Animals with little room, in awkward places, or with awkward buffers: blocks are decrypted in
/// the middle of their calls. No local cache, so that every block is.
const FED_SEALED: [&str; 6] = [
    "bad_buffer",
    "edges",
    "first_in_handler",
    "in_handler",
    "iovecs",
    "small_stack",
];

#[test]
fn sealed() {
    std::thread::scope(|scope| {
        for name in FED_SEALED {
            scope.spawn(move || {
                let bed = Bed::new(&format!("zoo-sealed-{name}"), Mode::Oracle);
                feed_by(&bed, name, false, |hooked| {
                    hooked.sealed(None).flag("--local", "0")
                });
            });
        }
    });
}

/// Animals whose calls end in code of the file system itself.
const ON_EVERY_DISK: [&str; 12] = [
    "aio",
    "append",
    "copies",
    "direct",
    "edges",
    "holes",
    "libaio",
    "mapped",
    "renames",
    "sends",
    "stdio_writer",
    "truncates",
];

/// Of btrfs: a buffer that somebody changes while `O_DIRECT` reads into it fails the file system's
/// own checksum, natively and now and then, with EIO.
const NOT_ON_BTRFS: &str = "direct";

fn feed_on(kind: &str) {
    if !root_or_say("a loop mount") {
        return;
    }
    let bed = Bed::bare(&format!("zoo-on-{kind}"), Mode::Normal);
    let disk = Mount::disk(&bed, kind);
    // Each waits for its session to be warm: side by side they wait together.
    for crew in ON_EVERY_DISK.chunks(4) {
        std::thread::scope(|scope| {
            for name in crew {
                if kind == "btrfs" && *name == NOT_ON_BTRFS {
                    continue;
                }
                scope.spawn(|| feed_in(&Bed::under(disk.path(), name, Mode::Normal), name, false));
            }
        });
    }
}

#[test]
fn on_ext4() {
    feed_on("ext4");
}

#[test]
fn on_xfs() {
    feed_on("xfs");
}

#[test]
fn on_btrfs() {
    feed_on("btrfs");
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
