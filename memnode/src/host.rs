//! What the host has: all memory, memory to spare, and the limits of this process's cgroups.
//!
//! Called by the program's settings and by `lend`. Reads /proc and /sys; a file that is missing is
//! no limit. What it never does: change anything.

use std::fs;
use std::time::Duration;

/// One look at what the host has to spare, as this process may use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Idle {
    /// All memory there is, or that the tightest cgroup allows, in bytes.
    pub total_bytes: u64,
    /// What programs could have without anybody losing what is in use, in bytes.
    pub available_bytes: u64,
    /// What holds nothing at all, in bytes.
    pub free_bytes: u64,
    /// How long some program has waited for memory since the start; zero where it is not counted.
    pub stalled: Duration,
}

/// A cgroup with a limit. All in bytes.
struct Limited {
    limit: u64,
    used: u64,
    /// Page cache that nobody asked for lately.
    inactive: u64,
    /// Where its pressure is told, if it is.
    pressure: String,
}

/// All memory this process could ever have, in bytes: the machine's, or its cgroup's if smaller.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    look().map(|idle| idle.total_bytes)
}

/// What nobody needs right now, in bytes.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    look().map(|idle| idle.available_bytes)
}

/// Looks; `None` where there is no /proc.
#[must_use]
pub fn look() -> Option<Idle> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let mut idle = Idle {
        total_bytes: meminfo_bytes(&text, "MemTotal:")?,
        available_bytes: meminfo_bytes(&text, "MemAvailable:")?,
        free_bytes: meminfo_bytes(&text, "MemFree:")?,
        stalled: Duration::ZERO,
    };
    let mut pressure = "/proc/pressure/memory".to_string();
    for group in limited() {
        if group.limit < idle.total_bytes {
            idle.total_bytes = group.limit;
            pressure = group.pressure;
        }
        let free = group.limit.saturating_sub(group.used);
        idle.free_bytes = idle.free_bytes.min(free);
        idle.available_bytes = idle.available_bytes.min(free + group.inactive);
    }
    let told =
        fs::read_to_string(pressure).or_else(|_| fs::read_to_string("/proc/pressure/memory"));
    idle.stalled = told
        .ok()
        .and_then(|text| stalled(&text))
        .unwrap_or_default();
    Some(idle)
}

fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=57271944` and a line for `full`: microseconds.
fn stalled(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.rsplit_once("total=")?.1.trim().parse().ok()?;
    Some(Duration::from_micros(total))
}

/// The cgroups this process is in that have a limit, with all above them (version 2 and 1).
fn limited() -> Vec<Limited> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (names, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if names.is_empty() {
            let files = ["memory.max", "memory.current", "inactive_file"];
            upwards("/sys/fs/cgroup", path, files, &mut found);
        } else if names.split(',').any(|name| name == "memory") {
            let files = [
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ];
            upwards("/sys/fs/cgroup/memory", path, files, &mut found);
        }
    }
    found
}

/// Every cgroup with a limit from `path` up to the root; `files`: its limit, its usage, and the
/// name of its inactive page cache in `memory.stat`.
fn upwards(root: &str, path: &str, files: [&str; 3], found: &mut Vec<Limited>) {
    let mut path = path.trim_matches('/');
    loop {
        let read = |file: &str| fs::read_to_string(format!("{root}/{path}/{file}"));
        let number = |file: &str| read(file).ok()?.trim().parse::<u64>().ok();
        if let (Some(limit), Some(used)) = (number(files[0]), number(files[1])) {
            let stat = read("memory.stat").unwrap_or_default();
            let inactive = stat
                .lines()
                .find_map(|line| line.strip_prefix(files[2])?.trim().parse().ok());
            found.push(Limited {
                limit,
                used,
                inactive: inactive.unwrap_or(0),
                pressure: format!("{root}/{path}/memory.pressure"),
            });
        }
        if path.is_empty() {
            return;
        }
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        assert!(available_bytes() > Some(0));
        assert!(memory_bytes() >= available_bytes());
    }

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "MemTotal:        2048 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), Some(1024 * 1024));
        assert_eq!(meminfo_bytes(text, "SwapTotal:"), None);
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=57271944\nfull avg10=0 total=1\n";
        assert_eq!(stalled(text), Some(Duration::from_micros(57_271_944)));
        assert_eq!(stalled("nonsense"), None);
    }
}
