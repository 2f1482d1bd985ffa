//! Send: `sendfile`, from a file to a socket (served) or into another file (counted as a write).
//!
//! # Safety
//! What is dangerous here: the bodies are `unsafe` functions with the contract of the libc function
//! they stand for; the caller's offset is followed only after its page was proved.
#![allow(unsafe_code)]
#![allow(unsafe_op_in_unsafe_fn, missing_docs)]

use libc::{c_int, off_t, size_t, ssize_t};
use redhook::real;

use super::hk_hook;
use crate::send::{self, Call, Plan};
use crate::write::{self, Range};

/// Decides, makes the kernel's call at most once, settles. A panic before the call is caught here;
/// then nothing has been sent.
unsafe fn send_with(
    call: Call,
    real: unsafe extern "C" fn(c_int, c_int, *mut off_t, size_t) -> ssize_t,
) -> ssize_t {
    let (to, from) = (call.to, call.from);
    if let Some(pending) = write::before(to, Range::Anywhere) {
        let result = real(to, from, call.offset, call.len);
        write::after(Some(pending), result);
        return result;
    }
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

hk_hook! {
    fn sendfile(to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t
    => hk_sendfile {
        send_with(Call { to, from, offset, len }, real!(sendfile))
    }
    fn sendfile64(to: c_int, from: c_int, offset: *mut off_t, len: size_t) -> ssize_t
    => hk_sendfile64 {
        send_with(Call { to, from, offset, len }, real!(sendfile64))
    }
}
