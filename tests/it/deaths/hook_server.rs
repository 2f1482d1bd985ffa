//! The hook server is killed or stopped under PostgreSQL; the target does not notice.

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::processes::{hook_servers, must_end};
use rustix::process::{Signal, kill_process};

both_modes!(hook_server_killed, hook_server_stopped);

fn hook_server_killed(mode: Mode) {
    let bed = Bed::new("server-killed", mode);
    let mut postgres = Postgres::init(&bed, true);
    let hooked = bed.hooked();
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    under_load(&postgres, |_| ());
    hooked.wait_stats("reads are served", |stats| stats.hits() > 100);
    let servers = hook_servers(&bed);
    assert_eq!(
        servers.len(),
        1,
        "one session, one hook server: {servers:?}"
    );
    under_load(&postgres, |advance| {
        kill_process(servers[0], Signal::KILL).expect("kill the hook server");
        advance(300);
    });
    under_load(&postgres, |_| ());
    must_end(&servers);
    postgres.must_be_clean();
    assert!(
        !postgres.log_text().contains("recovery"),
        "{}",
        postgres.log_text()
    );
    assert!(
        !postgres.log_text().contains("terminated"),
        "{}",
        postgres.log_text()
    );
    assert!(postgres.stop().success());
}

/// Its heartbeat stops: bypass, never an error; continued, it serves again.
fn hook_server_stopped(mode: Mode) {
    let bed = Bed::new("server-stopped", mode);
    let mut postgres = Postgres::init(&bed, false);
    let hooked = bed.hooked();
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    under_load(&postgres, |_| ());
    hooked.wait_stats("reads are served", |stats| stats.hits() > 100);
    let servers = hook_servers(&bed);
    under_load(&postgres, |advance| {
        for _ in 0..2 {
            kill_process(servers[0], Signal::STOP).expect("stop the hook server");
            advance(300);
            kill_process(servers[0], Signal::CONT).expect("continue the hook server");
            advance(100);
        }
    });
    let before = hooked.stats().expect("live").hits();
    hooked.wait_stats("reads are served again", |stats| {
        postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
        stats.hits() > before + 500
    });
    postgres.must_be_clean();
    assert!(
        !postgres.log_text().contains("recovery"),
        "{}",
        postgres.log_text()
    );
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}
