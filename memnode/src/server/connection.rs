//! One connection: bytes in, requests run, bytes out, in turns.
//!
//! Called by `worker`. A turn takes what has arrived, runs every whole request in it and sends all
//! replies with one write; it does not wait for anything. Between turns a connection owns nothing
//! but the beginning of an unfinished request and replies that did not fit into the socket, and
//! both are charged against a budget of the whole node. While replies wait, it is not read from.
//!
//! What a hostile peer can reach: one error line, and a closed connection.

use std::cell::RefCell;
use std::io::{self, ErrorKind::WouldBlock, IoSlice};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::resp::request::{Limits, Parser, Step};

use super::shared::{Charge, Shared};
use super::transport::{ROOM_BYTES_MIN, Transport};
use super::{Client, spin};
use crate::commands;
use crate::config::{INPUT_BYTES, REPLY_BYTES_MAX};
use crate::store::{Out, VALUE_BYTES_MAX};

/// An unfinished request, or a reply nobody takes, ends the connection after `stall_time_max`, and
/// whatever the peer does in between, when it could have been through at a slow modem's speed. In
/// bytes per second.
const SLOWEST_BYTES_PER_S: usize = 64 * 1024;

/// What a refused peer may still send before the connection is closed over it.
const LINGER_TIME_MAX: Duration = Duration::from_secs(1);

/// Replies are sent when so many bytes have gathered, even if requests are left.
const BURST_BYTES: usize = INPUT_BYTES;

/// Who has not said the password may not keep more than this of an unfinished request, in bytes.
const STRANGER_BYTES_MAX: usize = 16 * 1024;

/// Read at least so much at once into an unfinished request, in bytes.
const READ_BYTES_MIN: usize = 16 * 1024;
const _: () = assert!(INPUT_BYTES >= ROOM_BYTES_MIN);

const LIMITS: Limits = Limits {
    bulk_bytes_max: VALUE_BYTES_MAX,
    request_bytes_max: VALUE_BYTES_MAX + 64 * 1024,
};

/// How many unanswered questions whether a silent peer is there are an answer.
const KEEPALIVE_ASKS: u32 = 6;

/// A half-open connection holds a place: a peer that says nothing for so many seconds is asked
/// whether it is there, and given up after as many more. 0: never.
fn keep_alive(stream: &TcpStream, idle_s: u64) {
    use rustix::net::sockopt;
    if idle_s == 0 {
        return;
    }
    let every_s = (idle_s / u64::from(KEEPALIVE_ASKS)).max(1);
    // Wishes: a socket without them still serves.
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, Duration::from_secs(idle_s));
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(every_s));
    let _ = sockopt::set_tcp_keepcnt(stream, KEEPALIVE_ASKS);
}

/// What a worker uses during a turn and no connection keeps.
struct Scratch {
    input: Box<[u8]>,
    /// What came by TLS, before it is plain. Empty where there is none.
    cipher: Vec<u8>,
    parser: Box<Parser>,
    out: Out,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; INPUT_BYTES].into_boxed_slice(),
        cipher: Vec::new(),
        parser: Box::new(Parser::new(LIMITS)),
        out: Out::new(BURST_BYTES),
    });
}

/// What a client has told us about itself, for the commands.
pub struct Session {
    /// Its entry in the list of clients.
    pub client: Client,
    /// Has it said the password, or is there none?
    pub authenticated: bool,
    /// Does it speak RESP3?
    pub resp3: bool,
    /// Set by a command after whose reply the connection ends.
    pub closing: bool,
}

/// The beginning of a request that has not come whole, or requests that wait for their turn.
struct Partial {
    parser: Box<Parser>,
    bytes: Vec<u8>,
    /// How many more bytes the request needs at least.
    wanted: usize,
    /// When its first request began to arrive.
    since: Instant,
    charge: Charge,
}

/// Replies that the socket did not take.
struct Unsent {
    bytes: Vec<u8>,
    /// Sent already.
    sent: usize,
    /// When they began to wait.
    since: Instant,
    /// Given back with them.
    _charge: Charge,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Wait for input.
    Read,
    /// Run the requests that are here already.
    Run,
    /// Wait until the socket takes replies.
    Send,
    /// End at once: the peer has.
    Close,
    /// Say no more, and end when the peer has seen what was said.
    Linger,
}

/// How far a turn came.
struct Progress {
    /// Bytes of input used up.
    consumed: usize,
    /// How many more bytes the next request needs; 0: it may be here, but the burst is full.
    wanted: usize,
}

/// One connection.
pub struct Connection {
    transport: Transport,
    shared: Arc<Shared>,
    session: Session,
    partial: Option<Partial>,
    unsent: Option<Unsent>,
    /// When it began.
    since: Instant,
}

