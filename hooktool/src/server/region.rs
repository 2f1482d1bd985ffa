//! Making a region: how large, allocated before anybody depends on it, sealed, and filled in.
//!
//! Called by `serve` for the launching credentials and by `session` for every further credential
//! domain. Failing here is clean: nothing of the target runs yet, or the process that asked stays
//! with the kernel.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use grid::header::{Header, switch};
use grid::layout::{Layout, Shape};
use grid::region::Region;
use grid::sync::Ordering;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use super::sys;
use crate::config::{Fill, LocalSize, Mode, ServeConfig};
use crate::failure::Failure;
use crate::sizes;

/// Index, cells and refresh slots take at most this share of the tightest memory limit.
const BUDGET_SHARE: u64 = 64;

/// The local cache takes at most this share of the tightest memory limit.
const LOCAL_SHARE: u64 = 16;

/// What a pool is taken to hold when no node says how large it is.
const POOL_BYTES_ASSUMED: u64 = 16 << 30;

/// The block size that an index is dimensioned for; larger blocks need fewer entries.
const BLOCK_BYTES_ASSUMED: u64 = 4096;

/// Longest wait for a node in microseconds, until the device's own latency is known.
pub const DEADLINE_US_FIRST: u64 = 10_000;

/// A read slower than this came off the device, in nanoseconds; the first guess.
const SLOW_NS_FIRST: u64 = 15_000;

/// More fill tokens than a session can use between two ticks: no limit.
pub const TOKENS_UNLIMITED: u64 = 1 << 40;

/// How large the regions of a session are, and whether their local caches grow.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The counts of everything.
    pub shape: Shape,
    /// The local cache has a fixed size: it is allocated up front and stays.
    pub local_is_fixed: bool,
}

/// A region and the memory it lives in.
pub struct Mapped {
    /// The memory file, handed to the processes.
    pub memory: OwnedFd,
    /// The view of it.
    pub region: Region,
    /// How its blocks are protected on the nodes.
    pub integrity: wire::Integrity,
}

impl Plan {
    /// Decides from the settings, the tightest memory limit and what the nodes can hold together
    /// (`None`: not known).
    pub fn of(config: &ServeConfig, limit_bytes: u64, pool_bytes: Option<u64>) -> Plan {
        let pool_blocks = pool_bytes.unwrap_or(POOL_BYTES_ASSUMED) / BLOCK_BYTES_ASSUMED;
        let (budget, pool_blocks) = match config.index_bytes {
            Some(bytes) => (bytes, u64::MAX >> 8),
            None => (limit_bytes / BUDGET_SHARE, pool_blocks),
        };
        let local_bytes = match config.local {
            LocalSize::Auto => limit_bytes / LOCAL_SHARE,
            LocalSize::Bytes(bytes) => bytes,
        };
        Plan {
            shape: Shape::for_budget(budget, local_bytes, pool_blocks),
            local_is_fixed: matches!(config.local, LocalSize::Bytes(_)),
        }
    }
}

/// Makes a region: memory, allocation, seals, mapping, first values.
///
/// # Errors
///
/// The memory is not to be had; says which setting makes it smaller.
pub fn make(config: &ServeConfig, plan: Plan) -> Result<Mapped, Failure> {
    let layout = Layout::of(plan.shape);
    let allocated = if plan.local_is_fixed {
        layout.trace
    } else {
        layout.local_content
    };
    let memory = allocate(&layout, allocated).map_err(|error| {
        Failure::launch(
            format!(
                "cannot allocate {} for the region of the session: {error}",
                sizes::show(allocated)
            ),
            "index, version cells and ring live in memory that the target's limits count",
            "allow more memory, or make it smaller:  hooktool run --index 1MiB --local 0 ...",
        )
    })?;
    let region = sys::map_region(memory.as_fd(), plan.shape, layout.bytes).map_err(|error| {
        Failure::launch(
            format!(
                "cannot map {} for the region of the session: {error}",
                sizes::show(layout.bytes)
            ),
            "the hook server shares this memory with the processes of the session",
            "raise the limit (ulimit -v), or:  hooktool run --index 1MiB --local 0 ...",
        )
    })?;
    fill_in(config, plan, &region)?;
    Ok(Mapped {
        memory,
        region,
        integrity: config.integrity.of_blocks(),
    })
}

fn allocate(layout: &Layout, allocated: u64) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("ramgrid", flags)?;
    rustix::fs::ftruncate(&memory, layout.bytes)?;
    rustix::fs::fallocate(&memory, FallocateFlags::empty(), 0, allocated)?;
    rustix::fs::fcntl_add_seals(
        &memory,
        SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(memory)
}

