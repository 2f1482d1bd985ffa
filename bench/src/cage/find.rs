//! Which controllers this machine gives us, found by trying.
//!
//! Mount points come from `/proc/self/mountinfo`; a controller counts only if a group can be made
//! in its hierarchy, because containers often show what they do not allow.

use std::fs;
use std::path::{Path, PathBuf};

use super::PREFIX;
use crate::device::Device;

/// Roots under which cages can be made, and what had to be left out.
#[derive(Debug, Default)]
pub struct Controllers {
    /// Where memory limits can be set.
    pub memory: Option<PathBuf>,
    /// Where reads can be capped; only with a device.
    pub io: Option<PathBuf>,
    /// Both of the above are the version 2 hierarchy.
    pub v2: bool,
    /// The device that is capped.
    pub device: Option<Device>,
    /// One sentence for each thing that is missing.
    pub left_out: Vec<String>,
}

impl Controllers {
    /// Looks at the machine; `dir` is where the data will be.
    pub fn find(dir: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut found = Self::default();
        let device = Device::under(dir);
        if let Some(root) = mount_of(&mounts, "cgroup2", None).filter(|root| v2_has(root, "memory"))
        {
            found.v2 = true;
            found.memory = found.usable(root.clone(), "memory limit");
            if v2_has(&root, "io") {
                found.io = found.memory.clone();
            }
        } else {
            let memory = mount_of(&mounts, "cgroup", Some("memory"));
            found.memory = memory.and_then(|root| found.usable(root, "memory limit"));
            let io = mount_of(&mounts, "cgroup", Some("blkio"));
            found.io = io.and_then(|root| found.usable(root, "read cap"));
        }
        found.finish(device)
    }

    /// Nothing is limited: for people who asked for it.
    pub fn none(dir: &Path) -> Self {
        Self {
            device: Device::under(dir).ok(),
            ..Self::default()
        }
    }

    /// One line for the head of a report.
    pub fn describe(&self) -> String {
        let version = if self.v2 { "v2" } else { "v1" };
        let has = |what: &Option<PathBuf>, name| what.as_ref().map(|_| format!("{version} {name}"));
        let io = if self.v2 { "io" } else { "blkio" };
        let parts: Vec<String> = [has(&self.memory, "memory"), has(&self.io, io)]
            .into_iter()
            .flatten()
            .collect();
        if parts.is_empty() {
            "none".into()
        } else {
            parts.join(", ")
        }
    }

    fn usable(&mut self, root: PathBuf, what: &str) -> Option<PathBuf> {
        let probe = root.join(format!("{PREFIX}{}-probe", std::process::id()));
        match fs::create_dir(&probe) {
            Ok(()) => {
                let _ = fs::remove_dir(&probe);
                Some(root)
            }
            Err(error) => {
                let place = root.display();
                self.left_out
                    .push(format!("{what}: no group can be made in {place} ({error})"));
                None
            }
        }
    }

    fn finish(mut self, device: Result<Device, String>) -> Self {
        let said = |list: &[String], what: &str| list.iter().any(|line| line.starts_with(what));
        if self.memory.is_none() && !said(&self.left_out, "memory limit") {
            self.left_out
                .push("memory limit: no memory controller is mounted".into());
        }
        if self.io.is_none() && !said(&self.left_out, "read cap") {
            self.left_out
                .push("read cap: no blkio or io controller can be used".into());
        }
        match device {
            Ok(device) => self.device = Some(device),
            Err(reason) => {
                self.left_out
                    .push(format!("read cap and device counter: {reason}"));
                self.io = None;
            }
        }
        self
    }
}

/// Mount point of a control group file system, for version 1 of one that has `controller`.
fn mount_of(mountinfo: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let options = right.clone().nth(2)?;
        let wanted = controller.is_none_or(|name| options.split(',').any(|word| word == name));
        (right.next()? == kind && wanted)
            .then(|| PathBuf::from(left.split(' ').nth(4).unwrap_or("/")))
    })
}

/// Whether children of the version 2 root may use a controller; switches it on if need be.
fn v2_has(root: &Path, controller: &str) -> bool {
    let lists = |file: &str| {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        text.split_whitespace().any(|word| word == controller)
    };
    if !lists("cgroup.controllers") {
        return false;
    }
    if !lists("cgroup.subtree_control") {
        let _ = fs::write(
            root.join("cgroup.subtree_control"),
            format!("+{controller}"),
        );
    }
    lists("cgroup.subtree_control")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
31 30 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 30 0:31 / /sys/fs/cgroup/blkio rw,relatime shared:3 - cgroup cgroup rw,blkio
39 30 0:34 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_are_found_by_kind_and_controller() {
        let found = |kind, name| mount_of(INFO, kind, name);
        assert_eq!(
            found("cgroup", Some("memory")),
            Some("/sys/fs/cgroup/memory".into())
        );
        assert_eq!(
            found("cgroup", Some("blkio")),
            Some("/sys/fs/cgroup/blkio".into())
        );
        assert_eq!(found("cgroup", Some("cpu")), None);
        assert_eq!(
            found("cgroup2", None),
            Some("/sys/fs/cgroup/unified".into())
        );
    }

    #[test]
    fn what_is_missing_is_said_once() {
        let mut found = Controllers::default();
        found
            .left_out
            .push("memory limit: no group can be made in /x (denied)".into());
        let found = found.finish(Err("on no block device".into()));
        let memory = found
            .left_out
            .iter()
            .filter(|line| line.starts_with("memory limit"));
        assert_eq!(memory.count(), 1);
        assert!(
            found
                .left_out
                .iter()
                .any(|line| line.contains("no block device"))
        );
    }
}
