//! The kernel calls that no safe wrapper offers: fork, exec, signals, descriptor placing, probes.
//!
//! Called by `main` (standard descriptors), `spawn` (the hook server's process), `launch` and
//! `init` (the target), `viewer` (interrupts) and `doctor` (probes). It decides nothing.
//!
//! # Safety
//!
//! The one file of hooktool that may contain unsafe code. Two things are dangerous here: `fork`
//! (the child of a process with several threads may only make async-signal-safe calls; hooktool
//! forks only while it has a single thread, before any runtime starts) and signal handlers (the
//! only one installed calls `_exit` and nothing else).
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::c_int;

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, told the number of the new one.
    Parent(i32),
}

/// A signal as it arrived at the init process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Its number.
    pub signal: i32,
    /// Whether the kernel sent it (a terminal does so to its whole foreground group).
    pub from_kernel: bool,
}

/// How a reaped process ended, or nothing to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// The process.
    pub pid: i32,
    /// Its exit status, 128 + n for signal n.
    pub status: u8,
}

/// A set of blocked signals, to be put back.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

/// Makes sure that descriptors 0, 1 and 2 are taken, by `/dev/null` with close-on-exec, so that
/// nothing of ours lands there and the target finds them closed, as they were.
pub fn hold_standard_descriptors() {
    for fd in 0..3 {
        // SAFETY: F_GETFD only asks; the number needs not be open.
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
        if !open {
            // SAFETY: a constant path with its NUL; the lowest free number is `fd`. The descriptor
            // is leaked on purpose: it is held until exec or exit.
            unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        }
    }
}

/// Whether `outlive_file_size_limit` took SIGXFSZ from its default.
static TOOK_XFSZ: AtomicBool = AtomicBool::new(false);

/// From now on a write beyond the limit of file sizes (`ulimit -f`) fails, so that it can be told;
/// by default it kills. The target finds the signal as it was, see `exec`.
pub fn outlive_file_size_limit() {
    // SAFETY: SIG_IGN is a valid disposition.
    let old = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    TOOK_XFSZ.store(old == libc::SIG_DFL, Ordering::Relaxed);
}

/// Forks. Only to be called while the process has one thread.
///
/// # Errors
///
/// As fork(2).
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread (see the head of this file), so the child may run
    // ordinary code; nothing holds a lock at this point.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process at once, without destructors or buffers: for forked children.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: ends the process; nothing after it runs.
    unsafe { libc::_exit(i32::from(status)) }
}

/// Replaces the program, with exactly this environment. Returns only on failure.
///
/// By the kernel's call rather than libc's: where hooktool itself is hooked (a session started from
/// within another), the hook driver would put the outer session into the new environment.
pub fn exec(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let argv = pointers(arguments);
    let envp = pointers(environment);
    if TOOK_XFSZ.load(Ordering::Relaxed) {
        // SAFETY: SIG_DFL is a valid disposition.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_DFL) };
    }
    // SAFETY: both arrays end in a null pointer and point into strings that outlive the call.
    let error = unsafe { raw_execve(program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    io::Error::from_raw_os_error(i32::try_from(-error).unwrap_or(libc::EINVAL))
}

/// execve(2) without libc. Returns the negative error number, or not at all.
///
/// # Safety
///
/// As execve: a string, and two arrays of strings that end in a null pointer.
#[cfg(target_arch = "x86_64")]
unsafe fn raw_execve(
    program: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> isize {
    let error: isize;
    // SAFETY: the x86-64 convention: number in rax, arguments in rdi, rsi, rdx; the kernel
    // destroys rcx and r11 and answers in rax. The caller vouches for the pointers.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_execve as isize => error,
            in("rdi") program,
            in("rsi") argv,
            in("rdx") envp,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    error
}

/// execve(2) without libc. Returns the negative error number, or not at all.
///
/// # Safety
///
/// As execve: a string, and two arrays of strings that end in a null pointer.
#[cfg(target_arch = "aarch64")]
unsafe fn raw_execve(
    program: *const libc::c_char,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> isize {
    let error: isize;
    // SAFETY: the aarch64 convention: number in x8, arguments in x0 to x2, the answer in x0. The
    // caller vouches for the pointers.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") libc::SYS_execve,
            inlateout("x0") program => error,
            in("x1") argv,
            in("x2") envp,
            options(nostack),
        );
    }
    error
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|text| text.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// The environment exactly as the process got it, malformed entries included.
pub fn environment() -> Vec<CString> {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    let mut entries = Vec::new();
    // SAFETY: hooktool has one thread and never changes its environment, so the array and its
    // strings are the ones the kernel laid out; the array ends in a null pointer.
    unsafe {
        let mut at = environ;
        while !at.is_null() && !(*at).is_null() {
            entries.push(CStr::from_ptr(*at).to_owned());
            at = at.add(1);
        }
    }
    entries
}

/// Gives the hook server's process its descriptors: 0 and 1 `/dev/null`, 2 likewise unless
/// `keep_stderr`, `config` as 3, `ready` as 4, everything above closed.
///
/// # Errors
///
/// As dup2(2), open(2).
pub fn place_descriptors(
    config: BorrowedFd<'_>,
    ready: BorrowedFd<'_>,
    keep_stderr: bool,
) -> io::Result<()> {
    let config = duplicate_high(config.as_raw_fd())?;
    let ready = duplicate_high(ready.as_raw_fd())?;
    // SAFETY: constant path with its NUL.
    let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
    let null = duplicate_high(result(null)?)?;
    place(null, 0)?;
    place(null, 1)?;
    if !keep_stderr {
        place(null, 2)?;
    }
    place(config, 3)?;
    place(ready, 4)?;
    close_from(5)
}

/// A copy of `fd` above every number that will be placed.
fn duplicate_high(fd: RawFd) -> io::Result<RawFd> {
    // SAFETY: F_DUPFD_CLOEXEC makes a new descriptor and touches no memory.
    result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 16) })
}

