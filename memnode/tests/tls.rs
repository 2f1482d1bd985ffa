//! TLS from outside: Redis' own tools, certificates that openssl made, and what is wrong with some.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use support::{MIB, Program, WATCHDOG, Wire, encoded, program};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Two authorities, certificates for a node by each, and for clients.
struct Papers(PathBuf);

impl Papers {
    fn new(name: &str) -> Papers {
        let path = std::env::temp_dir().join(format!("memnode-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let papers = Papers(path);
        for authority in ["ca", "other"] {
            let request = format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
                 -keyout {authority}.key -out {authority}.crt -subj /CN={authority}"
            );
            papers.openssl(&request);
        }
        papers.sign("node", "ca", "30");
        papers.sign("client", "ca", "30");
        papers.sign("late", "ca", "-1");
        papers.sign("foreign", "other", "30");
        papers
    }

    fn sign(&self, name: &str, authority: &str, days: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out \
             {name}.csr -subj /CN={name} -addext subjectAltName=IP:127.0.0.1,DNS:localhost"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -days {days} \
             -copy_extensions copy -out {name}.crt"
        ));
    }

    fn openssl(&self, line: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(line.split(' ')).current_dir(&self.0).output();
        let output = output.unwrap_or_else(|error| panic!("apt-get install openssl: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {line}: {errors}");
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }

    /// A node that shows the certificate called so.
    fn node(&self, name: &str, more: &[&str]) -> Program {
        let (cert, key) = (
            self.at(&format!("{name}.crt")),
            self.at(&format!("{name}.key")),
        );
        let flags = ["--memory", "32MiB", "--tls-cert", &cert, "--tls-key", &key];
        Program::start(&[&flags, more].concat())
    }

    /// What redis-cli says, believing an authority, showing a certificate or none.
    fn redis_cli(&self, node: &Program, authority: &str, shown: &str, words: &[&str]) -> String {
        let port = node.address.port().to_string();
        let believed = self.at(&format!("{authority}.crt"));
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port, "--tls", "--cacert", &believed]);
        if !shown.is_empty() {
            let (cert, key) = (format!("{shown}.crt"), format!("{shown}.key"));
            command.args(["--cert", &self.at(&cert), "--key", &self.at(&key)]);
        }
        let output = command.args(words).output();
        let output = output.unwrap_or_else(|error| panic!("apt-get install redis-tools: {error}"));
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).trim().to_string()
    }

    fn connect(&self, node: &Program) -> StreamOwned<ClientConnection, TcpStream> {
        let roots = memnode::tls::authorities(Path::new(&self.at("ca.crt"))).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(node.address).unwrap();
        socket.set_read_timeout(Some(WATCHDOG)).unwrap();
        socket.set_write_timeout(Some(WATCHDOG)).unwrap();
        StreamOwned::new(tls, socket)
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn redis_cli_speaks_tls_with_a_node_it_believes_and_no_other() {
    // Intent: a certificate proves the node; who does not speak TLS is told how.
    let papers = Papers::new("cli");
    let node = papers.node("node", &[]);
    assert_eq!(papers.redis_cli(&node, "ca", "", &["set", "k", "v"]), "OK");
    assert_eq!(papers.redis_cli(&node, "ca", "", &["get", "k"]), "v");
    let refused = papers.redis_cli(&node, "other", "", &["get", "k"]);
    assert!(refused.contains("verify failed"), "{refused}");
    let late = papers.node("late", &[]);
    let refused = papers.redis_cli(&late, "ca", "", &["get", "k"]);
    assert!(refused.contains("verify failed"), "{refused}");
    let mut plain = Wire::connect(node.address);
    plain.send(b"*1\r\n$4\r\nPING\r\n");
    let said = String::from_utf8(plain.rest()).unwrap();
    assert!(
        said.starts_with("-ERR this port speaks TLS: rediss://"),
        "{said}"
    );
    assert_eq!(papers.redis_cli(&node, "ca", "", &["get", "k"]), "v");
}

#[test]
fn only_clients_with_a_certificate_are_let_in_where_one_is_asked_for() {
    // Intent: no certificate, one of a foreign authority, one that is too old: outside.
    let papers = Papers::new("clients");
    let ca = papers.at("ca.crt");
    let node = papers.node("node", &["--tls-client-ca", &ca]);
    assert_eq!(
        papers.redis_cli(&node, "ca", "client", &["set", "k", "v"]),
        "OK"
    );
    for stranger in ["", "foreign", "late"] {
        let said = papers.redis_cli(&node, "ca", stranger, &["get", "k"]);
        assert!(
            !said.contains('v') || said.contains("rror"),
            "{stranger}: {said}"
        );
    }
    assert_eq!(
        papers
            .redis_cli(&node, "ca", "client", &["info", "stats"])
            .matches("misses:0")
            .count(),
        1
    );
    let everywhere = ["--listen", "0.0.0.0:0", "--memory", "16MiB", "--tls-cert"];
    let open = program(
        &[
            &everywhere[..],
            &[&papers.at("node.crt"), "--tls-key", &papers.at("node.key")],
        ]
        .concat(),
    );
    let output = { open }.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && text.contains("--tls-client-ca FILE"),
        "{text}"
    );
}

