//! The node in the hands of an operator: metrics, health, drain, reload, a service manager, tools.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use support::{Program, WATCHDOG, Wire, program};

/// A directory of this test's own, removed with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("memnode-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A port nobody listens on right now.
fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").unwrap();
    probe.local_addr().unwrap().port()
}

fn signal(pid: u32, name: &str) {
    let name = format!("-{name}");
    let status = Command::new("kill")
        .args([&name, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

fn ended(node: &mut Program) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = node.child.try_wait().unwrap() {
            return status.code().unwrap();
        }
        assert!(start.elapsed() < WATCHDOG, "it did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One page over HTTP: status line and body.
fn page(port: u16, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or(("", ""));
    (
        head.lines().next().unwrap_or("").to_string(),
        body.to_string(),
    )
}

#[test]
fn prometheus_reads_and_strangers_get_nothing() {
    // Intent: the counters over HTTP are the node's own; whoever misuses the port is no harm.
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let node = Program::start(&["--memory", "16MiB", "--metrics", &metrics]);
    let mut wire = node.connect();
    wire.ask("SET k v", "+OK\r\n");
    wire.ask("GET k", "$1\r\nv\r\n");
    let mut stalled = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stalled.write_all(b"GET /met").unwrap();
    let (status, body) = page(port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 200 OK");
    for line in [
        "memnode_hits_total 1",
        "memnode_items 1",
        "memnode_memory_limit_bytes 16777216",
    ] {
        assert!(body.lines().any(|found| found == line), "{line} in {body}");
    }
    assert_eq!(page(port, "GET /healthz HTTP/1.0\r\n\r\n").1, "ok\n");
    assert_eq!(
        page(port, "GET / HTTP/1.0\r\n\r\n").0,
        "HTTP/1.1 404 Not Found"
    );
    let (status, _) = page(port, "POST /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 405 Method Not Allowed");
    let endless = "GET /metrics HTTP/1.1\r\n".to_string() + &"x: y\r\n".repeat(4000);
    assert_eq!(page(port, &endless).0, "");
    wire.ask("PING", "+PONG\r\n");
}

#[test]
fn a_drained_node_serves_who_is_there_and_nobody_else() {
    // Intent: after SIGTERM with a grace, connections are served until they go, then it ends.
    let port = free_port();
    let metrics = format!("127.0.0.1:{port}");
    let flags = [
        "--memory",
        "16MiB",
        "--grace",
        "3600",
        "--metrics",
        &metrics,
    ];
    let mut node = Program::start(&flags);
    let mut wire = node.connect();
    wire.ask("SET k v", "+OK\r\n");
    signal(node.child.id(), "TERM");
    let start = Instant::now();
    while page(port, "GET /healthz HTTP/1.0\r\n\r\n").1 != "draining\n" {
        assert!(start.elapsed() < WATCHDOG);
    }
    assert!(TcpStream::connect(node.address).is_err());
    wire.ask("GET k", "$1\r\nv\r\n");
    drop(wire);
    assert_eq!(ended(&mut node), 0);
}

#[test]
fn a_second_signal_ends_the_grace() {
    let mut node = Program::start(&["--memory", "16MiB", "--grace", "3600"]);
    let mut wire = node.connect();
    wire.ask("PING", "+PONG\r\n");
    signal(node.child.id(), "TERM");
    let start = Instant::now();
    while TcpStream::connect(node.address).is_ok() {
        assert!(start.elapsed() < WATCHDOG);
        std::thread::sleep(Duration::from_millis(5));
    }
    wire.ask("PING", "+PONG\r\n");
    signal(node.child.id(), "TERM");
    assert_eq!(ended(&mut node), 0);
    assert!(wire.rest().is_empty());
}

#[test]
fn a_reload_changes_the_password_and_keeps_the_blocks() {
    // Intent: SIGHUP reads the password file again; who is in stays in; nonsense changes nothing.
    let place = Place::new("reload");
    let file = place.file("password", "first\n");
    let node = Program::start(&["--memory", "16MiB", "--password-file", &file]);
    let mut wire = node.connect();
    wire.ask("AUTH first", "+OK\r\n");
    wire.ask("SET k v", "+OK\r\n");
    let accepted = |password: &str| {
        let mut fresh = node.connect();
        fresh.send(format!("AUTH {password}\r\n").as_bytes());
        fresh.line() == "+OK"
    };
    place.file("password", "second\n");
    assert!(!accepted("second"));
    signal(node.child.id(), "HUP");
    let start = Instant::now();
    while !accepted("second") {
        assert!(start.elapsed() < WATCHDOG);
    }
    assert!(!accepted("first"));
    wire.ask("GET k", "$1\r\nv\r\n");
    place.file("password", "");
    signal(node.child.id(), "HUP");
    std::thread::sleep(Duration::from_millis(100));
    assert!(accepted("second"));
}

#[test]
fn a_service_manager_passes_the_socket_and_is_told() {
    // Intent: socket activation and sd_notify, as systemd does both.
    let place = Place::new("manager");
    let path = place.0.join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(WATCHDOG)).unwrap();
    let told = |word: &str| {
        let mut text = [0; 500];
        let got = manager.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..got]).into_owned();
        assert!(text.lines().any(|line| line == word), "{word} in {text}");
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let node = program(&["--memory", "16MiB", "--listen", "127.0.0.1:1"]);
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(node.get_program())
        .args(node.get_args());
    shell.env("NOTIFY_SOCKET", &path).env("MEMNODE_LOG", "warn");
    let child = shell.stdin(OwnedFd::from(listener)).spawn().unwrap();
    let mut node = Program { child, address };
    told("READY=1");
    Wire::connect(address).ask("PING", "+PONG\r\n");
    signal(node.child.id(), "HUP");
    told("RELOADING=1");
    told("READY=1");
    signal(node.child.id(), "TERM");
    told("STOPPING=1");
    assert_eq!(ended(&mut node), 0);
}

#[test]
fn logs_can_be_read_by_programs() {
    // Intent: --log-format json gives one object a line.
    let mut command = program(&["--memory", "16MiB", "--listen", "127.0.0.1:0"]);
    command.args(["--log-format", "json"]);
    let mut node = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let errors = node.stderr.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(errors), &mut line).unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(
        line.starts_with('{') && line.contains("\"message\":\"serving\""),
        "{line}"
    );
    assert!(
        line.contains("\"address\":\"127.0.0.1:") && line.ends_with("}\n"),
        "{line}"
    );
}

/// Runs a tool of the program; returns its exit status, stdout and stderr.
fn tool(flags: &[&str]) -> (i32, String, String) {
    let output = program(flags).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_tools_look_from_outside() {
    // Intent: stat, ping and bench work with and without a password, and say what to do if not.
    let place = Place::new("tools");
    let file = place.file("password", "secret\n");
    let node = Program::start(&["--memory", "16MiB", "--password-file", &file]);
    let address = node.address.to_string();
    let with = |verb: &str, more: &[&str]| {
        tool(&[&[verb, &address, "--password-file", &file], more].concat())
    };
    let (code, text, _) = with("bench", &["-n", "320", "-j"]);
    assert_eq!((code, text.lines().count()), (0, 4), "{text}");
    assert!(
        text.lines()
            .all(|line| line.starts_with("{\"schema\":1,\"op\":")),
        "{text}"
    );
    let (code, text, _) = with("stat", &["-j"]);
    assert_eq!(code, 0);
    for part in ["\"items\":0", "\"hits\":640", "\"memory_bytes\":16777216"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(with("stat", &[]).1.contains("hit ratio          100.0 %"));
    let (code, text, _) = with("ping", &["-n", "5"]);
    assert!(code == 0 && text.starts_with("5 pings: p50 "), "{text}");
    let (code, text, errors) = tool(&["ping", &address]);
    assert_eq!(
        (code, text.as_str(), errors.lines().count()),
        (1, "", 3),
        "{errors}"
    );
    assert!(
        errors.contains("NOAUTH") && errors.contains("--password-file"),
        "{errors}"
    );
    let nobody = format!("127.0.0.1:{}", free_port());
    let (code, _, errors) = tool(&["stat", &nobody]);
    assert!(code == 1 && errors.contains("cannot reach"), "{errors}");
}
