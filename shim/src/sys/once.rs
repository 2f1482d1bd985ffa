//! A place that is written once and then read by anybody, without a lock that a fork could inherit
//! and without std's `Once` on the read side.
//!
//! # Safety
//! What is dangerous here: a `static` that is not yet initialised. The state word guards it: the
//! value is written between EMPTY->WRITING (one winner) and WRITING->FULL (release), and read only
//! after FULL (acquire).
#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;

use grid::sync::{AtomicU32, Ordering};

const EMPTY: u32 = 0;
const WRITING: u32 = 1;
const FULL: u32 = 2;

/// The place.
pub struct Once<T> {
    state: AtomicU32,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: see the file's head; `T` itself is shared, hence `Sync`, and moved in, hence `Send`.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// Empty.
    pub const fn new() -> Once<T> {
        Once {
            state: AtomicU32::new(EMPTY),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// The value, if it has been set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: FULL was seen with acquire, so the value is written and never changes again.
        Some(unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// Sets the value; false if somebody else has set it, or is setting it.
    pub fn set(&self, value: T) -> bool {
        let won = self
            .state
            .compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed);
        if won.is_err() {
            return false;
        }
        // SAFETY: only the winner of the exchange gets here, and readers wait for FULL.
        unsafe { (*self.value.get()).write(value) };
        self.state.store(FULL, Ordering::Release);
        true
    }
}
