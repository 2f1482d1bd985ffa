//! The promise of `--own` is the operator's, and holds while the session has processes, no longer.

use harness::bed::Bed;
use harness::both_modes;
use harness::files::noise;
use harness::mode::Mode;
use harness::puppet::{Puppets, puppet_words};
use harness::run::wait_until;
use harness::session::Hooked;
use serde_json::json;

both_modes!(changed_between_two_turns);

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
