//! TLS nodes: one thread of the hook server that carries bytes between local sockets and TLS
//! connections, so that nothing of TLS is ever in a target.
//!
//! A keeper connects, shakes hands and greets the node (`client`), then hands the connection over
//! here and gets a `Link`: one end of a pair of local sockets. The thread reads requests from the
//! other end and sends them on encrypted, and answers the other way. It never waits for anything
//! but all of its sockets at once: what one node or one process does not take stays in that
//! connection's buffers, which are bounded (`Pipe`), and holds up nobody else. If either side ends,
//! so does the other, at once: to a process that is a node which has closed its connection.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType,
};
use tokio_rustls::rustls::ClientConnection;

use super::link::Link;
use super::session::Bell;
use super::sys;
use crate::tls::{Secure, Trust};

/// Bytes taken from a process at a time, and encrypted before more are taken.
const PIECE_BYTES: usize = 32 << 10;

/// Turns of one connection before the others have theirs.
const TURNS: usize = 16;

/// Events taken at a time.
const EVENTS: usize = 64;

/// Descriptors of a connection: its local socket and its TCP socket.
pub const DESCRIPTORS_EACH: u64 = 2;

/// The token of the bell; others are two times the number of a pipe, + 1 for its TCP side.
const BELL: u64 = u64::MAX;

/// All connections of a session by TLS, and what they are made with.
pub struct Tunnels {
    trust: Trust,
    inside: Mutex<Option<Arc<Inside>>>,
}

/// What the thread shares with whoever brings connections.
struct Inside {
    arrivals: Mutex<Vec<Pipe>>,
    bell: Bell,
    /// Connections that are carried, or will be.
    carried: AtomicUsize,
    ending: AtomicBool,
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tunnels {{ {:?} }}", self.trust)
    }
}

impl Tunnels {
    /// None yet; the thread is started with the first.
    pub fn new(trust: Trust) -> Tunnels {
        Tunnels {
            trust,
            inside: Mutex::new(None),
        }
    }

    /// Whom to believe and what to show.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Carries a connection from now on; the near end of it.
    ///
    /// # Errors
    ///
    /// No descriptor or no thread is to be had for it.
    pub fn carry(&self, secure: Secure) -> io::Result<Link> {
        let (mut tls, tcp) = secure.into_parts()?;
        tls.set_buffer_limit(None);
        let flags = SocketFlags::CLOEXEC;
        let (near, far) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::io::ioctl_fionbio(&far, true)?;
        tcp.set_nonblocking(true)?;
        let inside = self.inside()?;
        let limit = sys::descriptors_limit() / (2 * DESCRIPTORS_EACH);
        if inside.carried.fetch_add(1, Ordering::Relaxed) as u64 >= limit {
            inside.carried.fetch_sub(1, Ordering::Relaxed);
            return Err(io::Error::other(
                "no descriptors for more connections by TLS",
            ));
        }
        inside.arrivals.lock().push(Pipe::new(far, tcp, tls));
        inside.bell.ring();
        Ok(near.into())
    }

    /// The thread that runs, or a new one.
    fn inside(&self) -> io::Result<Arc<Inside>> {
        let mut inside = self.inside.lock();
        if let Some(inside) = inside.as_ref()
            && !inside.ending.load(Ordering::Relaxed)
        {
            return Ok(Arc::clone(inside));
        }
        let fresh = Arc::new(Inside {
            arrivals: Mutex::new(Vec::new()),
            bell: Bell::new()?,
            carried: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        });
        let its = Arc::clone(&fresh);
        let run = move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| Carrier::new(&its)?.run()));
            // Whatever has come of it, nobody carries the rest: to processes and keepers the nodes
            // have closed their connections, and the next one that is made starts a new thread.
            its.ending.store(true, Ordering::Relaxed);
            its.arrivals.lock().clear();
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "connections by TLS are lost"),
                Err(_) => tracing::error!("the thread of connections by TLS panicked"),
            }
        };
        let thread = std::thread::Builder::new().name("hook-tls".into());
        thread.spawn(run)?;
        *inside = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        if let Some(inside) = self.inside.lock().take() {
            inside.ending.store(true, Ordering::Relaxed);
            inside.bell.ring();
        }
    }
}

