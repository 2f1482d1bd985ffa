//! The promise of `--own` is the operator's, and holds while the session has processes, no longer.

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::puppet::{Puppets, puppet_words};
use harness::run::wait_until;
use harness::session::Hooked;
use harness::stats::Stats;
use serde_json::json;

both_modes!(changed_between_two_turns, kept_between_two_turns);

const BLOCKS: usize = 64;
const BYTES: usize = BLOCKS * 4096;

/// One turn of a session: a process that reads the file until it is served, and ends.
fn turn(bed: &Bed, hooked: &Hooked<'_>, content: &[u8]) -> String {
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(bed, 1)));
    puppets.done(0, "open", &json!(["f", "file", "r"]));
    let mut before = None;
    wait_until("reads are served", || {
        let got = puppets.read(0, "sweep", &json!(["f", 0, BYTES, 4096]));
        assert!(got == content, "bytes of before");
        let Some(stats) = hooked.stats() else {
            return false;
        };
        let before = *before.get_or_insert(stats.hits());
        stats.hits() > before + 2 * BLOCKS as u64
    });
    let session = hooked.session_id();
    assert!(puppets.end().0.success());
    session
}

/// A lingering session is entered again after somebody else has changed what it owned.
fn changed_between_two_turns(mode: Mode) {
    let bed = Bed::new("owned", mode);
    let glob = bed.join("**");
    let hooked = bed.hooked().flag("--own", &glob).linger("2min");
    let mut sessions = Vec::new();
    for seed in [1, 2] {
        let content = noise(seed, BYTES);
        bed.write("file", &content);
        sessions.push(turn(&bed, &hooked, &content));
    }
    assert_eq!(sessions[0], sessions[1], "the linger was not entered again");
    hooked.end();
}

const NAMES: [&str; 4] = ["same.dat", "over.dat", "swapped.dat", "back.dat"];

fn sweep(puppets: &mut Puppets, nth: usize) -> Vec<u8> {
    puppets.read(0, "sweep", &json!([NAMES[nth], 0, BYTES, 4096]))
}

/// The first turn: all files are served, the first has been written, some time before the end.
fn first_turn(bed: &Bed, hooked: &Hooked<'_>, contents: &mut [Vec<u8>]) {
    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(bed, 1)));
    for name in NAMES {
        puppets.done(0, "open", &json!([name, name, "w"]));
    }
    contents[0][5..9].copy_from_slice(b"mine");
    let bytes = harness::puppet::to_hex(b"mine");
    puppets.done(0, "pwrite", &json!([NAMES[0], 5, bytes]));
    for (nth, content) in contents.iter().enumerate() {
        let before = hooked.stats().map_or(0, |stats| stats.hits());
        wait_until("reads are served", || {
            assert!(sweep(&mut puppets, nth) == *content, "{}", NAMES[nth]);
            hooked
                .stats()
                .is_some_and(|stats| stats.hits() > before + 2 * BLOCKS as u64)
        });
    }
    // A change as young as the end of the turn could be anybody's.
    wait_until("the last write is some time ago", || {
        let changed = std::fs::metadata(bed.join(NAMES[0])).expect("stat");
        let age = changed.modified().expect("a time").elapsed();
        age.is_ok_and(|age| age.as_millis() > 300)
    });
    assert!(puppets.end().0.success());
    wait_until("the turn is over", || {
        hooked
            .stats()
            .is_some_and(|stats| stats.count("processes") == 0)
    });
}

/// Between the turns: written over in place, swapped for another file, put back from a copy with
/// its old times, as rsync does.
fn meddle(bed: &Bed, contents: &mut [Vec<u8>]) {
    for (nth, content) in contents.iter_mut().enumerate().skip(1) {
        *content = noise(30 + nth as u64, BYTES);
    }
    let open = |name: &str| {
        let mut options = std::fs::File::options();
        options.write(true).open(bed.join(name)).expect("open")
    };
    let over = open("over.dat");
    std::os::unix::fs::FileExt::write_all_at(&over, &contents[1], 0).expect("write over");
    bed.write("new", &contents[2]);
    std::fs::rename(bed.join("new"), bed.join("swapped.dat")).expect("rename");
    let times = std::fs::metadata(bed.join("back.dat")).expect("stat");
    bed.write("back.dat", &contents[3]);
    let times = times.modified().expect("a time");
    open("back.dat").set_modified(times).expect("as rsync does");
}

/// What nobody has changed between two turns is warm, what was written over in place, swapped for
/// another file, or put back from a copy is not; and a session writer's last words are right.
fn kept_between_two_turns(mode: Mode) {
    let bed = Bed::new("kept", mode);
    let hooked = bed.hooked().flag("--own", bed.join("*.dat")).linger("2min");
    let mut contents: Vec<Vec<u8>> = (0..4).map(|seed| noise(20 + seed, BYTES)).collect();
    for (name, content) in NAMES.iter().zip(&contents) {
        bed.write(name, content);
    }
    first_turn(&bed, &hooked, &mut contents);
    let session = hooked.session_id();
    meddle(&bed, &mut contents);

    let mut puppets = Puppets::start(hooked.command(bed.path(), &puppet_words(&bed, 1)));
    let before = hooked.stats().expect("it lingers");
    for (nth, name) in NAMES.iter().enumerate() {
        puppets.done(0, "open", &json!([name, name, "w"]));
        assert!(sweep(&mut puppets, nth) == contents[nth], "{name}");
        if nth == 0 {
            // A busy machine lets deadlines pass; what was forgotten is not even asked for.
            let cold = |stats: &Stats| stats.all["bypass"]["not_held"].as_u64().unwrap_or(0);
            wait_until("it is still warm", || {
                assert!(sweep(&mut puppets, nth) == contents[nth], "{name}");
                let after = hooked.stats().expect("live");
                assert_eq!(cold(&after), cold(&before), "forgotten: {}", after.all);
                after.hits() > before.hits()
            });
        }
    }
    for _ in 0..20 {
        for (nth, name) in NAMES.iter().enumerate() {
            assert!(sweep(&mut puppets, nth) == contents[nth], "{name}");
        }
    }
    assert_eq!(session, hooked.session_id(), "the linger was not entered");
    puppets.end();
    hooked.end();
}
