//! Send: `sendfile`, from a file to a socket (served) or into another file (counted as a write).
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's offset is followed only after its page was proved.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, off_t, size_t, ssize_t};

use super::counted::hk_counted;
use super::hk_point;
use crate::send::{self, Call, Plan};
use crate::write::Range;

type Real = unsafe extern "C-unwind" fn(c_int, c_int, *mut off_t, size_t) -> ssize_t;

/// Decides, makes the kernel's call at most once, settles. Nothing in this frame has to be dropped:
/// a thread may leave it without returning.
unsafe fn send_with(call: Call, real: Real) -> ssize_t {
    let (to, from) = (call.to, call.from);
    match send::before(call) {
        Plan::Pass => real(to, from, call.offset, call.len),
        Plan::Watch(watch) => {
            let result = real(to, from, call.offset, call.len);
            send::after(watch, result);
            result
        }
        Plan::Rest(watch, sent, mut position) => {
            let errno = *libc::__errno_location();
            let result = real(to, from, &mut position, call.len - sent);
            // What was sent before counts: the call as a whole has not failed.
            *libc::__errno_location() = errno;
            send::after(watch, result);
            send::settle(call, sent, position, result)
        }
        Plan::Done(result, errno) => {
            if result < 0 {
                *libc::__errno_location() = errno;
            }
            result
        }
    }
}

hk_point! {
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
        let call = Call { to, from, offset, len };
        hk_counted!(to, Range::Anywhere, send_with(call, real::sendfile()))
    }
    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t {
        let call = Call { to, from, offset, len };
        hk_counted!(to, Range::Anywhere, send_with(call, real::sendfile64()))
    }
}
