//! Files out of service while a stream of this process may write them. One entry per descriptor of
//! such a stream; the mark itself is an operation record in the region, so that the hook server
//! releases it when the process dies.
//!
//! A fork duplicates the stream with its buffered bytes: who flushes them, and when, is unknown
//! from then on. So a process that holds pins when it forks gives those files up for the session.

use grid::ident::FileIdent;
use grid::sync::{AtomicU64, Ordering};
use grid::writes;

use crate::session::{self, Joined};
use crate::sys::file::stat_fd;
use crate::{classify, write};

/// Streams for writing that are tracked; one more takes its file out of service for good.
const PINS: usize = 256;

struct Pin {
    /// Descriptor + 1, 0 free, u64::MAX being changed.
    fd: AtomicU64,
    dev: AtomicU64,
    ino: AtomicU64,
    birth_ns: AtomicU64,
    /// The operation record, in the region and under the name that `holder` tells.
    op: AtomicU64,
    /// Which stay in which region, and the slot there; 0: no record, the file is out of service.
    holder: AtomicU64,
}

const CHANGING: u64 = u64::MAX;

static ALL: [Pin; PINS] = [const {
    Pin {
        fd: AtomicU64::new(0),
        dev: AtomicU64::new(0),
        ino: AtomicU64::new(0),
        birth_ns: AtomicU64::new(0),
        op: AtomicU64::new(0),
        holder: AtomicU64::new(0),
    }
}; PINS];

/// Whose a record is: a fork child, and a process that has moved to another region, finds that it
/// is not its own.
fn holder(joined: &Joined, slot: Option<u16>) -> u64 {
    slot.map_or(0, |slot| joined.stay() << 16 | u64::from(slot))
}

impl Pin {
    /// Takes a pin out of the hands of everybody else. False: it is not that of `fd`.
    fn take(&self, fd: u64) -> bool {
        fd != CHANGING
            && self
                .fd
                .compare_exchange(fd, CHANGING, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    fn ident(&self) -> FileIdent {
        FileIdent {
            dev: self.dev.load(Ordering::Relaxed),
            ino: self.ino.load(Ordering::Relaxed),
            birth_ns: self.birth_ns.load(Ordering::Relaxed),
        }
    }

    /// Marks the file in a region; out of service there if it cannot be marked.
    fn enter(&self, joined: &Joined, slot: Option<u16>) {
        let (cells, ops) = (joined.region.cells(), joined.region.ops());
        let hash = self.ident().hash();
        match slot.and_then(|slot| writes::pin(cells, ops, slot, hash)) {
            Some(op) => {
                self.op.store(op as u64, Ordering::Relaxed);
                self.holder.store(holder(joined, slot), Ordering::Relaxed);
            }
            None => {
                self.holder.store(0, Ordering::Relaxed);
                grid::cell::poison(&cells.file(hash).epoch);
            }
        }
    }
}

/// A stream that may write has been opened on `fd`.
pub fn pin(fd: i32) {
    if session::config().is_none() {
        return;
    }
    let Ok(stat) = stat_fd(fd) else { return };
    if classify::eligible(fd, &stat).is_err() {
        return;
    }
    unpin(fd);
    let member = session::join();
    let Some(pin) = ALL.iter().find(|pin| pin.take(0)) else {
        return write::give_up_file(member, stat.ident);
    };
    pin.dev.store(stat.ident.dev, Ordering::Relaxed);
    pin.ino.store(stat.ident.ino, Ordering::Relaxed);
    pin.birth_ns.store(stat.ident.birth_ns, Ordering::Relaxed);
    pin.holder.store(0, Ordering::Relaxed);
    if let Some(member) = member {
        pin.enter(member.joined, member.slot);
    }
    pin.fd.store(fd as u64 + 1, Ordering::Release);
}

/// The stream on `fd` has been closed.
pub fn unpin(fd: i32) {
    let member = session::member();
    let mine = fd as u64 + 1;
    for pin in ALL.iter().filter(|pin| fd >= 0 && pin.take(mine)) {
        let known = pin.holder.load(Ordering::Relaxed);
        let ours =
            member.filter(|member| known != 0 && known == holder(member.joined, member.slot));
        if let Some(member) = ours {
            let (cells, ops) = (member.region().cells(), member.region().ops());
            let op = pin.op.load(Ordering::Relaxed) as usize;
            writes::unpin(cells, ops, pin.ident().hash(), op);
        }
        pin.fd.store(0, Ordering::Release);
    }
}

/// This process is about to join a region: its streams are marked there.
pub fn renew(joined: &Joined, slot: Option<u16>) {
    for pin in &ALL {
        let fd = pin.fd.load(Ordering::Acquire);
        if fd != 0 && pin.take(fd) {
            pin.enter(joined, slot);
            pin.fd.store(fd, Ordering::Release);
        }
    }
}

/// After a `freopen`: the old stream's number is unpinned unless a new stream has it.
pub fn unpin_unless_open(fd: i32, failed: bool) {
    if failed || stat_fd(fd).is_err() {
        unpin(fd);
    }
}

/// Before a fork: the child inherits the streams. Their files are given up.
pub fn before_fork() {
    for pin in &ALL {
        if pin.fd.load(Ordering::Acquire) != 0 {
            write::give_up_file(session::member(), pin.ident());
        }
    }
}
