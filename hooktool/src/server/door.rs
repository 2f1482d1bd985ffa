//! The door of a session: whether somebody stands there whom `attach` has not answered.
//!
//! `attach` reports its passes over the door; `tend` asks before each heartbeat of a session that
//! owns files (rule O2). A process that has waited in vain goes on by itself, and by then nobody
//! may be served any more, or its coming has been noticed. Holds a second descriptor of the
//! listening socket; takes nobody in.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::session;

/// The door.
#[derive(Default)]
pub struct Door {
    listener: OnceLock<OwnedFd>,
    passes: AtomicU64,
    in_pass: AtomicBool,
    seated: AtomicUsize,
}

impl Door {
    /// Peers come through `listener` from now on.
    pub fn open(&self, listener: &OwnedFd) {
        if let Ok(listener) = listener.try_clone() {
            let _ = self.listener.set(listener);
        }
    }

    /// A pass begins. Before anybody is taken from the queue.
    pub fn begin_pass(&self) {
        self.in_pass.store(true, Ordering::SeqCst);
    }

    /// It ends: whoever had spoken when it began has been answered, and `seated` have not spoken,
    /// or wait for a connection. Not `whole`: somebody could not be taken from the queue.
    pub fn end_pass(&self, seated: usize, whole: bool) {
        self.seated.store(seated, Ordering::SeqCst);
        if whole {
            self.passes.fetch_add(1, Ordering::SeqCst);
        }
        self.in_pass.store(false, Ordering::SeqCst);
    }

    /// Whole passes so far.
    pub fn passes(&self) -> u64 {
        self.passes.load(Ordering::SeqCst)
    }

    /// Whether somebody stands at the door, or is being answered. In this order: who has left the
    /// queue is in a pass, and who was in that pass is seated or answered when it is over.
    pub fn is_waited_at(&self) -> bool {
        let listener = self.listener.get().map(AsFd::as_fd);
        let queued = |fd| session::wait_for(&[fd], Some(Duration::ZERO))[0];
        listener.is_none_or(queued)
            || self.in_pass.load(Ordering::SeqCst)
            || self.seated.load(Ordering::SeqCst) != 0
    }
}
