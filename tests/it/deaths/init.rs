//! hooktool as process 1 of a new pid namespace: it stays, reaps, forwards signals, returns the
//! status.

use std::process::Command;

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::processes::{children_of, the_hook_server};
use harness::run::{run, wrapped};
use harness::stage::{root_or_say, tool};
use rustix::process::{Signal, kill_process};

both_modes!(
    postgres_under_init,
    status_of_the_target,
    orphans_are_reaped
);

/// The words that make a command process 1 of a new pid namespace.
const UNSHARE: [&str; 4] = ["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"];

fn as_init(command: &Command) -> Command {
    wrapped(&UNSHARE, command)
}

/// PostgreSQL as the child of hooktool as init; the hook server dies under load. PostgreSQL must
/// not see a stranger die: it would take it for a crashed backend of its own and restart
/// everything.
fn postgres_under_init(mode: Mode) {
    if !root_or_say("a new pid namespace") {
        return;
    }
    let bed = Bed::new("init", mode);
    let mut postgres = Postgres::init(&bed, true);
    let hooked = bed.hooked();
    let line = hooked.command(bed.path(), &postgres.server_words());
    let setpriv = tool("setpriv").display().to_string();
    let user = [
        "--reuid",
        "postgres",
        "--regid",
        "postgres",
        "--clear-groups",
    ];
    let words: Vec<&str> = UNSHARE
        .into_iter()
        .chain([setpriv.as_str()])
        .chain(user)
        .collect();
    postgres.start_as_given(wrapped(&words, &line));
    prepare(&postgres);
    under_load(&postgres, |_| ());
    let server = the_hook_server(&bed);
    under_load(&postgres, |advance| {
        kill_process(server, Signal::KILL).expect("kill the hook server");
        advance(300);
    });
    under_load(&postgres, |_| ());
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery", "terminated by signal"]);
    // unshare(1) ignores the signal of a fast shutdown; process 1 of the namespace passes it on.
    let init = children_of(postgres.pid());
    assert_eq!(init.len(), 1, "{init:?}");
    kill_process(init[0], Signal::INT).expect("signal hooktool as init");
    assert!(postgres.wait_end().success(), "{}", postgres.log_text());
}

/// Exit status and death by signal come through, the latter as 128 + n, as a shell says it.
fn status_of_the_target(mode: Mode) {
    if !root_or_say("a new pid namespace") {
        return;
    }
    let bed = Bed::new("init-status", mode);
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 128 + 15),
        ("kill -KILL $$", 128 + 9),
        ("test $$ -ne 1 && test $PPID -eq 1 && exit 42", 42),
    ] {
        let line = bed.hooked().command(bed.path(), &["/bin/sh", "-c", script]);
        let outcome = run(&mut as_init(&line));
        assert_eq!(
            outcome.code(),
            Some(status),
            "{script}: {}",
            outcome.story()
        );
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{}",
            outcome.story()
        );
    }
}

/// Grandchildren that lost their parent are reaped by process 1, and do not end the target.
fn orphans_are_reaped(mode: Mode) {
    if !root_or_say("a new pid namespace") {
        return;
    }
    let bed = Bed::new("init-orphans", mode);
    let script = "
for i in 1 2 3 4 5 6 7 8; do (/bin/sh -c 'kill -SEGV $$' &) ; (/bin/sh -c 'exit 3' &) ; done
until test $(ps -e -o stat= | grep -c Z) -eq 0; do :; done
echo none left
";
    let line = bed.hooked().command(bed.path(), &["/bin/sh", "-c", script]);
    let outcome = run(&mut as_init(&line)).must_pass();
    assert_eq!(outcome.text(), "none left\n");
}
