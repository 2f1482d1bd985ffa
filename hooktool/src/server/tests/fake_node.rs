//! A memory node of a hundred lines, for tests that kill it, restart it, and look into it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::config::NodeAddr;

/// What a node knows, shared by its threads.
#[derive(Default)]
struct Inside {
    values: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    connections: Mutex<Vec<TcpStream>>,
    /// Accept and keep silent.
    is_mute: AtomicBool,
    /// What it says to a SET instead of taking it.
    refusal: Mutex<Option<String>>,
    refused: AtomicU64,
    is_over: AtomicBool,
}

/// A node that listens until it is stopped or dropped.
pub struct FakeNode {
    /// Where it listens.
    pub port: u16,
    inside: Arc<Inside>,
}

static RUNS: AtomicU64 = AtomicU64::new(0);

impl FakeNode {
    /// Starts an empty node on a port of the kernel's choice.
    pub fn start() -> FakeNode {
        FakeNode::start_at(0)
    }

    /// Starts an empty node on a given port.
    pub fn start_at(port: u16) -> FakeNode {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let port = listener.local_addr().unwrap().port();
        let inside = Arc::new(Inside::default());
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(&inside);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::SeqCst) {
                    break;
                }
                shared.connections.lock().push(stream.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || converse(&shared, stream, run));
            }
        });
        FakeNode { port, inside }
    }

    /// Its address.
    pub fn addr(&self) -> NodeAddr {
        NodeAddr::Memnode {
            host: "127.0.0.1".into(),
            port: self.port,
        }
    }

    /// What it holds under a key.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.inside.values.lock().get(key).cloned()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.inside.values.lock().len()
    }

    /// How many values it has refused.
    pub fn refused(&self) -> u64 {
        self.inside.refused.load(Ordering::SeqCst)
    }

    /// From now on it refuses every value, in these words.
    pub fn refuse(&self, words: String) {
        *self.inside.refusal.lock() = Some(words);
    }

    /// From now on it takes requests and answers none, or answers again.
    pub fn mute(&self, on: bool) {
        self.inside.is_mute.store(on, Ordering::SeqCst);
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.inside.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for connection in self.inside.connections.lock().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn converse(inside: &Inside, stream: TcpStream, run: u64) {
    let mut answers = stream.try_clone().unwrap();
    let mut requests = BufReader::new(stream);
    while let Some(request) = read_request(&mut requests) {
        let answer = answer(inside, &request, run);
        while inside.is_mute.load(Ordering::SeqCst) && !inside.is_over.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if answers.write_all(&answer).is_err() {
            return;
        }
    }
}

fn read_request(requests: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = read_number(requests, '*')?;
    (0..count)
        .map(|_| {
            let length = read_number(requests, '$')?;
            let mut part = vec![0; length + 2];
            requests.read_exact(&mut part).ok()?;
            part.truncate(length);
            Some(part)
        })
        .collect()
}

fn read_number(requests: &mut BufReader<TcpStream>, kind: char) -> Option<usize> {
    let mut line = String::new();
    requests.read_line(&mut line).ok()?;
    line.strip_prefix(kind)?.trim_end().parse().ok()
}

fn answer(inside: &Inside, request: &[Vec<u8>], run: u64) -> Vec<u8> {
    match (request[0].as_slice(), &request[1..]) {
        (b"PING", _) => b"+PONG\r\n".to_vec(),
        (b"INFO", _) => {
            let text = format!(
                "run_id:{run}\r\nused_memory:5\r\nmaxmemory:{}\r\n",
                64 << 20
            );
            format!("${}\r\n{text}\r\n", text.len()).into_bytes()
        }
        (b"SET", [key, value]) => {
            if let Some(words) = &*inside.refusal.lock() {
                inside.refused.fetch_add(1, Ordering::SeqCst);
                return format!("-{words}\r\n").into_bytes();
            }
            inside.values.lock().insert(key.clone(), value.clone());
            b"+OK\r\n".to_vec()
        }
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}
