//! The shim's only way to the kernel besides the hooked functions: raw system calls, typed.
//!
//! Why raw: a libc function would set `errno`, might be a hook of ours or of another preloaded
//! library, and might be a cancellation point. None of these may happen behind the target's back.
//! Errors come back as the positive errno in `Err`.
//!
//! # Safety
//! What is dangerous here: pointers handed to the kernel. Each wrapper takes Rust references or
//! says what its raw pointers must be; the kernel answers EFAULT for a bad user address and never
//! writes beyond the length it is given.
#![allow(unsafe_code)]

pub mod arch;
pub mod aside;
pub mod file;
pub mod memory;
pub mod once;
pub mod socket;

pub use arch::ticks;

/// A positive errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

fn result(value: isize) -> Result<usize, Errno> {
    match value {
        -4095..=-1 => Err(Errno(-value as i32)),
        _ => Ok(value as usize),
    }
}

/// This thread's number.
pub fn thread() -> u32 {
    // SAFETY: the call has no operands.
    unsafe { arch::syscall(libc::SYS_gettid, [0; 6]) as u32 }
}

/// Process id, as this process sees it.
pub fn getpid() -> i32 {
    // SAFETY: no arguments.
    unsafe { arch::syscall(libc::SYS_getpid, [0; 6]) as i32 }
}

/// Effective user id.
pub fn geteuid() -> u32 {
    // SAFETY: no arguments.
    unsafe { arch::syscall(libc::SYS_geteuid, [0; 6]) as u32 }
}

/// Sleeps; a signal may cut it short.
pub fn sleep_ms(milliseconds: u64) {
    let time = libc::timespec {
        tv_sec: (milliseconds / 1000) as i64,
        tv_nsec: (milliseconds % 1000 * 1_000_000) as i64,
    };
    let at = core::ptr::from_ref(&time) as usize;
    // SAFETY: `time` lives through the call.
    let _ = unsafe { arch::syscall(libc::SYS_nanosleep, [at, 0, 0, 0, 0, 0]) };
}

/// Bytes that this thread has made the devices read so far, readahead included; 0 for ever on a
/// kernel without task I/O accounting.
pub fn device_bytes() -> u64 {
    let mut usage = core::mem::MaybeUninit::<libc::rusage>::zeroed();
    let arguments = [
        libc::RUSAGE_THREAD as usize,
        usage.as_mut_ptr() as usize,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: `usage` is a valid place for the answer.
    let _ = unsafe { arch::syscall(libc::SYS_getrusage, arguments) };
    // SAFETY: zero is a valid bit pattern of every field.
    unsafe { usage.assume_init() }.ru_inblock as u64 * 512
}

/// Milliseconds of the monotonic clock, as coarse as the clock tick. Answered by the vDSO: libc's
/// `clock_gettime` neither sets `errno` nor locks for a clock that exists.
pub fn monotonic_ms() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}

/// Nanoseconds of the real-time clock, as coarse as the clock tick (what coarse stamps use).
pub fn realtime_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Lets another thread that wants this processor have it; returns at once if there is none.
pub fn yield_now() {
    // SAFETY: the call has no operands.
    let _ = unsafe { arch::syscall(libc::SYS_sched_yield, [0; 6]) };
}

/// Wakes the hook server that sleeps on `word`.
pub fn futex_wake(word: &grid::sync::AtomicU32) {
    let at = core::ptr::from_ref(word) as usize;
    let wake = libc::FUTEX_WAKE as usize;
    // SAFETY: `word` is mapped; waking has no other effect.
    let _ = unsafe { arch::syscall(libc::SYS_futex, [at, wake, 1, 0, 0, 0]) };
}

/// Wakes one thread of this process that sleeps on `word`.
pub fn futex_wake_private(word: &grid::sync::AtomicU32) {
    let at = core::ptr::from_ref(word) as usize;
    let wake = (libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as usize;
    // SAFETY: `word` is mapped; waking has no other effect.
    let _ = unsafe { arch::syscall(libc::SYS_futex, [at, wake, 1, 0, 0, 0]) };
}

/// Sleeps until a thread of this process wakes `word`, for `limit_ns` at most (below a second);
/// not at all where it is no longer `seen`.
pub fn futex_wait_private(word: &grid::sync::AtomicU32, seen: u32, limit_ns: u64) {
    let limit = libc::timespec {
        tv_sec: 0,
        tv_nsec: limit_ns.min(999_999_999) as libc::c_long,
    };
    let at = core::ptr::from_ref(word) as usize;
    let wait = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let limit_at = core::ptr::from_ref(&limit) as usize;
    // SAFETY: `word` is mapped, `limit` lives through the call.
    let _ = unsafe { arch::syscall(libc::SYS_futex, [at, wait, seen as usize, limit_at, 0, 0]) };
}

/// Writes a message to descriptor 2 and ends the process by SIGABRT: only for the oracle.
pub fn abort_with(message: &[u8]) -> ! {
    let (at, len) = (message.as_ptr() as usize, message.len());
    // SAFETY: `message` lives through the call.
    let _ = unsafe { arch::syscall(libc::SYS_write, [2, at, len, 0, 0, 0]) };
    // SAFETY: ends the process; nothing runs after it.
    unsafe { libc::abort() }
}
