//! The frame around a real call that changes a file: counted in before, counted out after, also
//! when the call never returns because its thread is cancelled in it, or a signal handler jumps
//! away.
//!
//! Called by the hooks through `hk_counted!` and `hk_counted_path!`. What has to be settled is
//! named to libc as a cleanup handler of the thread while the real call runs: an unwind by force
//! may not pass a Rust frame that has something to drop (Rust leaves that undefined), and a long
//! jump passes destructors by. Both run these handlers, and by then the kernel's call is over.
//!
//! # Safety
//! What is dangerous here: libc keeps the address of a buffer in the hook's frame, and of what is
//! to be settled. The macros take both away before that frame ends; libc does when it leaves the
//! frame.
#![allow(unsafe_code)]

use grid::writes::Ticket;
use libc::{c_char, c_int, c_void};

use super::caught;
use crate::session::{self, Member};
use crate::write::{self, Pending, Range};

/// A write that is counted in; `None`: nothing to count.
#[inline]
pub fn begin(fd: c_int, range: Range) -> Option<Pending> {
    told_or(None, || write::before(fd, range), || write::give_up(fd))
}

/// Takes a file out of service that is about to be changed in ways that cannot be counted.
pub fn give_up(fd: c_int) {
    told_or((), || write::give_up(fd), || write::give_up(fd));
}

/// Runs what tells the session of a change that is about to be made. A panic in it is a bug, and
/// the change will be made all the same: then the file is taken out of service (`instead`); if that
/// panics, too, nothing of the session is served any more.
pub fn told_or<T>(otherwise: T, tell: impl FnOnce() -> T, instead: impl FnOnce()) -> T {
    let told = caught(None, || Some(tell()));
    told.unwrap_or_else(|| {
        if !caught(false, || {
            instead();
            true
        }) {
            caught((), session::stop_service);
        }
        otherwise
    })
}

/// Counts it out; `result` is what the call returned.
#[inline]
pub fn end(pending: Option<Pending>, result: isize) {
    if pending.is_some() {
        caught((), || write::after(pending, result));
    }
}

/// A change of a file named by its path, counted in.
pub fn begin_path(dirfd: c_int, path: *const c_char) -> Option<(Member, Ticket)> {
    let tell = || write::before_path(dirfd, path);
    told_or(None, tell, || write::give_up_path(dirfd, path))
}

/// Counts it out.
pub fn end_path(pending: Option<(Member, Ticket)>) {
    if pending.is_some() {
        caught((), || write::after_path(pending));
    }
}

/// The call that returns nothing: its thread is going away. Nobody knows what it has done.
///
/// # Safety
/// `pending` points to an `Option<Pending>`.
pub unsafe extern "C" fn abandon(pending: *mut c_void) {
    // SAFETY: the caller's promise; `Pending` is `Copy`.
    end(unsafe { *pending.cast::<Option<Pending>>() }, -1);
}

/// As `abandon`, for a change by path.
///
/// # Safety
/// `pending` points to an `Option<(Member, Ticket)>`.
pub unsafe extern "C" fn abandon_path(pending: *mut c_void) {
    // SAFETY: the caller's promise; member and ticket are `Copy`.
    end_path(unsafe { *pending.cast::<Option<(Member, Ticket)>>() });
}

/// libc's `struct _pthread_cleanup_buffer`.
#[repr(C)]
pub struct Cleanup {
    routine: Option<unsafe extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
    cancel_type: c_int,
    previous: *mut Cleanup,
}

unsafe extern "C" {
    fn _pthread_cleanup_push(
        buffer: *mut Cleanup,
        routine: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
    );
    fn _pthread_cleanup_pop(buffer: *mut Cleanup, run: c_int);
}

impl Cleanup {
    /// A buffer that libc does not know yet.
    pub const fn new() -> Cleanup {
        Cleanup {
            routine: None,
            argument: core::ptr::null_mut(),
            cancel_type: 0,
            previous: core::ptr::null_mut(),
        }
    }

    /// Names `routine(argument)` to libc.
    ///
    /// # Safety
    /// `self` and `*argument` stay where they are until `pop`, in the frame that makes the call.
    #[inline]
    pub unsafe fn push<T>(
        &mut self,
        routine: unsafe extern "C" fn(*mut c_void),
        argument: &Option<T>,
    ) {
        let argument = core::ptr::from_ref(argument).cast_mut().cast();
        // SAFETY: the caller's promise; libc fills the buffer in and links it.
        unsafe { _pthread_cleanup_push(self, routine, argument) };
    }

    /// Takes it back, unused.
    ///
    /// # Safety
    /// Call after `push`, in the same frame.
    #[inline]
    pub unsafe fn pop(&mut self) {
        // SAFETY: the buffer that was pushed last by this frame; what came later is gone.
        unsafe { _pthread_cleanup_pop(self, 0) };
    }
}

/// Makes a real call with a change of the file behind `fd` counted in.
macro_rules! hk_counted {
    ($fd:expr, $range:expr, $real:expr) => {
        hk_counted!(
            $crate::hook::counted::begin($fd, $range),
            $crate::hook::counted::abandon,
            |pending, result| $crate::hook::counted::end(pending, result),
            $real
        )
    };
    ($begin:expr, $abandon:path, $end:expr, $real:expr) => {{
        let pending = $begin;
        let mut cleanup = $crate::hook::counted::Cleanup::new();
        if pending.is_some() {
            cleanup.push($abandon, &pending);
        }
        let result = $real;
        if pending.is_some() {
            cleanup.pop();
            $end(pending, result as isize);
        }
        result
    }};
}
pub(crate) use hk_counted;

/// Makes a real call with a change of the file at a path counted in, where `changes`.
macro_rules! hk_counted_path {
    ($changes:expr, $dirfd:expr, $path:expr, $real:expr) => {
        $crate::hook::counted::hk_counted!(
            if $changes {
                $crate::hook::counted::begin_path($dirfd, $path)
            } else {
                None
            },
            $crate::hook::counted::abandon_path,
            |pending, _| $crate::hook::counted::end_path(pending),
            $real
        )
    };
}
pub(crate) use hk_counted_path;
