//! The hook server's kernel calls that no safe wrapper offers: mapping a region, peer credentials,
//! leases, signals as a clock, the time-stamp counter.
//!
//! Called by the other files of this folder; it decides nothing.
//!
//! # Safety
//!
//! The one file of the hook server that contains unsafe code. What is dangerous here: a region's
//! mapping must never be unmapped while anything of `grid` may point into it, so it never is: a
//! region lives until the process ends. Everything else passes numbers or live locals.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use grid::layout::Shape;
use grid::region::Region;
use rustix::mm::{Advice, MapFlags, ProtFlags};

/// Who is at the other end of a Unix socket, as the kernel saw it at connect(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process; 0 if it is not visible from here.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// Descriptors that a hook server may need: one for each process of each region, and some.
const DESCRIPTORS_MOST: u64 = 16 * 1024;

/// Raises this process' own limit of open files as far as it may and needs to. Returns the limit.
pub fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (current, maximum) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = DESCRIPTORS_MOST.min(maximum);
    if wanted <= current {
        return current;
    }
    let limit = Rlimit {
        current: Some(wanted),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::debug!(%error, current, "the limit of open files stays as it is");
            current
        }
    }
}

/// This process' limit of open files.
pub fn descriptors_limit() -> u64 {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.unwrap_or(u64::MAX)
}

/// Maps a fresh region and formats it. The mapping stays until this process ends.
///
/// # Errors
///
/// As mmap(2).
pub fn map_region(memory: BorrowedFd<'_>, shape: Shape, bytes: u64) -> io::Result<Region> {
    let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe {
        rustix::mm::mmap(
            ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            memory,
            0,
        )?
    };
    // SAFETY: advice on the mapping just made; it changes no content.
    let kept_out = unsafe { rustix::mm::madvise(base, length, Advice::LinuxDontDump) };
    if let Err(error) = kept_out {
        tracing::debug!(%error, "the region may appear in core dumps");
    }
    // SAFETY: page-aligned, writable, `bytes` long, zero (a fresh memfd), and never unmapped.
    Ok(unsafe { Region::format(base.cast(), shape) })
}

/// Maps a region that another mapping formatted, as a process of the session does (for tests).
///
/// # Errors
///
/// As mmap(2), or that the content is not a region.
#[cfg(test)]
pub fn open_region(memory: BorrowedFd<'_>, bytes: u64) -> io::Result<Region> {
    let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    let base = unsafe { rustix::mm::mmap(ptr::null_mut(), length, protection, flags, memory, 0)? };
    // SAFETY: page-aligned, writable, as long as said, and never unmapped.
    let region = unsafe { Region::open(base.cast(), bytes) };
    region.map_err(|error| io::Error::other(format!("{error:?}")))
}

/// Copies the first `bytes.len()` bytes of a refresh slot's content out.
pub fn copy_refresh(region: &Region, slot: usize, bytes: &mut [u8]) {
    let most = 1usize << region.layout().shape.refresh_log2();
    let length = bytes.len().min(most);
    // SAFETY: a slot's content has `most` bytes, and no more are asked for.
    unsafe { region.copy_out(region.refresh_content(slot), &mut bytes[..length]) }
}

/// Writes the content of a refresh slot, as a process of the session does (for tests).
#[cfg(test)]
pub fn write_refresh(region: &Region, slot: usize, bytes: &[u8]) {
    assert!(bytes.len() <= 1 << region.layout().shape.refresh_log2());
    // SAFETY: the slot has room for as many bytes, asserted above.
    unsafe { region.copy_in(region.refresh_content(slot), bytes) }
}

/// Credentials of the process that connected `socket`.
///
/// # Errors
///
/// As getsockopt(2).
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut seen = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    socket_option(socket, libc::SO_PEERCRED, &mut seen)?;
    let pid = u32::try_from(seen.pid).unwrap_or(0);
    Ok(Peer {
        pid,
        uid: seen.uid,
        gid: seen.gid,
    })
}

/// Most supplementary groups a process can have (`NGROUPS_MAX`).
const GROUPS_MAX: usize = 65_536;

