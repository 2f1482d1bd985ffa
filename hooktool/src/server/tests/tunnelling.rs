//! Connections by TLS: carried faithfully both ways, ended with either side, and never held up by
//! one another, with a server of the test's own at the other end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use memnode::tls::{certificates, private_key};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::super::link::Link;
use super::super::tunnel::Tunnels;
use crate::tls::{Papers, Trust};

/// Long enough for anything that comes at all.
const WATCHDOG: Duration = Duration::from_secs(60);

/// The far side of a connection.
type Far = StreamOwned<ServerConnection, TcpStream>;

/// A server with a certificate of its own, which is believed.
struct Bench {
    dir: PathBuf,
    config: Arc<ServerConfig>,
    tunnels: Tunnels,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let dir = std::env::temp_dir().join(format!("hooktool-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
                    -keyout key -out crt -subj /CN=node -addext subjectAltName=IP:127.0.0.1 \
                    -addext basicConstraints=critical,CA:FALSE";
        let made = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(&dir)
            .output();
        let made = made.expect("openssl is installed (make test-deps)");
        assert!(made.status.success(), "{made:?}");
        let (cert, key) = (dir.join("crt"), dir.join("key"));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates(&cert).unwrap(), private_key(&key).unwrap())
            .unwrap();
        let papers = Papers {
            ca: Some(cert),
            ..Papers::default()
        };
        Bench {
            dir,
            config: Arc::new(config),
            tunnels: Tunnels::new(Trust::new(papers)),
        }
    }

    /// A connection: the near side as a process has it, and the far one as a node has it.
    fn connect(&self) -> (Link, Far) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let config = Arc::clone(&self.config);
        let accept = move || {
            let (socket, _) = listener.accept().unwrap();
            socket.set_read_timeout(Some(WATCHDOG)).unwrap();
            socket.set_write_timeout(Some(WATCHDOG)).unwrap();
            let conn = ServerConnection::new(config).unwrap();
            let mut far = StreamOwned::new(conn, socket);
            while far.conn.is_handshaking() {
                far.conn.complete_io(&mut far.sock).unwrap();
            }
            far
        };
        let far = std::thread::spawn(accept);
        let socket = TcpStream::connect(at).unwrap();
        let secure = self.tunnels.trust().shake("127.0.0.1", socket, WATCHDOG);
        let near = self.tunnels.carry(secure.unwrap()).unwrap();
        near.limit(Some(WATCHDOG)).unwrap();
        (near, far.join().unwrap())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at * 31 + (at >> 12) * 7) as u8)
        .collect()
}

/// One question, one answer.
fn is_carried(near: &mut Link, far: &mut Far, bytes: usize) {
    let sent = noise(bytes);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| near.write_all(&sent).map(|()| near));
        let mut got = vec![0; bytes];
        far.read_exact(&mut got).unwrap();
        assert!(got == sent, "a request of {bytes} bytes");
        let near = writer.join().unwrap().unwrap();
        let reader = scope.spawn(|| {
            let mut got = vec![0; bytes];
            near.read_exact(&mut got).map(|()| got)
        });
        far.write_all(&sent).unwrap();
        far.flush().unwrap();
        assert!(
            reader.join().unwrap().unwrap() == sent,
            "an answer of {bytes} bytes"
        );
    });
}

#[test]
fn bytes_of_any_number_go_both_ways() {
    let bench = Bench::new("both-ways");
    let (mut near, mut far) = bench.connect();
    for bytes in [1, 30, 4096, 4200, 16384, 70_000, 300_000, 3_000_000, 1] {
        is_carried(&mut near, &mut far, bytes);
    }
    assert!(near.is_silent());
}

#[test]
fn one_that_is_stuck_holds_up_nobody_and_holds_little() {
    let bench = Bench::new("stuck");
    let (mut unread, far) = bench.connect();
    // Nobody reads at the far side: what can be written is what the kernel's buffers and one piece
    // take, not what a process would like to write.
    unread.limit(Some(Duration::from_millis(300))).unwrap();
    let piece = noise(64 << 10);
    let mut written = 0_usize;
    while let Ok(count) = unread.write(&piece) {
        written += count;
        assert!(written < 64 << 20, "it is taken in without end");
    }
    // Nobody reads at the near side of another one.
    let (undrained, mut flood) = bench.connect();
    // What is not taken at once is waited for in both directions.
    let a_moment = Some(Duration::from_millis(300));
    flood.sock.set_write_timeout(a_moment).unwrap();
    flood.sock.set_read_timeout(a_moment).unwrap();
    let mut sent = 0_usize;
    while let Ok(count) = flood.write(&piece) {
        sent += count;
        assert!(sent < 64 << 20, "it is given out without end");
    }
    let (mut near, mut node) = bench.connect();
    for _ in 0..20 {
        is_carried(&mut near, &mut node, 4096);
    }
    drop((undrained, far));
    is_carried(&mut near, &mut node, 4096);
}

#[test]
fn it_ends_with_either_side() {
    let bench = Bench::new("ends");
    // The node says so, or is gone without a word: what it has sent arrives, then the end.
    for says_so in [true, false] {
        let (mut near, mut far) = bench.connect();
        far.write_all(b"the last words").unwrap();
        if says_so {
            far.conn.send_close_notify();
        }
        far.flush().unwrap();
        drop(far);
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"the last words");
        assert!(!near.is_silent());
    }
    // The process closes its end: so is the node's, in order.
    let (near, mut far) = bench.connect();
    drop(near);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).unwrap();
    assert!(heard.is_empty());
    // All that are carried end with whatever carries them.
    let (mut near, _far) = bench.connect();
    drop(bench);
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
}
