//! Connections to the memory nodes: at most four per node, made and authenticated by the hook
//! server, used by whichever thread gets the try-lock. The target may close or replace any number
//! at any time, so a connection proves by device and inode that it is still itself before each use.
//! A node's number may change hands: a connection belongs to one generation of its node, and is
//! closed as soon as a thread that reads from a node finds another one in the node's record.
//!
//! A connection is never used across a fork (the child asks for its own) nor in a `vfork` child. A
//! thread that is killed, cancelled or long-jumps while it holds one leaves it locked: lost, not
//! wrong.

use grid::attach::Want;
use grid::node::{NODES_MAX, NodeRecord};
use grid::sync::{AtomicU32, AtomicU64, Ordering};

use crate::join::Answer;
use crate::read::to_ns;
use crate::session::{self, Member};
use crate::sys;
use crate::sys::socket::{self, SocketIdent};

/// Connections to one node at most.
const PER_NODE: usize = 4;
/// Bytes of one receive buffer: the largest answer and its framing.
pub const BUFFER_BYTES: usize = 288 * 1024;
/// Least time between two requests for another connection, in milliseconds.
const ASK_EVERY_MS: u64 = 100;

struct Socket {
    locked: AtomicU32,
    /// Descriptor + 1; 0 none.
    fd: AtomicU32,
    dev: AtomicU64,
    ino: AtomicU64,
    /// Generation of the node that it leads to.
    generation: AtomicU32,
    /// Receive time limit in force, microseconds.
    limit_us: AtomicU64,
    /// Address of the receive buffer, mapped at first use and kept for ever.
    buffer: AtomicU64,
}

static SOCKETS: [[Socket; PER_NODE]; NODES_MAX] =
    [const { [const { Socket::empty() }; PER_NODE] }; NODES_MAX];
static ASK_AT_MS: AtomicU64 = AtomicU64::new(0);
/// `Header::pool_changes` when connections were last looked through.
static CHANGES_SEEN: AtomicU64 = AtomicU64::new(0);
static WAITERS: [Waiters; NODES_MAX] = [const { Waiters::none() }; NODES_MAX];

/// Who waits for a connection to one node.
struct Waiters {
    /// Threads. One that long-jumps out of a signal handler meanwhile is counted until the process
    /// forks: every connection given back costs a system call from then on, no more.
    waiting: AtomicU32,
    /// Moves with every connection that is given back while somebody waits.
    given_back: AtomicU32,
}

impl Waiters {
    const fn none() -> Waiters {
        Waiters {
            waiting: AtomicU32::new(0),
            given_back: AtomicU32::new(0),
        }
    }
}

impl Socket {
    const fn empty() -> Socket {
        Socket {
            locked: AtomicU32::new(0),
            fd: AtomicU32::new(0),
            dev: AtomicU64::new(0),
            ino: AtomicU64::new(0),
            generation: AtomicU32::new(0),
            limit_us: AtomicU64::new(0),
            buffer: AtomicU64::new(0),
        }
    }

    fn descriptor(&self) -> Option<i32> {
        self.fd
            .load(Ordering::Relaxed)
            .checked_sub(1)
            .map(|fd| fd as i32)
    }

    fn is_itself(&self, fd: i32) -> bool {
        let known = SocketIdent {
            dev: self.dev.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
        };
        socket::identify(fd) == Some(known)
    }

    fn leads_to(&self, record: &NodeRecord) -> bool {
        self.generation.load(Ordering::Relaxed) == record.generation()
    }

    fn buffer(&self) -> Option<*mut u8> {
        match self.buffer.load(Ordering::Relaxed) {
            0 => {
                let at = sys::memory::map_private(BUFFER_BYTES).ok()?;
                self.buffer.store(at as u64, Ordering::Relaxed);
                Some(at)
            }
            at => Some(at as *mut u8),
        }
    }
}