fn fill_in(config: &ServeConfig, plan: Plan, region: &Region) -> Result<(), Failure> {
    let header = region.header();
    header.set_secret(&secret(config)?);
    header
        .integrity
        .store(config.integrity.of_blocks().word(), Ordering::Relaxed);
    header.ticks_per_us.store(ticks_per_us(), Ordering::Relaxed);
    header
        .verify_ppm
        .store(u64::from(config.verify_ppm), Ordering::Relaxed);
    header
        .deadline_us
        .store(DEADLINE_US_FIRST, Ordering::Relaxed);
    header.slow_ns.store(SLOW_NS_FIRST, Ordering::Relaxed);
    header
        .fill_tokens
        .store(TOKENS_UNLIMITED, Ordering::Relaxed);
    if plan.local_is_fixed {
        let sets = plan.shape.local_pages / grid::local::WAYS as u64;
        header.local_active.store(sets, Ordering::Relaxed);
    }
    header
        .heartbeat_ms
        .store(sys::monotonic_ms(), Ordering::Relaxed);
    header.set_switch(switches(config), true);
    Ok(())
}

/// The switches a session starts with.
fn switches(config: &ServeConfig) -> u64 {
    let judges = !(config.include.is_empty() && config.exclude.is_empty() && config.own.is_empty());
    let table = [
        (switch::SERVE, true),
        (switch::OBSERVE, config.mode == Mode::Observe),
        (switch::FILL_ALWAYS, config.fill == Fill::Always),
        (switch::PROMOTE, true),
        (switch::COARSE_STAMPS, stamps_are_coarse()),
        (switch::JUDGE_NAMES, judges),
        (switch::NO_IO_URING, config.deny_io_uring),
        (switch::OWNS, !config.own.is_empty()),
    ];
    table
        .iter()
        .filter(|(_, on)| *on)
        .fold(0, |bits, (bit, _)| bits | bit)
}

/// The secret of a new region.
fn secret(config: &ServeConfig) -> Result<[u8; 32], Failure> {
    config.integrity.secret(&random_secret()?).ok_or_else(|| {
        Failure::launch(
            "the secret of the session cannot be derived from the key",
            "the blocks were to be encrypted with it",
            "this is a fault of hooktool; without encryption it does not arise:  leave --seal out",
        )
    })
}

/// 32 bytes that nobody can guess.
///
/// # Errors
///
/// The kernel gives none.
pub fn random_secret() -> Result<[u8; 32], Failure> {
    let mut secret = [0_u8; 32];
    let flags = rustix::rand::GetRandomFlags::empty();
    match rustix::rand::getrandom(&mut secret, flags) {
        Ok(length) if length == secret.len() => Ok(secret),
        other => Err(Failure::launch(
            format!("the kernel gives no random numbers: {other:?}"),
            "without them the blocks on the nodes could not be told from forged ones",
            "look at the seccomp filter of this process: getrandom(2) must be allowed",
        )),
    }
}

/// How fast the counter of `sys::ticks` runs. Measured over 5 ms where the processor does not tell;
/// an error of a thousandth is no matter, the counter only tells slow reads from fast ones.
fn ticks_per_us() -> u64 {
    let known = sys::ticks_per_us_known();
    if known != 0 {
        return known;
    }
    let (ticks, time) = (sys::ticks(), sys::monotonic());
    std::thread::sleep(Duration::from_millis(5));
    let (ticks, time) = (sys::ticks().wrapping_sub(ticks), sys::monotonic() - time);
    let us = u64::try_from(time.as_micros()).unwrap_or(1).max(1);
    (ticks / us).max(1)
}

/// Whether two changes within one clock tick may carry one stamp (Linux before 6.13). Asked of a
/// memory file: its file system takes fine stamps from the same kernel version on as ext4, xfs and
/// btrfs. A stamp that was read must differ after the next change, eight times in a row.
pub fn stamps_are_coarse() -> bool {
    let Ok(file) = rustix::fs::memfd_create("ramgrid-stamps", MemfdFlags::CLOEXEC) else {
        return true;
    };
    let mut last = None;
    (0..8_u8).any(|round| {
        let written = rustix::io::pwrite(&file, &[round], 0).is_ok();
        let stamp = rustix::fs::fstat(&file)
            .map(|stat| (stat.st_ctime, stat.st_ctime_nsec))
            .ok();
        let same = stamp.is_none() || stamp == last;
        last = stamp;
        same || !written
    })
}

/// Tells the header's readers that this hook server is gone, at once instead of in a second.
pub fn retire(header: &Header) {
    header.set_switch(switch::SERVE, false);
    header.heartbeat_ms.store(0, Ordering::SeqCst);
}
