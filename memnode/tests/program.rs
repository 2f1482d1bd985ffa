//! The program as a user meets it: its messages, its exit status, its memory, Redis' own tools.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use support::{MIB, Program, WATCHDOG, program};

/// Runs it to its end; returns exit status and stderr.
fn outcome(flags: &[&str]) -> (Option<i32>, String) {
    let output = program(flags).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn refuses(flags: &[&str], status: i32, words: &[&str]) {
    let (code, text) = outcome(flags);
    assert_eq!(code, Some(status), "{flags:?}: {text}");
    assert_eq!(text.lines().count(), 3, "{flags:?}: {text}");
    assert!(
        text.starts_with("memnode: ") && text.contains("\n  try: "),
        "{flags:?}: {text}"
    );
    words
        .iter()
        .for_each(|word| assert!(text.contains(word), "{flags:?}: {word} in {text}"));
}

#[test]
fn settings_that_cannot_be_get_three_lines_and_status_2() {
    // Intent: what failed, what it means, what to type; nothing half started.
    refuses(
        &["--memory", "64g"],
        2,
        &["--memory 64g", "memnode --memory 64GiB"],
    );
    refuses(&["--memory", "0"], 2, &["at least 16MiB"]);
    refuses(&["--memory", "1048576GiB"], 2, &["this host has"]);
    refuses(&["--eviction", "random"], 2, &["s3fifo", "lru"]);
    refuses(&["--listen", "127.0.0.1:99999"], 2, &["HOST:PORT"]);
    refuses(
        &["--listen", "no.such.host.invalid:1"],
        2,
        &["has no address"],
    );
    refuses(
        &["--listen", "0.0.0.0:0"],
        2,
        &["--password-file FILE", "--no-auth"],
    );
    refuses(
        &["--password-file", "/nonexistent"],
        2,
        &["No such file", "tr '/+' '_-' > /nonexistent)"],
    );
    refuses(
        &["--password-file", "/nonexistent/pw"],
        2,
        &["mkdir -p /nonexistent; (umask 077"],
    );
    refuses(
        &["--password-file", "/tmp"],
        2,
        &["Is a directory", "ls /tmp"],
    );
    refuses(
        &["--password-file", "/dev/null"],
        2,
        &["nothing in it", "> FILE)"],
    );
    refuses(&["--metrics", "9121"], 2, &["--metrics 127.0.0.1:9121"]);
    refuses(
        &["--config", "/nonexistent"],
        2,
        &["cannot read /nonexistent"],
    );
}

#[test]
fn an_unknown_flag_gets_a_usage_error() {
    // Intent: three lines with the parser's own hint; a flag of a later version is not silently
    // taken.
    refuses(&["--memry", "1GiB"], 2, &["--memory"]);
    refuses(&["--tls", "x"], 2, &["--tls"]);
    refuses(&["--listen", "7421"], 2, &["--listen 127.0.0.1:7421"]);
}

#[test]
fn a_log_that_is_no_terminal_has_no_colours() {
    // Intent: logs in files and journals are text.
    let mut command = program(&["--memory", "16MiB", "--listen", "127.0.0.1:0"]);
    command
        .env_remove("NO_COLOR")
        .stderr(std::process::Stdio::piped());
    let mut node = command.spawn().unwrap();
    let mut line = String::new();
    let errors = node.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(errors), &mut line).unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(
        line.contains("serving") && !line.contains('\x1b'),
        "{line:?}"
    );
}

#[test]
fn help_and_version_are_data() {
    for flag in ["--help", "--version"] {
        let output = program(&[flag]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains("memnode"));
    }
}

#[test]
fn a_port_in_use_is_status_1() {
    // Intent: the second node on a port says whose fault it is.
    let first = Program::start(&["--memory", "16MiB"]);
    let address = first.address.to_string();
    refuses(
        &["--memory", "16MiB", "--listen", &address],
        1,
        &["--listen", "Address already in use", "ss -ltnp"],
    );
    let (code, text) = outcome(&["--memory", "16MiB", "--listen", &address]);
    assert_eq!(code, Some(1), "{text}");
    let proposed = text.split(" is free").next().unwrap();
    let proposed = proposed.rsplit(' ').next().unwrap();
    // Intent: what is proposed was looked at; it is free, or was a moment ago.
    assert!(
        proposed.starts_with("127.0.0.1:") && proposed != address,
        "{text}"
    );
}