/// A locked connection with its buffer.
pub struct Connection {
    socket: &'static Socket,
    waiters: &'static Waiters,
    record: &'static NodeRecord,
    /// The descriptor, proved to be the connection's.
    pub fd: i32,
    /// The receive buffer, `BUFFER_BYTES` long.
    pub buffer: *mut u8,
}

impl Connection {
    /// Sets the time limit of a blocking receive, if it is another one than last time.
    pub fn set_limit(&self, limit_us: u64) {
        let old = self.socket.limit_us.load(Ordering::Relaxed);
        if old.abs_diff(limit_us) > old / 4 {
            socket::set_limit(self.fd, libc::SO_RCVTIMEO, limit_us);
            self.socket.limit_us.store(limit_us, Ordering::Relaxed);
        }
    }

    /// The record of its node; `None`: the number has changed hands since.
    pub fn node(&self) -> Option<&'static NodeRecord> {
        self.socket.leads_to(self.record).then_some(self.record)
    }

    /// Closes the connection: an answer may still be on its way, so it is of no use any more.
    pub fn discard(self) {
        self.socket.fd.store(0, Ordering::Relaxed);
        socket::close(self.fd);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.socket.leads_to(self.record) {
            close_own(self.socket);
        }
        // Sequentially consistent, as `wait` is: a waiter finds the lock open, or is found waiting.
        self.socket.locked.store(0, Ordering::SeqCst);
        if self.waiters.waiting.load(Ordering::SeqCst) != 0 {
            self.waiters.given_back.fetch_add(1, Ordering::SeqCst);
            sys::futex_wake_private(&self.waiters.given_back);
        }
    }
}

/// A free connection to `node`. Other threads hold theirs for a round trip each: while that is less
/// than a read of the device takes, it pays to wait for one, at most half as long as such a read.
pub fn take(member: Member, node: usize) -> Option<Connection> {
    let changes = member.header().pool_changes.load(Ordering::Acquire);
    if changes != CHANGES_SEEN.load(Ordering::Relaxed) {
        close_strays(member, changes);
    }
    match try_take(member, node) {
        Ok(connection) => Some(connection),
        Err(Untaken::None) => None,
        Err(Untaken::Busy) => wait(member, node),
    }
}

#[cold]
fn wait(member: Member, node: usize) -> Option<Connection> {
    let header = member.header();
    let start = sys::ticks();
    let waiters = WAITERS.get(node)?;
    waiters.waiting.fetch_add(1, Ordering::SeqCst);
    let taken = loop {
        let seen = waiters.given_back.load(Ordering::SeqCst);
        match try_take(member, node) {
            Ok(connection) => break Some(connection),
            Err(Untaken::None) => break None,
            Err(Untaken::Busy) => {}
        }
        let waited_ns = to_ns(member, sys::ticks().wrapping_sub(start));
        match (header.disk_ns() / 2).checked_sub(waited_ns) {
            None | Some(0) => break None,
            Some(left_ns) => sys::futex_wait_private(&waiters.given_back, seen, left_ns),
        }
    };
    waiters.waiting.fetch_sub(1, Ordering::SeqCst);
    taken
}

/// Why there is no connection to be had.
enum Untaken {
    /// Other threads use all there are.
    Busy,
    /// There is none.
    None,
}

fn try_take(member: Member, node: usize) -> Result<Connection, Untaken> {
    let (Some(sockets), Some(waiters)) = (SOCKETS.get(node), WAITERS.get(node)) else {
        return Err(Untaken::None);
    };
    let Some(record) = member.region().nodes().records.get(node) else {
        return Err(Untaken::None);
    };
    let mut untaken = Untaken::None;
    let mut room = false;
    for socket in sockets {
        if socket.locked.swap(1, Ordering::SeqCst) != 0 {
            untaken = Untaken::Busy;
            continue;
        }
        match (socket.descriptor(), socket.buffer()) {
            (Some(fd), Some(buffer)) if socket.leads_to(record) && socket.is_itself(fd) => {
                return Ok(Connection {
                    socket,
                    waiters,
                    record,
                    fd,
                    buffer,
                });
            }
            _ => {
                // Never there, to another node, or replaced by the target, whose it is then.
                close_own(socket);
                room = true;
            }
        }
        socket.locked.store(0, Ordering::Release);
    }
    if room {
        ask_for_another(member, node);
    }
    Err(untaken)
}

