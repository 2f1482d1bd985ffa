//! What `doctor` finds out about kernel, libc, memory, limits and rights.
//!
//! Reads `/proc`, `/sys` and the process's own limits; no file of the data is touched.

use std::path::Path;

use rustix::fs::MemfdFlags;

use super::Finding;
use crate::elf::Glibc;
use crate::libraries::Search;
use crate::sizes::{show, show_short};
use crate::spawn::DESCRIPTORS_LEAST;
use crate::{elf, limits, precheck, sys};

/// Oldest kernel supported; first with cachestat; first with multigrain stamps.
const KERNELS: [(u32, u32); 3] = [(4, 18), (6, 5), (6, 13)];

/// Number of CAP_LEASE in the capability sets.
const CAP_LEASE: u32 = 28;

/// Descriptors below which nodes and files soon compete.
const DESCRIPTORS_MIN: u64 = 1024;

/// Smallest region worth starting with, in bytes.
const REGION_BYTES_MIN: u64 = 4 << 20;

/// Address space without which the threads of a hook server may not find room, in bytes.
const SPACE_BYTES_MIN: u64 = 4 << 30;

/// All findings about the machine.
pub fn examine() -> Vec<Finding> {
    vec![
        kernel(),
        glibc(),
        memory(),
        pressure(),
        region(),
        limits(),
        rights(),
        confinement(),
    ]
}

fn kernel() -> Finding {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let version = kernel_version(&release);
    let topic = "kernel";
    if version < KERNELS[0] {
        let hint = "Linux 4.18 or later is needed";
        return Finding::bad(topic, release, hint);
    }
    if version < KERNELS[1] {
        let hint = "before 6.5 residency is guessed from latency (no cachestat): less gain";
        return Finding::note(topic, release, hint);
    }
    if version < KERNELS[2] {
        let hint = "before 6.13 stamps are coarse: name databases with --own (hooktool check)";
        return Finding::note(topic, release, hint);
    }
    Finding::ok(topic, release)
}

/// The first two numbers of a release such as `6.1.0-18-amd64`.
fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next())
}

fn glibc() -> Finding {
    let topic = "glibc";
    let program = std::env::current_exe().unwrap_or_default();
    let ours = elf::read(&program).unwrap_or_default();
    let found: Option<Glibc> = Search::new(None).glibc(&program, &ours);
    match (found, precheck::glibc_suffices(found, None)) {
        (_, Err(_)) => Finding::bad(topic, "too old", "glibc 2.28 or later is needed"),
        (Some((major, minor)), _) => Finding::ok(topic, format!("{major}.{minor}")),
        (None, _) => Finding::note(
            topic,
            "not found",
            "see what the loader uses:  ldconfig -p | grep libc",
        ),
    }
}

fn memory() -> Finding {
    let limit = limits::memory();
    let local = show_short(limit.bytes / 16);
    let found = format!(
        "{} ({}); --local auto uses up to {local}",
        { show_short(limit.bytes) },
        limit.name
    );
    if limit.bytes < REGION_BYTES_MIN * 16 {
        let hint = "that is little: raise the limit, or leave the local cache out: --local 0";
        return Finding::note("memory", found, hint);
    }
    Finding::ok("memory", found)
}

fn pressure() -> Finding {
    match std::fs::read_to_string("/proc/pressure/memory") {
        Ok(text) => {
            let share = text
                .split_whitespace()
                .find_map(|word| word.strip_prefix("avg10="));
            let share = share.unwrap_or("?");
            Finding::ok(
                "pressure",
                format!("memory stalls {share} % of the last 10 s"),
            )
        }
        Err(error) => {
            let hint = "the local cache cannot see pressure coming (kernel option psi=1)";
            Finding::note(
                "pressure",
                format!("not told by this kernel: {error}"),
                hint,
            )
        }
    }
}

