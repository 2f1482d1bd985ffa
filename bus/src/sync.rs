//! The one door to atomics. Everything in this crate that is shared between processes takes its
//! atomics from here, so that the model check (`--features model`) runs the code that ships, with
//! shuttle deciding who moves next. Never use `core::sync` anywhere else in this crate (the
//! private page of `guard` is shared with nobody).

#[cfg(not(feature = "model"))]
pub use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(feature = "model")]
pub use self::modelled::{AtomicU32, AtomicU64, Killed, Ordering, doom, fence};

/// Keeps the compiler from moving a store of the sender behind its look at the sleeper's word. The
/// processor may still do so: the sleeper answers for that with a `membarrier` (`wait`).
#[inline(always)]
pub fn light_fence() {
    #[cfg(not(feature = "model"))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// Shuttle's atomics, in which a thread can be killed before any of its steps (`tests/model`).
#[cfg(feature = "model")]
#[allow(missing_docs)]
mod modelled {
    use core::cell::Cell;
    use shuttle::sync::atomic as steps;
    use std::thread_local;

    pub use shuttle::sync::atomic::Ordering;

    thread_local! {
        /// The task that is to die, and before which of its steps from now on.
        static DOOM: Cell<Option<(shuttle::current::TaskId, u32)>> = const { Cell::new(None) };
    }

    /// What a killed thread unwinds with; its actor catches it.
    pub struct Killed;

    /// Kills the calling thread before its `steps`th step from now; `None`: let it live.
    pub fn doom(steps: Option<u32>) {
        DOOM.set(steps.map(|steps| (shuttle::current::me(), steps)));
    }

    fn step() {
        let Some((task, steps)) = DOOM.get() else {
            return;
        };
        if task != shuttle::current::me() {
            return;
        }
        match steps {
            0 => {
                DOOM.set(None);
                std::panic::resume_unwind(Box::new(Killed))
            }
            _ => DOOM.set(Some((task, steps - 1))),
        }
    }

    /// Shuttle explores sequentially consistent executions only, in which a fence does nothing.
    pub fn fence(_order: Ordering) {}

    macro_rules! atomic {
        ($name:ident, $word:ty) => {
            #[derive(Debug)]
            pub struct $name(steps::$name);

            impl $name {
                pub fn new(value: $word) -> $name {
                    $name(steps::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $word {
                    step();
                    self.0.load(order)
                }

                pub fn store(&self, value: $word, order: Ordering) {
                    step();
                    self.0.store(value, order);
                }

                pub fn compare_exchange(
                    &self,
                    from: $word,
                    to: $word,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$word, $word> {
                    step();
                    self.0.compare_exchange(from, to, success, failure)
                }
            }

            impl Default for $name {
                fn default() -> $name {
                    $name::new(0)
                }
            }
        };
    }

    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}