fn ask_for_another(member: Member, node: usize) {
    let (Some(config), Some(process)) = (session::config(), member.slot) else {
        return;
    };
    let now = sys::monotonic_ms();
    let due = ASK_AT_MS.load(Ordering::Relaxed);
    // Spread by process, so that a restarted node is not asked for by everybody at once.
    let next = now + ASK_EVERY_MS + u64::from(process) % 64;
    if now < due
        || ASK_AT_MS
            .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
            .is_err()
    {
        return;
    }
    let want = Want::Socket {
        node: node as u8,
        process,
    };
    if let Ok(answer) = crate::join::ask(config, want, false) {
        if let Some(fd) = answer.region_fd {
            socket::close(fd);
        }
        adopt(&answer);
    }
}

/// Puts the connections of an answer into free places.
pub fn adopt(answer: &Answer) {
    for (node, fd) in answer.welcome.sockets.iter().zip(answer.sockets) {
        let is_adopted = |(node, generation)| adopt_one(node, fd, generation);
        if fd >= 0 && !node.get().is_some_and(is_adopted) {
            socket::close(fd);
        }
    }
}

fn adopt_one(node: usize, fd: i32, generation: u32) -> bool {
    let Some(ident) = socket::identify(fd) else {
        return false;
    };
    for socket in SOCKETS.get(node).into_iter().flatten() {
        if socket.locked.swap(1, Ordering::Acquire) != 0 {
            continue;
        }
        let free = socket.descriptor().is_none();
        if free {
            socket.dev.store(ident.dev, Ordering::Relaxed);
            socket.ino.store(ident.ino, Ordering::Relaxed);
            socket.generation.store(generation, Ordering::Relaxed);
            socket.limit_us.store(0, Ordering::Relaxed);
            socket.fd.store(fd as u32 + 1, Ordering::Relaxed);
        }
        socket.locked.store(0, Ordering::Release);
        if free {
            return true;
        }
    }
    false
}

/// Closes the connections to nodes that have left the session, or live elsewhere by now. One that
/// is in use is closed when it is given back.
#[cold]
fn close_strays(member: Member, changes: u64) {
    CHANGES_SEEN.store(changes, Ordering::Relaxed);
    for (sockets, record) in SOCKETS.iter().zip(member.region().nodes().records) {
        for socket in sockets.iter().filter(|socket| !socket.leads_to(record)) {
            if socket.locked.swap(1, Ordering::Acquire) == 0 {
                if !socket.leads_to(record) {
                    close_own(socket);
                }
                socket.locked.store(0, Ordering::Release);
            }
        }
    }
}

/// Closes every connection that is still itself and not in use, and forgets them all, with what
/// they have brought.
pub fn forget_all() {
    for socket in SOCKETS.iter().flatten() {
        if socket.locked.swap(1, Ordering::Acquire) == 0 {
            close_own(socket);
            let buffer = socket.buffer.load(Ordering::Relaxed) as *mut u8;
            if !buffer.is_null() {
                sys::memory::forget_content(buffer, BUFFER_BYTES);
            }
            socket.locked.store(0, Ordering::Release);
        }
    }
}

fn close_own(socket: &Socket) {
    if let Some(fd) = socket.descriptor()
        && socket.is_itself(fd)
    {
        socket::close(fd);
    }
    socket.fd.store(0, Ordering::Relaxed);
}

/// In a fork child: closes the copies of the parent's connections and forgets them. Locks held by
/// threads that do not exist here are dropped, and nobody waits.
pub fn forget_parents() {
    for socket in SOCKETS.iter().flatten() {
        close_own(socket);
        socket.locked.store(0, Ordering::Release);
    }
    for waiters in &WAITERS {
        waiters.waiting.store(0, Ordering::Relaxed);
    }
}