/// What the thread has.
struct Carrier<'a> {
    inside: &'a Inside,
    epoll: OwnedFd,
    pipes: Vec<Option<Pipe>>,
    /// Those that have more to do than they had turns for.
    busy: VecDeque<usize>,
    scratch: Vec<u8>,
}

impl Carrier<'_> {
    fn new(inside: &Inside) -> io::Result<Carrier<'_>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(BELL);
        epoll::add(&epoll, &inside.bell, data, EventFlags::IN)?;
        Ok(Carrier {
            inside,
            epoll,
            pipes: Vec::new(),
            busy: VecDeque::new(),
            scratch: vec![0; PIECE_BYTES],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        while !self.inside.ending.load(Ordering::Relaxed) {
            let at_once = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            let wait = (!self.busy.is_empty()).then_some(&at_once);
            events.clear();
            let spare = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, spare, wait) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let (token, flags) = (event.data.u64(), event.flags);
                match token {
                    BELL => self.inside.bell.silence(),
                    _ => self.note(token, flags),
                }
            }
            for _ in 0..self.busy.len() {
                let number = self.busy.pop_front();
                number.into_iter().for_each(|number| self.turn(number));
            }
            let arrivals = std::mem::take(&mut *self.inside.arrivals.lock());
            arrivals.into_iter().for_each(|pipe| self.take_in(pipe));
        }
        Ok(())
    }

    /// Notes what has become possible with a pipe.
    fn note(&mut self, token: u64, flags: EventFlags) {
        let number = (token / 2) as usize;
        if let Some(Some(pipe)) = self.pipes.get_mut(number) {
            let side = if token.is_multiple_of(2) {
                &mut pipe.near
            } else {
                &mut pipe.node
            };
            side.note(flags);
            if !std::mem::replace(&mut pipe.is_queued, true) {
                self.busy.push_back(number);
            }
        }
    }

    /// Lets a pipe do what it can.
    fn turn(&mut self, number: usize) {
        let Some(Some(pipe)) = self.pipes.get_mut(number) else {
            return;
        };
        pipe.is_queued = false;
        match pipe.carry_on(&mut self.scratch) {
            Ok(false) => {}
            Ok(true) => {
                pipe.is_queued = true;
                self.busy.push_back(number);
            }
            Err(Over) => {
                // With its descriptors it leaves the epoll set.
                self.pipes[number] = None;
                self.inside.carried.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn take_in(&mut self, pipe: Pipe) {
        let free = self.pipes.iter().position(Option::is_none);
        let number = free.unwrap_or(self.pipes.len());
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let sides = [(pipe.near.socket.as_fd(), 0), (pipe.node.socket.as_fd(), 1)];
        let is_watched = sides.into_iter().all(|(socket, side)| {
            let data = EventData::new_u64(number as u64 * 2 + side);
            epoll::add(&self.epoll, socket, data, flags).is_ok()
        });
        if !is_watched {
            self.inside.carried.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        match self.pipes.get_mut(number) {
            Some(place) => *place = Some(pipe),
            None => self.pipes.push(Some(pipe)),
        }
    }
}

/// One connection: a local socket on the near side, TLS over TCP on the node's.
///
/// What it holds is bounded: of requests a piece, encrypted, before which no more are read; of
/// answers a record or two of TLS (16 KiB each), before which no more are received: the rest waits
/// in the kernel's buffers, and then at the node.
struct Pipe {
    near: Side,
    node: Side,
    tls: ClientConnection,
    /// Plain bytes of answers that the near side has not taken yet, and how many of them it has.
    waiting: Vec<u8>,
    taken: usize,
    /// The node has ended; the near side has yet to be given what waits.
    has_ended: bool,
    is_queued: bool,
}

/// A connection has come to its end.
#[derive(Debug)]
struct Over;

/// A socket that does not block, and what is known to be possible with it.
struct Side {
    socket: OwnedFd,
    is_readable: bool,
    is_writable: bool,
    /// Its peer has ended: reading comes to an end, not to a pause.
    is_ending: bool,
}

impl Side {
    fn new(socket: OwnedFd) -> Side {
        Side {
            socket,
            is_readable: false,
            is_writable: false,
            is_ending: false,
        }
    }

    fn note(&mut self, flags: EventFlags) {
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        self.is_ending |= flags.intersects(ends);
        self.is_readable |= flags.contains(EventFlags::IN) || self.is_ending;
        self.is_writable |= flags.contains(EventFlags::OUT) || self.is_ending;
    }
}

impl Read for Side {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let wanted = bytes.len();
        let outcome = rustix::net::recv(&self.socket, bytes, RecvFlags::DONTWAIT);
        let count = outcome.map(|(count, _)| count);
        // Less than was asked for is all there was: the kernel tells when there is more.
        let is_drained = match count {
            Ok(count) => count < wanted && !self.is_ending,
            Err(error) => error == rustix::io::Errno::AGAIN,
        };
        self.is_readable &= !is_drained;
        Ok(count?)
    }
}

impl Write for Side {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        let sent = rustix::net::sendmsg(&self.socket, pieces, &mut nothing, flags);
        if sent == Err(rustix::io::Errno::AGAIN) {
            self.is_writable = false;
        }
        Ok(sent?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an error says that it has to be tried again later.
fn is_pause(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted)
}

impl Pipe {
    fn new(near: OwnedFd, node: TcpStream, tls: ClientConnection) -> Pipe {
        Pipe {
            near: Side::new(near),
            node: Side::new(node.into()),
            tls,
            waiting: Vec::new(),
            taken: 0,
            has_ended: false,
            is_queued: false,
        }
    }

    /// Does what can be done without waiting; true: there is more to be done at once.
    fn carry_on(&mut self, scratch: &mut [u8]) -> Result<bool, Over> {
        for _ in 0..TURNS {
            let has_moved =
                self.send()? | self.take_request(scratch)? | self.hand_out()? | self.receive()?;
            if !has_moved {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// To the node: what is encrypted.
    fn send(&mut self) -> Result<bool, Over> {
        let mut has_moved = false;
        while self.tls.wants_write() && self.node.is_writable {
            match self.tls.write_tls(&mut self.node) {
                Ok(count) => has_moved |= count > 0,
                Err(error) if is_pause(&error) => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(has_moved)
    }

    /// From the near side: a piece of requests, if the last one is on its way.
    fn take_request(&mut self, scratch: &mut [u8]) -> Result<bool, Over> {
        if self.tls.wants_write() || !self.near.is_readable {
            return Ok(false);
        }
        let count = match self.near.read(scratch) {
            Ok(0) => {
                // Nobody reads an answer any more. One try to say so.
                self.tls.send_close_notify();
                let _ = self.tls.write_tls(&mut self.node);
                return Err(Over);
            }
            Ok(count) => count,
            Err(error) if is_pause(&error) => return Ok(false),
            Err(_) => return Err(Over),
        };
        let piece = scratch.get(..count).ok_or(Over)?;
        self.tls.writer().write_all(piece).map_err(|_| Over)?;
        self.send()?;
        Ok(true)
    }

    /// From the node: what it has sent, decrypted, if the near side has taken what was before.
    fn receive(&mut self) -> Result<bool, Over> {
        if !self.waiting.is_empty() || self.has_ended || !self.node.is_readable {
            return Ok(false);
        }
        match self.tls.read_tls(&mut self.node) {
            Ok(0) => self.has_ended = true,
            Ok(_) => {}
            Err(error) if is_pause(&error) => return Ok(false),
            Err(_) => return Err(Over),
        }
        match self.tls.process_new_packets() {
            Ok(state) => self.has_ended |= state.peer_has_closed(),
            Err(_) => {
                // What is wrong is said to the node, if it takes it.
                let _ = self.tls.write_tls(&mut self.node);
                return Err(Over);
            }
        }
        // Ends with a pause, an end, or an end that was not announced: `has_ended` knows.
        let _ = self.tls.reader().read_to_end(&mut self.waiting);
        self.hand_out()?;
        Ok(true)
    }

    /// To the near side: what waits for it.
    fn hand_out(&mut self) -> Result<bool, Over> {
        let mut has_moved = false;
        while self.taken < self.waiting.len() && self.near.is_writable {
            match self.near.write(&self.waiting[self.taken..]) {
                Ok(count) => {
                    self.taken += count;
                    has_moved = true;
                }
                Err(error) if is_pause(&error) => {}
                Err(_) => return Err(Over),
            }
        }
        if self.taken == self.waiting.len() {
            self.waiting.clear();
            self.taken = 0;
            if self.has_ended {
                return Err(Over);
            }
        }
        Ok(has_moved)
    }
}
