//! The load: the lab's own generator, the same for both protocols, and `redis-benchmark`.
//!
//! Called by `peers`. The generator is one thread. A connection sends a batch of requests with one
//! write and reads until as many bytes came as the replies to a batch have; it does not parse, so
//! neither protocol costs it more. What is not the expected reply is an error, not a fast one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, poll};

use super::server::{Kind, Server};
use super::{Cell, Figure, PeersArgs};
use crate::child;
use crate::error::{Because, Result, unexpected};

/// No reply takes longer.
const WATCHDOG: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A value that is there.
    Get,
    /// A value over another one.
    Set,
}

impl Op {
    /// For tables and for `redis-benchmark -t`.
    pub fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Set => "set",
        }
    }
}

/// One measurement.
pub struct Load {
    cell: Cell,
    value: u32,
    keys: u32,
    requests: u64,
}

impl Load {
    /// A measurement of one cell.
    pub fn of(args: &PeersArgs, cell: Cell) -> Load {
        let factor = match (cell.connections > 1, cell.pipeline > 1) {
            (false, false) => 1,
            (true, false) => 3,
            (false, true) => 8,
            (true, true) => 10,
        };
        Load {
            cell,
            value: args.value,
            keys: args.keys,
            requests: u64::from(args.thousands) * 1000 * factor,
        }
    }

    /// Stores all keys of a range.
    pub fn fill(server: &Server, value: u32, keys: Range<u32>) -> Result<()> {
        let mut stream = connect(server)?;
        let mut batch = Vec::new();
        let mut replies = vec![0; 64 * 1024];
        let all: Vec<u32> = keys.collect();
        for some in all.chunks(64) {
            batch.clear();
            for key in some {
                request(server.kind, Op::Set, *key, value, &mut batch);
            }
            let name = || format!("filling {}", server.kind.name());
            stream.write_all(&batch).because(name)?;
            let bytes = reply(server.kind, Op::Set, 0).0 * some.len();
            stream.read_exact(&mut replies[..bytes]).because(name)?;
        }
        Ok(())
    }

    /// Runs it with the lab's own generator.
    pub fn run(&self, server: &Server) -> Result<Figure> {
        let mut clients = (0..self.cell.connections)
            .map(|index| Client::connect(server, self, index))
            .collect::<Result<Vec<_>>>()?;
        let (ran, own, start) = (server.ran_ns()?, own_ns(), Instant::now());
        let mut left = self.requests / u64::from(self.cell.pipeline);
        for client in &mut clients {
            client.send()?;
        }
        let mut times = histogram();
        let mut waiting = clients.len();
        while waiting > 0 {
            let ready = ready(&clients)?;
            for index in ready {
                let client = &mut clients[index];
                if !client.receive()? {
                    continue;
                }
                let _ = times.record(client.sent.elapsed().as_nanos() as u64);
                left = left.saturating_sub(1);
                if left >= waiting as u64 {
                    client.send()?;
                } else {
                    client.done = true;
                    waiting -= 1;
                }
            }
        }
        let wall = start.elapsed();
        self.figure(
            server,
            ran,
            wall,
            own_ns() - own,
            times.value_at_quantile(0.5) as f64 / 1e3,
        )
    }

    /// Runs it with `redis-benchmark`.
    pub fn run_redis_benchmark(&self, server: &Server) -> Result<Figure> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "-p", &server.address.port().to_string()]);
        command.args(["-t", self.cell.op.name(), "--csv"]);
        command.args(["-n", &self.requests.to_string()]);
        command.args(["-c", &self.cell.connections.to_string()]);
        command.args(["-P", &self.cell.pipeline.to_string()]);
        command.args(["-d", &self.value.to_string(), "-r", &self.keys.to_string()]);
        let (ran, generator) = (server.ran_ns()?, children_ns()?);
        let text = child::run(&mut command)?;
        let generator = children_ns()? - generator;
        let line = text.lines().last().unwrap_or_default();
        let numbers: Vec<f64> = line
            .split(',')
            .filter_map(|field| field.trim_matches('"').parse().ok())
            .collect();
        // "GET","rps","avg","min","p50",...: times in milliseconds.
        let (Some(rate), Some(p50)) = (numbers.first(), numbers.get(3)) else {
            return Err(unexpected("redis-benchmark --csv", &text));
        };
        let wall = Duration::from_secs_f64(self.requests as f64 / rate);
        self.figure(server, ran, wall, generator, p50 * 1e3)
    }

    fn figure(
        &self,
        server: &Server,
        ran_before_ns: u64,
        wall: Duration,
        generator_ns: u64,
        p50_us: f64,
    ) -> Result<Figure> {
        let ran_ns = server.ran_ns()? - ran_before_ns;
        Ok(Figure {
            rate: self.requests as f64 / wall.as_secs_f64(),
            server_us: ran_ns as f64 / 1e3 / self.requests as f64,
            generator: generator_ns as f64 / wall.as_nanos() as f64,
            p50_us,
        })
    }
}