fn place(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: replaces a descriptor that no owner in this (forked, about to exec) process uses
    // again; no memory is touched.
    result(unsafe { libc::dup2(from, to) }).map(|_| ())
}

/// Closes every descriptor from `first` on.
fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: the process is about to exec; no owner uses these descriptors again. The raw call is
    // used because libc's wrapper is younger than the oldest glibc supported.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, c_int::MAX, 0) };
    if closed == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let number = entry.file_name().to_string_lossy().parse::<RawFd>();
        if let Ok(fd) = number
            && fd >= first
        {
            // SAFETY: F_SETFD on any number; closing by exec keeps the directory stream valid.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
    Ok(())
}

/// Takes ownership of a descriptor this process was started with.
///
/// # Errors
///
/// The number is not open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks and sets a flag; the number needs not be open.
    result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open (just proved) and by the contract of `spawn` nobody else in this
    // fresh process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets every signal to its default and unblocks all; SIGPIPE is ignored, as a server wants it.
pub fn reset_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: SIG_DFL is a valid disposition; refusals (SIGKILL, SIGSTOP) are harmless.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // SAFETY: an all-zero set is a valid argument for sigemptyset to initialise, and the old mask
    // is not asked for.
    unsafe {
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
    }
}

extern "C" fn leave(_signal: c_int) {
    exit_now(0);
}

/// From now on an interrupt (^C) ends the process with status 0.
pub fn interrupt_ends_well() {
    let handler = leave as extern "C" fn(c_int) as libc::sighandler_t;
    // SAFETY: the handler only calls `_exit`, which is async-signal-safe.
    unsafe { libc::signal(libc::SIGINT, handler) };
}

/// Blocks every signal, so that `next_signal` can take them one by one.
pub fn block_signals() -> SignalMask {
    // SAFETY: both sets are local and initialised by the calls before they are read.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        let mut old = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigfillset(&mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &all, &mut old);
        SignalMask(old)
    }
}

/// Puts a mask back.
pub fn restore_signals(mask: &SignalMask) {
    // SAFETY: the set came from sigprocmask.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &mask.0, ptr::null_mut()) };
}

/// Waits for the next signal, at most `limit`; `None` when the time is over.
pub fn next_signal(limit: Option<Duration>) -> Option<Arrived> {
    // SAFETY: the set is initialised by sigfillset, the info by the call, the time is a local
    // value; a null time waits for ever.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigfillset(&mut all);
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed().assume_init();
        let time = limit.map(|limit| libc::timespec {
            tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(limit.subsec_nanos() as i32),
        });
        let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
        let signal = libc::sigtimedwait(&all, &mut info, time);
        let from_kernel = info.si_code == SI_KERNEL;
        (signal > 0).then_some(Arrived {
            signal,
            from_kernel,
        })
    }
}

/// `si_code` of a signal the kernel made itself (asm-generic/siginfo.h).
const SI_KERNEL: c_int = 0x80;

/// Sends a signal; errors are of no interest (the process may just be gone).
pub fn send_signal(pid: i32, signal: i32) {
    // SAFETY: touches no memory of this process.
    unsafe { libc::kill(pid, signal) };
}

/// Takes one ended child without waiting.
pub fn reap() -> Option<Reaped> {
    reap_with(-1, libc::WNOHANG)
}

