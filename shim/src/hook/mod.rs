//! The hooked functions. One private macro over `redhook` declares them, so that exceptions have
//! one home; every hook is a row of `docs/coverage.md`.
//!
//! The shape of a hook: decide, call the real function exactly once, settle. Whatever can go wrong
//! in deciding happens before the real call, so that redhook's way out of a panic (call the real
//! function) never makes a call twice. `errno` belongs to the real function: nothing here sets it.
//!
//! # Safety
//! What is dangerous here: a looked-up address becomes a function of the declared signature. Name
//! and signature stand side by side in each declaration.
#![allow(unsafe_code)]

pub mod advise;
pub mod asynchronous;
pub mod counted;
pub mod descriptor;
pub mod mapping;
pub mod process;
pub mod raw;
pub mod read;
pub mod resize;
pub mod send;
pub mod stream;
pub mod write;

/// Declares hooks, and `resolve`, which looks up the real functions once, in the constructor: no
/// hook ever calls the dynamic linker later (it may be called in a signal handler).
macro_rules! hk_hook {
    ($(fn $real:ident($($v:ident: $t:ty),*) -> $r:ty => $hook:ident $body:block)*) => {
        $(redhook::hook! { unsafe fn $real($($v: $t),*) -> $r => $hook $body })*

        /// Looks up the real functions of this file.
        pub fn resolve() {
            $(if $crate::start::exists(concat!(stringify!($real), "\0")) {
                let _ = redhook::real!($real);
            })*
        }
    };
}
pub(crate) use hk_hook;

/// As `hk_hook`, for calls in which a thread may be cancelled. redhook's own entry point runs a
/// hook inside `catch_unwind`. A cancelled thread unwinds by force, and the process dies there. So
/// these have an entry point of their own, with nothing to catch and nothing to drop in its frame;
/// what may panic (deciding, settling) is `caught` before or after the real call, and what must be
/// settled also when the call never returns is `counted`. The real function is still looked up by
/// redhook.
macro_rules! hk_point {
    ($(fn $real:ident($($v:ident: $t:ty),*) -> $r:ty $body:block)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C-unwind" fn $real($($v: $t),*) -> $r $body
        )*

        /// The real functions.
        mod real {
            use super::*;
            $(
                #[inline]
                pub fn $real() -> unsafe extern "C-unwind" fn($($t),*) -> $r {
                    use core::sync::atomic::{AtomicUsize, Ordering};
                    static REAL: AtomicUsize = AtomicUsize::new(0);
                    if REAL.load(Ordering::Relaxed) == 0 {
                        let name = concat!(stringify!($real), "\0");
                        // SAFETY: a zero-terminated name.
                        let found = unsafe { redhook::ld_preload::dlsym_next(name) };
                        REAL.store(found as usize, Ordering::Relaxed);
                    }
                    // SAFETY: the next library's function of this name has this signature.
                    unsafe { core::mem::transmute(REAL.load(Ordering::Relaxed)) }
                }
            )*
        }

        /// Looks up the real functions of this file.
        pub fn resolve() {
            $(if $crate::start::exists(concat!(stringify!($real), "\0")) {
                let _ = real::$real();
            })*
        }
    };
}
pub(crate) use hk_point;

/// Runs what may panic: a bug here must not become the target's. `otherwise` is the answer then.
#[inline]
fn caught<T>(otherwise: T, what: impl FnOnce() -> T) -> T {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).unwrap_or(otherwise)
}

/// Looks up every real function.
pub fn resolve_all() {
    raw::resolve();
    read::resolve();
    write::resolve();
    resize::resolve();
    send::resolve();
    descriptor::resolve();
    stream::resolve();
    mapping::resolve();
    advise::resolve();
    asynchronous::resolve();
    process::resolve();
}
