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

pub mod asynchronous;
pub mod descriptor;
pub mod mapping;
pub mod process;
pub mod read;
pub mod resize;
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

/// As `hk_hook`, for calls in which a thread may be cancelled and which are not passed on at once.
/// redhook's own entry point runs a hook inside `catch_unwind`. A cancelled thread unwinds by
/// force, and dies there. So these have an entry point of their own, with nothing to catch in it;
/// what may panic (deciding, settling) is caught inside. The real function is still looked up by
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

/// Looks up every real function.
pub fn resolve_all() {
    read::resolve();
    write::resolve();
    resize::resolve();
    descriptor::resolve();
    stream::resolve();
    mapping::resolve();
    asynchronous::resolve();
    process::resolve();
}