#[test]
fn a_password_is_still_asked_for() {
    let papers = Papers::new("password");
    std::fs::write(papers.at("password"), "secret\n").unwrap();
    let node = papers.node("node", &["--password-file", &papers.at("password")]);
    let said = papers.redis_cli(&node, "ca", "", &["get", "k"]);
    assert!(said.contains("NOAUTH"), "{said}");
    let said = papers.redis_cli(
        &node,
        "ca",
        "",
        &["--no-auth-warning", "-a", "secret", "ping"],
    );
    assert_eq!(said, "PONG");
}

#[test]
fn a_reload_shows_the_new_certificate_and_asks_the_new_authority() {
    // Intent: SIGHUP changes what later connections see; nonsense changes nothing.
    let papers = Papers::new("reload");
    let copy = |from: &str, to: &str| std::fs::copy(papers.at(from), papers.at(to)).unwrap();
    let show = |name: &str| {
        copy(&format!("{name}.crt"), "shown.crt");
        copy(&format!("{name}.key"), "shown.key");
    };
    show("node");
    let node = papers.node("shown", &[]);
    let mut before = papers.connect(&node);
    before.write_all(b"SET k v\r\n").unwrap();
    let mut said = [0; 5];
    before.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"+OK\r\n");
    let reload = || {
        let pid = node.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-HUP", &pid])
                .status()
                .unwrap()
                .success()
        );
    };
    show("foreign");
    reload();
    let start = Instant::now();
    while papers.redis_cli(&node, "other", "", &["get", "k"]) != "v" {
        assert!(start.elapsed() < WATCHDOG);
    }
    assert!(
        papers
            .redis_cli(&node, "ca", "", &["get", "k"])
            .contains("verify failed")
    );
    std::fs::write(papers.at("shown.key"), "nonsense").unwrap();
    reload();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(papers.redis_cli(&node, "other", "", &["get", "k"]), "v");
    before.write_all(b"GET k\r\n").unwrap();
    let mut said = [0; 7];
    before.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"$1\r\nv\r\n");
}

#[test]
fn files_that_cannot_be_used_are_told_apart() {
    // Intent: each mistake has its own words and what to type.
    let papers = Papers::new("files");
    papers.openssl("ec -aes128 -passout pass:x -in node.key -out locked.key");
    std::fs::write(papers.at("nonsense"), "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
    let (node, foreign) = (papers.at("node.crt"), papers.at("foreign.key"));
    let (key, none) = (papers.at("node.key"), papers.at("none"));
    let (locked, nonsense) = (papers.at("locked.key"), papers.at("nonsense"));
    for (flags, words) in [
        (&["--tls-cert", &node][..], "--tls-cert needs --tls-key"),
        (&["--tls-key", &key], "--tls-key needs --tls-cert"),
        (
            &["--tls-client-ca", &node],
            "--tls-client-ca needs --tls-cert",
        ),
        (&["--tls-cert", &none, "--tls-key", &key], "No such file"),
        (
            &["--tls-cert", &node, "--tls-key", &foreign],
            "not the key of the certificate",
        ),
        (
            &["--tls-cert", &node, "--tls-key", &locked],
            "locked by a passphrase",
        ),
        (
            &["--tls-cert", &node, "--tls-key", &node],
            "no private key in it",
        ),
        (
            &["--tls-cert", &key, "--tls-key", &key],
            "no certificate in it",
        ),
        (
            &["--tls-cert", &nonsense, "--tls-key", &key],
            "cut off or damaged",
        ),
        (
            &[
                "--tls-cert",
                &node,
                "--tls-key",
                &key,
                "--tls-client-ca",
                &key,
            ],
            "no certificate in it",
        ),
    ] {
        let output = program(&[&["--memory", "16MiB", "--listen", "127.0.0.1:0"], flags].concat())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), text.lines().count()),
            (Some(2), 3),
            "{text}"
        );
        assert!(
            text.contains(words) && text.contains("\n  try: "),
            "{words}: {text}"
        );
    }
}

