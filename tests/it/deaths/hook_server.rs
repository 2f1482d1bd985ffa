//! The hook server is killed or stopped under PostgreSQL; the target does not notice.

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::processes::{must_end, the_hook_server};
use harness::session::Hooked;
use rustix::process::{Pid, Signal, kill_process};

both_modes!(hook_server_killed, hook_server_stopped);

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