/// Waits for one child to end.
pub fn wait_for(pid: i32) -> Option<Reaped> {
    loop {
        match reap_with(pid, 0) {
            Some(reaped) => return Some(reaped),
            None if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            None => return None,
        }
    }
}

fn reap_with(pid: i32, flags: c_int) -> Option<Reaped> {
    let mut status: c_int = 0;
    // SAFETY: `status` is a live local.
    let pid = unsafe { libc::waitpid(pid, &mut status, flags) };
    (pid > 0).then(|| Reaped {
        pid,
        status: shell_status(status),
    })
}

/// The status a shell would show: the exit code, or 128 + n for signal n.
fn shell_status(status: c_int) -> u8 {
    if libc::WIFEXITED(status) {
        u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX)
    } else {
        u8::try_from(128 + libc::WTERMSIG(status)).unwrap_or(u8::MAX)
    }
}

/// Whether this process adopts orphans (`PR_SET_CHILD_SUBREAPER`), and turns that on or off.
pub fn swap_subreaper(on: bool) -> bool {
    let mut was: c_int = 0;
    // SAFETY: PR_GET_CHILD_SUBREAPER writes one int to a live local; PR_SET takes a number.
    unsafe {
        libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut was);
        if (was != 0) != on {
            libc::prctl(
                libc::PR_SET_CHILD_SUBREAPER,
                libc::c_ulong::from(on),
                0,
                0,
                0,
            );
        }
    }
    was != 0
}

/// Whether set-user-ID bits and file capabilities are ignored for this process.
pub fn no_new_privileges() -> bool {
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Asks for a read lease on `file` and gives it back at once.
///
/// # Errors
///
/// As fcntl(2), `F_SETLEASE`: EACCES without ownership and CAP_LEASE, EAGAIN while it is open for
/// writing, EINVAL where the file system has none.
pub fn probe_read_lease(file: BorrowedFd<'_>) -> io::Result<()> {
    let fd = file.as_raw_fd();
    // SAFETY: takes numbers only, on an open descriptor.
    result(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_RDLCK) })?;
    // SAFETY: as above.
    result(unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_UNLCK) }).map(|_| ())
}

/// Number of cachestat(2), the same on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;

/// Asks the page cache how many pages of `file` it holds.
///
/// # Errors
///
/// ENOSYS before Linux 6.5, EPERM where the process neither owns nor may write the file.
pub fn probe_cachestat(file: BorrowedFd<'_>) -> io::Result<u64> {
    let range = [0_u64; 2];
    let mut answer = [0_u64; 5];
    // SAFETY: `range` is a struct cachestat_range (two u64), `answer` a struct cachestat (five
    // u64), both live; the descriptor is open.
    let done = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            answer.as_mut_ptr(),
            0,
        )
    };
    if done == 0 {
        Ok(answer[0])
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Soft limit of a resource; `None`: unlimited.
pub fn soft_limit(resource: libc::__rlimit_resource_t) -> Option<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a live local.
    unsafe { libc::getrlimit(resource, &mut limit) };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The time of day here, in hours, minutes and seconds.
pub fn local_time() -> (u8, u8, u8) {
    let mut parts = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: a null pointer to time() is allowed; localtime_r fills the live local it is given.
    let parts = unsafe {
        let now = libc::time(ptr::null_mut());
        libc::localtime_r(&now, parts.as_mut_ptr());
        parts.assume_init()
    };
    let small = |number: c_int| u8::try_from(number).unwrap_or(0);
    (
        small(parts.tm_hour),
        small(parts.tm_min),
        small(parts.tm_sec),
    )
}

/// Whether this process may execute `path` (access rules of the effective user).
pub fn may_execute(path: &Path) -> bool {
    may_access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Whether this process may use `path` so, by its effective user; by its real one where a filter
/// forbids to ask for the other.
///
/// # Errors
///
/// It may not, or there is no such file.
pub fn may_access(path: &Path, access: rustix::fs::Access) -> rustix::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, accessat};
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NOSYS) => {
            accessat(CWD, path, access, AtFlags::empty())
        }
        told => told,
    }
}

fn result(value: c_int) -> io::Result<c_int> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_shells_tell_them() {
        assert_eq!(shell_status(0), 0);
        assert_eq!(shell_status(3 << 8), 3);
        assert_eq!(shell_status(libc::SIGKILL), 137);
        assert_eq!(shell_status(libc::SIGSEGV | 0x80), 139);
    }

    #[test]
    fn the_environment_is_read_as_it_is() {
        let ours = environment();
        for (name, value) in std::env::vars_os() {
            let entry = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
            assert!(ours.iter().any(|text| text.as_bytes() == entry));
        }
    }
}
