//! Cages: control groups with a memory limit and a cap on the device's reads per second.
//!
//! A cage makes a data set larger than memory and a disk slow, on any machine, for the processes
//! put into it and for nobody else. Version 1 (`memory` and `blkio` hierarchies) and version 2
//! (`memory` and `io` controllers) look the same from outside. What cannot be had (no root, no
//! controller, no block device) is left out and said, never pretended. A cage removes itself, and
//! `sweep` removes those of a lab that was killed.
//!
//! In version 1 the cap counts the reads a process of the blkio group submits itself: buffered
//! reads and read-ahead, which is all the lab needs (write-back happens elsewhere).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::device::Device;
use crate::error::{Because, Result};

mod find;
mod v1;
mod v2;

pub use find::Controllers;

/// "No cap" that still makes the kernel count: larger than any device's rate.
const UNCAPPED_IOPS: u32 = 1_000_000_000;

/// Prefix of every control group of the lab; its process number follows.
const PREFIX: &str = "ramgrid-lab-";

/// What a cage enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of everything in the cage, page cache included, in bytes; 0: no limit.
    pub memory_bytes: u64,
    /// Device reads per second; 0: as fast as the device is.
    pub read_iops: u32,
}

/// One control group (or one per hierarchy), alive until dropped.
pub struct Cage {
    memory: Option<PathBuf>,
    io: Option<PathBuf>,
    v2: bool,
    device: Option<Device>,
    limits: Limits,
}

impl Cage {
    /// Makes a cage named after the lab's process and `name`.
    pub fn new(from: &Controllers, name: &str, limits: Limits) -> Result<Self> {
        let group = format!("{PREFIX}{}-{name}", std::process::id());
        let make = |root: &Option<PathBuf>| -> Result<Option<PathBuf>> {
            let Some(root) = root else { return Ok(None) };
            let dir = root.join(&group);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    Err(error).because(|| format!("making {}", dir.display()))
                }
                _ => Ok(Some(dir)),
            }
        };
        let cage = Self {
            memory: make(&from.memory)?,
            io: make(&from.io)?,
            v2: from.v2,
            device: from.device.clone(),
            limits,
        };
        if let Some(dir) = cage.memory.as_ref().filter(|_| limits.memory_bytes > 0) {
            match cage.v2 {
                true => v2::limit_memory(dir, limits.memory_bytes)?,
                false => v1::limit_memory(dir, limits.memory_bytes)?,
            }
        }
        cage.cap(true)?;
        Ok(cage)
    }

    /// The directories a process writes itself into (`lab enter --cgroup`).
    pub fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> = self
            .memory
            .iter()
            .chain(&self.io)
            .map(PathBuf::as_path)
            .collect();
        dirs.dedup();
        dirs
    }

    /// Puts the read cap in force, or lifts it for a warm-up.
    pub fn cap(&self, on: bool) -> Result<()> {
        let (Some(dir), Some(device)) = (&self.io, &self.device) else {
            return Ok(());
        };
        let iops = if on && self.limits.read_iops > 0 {
            self.limits.read_iops
        } else {
            UNCAPPED_IOPS
        };
        match self.v2 {
            true => v2::cap_reads(dir, &device.number, iops),
            false => v1::cap_reads(dir, &device.number, iops),
        }
    }

    /// Throws out the page cache charged to the cage, as far as it is clean and unused.
    pub fn empty(&self) {
        if let Some(dir) = &self.memory {
            match self.v2 {
                true => v2::empty(dir),
                false => v1::empty(dir),
            }
        }
    }

    /// Device reads made by the cage's processes so far; `None` without a controller.
    pub fn reads(&self) -> Result<Option<u64>> {
        let (Some(dir), Some(device)) = (&self.io, &self.device) else {
            return Ok(None);
        };
        match self.v2 {
            true => v2::reads(dir, &device.number).map(Some),
            false => v1::reads(dir, &device.number).map(Some),
        }
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.empty();
        for dir in self.dirs() {
            remove(dir);
        }
    }
}

/// Removes the cages of labs that are no longer alive, with whatever still runs in them.
pub fn sweep(from: &Controllers) {
    for root in from.memory.iter().chain(&from.io) {
        let Ok(entries) = fs::read_dir(root) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name
                .strip_prefix(PREFIX)
                .and_then(|rest| rest.split('-').next());
            if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                remove(&entry.path());
            }
        }
    }
}

/// Kills what is left in a control group and removes it.
fn remove(dir: &Path) {
    for _ in 0..200 {
        let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in procs
            .lines()
            .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        match fs::remove_dir(dir) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    eprintln!(
        "lab: {} could not be removed; rmdir it once its processes ended",
        dir.display()
    );
}

/// Writes one value into a control file.
fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    fs::write(&path, value).because(|| format!("writing '{value}' to {}", path.display()))
}