impl Connection {
    /// Takes over a socket that does not block.
    pub fn new(transport: Transport, shared: Arc<Shared>, client: Client) -> Connection {
        // One-block round trips are the point: never wait to fill a packet.
        let _ = transport.socket().set_nodelay(true);
        keep_alive(transport.socket(), shared.keepalive_s.load(Relaxed));
        let authenticated = shared.password.read().is_none();
        let session = Session {
            client,
            authenticated,
            resp3: false,
            closing: false,
        };
        Connection {
            transport,
            shared,
            session,
            partial: None,
            unsent: None,
            since: Instant::now(),
        }
    }

    /// Serves until either side ends it.
    pub async fn serve(mut self) {
        // What came with the end of a handshake is here already and wakes nobody.
        let mut result = match self.transport.is_secure() {
            true => self.turn(true),
            false => Ok(Next::Read),
        };
        loop {
            let next = match result {
                Ok(next) => next,
                Err(error) if error.kind() == WouldBlock => Next::Read,
                Err(_) => return, // reset by the peer: its business
            };
            result = match next {
                Next::Read => self.wait_and_read().await,
                Next::Run => self.turn(false),
                Next::Send => self.wait_and_send().await,
                Next::Linger => return self.linger().await,
                Next::Close => return self.transport.farewell(),
            };
        }
    }

    async fn wait_and_read(&mut self) -> io::Result<Next> {
        if self.transport.has_ended() {
            return Ok(Next::Close);
        }
        let limit = match (self.session.authenticated, &self.partial) {
            (true, None) => {
                self.transport.socket().readable().await?;
                return self.turn(true);
            }
            (true, Some(partial)) => {
                let whole = partial.bytes.len() + partial.wanted;
                self.patience(whole).saturating_sub(partial.since.elapsed())
            }
            (false, _) => {
                let limit = self.shared.config.stranger_time_max;
                limit.saturating_sub(self.since.elapsed())
            }
        };
        match timeout(limit, self.transport.socket().readable()).await {
            Ok(_) => self.turn(true),
            Err(_) => Ok(Next::Close),
        }
    }

    /// How long the peer may take over so many bytes.
    fn patience(&self, bytes: usize) -> Duration {
        let at_slowest = Duration::from_secs((bytes / SLOWEST_BYTES_PER_S) as u64);
        self.shared.config.stall_time_max + at_slowest
    }

