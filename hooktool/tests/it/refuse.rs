//! Bad input: one exit status, three lines, nothing left running.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::house::{self, err, nobody, out, run, status, workshop};

/// Every refusal: nothing on standard output, three lines on standard error.
fn refused(words: &[&str], expected: i32, needle: &str) {
    let output = run(words);
    let text = err(&output);
    assert_eq!(status(&output), expected, "{words:?}: {text}");
    assert_eq!(out(&output), "", "{words:?}");
    assert_eq!(text.lines().count(), 3, "{words:?}: {text}");
    assert!(text.starts_with("hooktool: "), "{text}");
    assert!(
        text.lines()
            .skip(1)
            .all(|line| line.starts_with("  ") && line.len() > 8),
        "{text}"
    );
    assert!(text.contains(needle), "{words:?}: {text}");
}

/// `hooktool run FLAGS -- true` starts nothing and says why.
fn run_refused(flags: &[&str], word: &str) {
    refused(&[&["run"], flags, &["--", "true"]].concat(), 125, word);
}

#[test]
fn wrong_words_are_usage_errors() {
    refused(&["frob"], 2, "frob");
    refused(&["run"], 125, "CMD");
    run_refused(&["--bogus"], "--bogus");
    run_refused(&["--local", "64g"], "--local 64GiB");
    run_refused(&["--local"], "--local");
    run_refused(&["--mode", "fast"], "serve");
    run_refused(&["--verify", "200%"], "0.1%");
    run_refused(&["--linger", "10"], "10s");
    run_refused(&["--fill-rate", "5MiB"], "50MiB/s");
    run_refused(&["--own", "base/**"], "absolute");
    run_refused(&["--name", "a", "--name", "b"], "--name");
    run_refused(&["--own", ""], "empty");
    refused(&["stats", "pg", "never"], 2, "never");
    refused(&["doctor", "--node", "a b"], 2, "--node");
}

#[test]
fn counters_that_would_be_lost_are_refused() {
    let directory = workshop().to_str().unwrap();
    for (file, needle) in [
        (directory, "it is a directory"),
        ("/dev/null", "it is no regular file"),
        ("/no/such/dir/file", "mkdir -p '/no/such/dir'"),
        ("/tmp/a.%z", "p (process)"),
    ] {
        refused(&["run", "--stats-at-exit", file, "--", "true"], 125, needle);
    }
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let mut command = Command::new("sh");
    house::clean(&mut command);
    let words = [
        "-c",
        script,
        "sh",
        house::HOOKTOOL,
        "run",
        "--stats-at-exit",
        "x",
        "--",
        "true",
    ];
    let output = command
        .args(words)
        .current_dir(workshop())
        .output()
        .unwrap();
    assert_eq!(status(&output), 125, "{}", err(&output));
    assert!(
        err(&output).contains("name it from the root"),
        "{}",
        err(&output)
    );
}

#[test]
fn impossible_sizes_say_what_would_fit() {
    run_refused(&["--local", "9000TiB"], "MiB");
    run_refused(&["--node", "embedded:9000TiB"], "embedded:");
    run_refused(&["--index", "99999999999999999999"], "--index");
}

#[test]
fn files_for_tls_that_are_of_no_use_are_refused_before_the_start() {
    let no_file = ["--node", "rediss://h:1", "--node-ca", "/no/such/ca"];
    run_refused(&no_file, "/no/such/ca: No such file");
    run_refused(
        &["--node-cert", "/etc/hostname"],
        "--node-key belong together",
    );
}

#[test]
fn a_key_that_is_not_there_and_a_cluster_beside_a_node_are_refused() {
    run_refused(&["--seal", "no-such-key"], "it is not there");
    let beside = ["--node", "redis-cluster://h:1", "--node", "h:2"];
    run_refused(&beside, "cluster");
}

