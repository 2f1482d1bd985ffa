//! The system call instruction, for the two architectures that are served. Everything in `sys`
//! ends here; nothing else in the shim enters the kernel except the hooked functions themselves.
//!
//! # Safety
//! What is dangerous here: the kernel believes whatever the registers say. Callers are the typed
//! wrappers in `sys`, which own the argument that pointers and lengths are right. Neither `errno`
//! nor any other libc state is touched.
#![allow(unsafe_code)]

/// One system call with up to six arguments; a result in -4095..0 is a negated errno.
///
/// # Safety
/// The arguments must be valid for call `number`.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(number: i64, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the `syscall` instruction clobbers rcx, r11 and rax only; memory effects are those
    // the caller vouches for.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    result
}

/// One system call with up to six arguments; a result in -4095..0 is a negated errno.
///
/// # Safety
/// The arguments must be valid for call `number`.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(number: i64, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: `svc 0` clobbers x0 only; memory effects are those the caller vouches for.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a[0] => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack)
        );
    }
    result
}

/// The processor's time-stamp counter: cheap, monotonic enough to time one read.
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rdtsc` has no operands and no side effects.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reading the virtual counter is allowed to user space and has no side effects.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
}
