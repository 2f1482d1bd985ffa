//! What the tests of memnode share: a node inside the test, the real program, raw sockets.
//!
//! Used by the other files of this directory. Every wait has a watchdog, none has a lower bound.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use memnode::{Config, Node};
use tokio::sync::oneshot;

/// Longest wait for anything.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// One mebibyte.
pub const MIB: usize = 1 << 20;

/// A node on a thread of the test; ends with it.
pub struct Embedded {
    pub node: Node,
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Embedded {
    pub fn start(config: Config) -> Embedded {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let node = Node::new(config).unwrap();
        let (end, ended) = oneshot::channel();
        let serving = node.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime
                .unwrap()
                .block_on(serving.run(listener, async { drop(ended.await) }))
                .unwrap();
        });
        Embedded {
            node,
            address,
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub fn small() -> Embedded {
        Embedded::start(Config::new(32 * MIB))
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// Ends the node and waits for it; panics of its threads become panics here.
    pub fn end(&mut self) {
        drop(self.end.take());
        self.thread
            .take()
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// A raw socket.
pub struct Wire(pub TcpStream);

impl Wire {
    pub fn connect(address: SocketAddr) -> Wire {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WATCHDOG)).unwrap();
        stream.set_write_timeout(Some(WATCHDOG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire(stream)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Sends a command as an array of bulk strings.
    pub fn command(&mut self, parts: &[&[u8]]) {
        self.send(&encoded(parts));
    }

    /// The next bytes must be exactly these.
    pub fn expect(&mut self, bytes: &[u8]) {
        let mut got = vec![0; bytes.len()];
        let read = read_up_to(&mut self.0, &mut got);
        let got = String::from_utf8_lossy(&got[..read]).into_owned();
        assert_eq!(got, String::from_utf8_lossy(bytes));
    }

    /// The next bytes, whatever they are.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut got = vec![0; count];
        self.0.read_exact(&mut got).unwrap();
        got
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.bytes(1));
        }
        String::from_utf8_lossy(&line).trim_end().to_string()
    }

    /// Sends a line and expects bytes back.
    pub fn ask(&mut self, line: &str, reply: &str) {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(reply.as_bytes());
    }

    /// Everything up to the end of the connection.
    pub fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = self.0.read_to_end(&mut rest);
        rest
    }

    /// A bulk reply as text.
    pub fn bulk(&mut self, parts: &[&[u8]]) -> String {
        self.command(parts);
        let mut reader = BufReader::new(&self.0);
        let mut head = String::new();
        reader.read_line(&mut head).unwrap();
        let length: usize = head.trim().strip_prefix('$').expect(&head).parse().unwrap();
        let mut body = vec![0; length + 2];
        reader.read_exact(&mut body).unwrap();
        String::from_utf8_lossy(&body[..length]).into_owned()
    }
}

fn read_up_to(stream: &mut TcpStream, place: &mut [u8]) -> usize {
    let mut read = 0;
    while read < place.len() {
        match stream.read(&mut place[read..]) {
            Ok(0) | Err(_) => break,
            Ok(bytes) => read += bytes,
        }
    }
    read
}

/// A command as an array of bulk strings.
pub fn encoded(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The real program, killed with the test.
pub struct Program {
    pub child: Child,
    pub address: SocketAddr,
}

impl Program {
    /// Starts it on a free port and waits until it says where it serves.
    pub fn start(flags: &[&str]) -> Program {
        let mut child = program(&["--listen", "127.0.0.1:0"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                reader.read_line(&mut line).unwrap() > 0,
                "memnode ended before it served"
            );
            if let Some((_, rest)) = line.split_once("address=") {
                break rest.split_whitespace().next().unwrap().parse().unwrap();
            }
        };
        // Its log must have somewhere to go for as long as it lives.
        std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        Program { child, address }
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// A number of kilobytes from its status, in bytes.
    pub fn status_bytes(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, not started, free of this process's settings.
pub fn program(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memnode"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("MEMNODE_")) {
        command.env_remove(name);
    }
    command
        .env("MEMNODE_LOG", "info")
        .env("NO_COLOR", "1")
        .args(flags)
        .stdin(Stdio::null());
    command
}