#[test]
fn absent_commands_are_127_and_others_126() {
    refused(&["run", "--", "no-such-command"], 127, "no-such-command");
    refused(&["run", "--", "/no/such/command"], 127, "/no/such/command");
    refused(&["run", "--", "/etc/passwd"], 126, "/etc/passwd");
    refused(&["run", "--", "/etc"], 126, "directory");
    refused(&["check", "no-such-command"], 127, "no-such-command");
    refused(&["check", "/etc/passwd"], 126, "only what can be executed");
    refused(
        &["check", "99999999999"],
        1,
        "there is no process 99999999999",
    );
    refused(&["check", "4194999"], 1, "there is no process 4194999");
    let text = workshop().join("text");
    std::fs::write(&text, "echo hello\n").unwrap();
    make_executable(&text);
    refused(
        &["run", "--", text.to_str().unwrap()],
        126,
        "hooktool run -- sh",
    );
    let script = workshop().join("orphan-script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    make_executable(&script);
    refused(
        &["run", "--", script.to_str().unwrap()],
        126,
        "/no/such/interpreter",
    );
}

fn make_executable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn programs_that_cannot_be_hooked_are_refused() {
    let file = workshop().join("static");
    refused(
        &["run", "--", file.to_str().unwrap()],
        125,
        "statically linked",
    );
    let mut bytes = std::fs::read(&file).unwrap();
    // The machine field of an ELF header: 8 is MIPS.
    bytes[18] = 8;
    let foreign = workshop().join("foreign");
    std::fs::write(&foreign, bytes).unwrap();
    make_executable(&foreign);
    refused(&["run", "--", foreign.to_str().unwrap()], 125, "MIPS");
}

#[test]
fn programs_that_gain_rights_are_refused() {
    let output = house::as_nobody(&["run", "--", "/usr/bin/passwd", "--help"]);
    assert_eq!(status(&output), 125, "{}", err(&output));
    assert!(err(&output).contains("set-user-ID"), "{}", err(&output));
    if house::is_root() {
        // To root it gains nothing: it is hooked.
        let output = house::run_target(&["/usr/bin/passwd", "--help"]);
        assert_eq!(
            err(&output),
            err(&Command::new("passwd").arg("--help").output().unwrap())
        );
    }
}

#[test]
fn file_capabilities_are_refused_for_those_they_serve() {
    if !house::is_root() {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing may skip");
        eprintln!("left out: only root can give a file capabilities");
        return;
    }
    let file = workshop().join("capable");
    std::fs::copy("/bin/true", &file).unwrap();
    // struct vfs_cap_data, version 2, effective, CAP_NET_BIND_SERVICE permitted.
    let mut value = [0_u8; 20];
    value[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
    value[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&file, c"security.capability", &value, flags).unwrap();
    let output = house::as_nobody(&["run", "--", file.to_str().unwrap()]);
    assert_eq!(status(&output), 125, "{}", err(&output));
    assert!(
        err(&output).contains("AmbientCapabilities="),
        "{}",
        err(&output)
    );
    assert_eq!(status(&house::run_target(&[file.to_str().unwrap()])), 0);
}

#[test]
fn a_missing_driver_is_refused() {
    let refuse = |path: &str| {
        let output = house::hooktool(&["run", "--", "true"])
            .env("HOOKTOOL_SHIM", path)
            .output()
            .unwrap();
        assert_eq!(status(&output), 125, "{}", err(&output));
        assert!(err(&output).contains("HOOKTOOL_SHIM="), "{}", err(&output));
    };
    refuse("/no/such/driver.so");
    refuse("/etc/passwd");
    refuse(workshop().join("foreign-driver").to_str().unwrap());
    let spaced = workshop().join("a b");
    std::fs::create_dir_all(&spaced).unwrap();
    std::fs::copy(house::driver(), spaced.join("s.so")).unwrap();
    refuse(spaced.join("s.so").to_str().unwrap());
}

#[test]
fn required_nodes_must_be_nodes() {
    let node = nobody();
    run_refused(&["--require", "--node", &node], "connection refused");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut piece = [0_u8; 64];
            let _ = stream.read(&mut piece);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    run_refused(&["--require", "--node", &address], "no memory node");
    let output = run(&["run", "--node", &address, "--", "true"]);
    assert_eq!(status(&output), 0, "{}", err(&output));
}

#[test]
fn counters_need_a_place() {
    let node = nobody();
    let words = [
        "run",
        "--node",
        &node,
        "--stats-at-exit",
        "/no/such/dir/s",
        "--",
        "true",
    ];
    refused(&words, 125, "--stats-at-exit");
}

#[test]
fn a_glob_without_quotes_is_told() {
    let place = workshop().join("unquoted");
    std::fs::create_dir_all(&place).unwrap();
    let files = ["a", "b"].map(|name| place.join(name).to_str().unwrap().to_string());
    for file in &files {
        std::fs::write(file, "").unwrap();
    }
    let needle = format!("--own '{}/**' -- CMD", place.display());
    refused(
        &["run", "--own", &files[0], &files[1], "--", "true"],
        126,
        &needle,
    );
}

#[test]
fn what_changes_nothing_is_told_in_one_line() {
    let node = nobody();
    let place = workshop().join("owned");
    std::fs::create_dir_all(&place).unwrap();
    let place = place.to_str().unwrap();
    for (glob, needle) in [
        (place.to_string(), format!("write:  '{place}/**'")),
        (
            format!("{place}/gone/**"),
            format!("there is no {place}/gone now"),
        ),
        (format!("{place}/**"), String::new()),
    ] {
        let output = run(&["run", "--node", &node, "--own", &glob, "--", "true"]);
        let text = err(&output);
        assert_eq!(status(&output), 0, "{text}");
        let told = text
            .lines()
            .filter(|line| line.contains("--own"))
            .collect::<Vec<_>>();
        assert_eq!(
            told.len(),
            usize::from(!needle.is_empty()),
            "{glob}: {text}"
        );
        assert!(
            told.iter().all(|line| line.contains(&needle)),
            "{glob}: {text}"
        );
    }
    let mut command = house::hooktool(&["run", "--node", &node, "--", "true"]);
    let output = command.env("HOOKTOOL_OWN", "").output().unwrap();
    assert_eq!(status(&output), 0);
    assert!(
        err(&output).contains("HOOKTOOL_OWN is empty"),
        "{}",
        err(&output)
    );
}