/// Whether a region of the smallest useful size can be made.
fn region() -> Finding {
    let topic = "region";
    let made = rustix::fs::memfd_create("hooktool-doctor", MemfdFlags::CLOEXEC);
    let filled = made.and_then(|file| {
        rustix::fs::fallocate(
            &file,
            rustix::fs::FallocateFlags::empty(),
            0,
            REGION_BYTES_MIN,
        )
    });
    match filled {
        Ok(()) => {
            let shm = shared_memory_free();
            let found = format!(
                "a memory file of {} can be made{shm}",
                show(REGION_BYTES_MIN)
            );
            Finding::ok(topic, found)
        }
        Err(error) => Finding::bad(
            topic,
            format!(
                "no memory file of {} can be made: {error}",
                show(REGION_BYTES_MIN)
            ),
            "look at ulimit -f, the memory limit of the cgroup, and system call filters",
        ),
    }
}

fn shared_memory_free() -> String {
    match rustix::fs::statvfs("/dev/shm") {
        Ok(fs) => format!(
            "; /dev/shm has {} free",
            show_short(fs.f_bavail * fs.f_frsize)
        ),
        Err(_) => "; no /dev/shm (not needed)".into(),
    }
}

fn limits() -> Finding {
    let descriptors = sys::soft_limit(libc::RLIMIT_NOFILE);
    let file_bytes = sys::soft_limit(libc::RLIMIT_FSIZE);
    let locked = sys::soft_limit(libc::RLIMIT_MEMLOCK);
    let show = |limit: Option<u64>| limit.map_or_else(|| "unlimited".into(), show_short);
    let count = descriptors.map_or_else(|| "unlimited".into(), |count| count.to_string());
    let found = format!(
        "descriptors {count}, file size {}, locked memory {}",
        show(file_bytes),
        show(locked)
    );
    if file_bytes.is_some_and(|bytes| bytes < REGION_BYTES_MIN) {
        return Finding::bad(
            "limits",
            found,
            "the region is a file in memory:  ulimit -f unlimited",
        );
    }
    let space = sys::soft_limit(libc::RLIMIT_AS);
    if let Some(bytes) = space.filter(|bytes| *bytes < SPACE_BYTES_MIN) {
        let found = format!("{found}, address space {}", show_short(bytes));
        let hint = "threads and region need more address space:  ulimit -v unlimited";
        return Finding::bad("limits", found, hint);
    }
    if descriptors.is_some_and(|count| count < DESCRIPTORS_LEAST) {
        let hint = "no hook server starts with so few descriptors:  ulimit -n 4096";
        return Finding::bad("limits", found, hint);
    }
    if descriptors.is_some_and(|count| count < DESCRIPTORS_MIN) {
        let hint = "each process uses up to four sockets per node:  ulimit -n 4096";
        return Finding::note("limits", found, hint);
    }
    Finding::ok("limits", found)
}

fn rights() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let user = rustix::process::geteuid().as_raw();
    if has_capability(&status, CAP_LEASE) {
        return Finding::ok("rights", format!("user {user}, CAP_LEASE"));
    }
    let hint = "files of other users are proved clean by 10 s of quiet instead of a lease";
    Finding::note("rights", format!("user {user}, no CAP_LEASE"), hint)
}

/// Whether `/proc/PID/status` shows an effective capability.
fn has_capability(status: &str, number: u32) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let set = set
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    set >> number & 1 == 1
}

fn confinement() -> Finding {
    let topic = "confinement";
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut found = Vec::new();
    if read("/sys/fs/selinux/enforce").trim() == "1" {
        found.push("SELinux enforces");
    }
    if read("/sys/module/apparmor/parameters/enabled").trim() == "Y" {
        found.push("AppArmor is enabled");
    }
    let filtered = read("/proc/self/status")
        .lines()
        .any(|line| line == "Seccomp:\t2");
    if filtered {
        found.push("a system call filter is set");
    }
    if Path::new("/etc/ld.so.preload").exists() {
        found.push("/etc/ld.so.preload adds other hooks");
    }
    if found.is_empty() {
        return Finding::ok(topic, "none seen");
    }
    let hint = "a profile that changes at exec removes LD_PRELOAD: prove it with hooktool ps";
    Finding::note(topic, found.join(", "), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(kernel_version("5.10.209"), (5, 10));
        assert_eq!(kernel_version("weird"), (0, 0));
        assert!(kernel_version("4.9.0") < KERNELS[0]);
    }

    #[test]
    fn capabilities_are_bits() {
        assert!(has_capability("CapEff:\t0000000010000000\n", 28));
        assert!(!has_capability("CapEff:\t0000000008000000\n", 28));
        assert!(!has_capability("", 28));
    }
}
