//! A stack of the shim's own, for the one computation that takes more than a hook may use of its
//! caller's: a process may join in a thread, or on a signal stack, of a few KiB.
//!
//! `rooms` derives the keys of a region on it. Signals wait meanwhile, some microseconds: a
//! collector of garbage that stops threads by a signal must find them on their own stacks.
//!
//! # Safety
//! What is dangerous here: the stack pointer. It is put back by the same instructions that changed
//! it, through a register that the called function preserves; nothing unwinds across (`extern "C"`
//! ends the process instead), no signal handler and no cancellation comes in between.
#![allow(unsafe_code)]

use super::{arch, memory, result};

/// Bytes of the stack; what runs on it takes less than a fifth.
const STACK_BYTES: usize = 64 << 10;

/// Runs `work` with `argument` on a fresh stack. False: there is no memory for one.
pub fn run<T>(work: extern "C" fn(*mut T), argument: &mut T) -> bool {
    let Ok(stack) = memory::map_private(STACK_BYTES) else {
        return false;
    };
    let before = mask(libc::SIG_BLOCK, u64::MAX);
    // SAFETY: the stack is mapped, aligned and nobody else's; `work` takes what `argument` is.
    unsafe {
        let top = stack.add(STACK_BYTES);
        call(
            top,
            work as *const u8,
            core::ptr::from_mut(argument).cast::<u8>(),
        );
    }
    if let Some(before) = before {
        mask(libc::SIG_SETMASK, before);
    }
    memory::unmap(stack, STACK_BYTES);
    true
}

/// Changes this thread's signal mask; the one before.
fn mask(how: i32, signals: u64) -> Option<u64> {
    let mut before = 0_u64;
    let arguments = [
        how as usize,
        core::ptr::from_ref(&signals) as usize,
        core::ptr::from_mut(&mut before) as usize,
        size_of::<u64>(),
        0,
        0,
    ];
    // SAFETY: both sets are as long as the length says.
    let done = result(unsafe { arch::syscall(libc::SYS_rt_sigprocmask, arguments) });
    done.is_ok().then_some(before)
}

/// Calls `work` with `argument`, the stack pointer being `top` meanwhile.
///
/// # Safety
/// `top` must be the end of a writable stack, aligned to 16 bytes; `work` must be a function of one
/// pointer in the C convention that returns.
#[inline(never)]
unsafe fn call(top: *mut u8, work: *const u8, argument: *mut u8) {
    // SAFETY: r12 is preserved by `work`, and so by this; everything else that it may change is
    // declared.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "xchg rsp, r12",
            "call r13",
            "mov rsp, r12",
            inout("r12") top => _,
            inout("r13") work => _,
            in("rdi") argument,
            clobber_abi("C"),
        );
    }
    // SAFETY: x21 is preserved by `work`, as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "mov x21, sp",
            "mov sp, x20",
            "blr x22",
            "mov sp, x21",
            inout("x20") top => _,
            out("x21") _,
            inout("x22") work => _,
            in("x0") argument,
            clobber_abi("C"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn note(at: *mut (u64, usize)) {
        let here = 0_u8;
        // SAFETY: the test hands over a pair.
        let pair = unsafe { &mut *at };
        pair.0 += 1;
        pair.1 = core::ptr::from_ref(&here) as usize;
    }

    #[test]
    fn work_is_done_elsewhere_and_comes_back() {
        let here = 0_u8;
        let mut pair = (41, 0);
        for _ in 0..3 {
            assert!(run(note, &mut pair));
        }
        assert_eq!(pair.0, 44);
        let far = pair.1.abs_diff(core::ptr::from_ref(&here) as usize);
        assert!(far > STACK_BYTES, "it ran {far} bytes from here");
    }
}