    async fn wait_and_send(&mut self) -> io::Result<Next> {
        let Some(mut unsent) = self.unsent.take() else {
            return Ok(self.after_sending());
        };
        let limit = self.patience(unsent.bytes.len() + self.transport.held_bytes());
        while unsent.sent < unsent.bytes.len() || self.transport.held_bytes() > 0 {
            let limit = limit.saturating_sub(unsent.since.elapsed());
            let writable = timeout(limit, self.transport.socket().writable());
            if writable.await.is_err() {
                return Ok(Next::Close);
            }
            let rest = &unsent.bytes[unsent.sent..];
            let sent = match rest.is_empty() {
                true => self.transport.flush().map(|()| 0),
                false => self.transport.send(&[IoSlice::new(rest)]),
            };
            match sent {
                Ok(sent) => unsent.sent += sent,
                Err(error) if error.kind() == WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.after_sending())
    }

    /// Closing over unread input would reset the connection and might destroy our last words.
    async fn linger(mut self) {
        self.transport.farewell();
        let socket = self.transport.socket();
        let _ = shutdown(socket, Shutdown::Write);
        let drained = async {
            let mut sink = vec![0; READ_BYTES_MIN];
            while socket.readable().await.is_ok() {
                match socket.try_read(&mut sink) {
                    Ok(0) => return,
                    Err(error) if error.kind() != WouldBlock => return,
                    _ => {}
                }
            }
        };
        let _ = timeout(LINGER_TIME_MAX, drained).await;
    }

    fn turn(&mut self, read: bool) -> io::Result<Next> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.out.lease_up_to(self.shared.lease_bytes_max);
            let turns = &self.session.client.facts.turns;
            turns.store(turns.load(Relaxed).wrapping_add(1), Relaxed);
            let open = match self.partial.take() {
                None => self.turn_fresh(scratch),
                Some(partial) => self.turn_partial(scratch, partial, read),
            }?;
            let next = if open {
                self.send(&scratch.out)
            } else {
                Ok(Next::Close)
            };
            scratch.out.finish(&self.shared.store, 2 * BURST_BYTES);
            spin::answered();
            next
        })
    }

    /// The usual turn: nothing left over, whole requests in the worker's own buffer. `false`: the
    /// peer has ended the connection.
    fn turn_fresh(&mut self, scratch: &mut Scratch) -> io::Result<bool> {
        let received = self
            .transport
            .receive(&mut scratch.input, &mut scratch.cipher)?;
        if received == 0 {
            return Ok(false);
        }
        spin::arrived();
        let bytes = &scratch.input[..received];
        let progress = self.run_all(&mut scratch.parser, bytes, &mut scratch.out);
        if progress.consumed < received && !self.session.closing {
            let bytes = bytes[progress.consumed..].to_vec();
            let parser = mem::replace(&mut scratch.parser, Box::new(Parser::new(LIMITS)));
            let charge = Charge::new(self.shared.clone());
            let partial = Partial {
                parser,
                bytes,
                wanted: progress.wanted,
                since: Instant::now(),
                charge,
            };
            self.keep(partial, &mut scratch.out);
        } else if self.session.closing {
            // A refused request must not be the beginning of the next connection's.
            *scratch.parser = Parser::new(LIMITS);
        }
        Ok(true)
    }

    /// A turn that goes on where an earlier one had to stop.
    fn turn_partial(
        &mut self,
        scratch: &mut Scratch,
        mut partial: Partial,
        read: bool,
    ) -> io::Result<bool> {
        if read {
            // Exactly: doubling would charge a large value twice.
            let least = match self.transport.is_secure() {
                true => ROOM_BYTES_MIN,
                false => READ_BYTES_MIN,
            };
            partial.bytes.reserve_exact(partial.wanted.max(least));
            let received = self
                .transport
                .receive_more(&mut partial.bytes, &mut scratch.cipher);
            if !matches!(received, Ok(1..)) {
                self.partial = Some(partial);
                return received.map(|_| false);
            }
            spin::arrived();
        }
        let progress = self.run_all(&mut partial.parser, &partial.bytes, &mut scratch.out);
        partial.bytes.drain(..progress.consumed);
        partial.wanted = progress.wanted;
        if progress.consumed > 0 {
            partial.since = Instant::now();
            // Not what a large value took that has gone by: its replies need that room.
            if partial.bytes.capacity() > INPUT_BYTES {
                partial.bytes.shrink_to(READ_BYTES_MIN);
            }
        }
        if !partial.bytes.is_empty() && !self.session.closing {
            self.keep(partial, &mut scratch.out);
        }
        Ok(true)
    }

    /// Keeps an unfinished request if the budget allows, else ends the connection with a word.
    fn keep(&mut self, mut partial: Partial, out: &mut Out) {
        let stranger = !self.session.authenticated && partial.bytes.len() > STRANGER_BYTES_MAX;
        if stranger
            || !partial
                .charge
                .resize(partial.bytes.capacity() + size_of::<Parser>())
        {
            out.extend_from_slice(b"-ERR no memory for unfinished requests, try again later\r\n");
            self.session.closing = true;
            return;
        }
        self.partial = Some(partial);
    }

    /// Runs whole requests until input or patience end.
    fn run_all(&mut self, parser: &mut Parser, bytes: &[u8], out: &mut Out) -> Progress {
        let (mut consumed, mut commands) = (0, 0);
        let wanted = loop {
            if out.len() >= BURST_BYTES {
                break 0;
            }
            let rest = &bytes[consumed..];
            match parser.parse(rest) {
                Ok(Step::Ready { consumed: taken }) => {
                    commands::run(&self.shared, &mut self.session, parser, rest, out);
                    commands += 1;
                    consumed += taken;
                }
                Ok(Step::More { bytes }) => break bytes,
                Err(error) => {
                    out.extend_from_slice(format!("-ERR {error}\r\n").as_bytes());
                    self.session.closing = true;
                }
            }
            if self.session.closing {
                break 0;
            }
        };
        self.shared.commands.fetch_add(commands, Relaxed);
        self.shared
            .received_bytes
            .fetch_add(consumed as u64, Relaxed);
        Progress { consumed, wanted }
    }

    /// Sends a burst, values from where they lie; what the socket does not take is copied.
    fn send(&mut self, out: &Out) -> io::Result<Next> {
        debug_assert!(out.len() <= BURST_BYTES + REPLY_BYTES_MAX + 64 * 1024);
        let store = &self.shared.store;
        self.shared.sent_bytes.fetch_add(out.len() as u64, Relaxed);
        let (sent, result) = out.send(store, 0, |slices| self.transport.send(slices));
        match result {
            Ok(()) if self.transport.held_bytes() == 0 => return Ok(self.after_sending()),
            Err(error) if error.kind() != WouldBlock => return Err(error),
            _ => {}
        }
        let mut charge = Charge::new(self.shared.clone());
        if !charge.resize(out.len() - sent + self.transport.held_bytes()) {
            return Ok(Next::Close); // too many clients that do not read their replies
        }
        self.unsent = Some(Unsent {
            bytes: out.rest(store, sent),
            sent: 0,
            since: Instant::now(),
            _charge: charge,
        });
        Ok(Next::Send)
    }

    fn after_sending(&self) -> Next {
        match &self.partial {
            _ if self.session.closing => Next::Linger,
            Some(partial) if partial.wanted == 0 => Next::Run,
            _ => Next::Read,
        }
    }
}
