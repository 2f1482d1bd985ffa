//! `hooktool bus relay` and `routes` on one host: who may speak, and what is said when it cannot
//! be. (`tests/relay` kills and cuts.)

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::certificates;
use crate::house::HOOKTOOL;

/// Longest wait for something that must happen: a watchdog, not a measurement.
const WATCHDOG: Duration = Duration::from_secs(60);

const CHANNEL: &str = "[[channel]]\nbetween = [\"0.0.1.1\", \"0.0.2.1\"]\nsend = \"64KiB\"\n";

/// Two buses, and relays between them.
struct Pair {
    base: PathBuf,
    ports: [u16; 2],
    relays: Vec<Child>,
}

impl Pair {
    fn new() -> Pair {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hooktool-it-pair-{}-{nth}", std::process::id());
        let pair = Pair {
            base: std::env::temp_dir().join(name),
            ports: [0; 2].map(|_| free_port()),
            relays: Vec::new(),
        };
        for host in 0..2 {
            std::fs::create_dir_all(pair.base.join(host.to_string())).unwrap();
            pair.good(host, &["apply", &pair.file("channels.toml", CHANNEL)]);
        }
        pair
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.base.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }

    fn command(&self, host: usize, words: &[&str]) -> Command {
        let mut command = Command::new(HOOKTOOL);
        let bus = self.base.join(host.to_string());
        command.arg("bus").arg("--bus").arg(bus).args(words);
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, host: usize, words: &[&str]) -> Output {
        self.command(host, words).output().unwrap()
    }

    fn good(&self, host: usize, words: &[&str]) -> String {
        let output = self.run(host, words);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The route of a host to the other's address.
    fn route(&self, host: usize, scheme: &str) -> String {
        let far = ["0.0.2.1", "0.0.1.1"][host];
        let port = self.ports[1 - host];
        let text =
            format!("[[route]]\naddress = \"{far}\"\nto = \"{scheme}://127.0.0.1:{port}\"\n");
        self.file(&format!("routes-{host}.toml"), &text)
    }

    fn relay(&mut self, host: usize, more: &[&str]) {
        let listen = format!("127.0.0.1:{}", self.ports[host]);
        let words = [&["relay", "--listen", &listen], more].concat();
        let child = self.command(host, &words).stderr(Stdio::null()).spawn();
        self.relays.push(child.unwrap());
    }

    /// Waits until `routes ls` of a host says something.
    fn until(&self, host: usize, what: &str) {
        let begun = Instant::now();
        loop {
            let said = self.good(host, &["routes", "ls"]);
            if said.contains(what) {
                return;
            }
            assert!(begun.elapsed() < WATCHDOG, "`{what}` is not in: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Certificates of an authority for two relays that speak for these addresses.
    fn certificates(&self, names: [&str; 2]) {
        certificates::authority(&self.base);
        for (host, name) in names.iter().enumerate() {
            certificates::certificate(&self.base, &host.to_string(), &[name]);
        }
    }

    fn secure(&self, host: usize) -> Vec<String> {
        certificates::flags(&self.base, &host.to_string())
    }

    fn start_secure(&mut self) {
        for host in 0..2 {
            self.good(host, &["routes", "apply", &self.route(host, "tls")]);
            let more = self.secure(host);
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            self.relay(host, &more);
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for relay in &mut self.relays {
            let _ = relay.kill();
            let _ = relay.wait();
        }
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_certificate_names_who_may_send() {
    let mut pair = Pair::new();
    pair.certificates(["0.0.1.*", "0.0.2.1"]);
    pair.start_secure();
    pair.good(0, &["send", "0.0.1.1", "0.0.2.1", "there"]);
    assert_eq!(
        pair.good(1, &["recv", "--wait", "60", "0.0.2.1"]),
        "there\n"
    );
    pair.good(1, &["send", "0.0.2.1", "0.0.1.1", "back"]);
    assert_eq!(pair.good(0, &["recv", "--wait", "60", "0.0.1.1"]), "back\n");
}

#[test]
fn who_is_not_named_sends_nothing_and_is_told() {
    let mut pair = Pair::new();
    pair.certificates(["0.0.9.9", "0.0.2.1"]);
    pair.start_secure();
    pair.good(0, &["send", "0.0.1.1", "0.0.2.1", "not yet"]);
    pair.until(0, "your certificate does not name 0.0.1.1");
    pair.until(1, "certificate does not name 0.0.1.1");
    assert!(!pair.run(1, &["recv", "0.0.2.1"]).status.success());
    assert!(pair.good(0, &["ls"]).contains("      1  "), "it waits");
}

#[test]
fn without_tls_nobody_gets_in_where_it_is_asked_for() {
    let mut pair = Pair::new();
    pair.certificates(["0.0.1.1", "0.0.2.1"]);
    pair.good(0, &["routes", "apply", &pair.route(0, "tcp")]);
    pair.good(1, &["routes", "apply", &pair.route(1, "tls")]);
    pair.relay(0, &[]);
    let more = pair.secure(1);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    pair.relay(1, &more);
    pair.good(0, &["send", "0.0.1.1", "0.0.2.1", "in the clear"]);
    pair.until(0, "down: ");
    assert!(!pair.run(1, &["recv", "0.0.2.1"]).status.success());
}

#[test]
fn routes_are_read_again_and_nonsense_is_not_taken() {
    let mut pair = Pair::new();
    let none = pair.file("none.toml", "");
    for host in 0..2 {
        pair.good(host, &["routes", "apply", &none]);
        pair.relay(host, &[]);
    }
    let dry = pair.good(0, &["routes", "apply", "--dry-run", &pair.route(0, "tcp")]);
    assert!(dry.contains("would be added 0.0.2.1"), "{dry}");
    for host in 0..2 {
        pair.good(host, &["routes", "apply", &pair.route(host, "tcp")]);
    }
    pair.good(0, &["send", "0.0.1.1", "0.0.2.1", "one"]);
    assert_eq!(pair.good(1, &["recv", "--wait", "60", "0.0.2.1"]), "one\n");
    let again = pair.good(0, &["routes", "apply", &pair.route(0, "tcp")]);
    assert!(again.contains("1 kept as they were"), "{again}");
    let wrong = pair.file(
        "wrong.toml",
        "[[route]]\naddress = \"0.0.2\"\nto = \"tcp://a:1\"\n",
    );
    let refused = pair.run(0, &["routes", "apply", &wrong]);
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        refused.status.code() == Some(2) && text.contains("wrong.toml:1:"),
        "{text}"
    );
    // Even where it is written over the table itself, the relay keeps what it had.
    let installed = pair.base.join("0/routes.toml");
    let before = std::fs::read(&installed).unwrap();
    std::fs::write(&installed, "nonsense").unwrap();
    std::thread::sleep(Duration::from_millis(1200));
    pair.good(0, &["send", "0.0.1.1", "0.0.2.1", "two"]);
    assert_eq!(pair.good(1, &["recv", "--wait", "60", "0.0.2.1"]), "two\n");
    std::fs::write(&installed, before).unwrap();
    pair.good(0, &["routes", "rm", "0.0.2.1"]);
    assert_eq!(
        pair.run(0, &["routes", "rm", "0.0.2.1"]).status.code(),
        Some(1)
    );
}

#[test]
fn other_hosts_are_not_listened_to_without_a_certificate() {
    let pair = Pair::new();
    pair.good(0, &["routes", "apply", &pair.route(0, "tcp")]);
    for place in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7"] {
        let refused = pair.run(0, &["relay", "--listen", place]);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{text}");
        assert!(
            text.contains(place) && text.contains("--insecure"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