/// Supplementary groups of the process that connected `socket`, sorted, each once.
///
/// # Errors
///
/// As getsockopt(2), `SO_PEERGROUPS`.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 64];
    loop {
        let bytes = groups.len() * size_of::<u32>();
        let mut length = libc::socklen_t::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: `groups` has room for `length` bytes of group numbers, which are plain integers.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        if done == 0 {
            groups.truncate(length as usize / size_of::<u32>());
            groups.sort_unstable();
            groups.dedup();
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || groups.len() >= GROUPS_MAX {
            return Err(error);
        }
        groups.resize(GROUPS_MAX, 0);
    }
}

/// Option number of `SO_PEERPIDFD` (Linux 6.5), the same on every architecture served.
const SO_PEERPIDFD: libc::c_int = 77;

/// A process descriptor of the process that connected `socket`.
///
/// # Errors
///
/// The process is gone, or the kernel is older.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    socket_option(socket, SO_PEERPIDFD, &mut fd)?;
    if fd < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the kernel has just made this descriptor for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A process descriptor by number.
///
/// # Errors
///
/// There is no such process, or the kernel has no pidfd_open(2).
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(
        pid,
        rustix::process::PidfdFlags::empty(),
    )?)
}

/// Reads a plain socket option.
fn socket_option<T: Copy>(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a live, exclusive reference to `length` bytes; the options asked for in
    // this file write plain integers, for which every bit pattern is valid.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            ptr::from_mut(value).cast(),
            &mut length,
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Whether a descriptor is readable: a process descriptor is, once the process has ended.
pub fn is_readable(descriptor: impl AsFd) -> bool {
    let mut poll = [rustix::event::PollFd::new(
        &descriptor,
        rustix::event::PollFlags::IN,
    )];
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Asks for a read lease on `file`: granted only while nobody has it open or mapped for writing.
///
/// # Errors
///
/// As fcntl(2), `F_SETLEASE`: EAGAIN with a writer, EACCES without ownership and CAP_LEASE.
pub fn take_read_lease(file: BorrowedFd<'_>) -> io::Result<()> {
    set_lease(file, libc::F_RDLCK)
}

/// Gives a lease back.
pub fn drop_lease(file: BorrowedFd<'_>) {
    // Closing the descriptor, which follows, gives it back as well.
    let _ = set_lease(file, libc::F_UNLCK);
}

fn set_lease(file: BorrowedFd<'_>, kind: libc::c_int) -> io::Result<()> {
    // SAFETY: takes numbers only, on an open descriptor.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Blocks every signal of the calling thread and the threads it will start; `next_signal` takes
/// them. A lease that is broken sends SIGIO, which would otherwise kill the process.
pub fn block_signals() {
    // SAFETY: the set is local and initialised by sigfillset before it is read.
    unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, ptr::null_mut());
    }
}

/// Waits for a signal of the process, at most `limit`; `None` when the time is over.
pub fn next_signal(limit: Duration) -> Option<i32> {
    let time = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()),
    };
    // SAFETY: the set is initialised by sigfillset, no info is asked for, the time is a live local.
    let signal = unsafe {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigfillset(&mut all);
        libc::sigtimedwait(&all, ptr::null_mut(), &time)
    };
    (signal > 0).then_some(signal)
}

/// Reads the counter that the hook driver takes its times from.
#[cfg(target_arch = "x86_64")]
pub fn ticks() -> u64 {
    // SAFETY: reads a counter that every x86-64 processor has.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads the counter that the hook driver takes its times from.
#[cfg(target_arch = "aarch64")]
pub fn ticks() -> u64 {
    let ticks: u64;
    // SAFETY: reads the virtual counter, which Linux lets user space read.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// Ticks per microsecond where the processor tells it, else 0.
pub fn ticks_per_us_known() -> u64 {
    #[cfg(target_arch = "aarch64")]
    {
        let hertz: u64;
        // SAFETY: reads the counter's frequency, which Linux lets user space read.
        unsafe { core::arch::asm!("mrs {}, cntfrq_el0", out(reg) hertz, options(nomem, nostack)) };
        hertz / 1_000_000
    }
    #[cfg(not(target_arch = "aarch64"))]
    0
}

/// Effective user of this process.
pub fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Monotonic time since boot.
pub fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Nanoseconds of the clock that change times of files are of.
pub fn realtime_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Monotonic milliseconds, the clock of heartbeats and file records.
pub fn monotonic_ms() -> u64 {
    u64::try_from(monotonic().as_millis()).unwrap_or(u64::MAX)
}