#[test]
fn a_file_that_may_not_be_read_is_not_a_missing_one() {
    // Intent: nobody is told to make what is there already.
    let file = std::env::temp_dir().join(format!("memnode-closed-{}", std::process::id()));
    std::fs::write(&file, "open-sesame\n").unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(&file, closed).unwrap();
    let shown = file.to_str().unwrap();
    let mut command = program(&["--password-file", shown]);
    if std::fs::read(&file).is_ok() {
        // Root reads everything.
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
    }
    let output = command.output().unwrap();
    std::fs::remove_file(&file).unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("Permission denied") && !text.contains("urandom"),
        "{text}"
    );
    assert!(
        text.contains("chown") && text.contains("LoadCredential="),
        "{text}"
    );
}

#[test]
fn only_what_counts_takes_a_count() {
    // Intent: a flag that would change nothing is refused.
    refuses(&["stat", "-n", "3"], 2, &["'-n'", "memnode stat --help"]);
    refuses(&["replay"], 2, &["namely <TRACE>", "memnode replay --help"]);
}

#[test]
fn flag_beats_variable_beats_file() {
    // Intent: the documented order, seen in what the node reports about itself.
    let directory = std::env::temp_dir().join(format!("memnode-settings-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("memnode.toml");
    let run = |text: &str, variable: Option<&str>, flags: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = program(&["--listen", "127.0.0.1:1", "--config"]);
        command.arg(&file).args(flags);
        if let Some(value) = variable {
            command.env("MEMNODE_MEMORY", value);
        }
        // The value that wins is the one complained about.
        String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned()
    };
    assert!(run("memory = \"1x\"", None, &[]).contains("--memory 1x"));
    assert!(run("memory = \"1x\"", Some("2x"), &[]).contains("--memory 2x"));
    assert!(run("memory = \"1x\"", Some("2x"), &["--memory", "3x"]).contains("--memory 3x"));
    assert!(run("memroy = 1", None, &[]).contains("unknown field `memroy`"));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_signal_ends_it_cleanly() {
    // Intent: SIGTERM and SIGINT are the normal end, with clients connected and with none.
    for signal in ["TERM", "INT"] {
        let mut node = Program::start(&["--memory", "16MiB"]);
        let mut wire = node.connect();
        wire.ask("PING", "+PONG\r\n");
        let pid = node.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        let start = Instant::now();
        let status = loop {
            if let Some(status) = node.child.try_wait().unwrap() {
                break status;
            }
            assert!(start.elapsed() < WATCHDOG, "SIG{signal} did not end it");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert!(wire.rest().is_empty());
    }
}

#[test]
fn it_never_takes_more_memory_than_it_was_given() {
    // Intent: resident memory as the kernel counts it, after four times the memory went in.
    let limit = 64 * MIB;
    let node = Program::start(&["--memory", "64MiB"]);
    let mut wires: Vec<_> = (0..8).map(|_| node.connect()).collect();
    let block = vec![0x5a; 4128];
    for n in 0..(4 * limit / 4096) as u64 {
        let key = (u128::from(n) * 0x9e37_79b9).to_le_bytes();
        let wire = &mut wires[n as usize % 8];
        wire.command(&[b"SET", &key, &block]);
        wire.expect(b"+OK\r\n");
    }
    let large = vec![0x5a; MIB];
    for wire in &mut wires {
        wire.command(&[b"SET", b"large", &large]);
        wire.expect(b"+OK\r\n");
        wire.command(&[b"GET", b"large"]);
        wire.expect(b"$1048576\r\n");
        wire.expect(&large);
        wire.expect(b"\r\n");
    }
    let peak = node.status_bytes("VmHWM");
    assert!(peak <= limit, "{peak} bytes at the peak, {limit} allowed");
    let info = wires[0].bulk(&[b"INFO", b"stats"]);
    assert!(!info.contains("evicted_keys:0\r"), "{info}");
    let used = wires[0].bulk(&[b"INFO", b"memory"]);
    let used = used
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .unwrap();
    assert!(used.trim().parse::<usize>().unwrap() > limit / 2, "{used}");
}

/// Runs one of Redis' tools; explains what to install where it is missing.
fn redis_tool(name: &str, node: &Program, flags: &[&str]) -> String {
    let port = node.address.port().to_string();
    let output = Command::new(name)
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(flags)
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}; install it: apt-get install redis-tools"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {flags:?}: {text}{errors}");
    text
}

#[test]
fn redis_cli_is_at_home() {
    // Intent: the tool that everybody has works, RESP2 and RESP3, with a password too.
    let node = Program::start(&["--memory", "32MiB"]);
    assert_eq!(
        redis_tool("redis-cli", &node, &["set", "k", "a value"]).trim(),
        "OK"
    );
    assert_eq!(
        redis_tool("redis-cli", &node, &["get", "k"]).trim(),
        "a value"
    );
    assert_eq!(
        redis_tool("redis-cli", &node, &["-3", "mget", "k", "x"]).trim(),
        "a value"
    );
    assert!(redis_tool("redis-cli", &node, &["info"]).contains("keyspace_hits:2"));
    assert_eq!(redis_tool("redis-cli", &node, &["dbsize"]).trim(), "1");
    assert!(redis_tool("redis-cli", &node, &["client", "list"]).contains("id="));
    let file = std::env::temp_dir().join(format!("memnode-password-{}", std::process::id()));
    std::fs::write(&file, "open-sesame\n").unwrap();
    let guarded = Program::start(&[
        "--memory",
        "16MiB",
        "--password-file",
        file.to_str().unwrap(),
    ]);
    std::fs::remove_file(&file).unwrap();
    assert!(redis_tool("redis-cli", &guarded, &["get", "k"]).contains("NOAUTH"));
    let flags = ["--no-auth-warning", "-a", "open-sesame", "ping"];
    assert_eq!(redis_tool("redis-cli", &guarded, &flags).trim(), "PONG");
}

#[test]
fn redis_benchmark_runs_to_its_end() {
    // Intent: the benchmark everybody knows, plain and pipelined, with blocks and large values.
    let node = Program::start(&["--memory", "128MiB"]);
    for flags in [
        &["-n", "2000", "-c", "1", "-d", "4096"][..],
        &["-n", "5000", "-c", "50", "-d", "4096", "-r", "1000"],
        &[
            "-n", "20000", "-c", "20", "-P", "16", "-d", "4096", "-r", "1000",
        ],
        &["-n", "200", "-c", "4", "-P", "4", "-d", "1048576"],
    ] {
        let flags = [&["-t", "set,get", "--csv"], flags].concat();
        let text = redis_tool("redis-benchmark", &node, &flags);
        for test in ["SET", "GET"] {
            assert!(
                text.contains(&format!("\"{test}\",\"")),
                "{flags:?}: {text}"
            );
        }
    }
    let peak = node.status_bytes("VmHWM");
    assert!(peak <= 128 * MIB, "{peak} bytes at the peak");
}

#[test]
fn redis_py_is_at_home() {
    // Intent: the basic commands through the client library that most programs use.
    let node = Program::start(&["--memory", "64MiB"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis_py.py");
    let output = Command::new("/usr/bin/python3")
        .args([script, &node.address.port().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.lines().count() == 4,
        "{text}{errors}\n(without redis-py: apt-get install python3-redis)"
    );
}

#[test]
fn redis_cli_walks_and_watches() {
    // Intent: the modes of redis-cli beyond one command.
    let node = Program::start(&["--memory", "32MiB"]);
    let mut wire = node.connect();
    for n in 0..300 {
        wire.ask(&format!("SET key:{n} {}", "v".repeat(n + 1)), "+OK\r\n");
    }
    let listed = redis_tool("redis-cli", &node, &["--scan", "--pattern", "key:2??"]);
    assert_eq!(listed.lines().count(), 100, "{listed}");
    let big = redis_tool("redis-cli", &node, &["--bigkeys"]);
    assert!(
        big.contains("Sampled 300 keys") && big.contains("key:299"),
        "{big}"
    );
    let heavy = redis_tool("redis-cli", &node, &["--memkeys"]);
    assert!(heavy.contains("Sampled 300 keys"), "{heavy}");
    let watched = redis_tool(
        "redis-cli",
        &node,
        &["-r", "3", "-i", "0.01", "--csv", "ping"],
    );
    assert_eq!(watched.lines().count(), 3, "{watched}");
    for endless in ["--stat -i 0.1", "--latency"] {
        // Both run until they are stopped, and show themselves to a terminal only.
        let port = node.address.port();
        let line = format!("timeout -s INT 2 redis-cli -h 127.0.0.1 -p {port} {endless}");
        let flags = ["-qfc", &line, "/dev/null"];
        let output = Command::new("script").args(flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers = text
            .split_whitespace()
            .filter(|word| word.parse::<f64>().is_ok());
        assert!(numbers.count() > 3, "{endless:?}: {text}");
    }
}

#[test]
fn shutdown_ends_the_program() {
    // Intent: SHUTDOWN as redis-cli sends it; no answer, exit status 0.
    let mut node = Program::start(&["--memory", "16MiB"]);
    let mut wire = node.connect();
    wire.send(b"SHUTDOWN NOSAVE\r\n");
    assert!(wire.rest().is_empty());
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}
