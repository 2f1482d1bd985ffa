//! One proxied connection: two sockets, and for each direction a queue of stamped chunks.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Most bytes under way in one direction: what a network would hold, and a bound.
const QUEUE_BYTES_MAX: usize = 8 << 20;

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// How long the far side may take to accept.
const CONNECT: Duration = Duration::from_secs(2);

/// One direction.
struct Way {
    from: TcpStream,
    to: TcpStream,
    /// When to leave, bytes, how many of them have left.
    queue: VecDeque<(Instant, Vec<u8>, usize)>,
    queued: usize,
    /// Bytes may be waiting in `from` (edge-triggered polling tells only once).
    readable: bool,
    /// `from` ended; told to `to` after the queue.
    ended: Option<Instant>,
    closed: bool,
}

/// A connection and its counterpart.
pub struct Link {
    ways: [Way; 2],
    one_way: Duration,
}

impl Link {
    /// Connects the far side for an accepted `near` one.
    pub fn open(near: TcpStream, to: SocketAddr, one_way: Duration) -> io::Result<Self> {
        let far = TcpStream::connect_timeout(&to, CONNECT)?;
        for stream in [&near, &far] {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
        }
        let there = Way::new(near.try_clone()?, far.try_clone()?);
        let back = Way::new(far, near);
        Ok(Self {
            ways: [there, back],
            one_way,
        })
    }

    /// The accepted socket.
    pub fn near(&self) -> &TcpStream {
        &self.ways[0].from
    }

    /// The connected socket.
    pub fn far(&self) -> &TcpStream {
        &self.ways[1].from
    }

    /// Polling found something on one of the sockets.
    pub fn receive(&mut self, far: bool) {
        let way = &mut self.ways[usize::from(far)];
        way.readable = true;
        way.receive(self.one_way);
    }

    /// Sends what is due; says whether anything moved.
    pub fn send(&mut self, now: Instant) -> bool {
        let one_way = self.one_way;
        let mut moved = false;
        for way in &mut self.ways {
            moved |= way.send(now);
            if way.readable {
                way.receive(one_way);
            }
        }
        moved
    }

    /// Whether bytes or an end are on their way.
    pub fn under_way(&self) -> bool {
        self.ways
            .iter()
            .any(|way| !way.closed && (!way.queue.is_empty() || way.ended.is_some()))
    }

    /// Whether both directions are closed.
    pub fn over(&self) -> bool {
        self.ways.iter().all(|way| way.closed)
    }
}

impl Way {
    fn new(from: TcpStream, to: TcpStream) -> Self {
        let queue = VecDeque::new();
        Self {
            from,
            to,
            queue,
            queued: 0,
            readable: true,
            ended: None,
            closed: false,
        }
    }

    /// Reads until nothing is there or the queue is full.
    fn receive(&mut self, one_way: Duration) {
        let mut chunk = [0_u8; CHUNK];
        while self.readable && self.queued < QUEUE_BYTES_MAX && self.ended.is_none() {
            let got = self.from.read(&mut chunk);
            let due = Instant::now() + one_way;
            match got {
                Ok(0) => self.ended = Some(due),
                Ok(count) => {
                    self.queue.push_back((due, chunk[..count].to_vec(), 0));
                    self.queued += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = Some(due),
            }
        }
    }

    fn send(&mut self, now: Instant) -> bool {
        let mut moved = false;
        while let Some((due, bytes, sent)) = self.queue.front_mut() {
            if *due > now {
                break;
            }
            match self.to.write(&bytes[*sent..]) {
                Ok(count) => {
                    *sent += count;
                    self.queued -= count;
                    moved = true;
                    if *sent == bytes.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.abandon(now),
            }
        }
        if self.queue.is_empty() && !self.closed && self.ended.is_some_and(|due| due <= now) {
            let _ = self.to.shutdown(Shutdown::Write);
            self.closed = true;
            moved = true;
        }
        moved
    }

    /// Nobody listens any more: forget what was queued and tell the sender.
    fn abandon(&mut self, now: Instant) {
        self.queue.clear();
        self.queued = 0;
        self.ended = Some(now);
        let _ = self.from.shutdown(Shutdown::Both);
    }
}
