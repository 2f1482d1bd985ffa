//! What the host has: all memory, memory to spare, and the limit of this process's cgroup.
//!
//! Called by `settings`. Reads /proc and /sys once; a file that is missing is no limit.

use std::fs;

/// All memory this process could ever have, in bytes: the machine's, or its cgroup's if smaller.
pub fn memory_bytes() -> Option<u64> {
    let machine = meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(machine.min(cgroup_bytes().unwrap_or(u64::MAX)))
}

/// What nobody needs right now, in bytes.
pub fn available_bytes() -> Option<u64> {
    let machine = meminfo_bytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(machine.min(cgroup_bytes().unwrap_or(u64::MAX)))
}

fn meminfo_bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// The tightest limit of the cgroups this process is in (version 2, then version 1).
fn cgroup_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let limit = |line: &str| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, file) = match hierarchy {
            "" => ("/sys/fs/cgroup", "memory.max"),
            names if names.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        tightest(root, path, file)
    };
    membership.lines().filter_map(limit).min()
}

/// The smallest number in `file` on the way from the cgroup up to the root.
fn tightest(root: &str, path: &str, file: &str) -> Option<u64> {
    let mut limits = Vec::new();
    let mut path = path.trim_matches('/');
    loop {
        let text = fs::read_to_string(format!("{root}/{path}/{file}")).unwrap_or_default();
        limits.extend(text.trim().parse::<u64>().ok());
        if path.is_empty() {
            return limits.into_iter().min();
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
    fn meminfo_is_read() {
        let text = "MemTotal:        2048 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(meminfo_bytes(text, "MemAvailable:"), Some(1024 * 1024));
        assert_eq!(meminfo_bytes(text, "SwapTotal:"), None);
    }
}
