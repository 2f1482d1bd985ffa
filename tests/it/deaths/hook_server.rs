//! The hook server is killed or stopped under PostgreSQL; the target does not notice. Who comes
//! while it is stopped is let in later.

use std::fs;

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::processes::{must_end, the_hook_server};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use harness::warm::{WARM_FILE, scratch};
use rustix::process::{Pid, Signal, kill_process};

both_modes!(
    hook_server_killed,
    hook_server_stopped,
    came_while_it_was_stopped
);

/// PostgreSQL under load in a session that serves it, and the session's hook server.
fn scene(bed: &Bed, hooked: &Hooked<'_>, checksums: bool) -> (Postgres, Pid) {
    let mut postgres = Postgres::init(bed, checksums);
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    under_load(&postgres, |_| ());
    hooked.wait_stats("reads are served", |stats| stats.hits() > 100);
    (postgres, the_hook_server(bed))
}

fn hook_server_killed(mode: Mode) {
    let bed = Bed::new("server-killed", mode);
    let hooked = bed.hooked();
    let (mut postgres, server) = scene(&bed, &hooked, true);
    under_load(&postgres, |advance| {
        kill_process(server, Signal::KILL).expect("kill the hook server");
        advance(300);
    });
    under_load(&postgres, |_| ());
    must_end(&[server]);
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery", "terminated"]);
    assert!(postgres.stop().success());
}

/// Its heartbeat stops: bypass, never an error; continued, it serves again.
fn hook_server_stopped(mode: Mode) {
    let bed = Bed::new("server-stopped", mode);
    let hooked = bed.hooked();
    let (mut postgres, server) = scene(&bed, &hooked, false);
    under_load(&postgres, |advance| {
        for _ in 0..2 {
            kill_process(server, Signal::STOP).expect("stop the hook server");
            advance(300);
            kill_process(server, Signal::CONT).expect("continue the hook server");
            advance(100);
        }
    });
    let before = hooked.stats().expect("live").hits();
    hooked.wait_stats("reads are served again", |stats| {
        postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
        stats.hits() > before + 500
    });
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery"]);
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}

/// Reads a file again and again, and says so in the names of directories: those are not counted.
const READER: &str = "
import os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
offsets = range(0, os.fstat(fd).st_size, 4096)
right = [os.pread(fd, 4096, at) for at in offsets]
os.mkdir('reading')
while not os.path.exists('stop'):
    assert [os.pread(fd, 4096, at) for at in offsets] == right
    time.sleep(0.01)
print('right')
";

/// Who comes to a hook server that is stopped reads from the disk, and is let in once it answers.
fn came_while_it_was_stopped(mode: Mode) {
    let bed = Bed::new("server-away", mode);
    let dir = scratch(&bed, "files");
    let hooked = bed.hooked();
    let waits = "mkdir waiting; while [ ! -d go ]; do sleep 0.05; done; exec python3 -c \"$0\" $1";
    let mut command = hooked.command(&dir, &["sh", "-c", waits, READER, WARM_FILE]);
    let is_there = |name: &str| dir.join(name).is_dir();
    let outcome = std::thread::scope(|scope| {
        let running = scope.spawn(|| run(&mut command));
        let wait = |what: &str, name: &str| {
            wait_until(what, || running.is_finished() || is_there(name));
        };
        wait("the shell runs", "waiting");
        let server = the_hook_server(&bed);
        kill_process(server, Signal::STOP).expect("stop the hook server");
        fs::create_dir(dir.join("go")).expect("let the reader start");
        wait("the reader reads", "reading");
        kill_process(server, Signal::CONT).expect("continue the hook server");
        wait_until("the reader is served", || {
            running.is_finished() || hooked.stats().is_some_and(|stats| stats.hits() > 100)
        });
        fs::create_dir(dir.join("stop")).expect("stop the reader");
        running.join().expect("the run came to its end")
    });
    assert_eq!(outcome.must_pass().text(), "right\n");
    hooked.final_stats().must_have_hits();
}
