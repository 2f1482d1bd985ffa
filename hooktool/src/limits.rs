//! How much memory there is: the machine's, the tightest memory cgroup's above this process, or
//! what the limit of address space leaves.
//!
//! `settings` refuses sizes beyond it, `doctor` shows it. Reads `/proc` and `/sys/fs/cgroup`,
//! cgroup versions 1 and 2, also where both are mounted; whatever cannot be read is no limit.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sys;

/// Part of the address space that memory of ours may take: programs and libraries are in it, too.
const SPACE_SHARE: u64 = 4;

/// A memory limit and what imposes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// `MemTotal`, or the path of a cgroup.
    pub name: String,
}

/// The tightest memory limit of this process.
pub fn memory() -> MemoryLimit {
    let machine = MemoryLimit {
        bytes: machine_bytes(),
        name: "memory of this machine".into(),
    };
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = cgroup_files(&memberships, Path::new("/sys/fs/cgroup"));
    let space = sys::soft_limit(libc::RLIMIT_AS).map(|bytes| MemoryLimit {
        bytes: bytes / SPACE_SHARE,
        name: "address space, ulimit -v".into(),
    });
    let limits = groups.iter().filter_map(|path| read_limit(path));
    let limits = limits.chain(space);
    limits.fold(machine, |least, limit| {
        if limit.bytes < least.bytes {
            limit
        } else {
            least
        }
    })
}

/// Memory of the machine, in bytes.
fn machine_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number
        .and_then(|text| text.parse::<u64>().ok())
        .map_or(u64::MAX, |kib| kib << 10)
}

/// The limit files of all memory cgroups above a process, by its `/proc/PID/cgroup`.
fn cgroup_files(memberships: &str, root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (tops, file): (&[&str], &str) = if controllers.is_empty() {
            (&["", "unified"], "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (&["memory"], "memory.limit_in_bytes")
        } else {
            continue;
        };
        for top in tops {
            let group = Path::new(group.trim_start_matches('/'));
            let above = group
                .ancestors()
                .map(|group| root.join(top).join(group).join(file));
            files.extend(above);
        }
    }
    files
}

fn read_limit(path: &Path) -> Option<MemoryLimit> {
    let text = fs::read_to_string(path).ok()?;
    let bytes = text.trim().parse::<u64>().ok()?;
    let group = path.parent().unwrap_or(path);
    Some(MemoryLimit {
        bytes,
        name: format!("memory cgroup {}", group.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_are_followed_to_the_root() {
        let root = Path::new("/cg");
        let files = cgroup_files("4:memory:/a/b\n3:cpu,cpuacct:/x\n0::/s.slice\n", root);
        let texts: Vec<_> = files.iter().map(|path| path.to_string_lossy()).collect();
        assert!(texts.contains(&"/cg/memory/a/b/memory.limit_in_bytes".into()));
        assert!(texts.contains(&"/cg/memory/memory.limit_in_bytes".into()));
        assert!(texts.contains(&"/cg/s.slice/memory.max".into()));
        assert!(!texts.iter().any(|text| text.contains("cpu")));
    }

    #[test]
    fn this_machine_has_some_memory() {
        let limit = memory();
        assert!(limit.bytes > 1 << 20, "{limit:?}");
    }
}