#[test]
fn large_values_come_back_whole_and_whoever_does_not_read_is_not_served() {
    // Intent: records, bursts and a socket that is full, with the memory inside its limit.
    let papers = Papers::new("large");
    let node = papers.node("node", &[]);
    let mut wire = papers.connect(&node);
    let large: Vec<u8> = (0..MIB).map(|n| (n % 251) as u8).collect();
    wire.write_all(&encoded(&[b"SET", b"k", &large])).unwrap();
    wire.write_all(&b"GET k\r\n".repeat(20)).unwrap();
    let mut head = [0; 5];
    wire.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"+OK\r\n");
    let mut reply = vec![0; MIB + 12];
    for _ in 0..20 {
        wire.read_exact(&mut reply).unwrap();
        assert!(reply.starts_with(b"$1048576\r\n") && reply[10..MIB + 10] == large);
    }
    let mut idle = papers.connect(&node);
    idle.write_all(&b"GET k\r\n".repeat(1000)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    wire.write_all(b"CONFIG RESETSTAT\r\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    wire.write_all(b"INFO stats\r\n").unwrap();
    let mut text = [0; 4096];
    let mut got = 0;
    while !text[..got]
        .windows(16)
        .any(|word| word == b"keyspace_hits:0\r")
    {
        let more = wire.read(&mut text[got..]).unwrap();
        got += more;
        assert!(
            more > 0 && got < text.len(),
            "{}",
            String::from_utf8_lossy(&text[..got])
        );
    }
    let peak = node.status_bytes("VmHWM");
    assert!(peak <= 32 * MIB, "{peak} bytes at the peak");
}

#[test]
fn the_tools_speak_tls_and_say_what_is_wrong() {
    let papers = Papers::new("tools");
    let ca = papers.at("ca.crt");
    let node = papers.node("node", &["--tls-client-ca", &ca]);
    let (cert, key) = (papers.at("client.crt"), papers.at("client.key"));
    let port = node.address.port();
    let run = |address: &str, more: &[&str]| {
        let output = program(&[&["ping", address, "-n", "5"], more].concat())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    let secure = format!("rediss://localhost:{port}");
    let (code, text) = run(
        &secure,
        &["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key],
    );
    assert!(code == Some(0) && text.starts_with("5 pings"), "{text}");
    let plain = format!("localhost:{port}");
    for (address, flags, words) in [
        (
            &secure,
            &["--tls-ca", &ca][..],
            "--tls-cert FILE --tls-key FILE",
        ),
        (
            &secure,
            &["--tls-ca", &papers.at("other.crt")],
            "--tls-ca FILE",
        ),
        (&plain, &[], "try: rediss://localhost"),
    ] {
        let (code, text) = run(address, flags);
        assert!(code == Some(1) && text.contains(words), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");
    }
    let silent = Program::start(&["--memory", "16MiB"]);
    let (_, text) = run(&format!("rediss://{}", silent.address), &["--tls-ca", &ca]);
    assert!(
        text.contains("it does not speak TLS") && text.contains("redis://"),
        "{text}"
    );
}

#[test]
fn files_of_another_kind_are_told_apart() {
    // Intent: what is in the file instead is said, and how to make of it what is wanted.
    let papers = Papers::new("kinds");
    papers.openssl("x509 -in node.crt -outform DER -out node.der");
    std::fs::write(papers.at("empty"), "").unwrap();
    // PEM of something: "hello".
    let hello = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    std::fs::write(papers.at("hello"), hello).unwrap();
    let key = papers.at("node.key");
    for (name, words) in [
        ("empty", "it is empty"),
        (".", "a file is wanted"),
        ("node.der", "openssl x509 -inform DER"),
        ("hello", "what stands there is no certificate"),
        ("node.key", "PEM of something else"),
    ] {
        let output = program(&["--tls-cert", &papers.at(name), "--tls-key", &key]).output();
        let output = output.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert_eq!(text.lines().count(), 3, "{name}: {text}");
        assert!(text.contains(words), "{name}: {text}");
    }
}

#[test]
fn certificates_that_clients_refuse_are_warned_of() {
    // Intent: who makes a certificate in one line of openssl learns why it is of no use.
    let papers = Papers::new("warned");
    for (name, words) in [("late", "too old"), ("ca", "CA:TRUE"), ("node", "")] {
        let [cert, key] = ["crt", "key"].map(|end| papers.at(&format!("{name}.{end}")));
        let tls = memnode::Tls::from_pem(Path::new(&cert), Path::new(&key), None).unwrap();
        let warning = tls.warning().unwrap_or("");
        assert!(
            warning.contains(words) && warning.is_empty() == words.is_empty(),
            "{warning}"
        );
    }
    let node = papers.node("ca", &[]);
    let address = format!("rediss://{}", node.address);
    let output = program(&["ping", &address, "--tls-ca", &papers.at("ca.crt")]).output();
    let text = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    assert!(text.contains("an authority's own (CA:TRUE)"), "{text}");
}

#[test]
fn a_handshake_that_never_ends_does_not_keep_its_place() {
    // Intent: a silent socket on a TLS port goes as one that does not say the password.
    let papers = Papers::new("silent");
    let paths = ["node.crt", "node.key"].map(|name| papers.at(name));
    let tls = memnode::Tls::from_pem(Path::new(&paths[0]), Path::new(&paths[1]), None).unwrap();
    let node = support::Embedded::start(memnode::Config {
        tls: Some(tls),
        stranger_time_max: std::time::Duration::from_millis(200),
        ..memnode::Config::new(32 * MIB)
    });
    let silent = node.connect();
    let mut half = node.connect();
    half.send(&[0x16, 3, 1, 2, 0]);
    assert!(silent.rest().is_empty());
    let _ = half.rest();
    let start = Instant::now();
    while node.node.stats().connections > 0 || node.node.stats().handshakes_failed < 2 {
        assert!(start.elapsed() < WATCHDOG);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
