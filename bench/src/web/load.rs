//! The load on a web server: connections that are kept alive, one request at a time each, whole
//! bodies received and looked at.
//!
//! Called by the `nginx` workload, outside of the cages. Each body begins and ends with the number
//! of its file (`files::make_numbered`), so that an answer of another file, a short one or a stale
//! length is an error, never a fast request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, unexpected};
use crate::files::{self, next_random};
use crate::stop;

/// No answer takes longer.
const WATCHDOG: Duration = Duration::from_secs(60);

/// A head of an answer is never longer.
const HEAD_BYTES_MAX: usize = 4096;

/// Requests between two looks at the stop flag.
const LOOK_EVERY: u64 = 64;

/// Whom to ask for what.
#[derive(Clone, Copy)]
pub struct Load {
    /// The server.
    pub at: SocketAddr,
    /// Files `0.bin`, `1.bin`, ...
    pub files: u64,
    /// Bytes of each.
    pub bytes: u64,
    /// Connections.
    pub clients: u32,
}

/// What was received.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Whole answers.
    pub requests: u64,
    /// Time they took.
    pub time: Duration,
}

impl Load {
    /// Files at random, for so long.
    pub fn random(&self, time: Duration) -> Result<Loaded> {
        let end = Instant::now() + time;
        self.with_clients(|client, number| {
            let mut state = 0x5DEE_CE66_u64 + u64::from(number) * 7919;
            let mut requests = 0;
            while Instant::now() < end {
                client.get(next_random(&mut state) % self.files)?;
                requests += 1;
                if requests % LOOK_EVERY == 0 {
                    stop::check()?;
                }
            }
            Ok(requests)
        })
    }

    /// Each file once, in order.
    pub fn pass(&self) -> Result<Loaded> {
        let next = AtomicU64::new(0);
        self.with_clients(|client, _| {
            let mut requests = 0;
            loop {
                let file = next.fetch_add(1, Ordering::Relaxed);
                if file >= self.files {
                    return Ok(requests);
                }
                client.get(file)?;
                requests += 1;
                stop::check()?;
            }
        })
    }

    fn with_clients(
        &self,
        work: impl Fn(&mut Client, u32) -> Result<u64> + Sync,
    ) -> Result<Loaded> {
        let begun = Instant::now();
        let work = &work;
        let done: Result<Vec<u64>> = thread::scope(|scope| {
            let one = |number| {
                scope.spawn(move || {
                    let mut client = Client::connect(self)?;
                    work(&mut client, number)
                })
            };
            let running: Vec<_> = (0..self.clients).map(one).collect();
            running
                .into_iter()
                .map(|it| {
                    it.join()
                        .map_err(|_| unexpected("a client", "it panicked"))?
                })
                .collect()
        });
        Ok(Loaded {
            requests: done?.iter().sum(),
            time: begun.elapsed(),
        })
    }
}

/// One connection.
struct Client {
    stream: TcpStream,
    /// Head and body of one answer.
    answer: Vec<u8>,
    bytes: usize,
}

impl Client {
    fn connect(load: &Load) -> Result<Self> {
        let name = || format!("connecting to {}", load.at);
        let stream = TcpStream::connect(load.at).because(name)?;
        stream.set_nodelay(true).because(name)?;
        stream.set_read_timeout(Some(WATCHDOG)).because(name)?;
        let bytes = usize::try_from(load.bytes).unwrap_or(usize::MAX);
        Ok(Self {
            stream,
            answer: vec![0; HEAD_BYTES_MAX + bytes],
            bytes,
        })
    }

    /// One file, whole.
    fn get(&mut self, file: u64) -> Result<()> {
        let name = || format!("GET /{file}.bin");
        let request = format!("GET /{file}.bin HTTP/1.1\r\nHost: lab\r\n\r\n");
        self.stream.write_all(request.as_bytes()).because(name)?;
        let (mut have, mut head) = (0, None);
        while head.is_none_or(|head| have < head + self.bytes) {
            let got = self.stream.read(&mut self.answer[have..]).because(name)?;
            if got == 0 {
                return Err(unexpected(name(), "the connection was closed"));
            }
            have += got;
            head = head.or_else(|| head_bytes(&self.answer[..have]));
        }
        let head = head.unwrap_or(0);
        let text = String::from_utf8_lossy(&self.answer[..head]);
        let length = format!("Content-Length: {}\r\n", self.bytes);
        if !text.starts_with("HTTP/1.1 200 ") || !text.contains(&length) {
            return Err(unexpected(name(), &text));
        }
        let body = &self.answer[head..have];
        if body.len() != self.bytes || !files::has_number(body, file) {
            return Err(unexpected(name(), "the body is not this file's"));
        }
        Ok(())
    }
}

/// Bytes of the head, its empty line included, once it is there.
fn head_bytes(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).take(HEAD_BYTES_MAX);
    end.enumerate()
        .find(|(_, four)| four == b"\r\n\r\n")
        .map(|(at, _)| at + 4)
}

#[cfg(test)]
mod tests {
    use super::head_bytes;

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(head_bytes(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody"), Some(25));
        assert_eq!(head_bytes(b"HTTP/1.1 200 OK\r\nA: b\r\n"), None);
    }
}
