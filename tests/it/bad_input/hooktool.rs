//! Bad input of `hooktool`: flags, sizes, nodes, targets, and a machine without room.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use harness::bed::Bed;
use harness::mode::Mode;
use harness::node::free_port;
use harness::processes::nothing_left;
use harness::run::{run, wrapped};
use harness::stage::{is_root, root_or_say, tool};

use crate::must_refuse;

/// An ordinary user.
const NOBODY: u32 = 65534;

/// Own failures of `run`.
const LAUNCH: i32 = 125;

/// Runs `hooktool run FLAGS -- /bin/echo ran` and checks the refusal.
#[track_caller]
fn refused(bed: &Bed, flags: &[&str], status: i32, word: &str) {
    let words = [&["run"], flags, &["--", "/bin/echo", "ran"]].concat();
    must_refuse(&run(&mut bed.hooktool(&words)), status, word);
}

#[test]
fn unknown_flags_and_impossible_values_are_refused() {
    let bed = Bed::new("flags", Mode::Normal);
    for (flags, word) in [
        (&["--nope"][..], "--nope"),
        (&["--local"], "--local"),
        (&["--local", "12QiB"], "12QiB"),
        (&["--local", "-1"], "-1"),
        (&["--local", ""], "--local"),
        (
            &["--local", "99999999999999999999GiB"],
            "99999999999999999999GiB",
        ),
        (&["--index", "many"], "many"),
        (&["--mode", "fast"], "fast"),
        (&["--fill", "never"], "never"),
        (&["--verify", "200%"], "200%"),
        (&["--linger", "soon"], "soon"),
        (&["--fill-rate", "fast"], "fast"),
        (
            &["--seal", "/nowhere/key"],
            "head -c 32 /dev/urandom > '/nowhere/key'",
        ),
        (&["--seal", "/dev/urandom"], "no regular file"),
        (&["--seal", "/etc/passwd"], "chmod 600 '/etc/passwd'"),
        (&["--integrity", "none"], "--integrity tag"),
        (&["--include", "[a"], "[a"),
        (&["--node", "no port here"], "no port here"),
        (&["--node", "127.0.0.1:99999"], "127.0.0.1:99999"),
        (&["--node", "ftp://host:1"], "ftp://host:1"),
        (&["--config", "/nowhere/x.toml"], "/nowhere/x.toml"),
    ] {
        refused(&bed, flags, LAUNCH, word);
    }
    nothing_left(&bed, usize::MAX);
}

#[test]
fn a_bad_configuration_file_is_named() {
    let bed = Bed::new("config", Mode::Normal);
    for text in [
        "local = [",
        "locall = \"1MiB\"\n",
        "local = \"tons\"\n",
        "\0\u{1}",
    ] {
        let path = bed.write("bad.toml", text.as_bytes());
        refused(
            &bed,
            &["--config", path.to_str().expect("text")],
            LAUNCH,
            "bad.toml",
        );
    }
}

#[test]
fn a_missing_command_is_127_and_one_that_cannot_run_126() {
    let bed = Bed::new("missing", Mode::Normal);
    let plain = bed.write("plain", b"text");
    for (target, status) in [
        ("/nowhere/program", 127),
        ("no-such-program", 127),
        (plain.to_str().expect("text"), 126),
        ("/etc", 126),
    ] {
        let outcome = run(&mut bed.hooktool(&["run", "--", target]));
        must_refuse(&outcome, status, target);
    }
    assert_eq!(run(&mut bed.hooktool(&["run", "--"])).code(), Some(LAUNCH));
    assert_eq!(run(&mut bed.hooktool(&["run"])).code(), Some(LAUNCH));
    nothing_left(&bed, usize::MAX);
}

/// A node that is not there: the target runs, on its disk; with `--require` it is refused.
#[test]
fn a_node_that_is_not_there_matters_only_with_require() {
    let bed = Bed::new("no-node", Mode::Normal);
    let addr = free_port().to_string();
    let flags = ["run", "--linger", "0", "--node", addr.as_str()];
    let target = ["--", "/bin/echo", "ran"];
    let outcome = run(&mut bed.hooktool(&[&flags[..], &target].concat())).must_pass();
    assert_eq!(outcome.text(), "ran\n");
    refused(&bed, &[&flags[1..], &["--require"]].concat(), LAUNCH, &addr);
    nothing_left(&bed, usize::MAX);
}

/// Something listens that is no memory node.
#[test]
fn a_node_that_speaks_something_else_is_told_apart() {
    let bed = Bed::new("stranger", Mode::Normal);
    for greeting in [
        &b"220 mail.example ESMTP\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("bound").to_string();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut ignored = [0; 64];
                let _ = stream.read(&mut ignored);
                let _ = stream.write_all(greeting);
            }
        });
        let flags = ["--linger", "0", "--node", addr.as_str()];
        let words = [&["run"], &flags[..], &["--", "/bin/echo", "ran"]].concat();
        assert_eq!(run(&mut bed.hooktool(&words)).must_pass().text(), "ran\n");
        refused(&bed, &[&flags[..], &["--require"]].concat(), LAUNCH, &addr);
    }
    nothing_left(&bed, usize::MAX);
}

