//! hooktool: start a server with its file reads served from other machines' memory.
//!
//! The C entry point instead of Rust's: the standard library's start-up would set SIGPIPE to
//! ignored and open `/dev/null` on closed standard descriptors, and the target, executed in place,
//! would inherit both. Errors are printed here and nowhere else.
//!
//! # Safety
//!
//! The one unsafe thing is the name `main`, which the C runtime calls once, on the first thread.
#![no_main]
#![allow(unsafe_code)]

use std::io::Write;
use std::panic::catch_unwind;

use hooktool::{commands, sys};

// SAFETY: the only symbol of this name in the program; its signature is that of C's main.
#[unsafe(no_mangle)]
extern "C" fn main(_count: i32, _arguments: *const *const std::ffi::c_char) -> i32 {
    sys::hold_standard_descriptors();
    sys::outlive_file_size_limit();
    let status = catch_unwind(|| {
        commands::dispatch(std::env::args_os().collect()).unwrap_or_else(|failure| {
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.kind.exit_status()
        })
    });
    i32::from(status.unwrap_or(125))
}
