//! The few system calls of the bus that are made while it works: sleep, wake, barrier, clock.
//!
//! All go through `rustix`, straight to the kernel: no libc, no `errno`, no allocation. Called by
//! `wait` and by whoever stamps a message; never by anything that only computes.

use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, WaitFlags, WaitPtr, WaitvFlags};
use rustix::thread::{MembarrierCommand, membarrier};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::layout::Bell;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Most words one call can sleep on (`FUTEX_WAITV_MAX`), hence most channels of one address.
pub const WAIT_MAX: usize = 128;

/// Lets sleepers reach this process with their barrier; `false`: it must fence by itself.
pub fn register_for_barriers() -> bool {
    membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
}

/// A barrier on every processor that runs a registered process; `false`: the kernel refuses it.
pub fn heavy_fence() -> bool {
    fence(Ordering::SeqCst);
    membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

/// Wakes whoever sleeps on a word.
pub fn wake(word: &AtomicU32) {
    // A word of a mapped page: the call cannot fail, and there is nobody to tell.
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}

/// Sleeps until one of the doorbells is no longer what was read, or so long; may end early.
pub fn wait_any(pairs: &[(&Bell, &Bell, &AtomicU64)], bells: &[u32], nap: Duration) {
    let time = Timespec::try_from(nap).unwrap_or(Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    });
    if let ([(_, theirs, _)], [bell, ..]) = (pairs, bells) {
        // Every way it ends means: look again.
        let _ = futex::wait(&theirs.doorbell, Flags::empty(), *bell, Some(&time));
        return;
    }
    if wait_many(pairs, bells, nap) == Err(Errno::NOSYS) {
        // Linux before 5.16: short naps instead.
        std::thread::sleep(nap.min(Duration::from_millis(1)));
    }
}

fn wait_many(
    pairs: &[(&Bell, &Bell, &AtomicU64)],
    bells: &[u32],
    nap: Duration,
) -> Result<(), Errno> {
    let mut waits = [futex::Wait::new(); WAIT_MAX];
    for ((wait, (_, theirs, _)), bell) in waits.iter_mut().zip(pairs).zip(bells) {
        wait.val = u64::from(*bell);
        wait.uaddr = WaitPtr::new(std::ptr::from_ref(&theirs.doorbell).cast_mut().cast());
        wait.flags = WaitFlags::SIZE_U32;
    }
    let now = clock_gettime(ClockId::Monotonic);
    let end = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + nap;
    let end = Timespec::try_from(end).map_err(|_| Errno::INVAL)?;
    let count = pairs.len().min(WAIT_MAX);
    let ended = futex::waitv(
        &waits[..count],
        WaitvFlags::empty(),
        Some(&end),
        ClockId::Monotonic,
    );
    ended.map(|_| ())
}

/// Nanoseconds since 1970.
#[inline]
pub fn wall_clock_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Has the machine but one processor, so that spinning keeps the other side from its work? (A
/// process held on one of several spins: its peer may run on another, and `Pace` finds out.)
pub fn has_one_processor() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online");
        online.is_ok_and(|list| list.trim() == "0")
    })
}