/// A target the loader will not preload into: named before it starts, by `check` and with
/// `--require`.
#[test]
fn targets_that_cannot_be_covered_are_named() {
    let bed = Bed::new("targets", Mode::Normal);
    let source = bed.write("still.c", b"int main(void) { return 0; }\n");
    let fixed = bed.join("static-program");
    let mut gcc = Command::new(tool("gcc"));
    run(gcc.arg("-static").arg("-o").arg(&fixed).arg(&source)).must_pass();
    let setuid = bed.join("setuid-program");
    std::fs::copy("/bin/cat", &setuid).expect("copy");
    std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755)).expect("chmod");
    // To root a program of root's gains nothing, and it is hooked: somebody else must ask. And to
    // its owner neither, so a user who is not root asks about a program of root's.
    let setuid = match is_root() {
        true => setuid,
        false => "/usr/bin/passwd".into(),
    };
    let ask = |words: &[&str]| {
        let mut command = bed.hooktool(words);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        run(&mut command)
    };
    for (word, program) in [("static", fixed), ("set-user-ID", setuid)] {
        let program = program.to_str().expect("text");
        let checked = ask(&["check", program]);
        assert_eq!(checked.code(), Some(4), "{}", checked.story());
        let said = format!("{}{}", checked.text(), checked.errors());
        assert!(said.contains(word), "`{word}` is not named: {said}");
        for flags in [&["run", "--require", "--"][..], &["run", "--"]] {
            must_refuse(&ask(&[flags, &[program]].concat()), LAUNCH, word);
        }
    }
    let covered = run(&mut bed.hooktool(&["check", "/bin/cat"]));
    assert!(matches!(covered.code(), Some(0 | 3)), "{}", covered.story());
    nothing_left(&bed, usize::MAX);
}

/// A region larger than the memory there is, by flag, by limit on file sizes, by memory cgroup.
#[test]
fn a_region_that_does_not_fit_is_refused_before_the_target_starts() {
    let bed = Bed::new("region", Mode::Normal);
    refused(&bed, &["--index", "900TiB"], LAUNCH, "900");
    refused(&bed, &["--local", "900TiB"], LAUNCH, "900");
    // A limit on the size of files ends a region, which is a file, as a full /dev/shm would.
    let line = bed.hooktool(&["run", "--index", "64MiB", "--", "/bin/echo", "ran"]);
    let script = "ulimit -f 8; trap '' XFSZ; exec \"$@\"";
    let outcome = run(&mut wrapped(&["/bin/bash", "-c", script, "bash"], &line));
    must_refuse(&outcome, LAUNCH, "region");
    nothing_left(&bed, usize::MAX);
}

/// A full `/dev/shm` is nobody's business: the region needs no room there.
#[test]
fn a_full_dev_shm_changes_nothing() {
    if !root_or_say("a mount namespace with a tiny /dev/shm") {
        return;
    }
    let bed = Bed::new("shm", Mode::Normal);
    let line = bed.hooktool(&["run", "--linger", "0", "--", "/bin/echo", "ran"]);
    let script =
        "mount -t tmpfs -o size=4k tmpfs /dev/shm && head -c 4096 /dev/zero > /dev/shm/full;
                  exec \"$@\"";
    let prefix = ["/usr/bin/unshare", "--mount", "/bin/sh", "-c", script, "sh"];
    assert_eq!(
        run(&mut wrapped(&prefix, &line)).must_pass().text(),
        "ran\n"
    );
    nothing_left(&bed, usize::MAX);
}

#[test]
fn commands_without_a_session_say_so() {
    let bed = Bed::new("no-session", Mode::Normal);
    for command in ["stats", "on", "off", "flush"] {
        must_refuse(
            &run(&mut bed.hooktool(&[command, "nobody-here"])),
            1,
            "nobody-here",
        );
    }
    let outcome = run(&mut bed.hooktool(&["frobnicate"]));
    must_refuse(&outcome, 2, "frobnicate");
}

/// `HOOKTOOL_DISABLED=1` makes the shim inert, whatever else is set.
#[test]
fn disabled_means_inert() {
    let bed = Bed::new("disabled", Mode::Normal);
    bed.write("data", b"bytes");
    let hooked = bed.hooked();
    let mut line = hooked.command(bed.path(), &["/bin/cat", "data"]);
    assert_eq!(
        run(line.env("HOOKTOOL_DISABLED", "1")).must_pass().text(),
        "bytes"
    );
    nothing_left(&bed, usize::MAX);
}
