//! Writes by libaio between submission and reaping: each is counted in the version cells like any
//! other write, only that its begin and its end lie in different calls. The kernel names a finished
//! write by the address of its control block, and so does the table here.
//!
//! Called by `hook::asynchronous` and `hook::raw`. A write that finds no room here, or shares its
//! control block with another one in flight, takes its file out of service instead. A write that is
//! reaped past every hook (straight from the kernel's ring) stays in flight until the process ends:
//! not served, never wrong.
//!
//! # Safety
//! What is dangerous here: entries are written and read by the thread that won the exchange of
//! their key, nobody else.
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use grid::sync::{AtomicU64, Ordering};

use crate::session;
use crate::write::{Pending, Range, after, before, give_up, poison_pending};

/// Writes in flight that are tracked.
const FLIGHTS: usize = 512;

const FREE: u64 = 0;
const CHANGING: u64 = 1;

struct Flight {
    /// Address of the control block, or one of the two above.
    key: AtomicU64,
    /// The context it was submitted to.
    context: AtomicU64,
    /// The thread that is submitting it; 0: the kernel has it.
    submitter: AtomicU64,
    pending: UnsafeCell<MaybeUninit<Pending>>,
}

// SAFETY: `pending` is touched only by whoever moved `key` to CHANGING by an exchange.
unsafe impl Sync for Flight {}

static ALL: [Flight; FLIGHTS] = [const {
    Flight {
        key: AtomicU64::new(FREE),
        context: AtomicU64::new(0),
        submitter: AtomicU64::new(0),
        pending: UnsafeCell::new(MaybeUninit::uninit()),
    }
}; FLIGHTS];
/// Entries in use, so that programs without such writes pay nothing for their reads.
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);

impl Flight {
    fn win(&self, key: u64) -> bool {
        let won = self
            .key
            .compare_exchange(key, CHANGING, Ordering::Acquire, Ordering::Relaxed);
        won.is_ok()
    }

    /// Empties an entry that this thread has won.
    fn clear(&self) -> Pending {
        // SAFETY: won by the caller, and every entry with a key holds a value.
        let pending = unsafe { (*self.pending.get()).assume_init() };
        self.key.store(FREE, Ordering::Release);
        IN_FLIGHT.fetch_sub(1, Ordering::Relaxed);
        pending
    }
}

/// The entry of a control block, won.
fn find(context: u64, key: u64) -> Option<&'static Flight> {
    if key <= CHANGING || IN_FLIGHT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    ALL.iter()
        .filter(|flight| flight.key.load(Ordering::Relaxed) == key)
        .filter(|flight| context == flight.context.load(Ordering::Relaxed))
        .find(|flight| flight.win(key))
}

fn this_thread() -> u64 {
    // SAFETY: no arguments; answered from the thread's own block.
    unsafe { libc::pthread_self() as u64 }
}

/// A write is about to be submitted: counts it in. libaio submits through `syscall`, so that this
/// may be called twice for one submission, by one thread.
pub fn begin(context: u64, key: u64, fd: i32, range: Range) {
    if key <= CHANGING || session::config().is_none() {
        return;
    }
    if let Some(twin) = find(context, key) {
        if twin.submitter.load(Ordering::Relaxed) == this_thread() {
            // Not the kernel's yet: nobody can have missed it while it was won.
            return twin.key.store(key, Ordering::Release);
        }
        // One address for two writes: which of them lands first, nobody could tell.
        // SAFETY: won by `find`, and every entry with a key holds a value.
        poison_pending(unsafe { (*twin.pending.get()).assume_init_ref() });
        twin.key.store(key, Ordering::Release);
        return give_up(fd);
    }
    let Some(pending) = before(fd, range) else {
        return;
    };
    let Some(flight) = ALL.iter().find(|flight| flight.win(FREE)) else {
        give_up(fd);
        return after(Some(pending), 0);
    };
    // SAFETY: won just now.
    unsafe { (*flight.pending.get()).write(pending) };
    flight.context.store(context, Ordering::Relaxed);
    flight.submitter.store(this_thread(), Ordering::Relaxed);
    IN_FLIGHT.fetch_add(1, Ordering::Relaxed);
    flight.key.store(key, Ordering::Release);
}

/// The kernel has taken the write: whoever submits its control block again makes a twin.
pub fn taken(context: u64, key: u64) {
    let me = this_thread();
    for flight in &ALL {
        // Not won: another thread may be reaping it, and must find it.
        if flight.key.load(Ordering::Relaxed) == key
            && flight.context.load(Ordering::Relaxed) == context
            && flight.submitter.load(Ordering::Relaxed) == me
        {
            flight.submitter.store(0, Ordering::Relaxed);
        }
    }
}

/// The write was reaped, or not even accepted: counts it out.
pub fn end(context: u64, key: u64) {
    if let Some(flight) = find(context, key) {
        // Nothing is refreshed: what lands so was written past the page cache.
        after(Some(flight.clear()), 0);
    }
}

/// The context is gone, and with it all that was in flight there: the kernel has waited for it.
pub fn end_all(context: u64) {
    if IN_FLIGHT.load(Ordering::Relaxed) == 0 {
        return;
    }
    for flight in &ALL {
        let key = flight.key.load(Ordering::Relaxed);
        let here = key > CHANGING && flight.context.load(Ordering::Relaxed) == context;
        if here && flight.win(key) {
            after(Some(flight.clear()), 0);
        }
    }
}

/// In a fork child: the writes are the parent's, counted under its name.
pub fn forget_parents() {
    for flight in &ALL {
        flight.key.store(FREE, Ordering::Relaxed);
    }
    IN_FLIGHT.store(0, Ordering::Relaxed);
}
