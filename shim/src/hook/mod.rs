//! The hooked functions. One private macro over `redhook` declares them, so that exceptions have
//! one home; every hook is a row of `docs/coverage.md`.
//!
//! The shape of a hook: decide, call the real function exactly once, settle. Whatever can go wrong
//! in deciding happens before the real call, so that redhook's way out of a panic (call the real
//! function) never makes a call twice. `errno` belongs to the real function: nothing here sets it.

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