/// Indexes of the clients that have something to read; a lone one is not asked for.
fn ready(clients: &[Client]) -> Result<Vec<usize>> {
    if clients.len() == 1 {
        return Ok(vec![0]);
    }
    let waiting: Vec<usize> = (0..clients.len())
        .filter(|index| !clients[*index].done)
        .collect();
    let mut polled: Vec<PollFd> = waiting
        .iter()
        .map(|index| PollFd::new(&clients[*index].stream, PollFlags::IN))
        .collect();
    let limit = rustix::event::Timespec {
        tv_sec: WATCHDOG.as_secs() as i64,
        tv_nsec: 0,
    };
    if poll(&mut polled, Some(&limit)).because(|| "waiting for replies")? == 0 {
        return Err(unexpected("a server under load", "no reply for 20 s"));
    }
    let ready = waiting
        .iter()
        .zip(&polled)
        .filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(index, _)| *index).collect())
}

/// One connection of the generator.
struct Client {
    stream: TcpStream,
    /// Batches to send in turn, each with other keys.
    batches: Vec<Vec<u8>>,
    turn: usize,
    /// Bytes of the replies to one batch, and how the first begins.
    reply: (usize, &'static [u8]),
    /// Bytes still to come.
    left: usize,
    buffer: Vec<u8>,
    sent: Instant,
    done: bool,
}

impl Client {
    fn connect(server: &Server, load: &Load, index: u32) -> Result<Client> {
        let stream = connect(server)?;
        let mut state = 0x9e37_79b9 ^ (u64::from(index) << 32);
        let mut batches = Vec::new();
        for _ in 0..16 {
            let mut batch = Vec::new();
            for _ in 0..load.cell.pipeline {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let key = (state >> 33) as u32 % load.keys;
                request(server.kind, load.cell.op, key, load.value, &mut batch);
            }
            batches.push(batch);
        }
        let (bytes, head) = reply(server.kind, load.cell.op, load.value as usize);
        Ok(Client {
            stream,
            batches,
            turn: index as usize,
            reply: (bytes * load.cell.pipeline as usize, head),
            left: 0,
            buffer: vec![0; 256 * 1024],
            sent: Instant::now(),
            done: false,
        })
    }

    fn send(&mut self) -> Result<()> {
        let batch = &self.batches[self.turn % self.batches.len()];
        self.turn += 1;
        self.left = self.reply.0;
        self.sent = Instant::now();
        self.stream.write_all(batch).because(|| "sending requests")
    }

    /// Reads once; is the batch answered?
    fn receive(&mut self) -> Result<bool> {
        let got = self
            .stream
            .read(&mut self.buffer)
            .because(|| "reading replies")?;
        let head = self.reply.1;
        let first = self.left == self.reply.0;
        if got == 0 || got > self.left || (first && !self.buffer[..got].starts_with(head)) {
            let text = String::from_utf8_lossy(&self.buffer[..got.min(80)]).into_owned();
            return Err(unexpected("a reply under load", &text));
        }
        self.left -= got;
        Ok(self.left == 0)
    }
}

fn connect(server: &Server) -> Result<TcpStream> {
    let name = || format!("connecting to {}", server.kind.name());
    let stream = TcpStream::connect(server.address).because(name)?;
    stream.set_nodelay(true).because(name)?;
    stream.set_read_timeout(Some(WATCHDOG)).because(name)?;
    Ok(stream)
}

/// Appends one request; keys are those of `redis-benchmark -r`.
fn request(kind: Kind, op: Op, key: u32, value: u32, out: &mut Vec<u8>) {
    let body = vec![b'x'; value as usize];
    let key = format!("key:{key:012}");
    match (kind, op) {
        (Kind::Memcached, Op::Get) => out.extend(format!("get {key}\r\n").bytes()),
        (Kind::Memcached, Op::Set) => {
            out.extend(format!("set {key} 0 0 {value}\r\n").bytes());
            out.extend(body);
            out.extend(b"\r\n");
        }
        (_, Op::Get) => out.extend(format!("*2\r\n$3\r\nGET\r\n$16\r\n{key}\r\n").bytes()),
        (_, Op::Set) => {
            out.extend(format!("*3\r\n$3\r\nSET\r\n$16\r\n{key}\r\n${value}\r\n").bytes());
            out.extend(body);
            out.extend(b"\r\n");
        }
    }
}

/// Bytes of a reply, and how it begins.
fn reply(kind: Kind, op: Op, value: usize) -> (usize, &'static [u8]) {
    match (kind, op) {
        (Kind::Memcached, Op::Get) => {
            let head = format!("VALUE key:000000000000 0 {value}\r\n").len();
            (head + value + "\r\nEND\r\n".len(), b"VALUE ")
        }
        (Kind::Memcached, Op::Set) => ("STORED\r\n".len(), b"STORED"),
        (_, Op::Get) => (format!("${value}\r\n").len() + value + 2, b"$"),
        (_, Op::Set) => ("+OK\r\n".len(), b"+OK"),
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds")
}

/// Processor time of this thread, in nanoseconds.
fn own_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// Processor time of the children that ended and were waited for, in nanoseconds (in steps of a
/// clock tick, 10 ms).
fn children_ns() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/stat").because(|| "/proc/self/stat")?;
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks: u64 = fields
        .get(13..15)
        .unwrap_or_default()
        .iter()
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Ok(ticks * 10_000_000)
}
