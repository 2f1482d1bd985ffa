//! What `doctor` finds out about the directory of the data: its file system, its stamps, leases.
//!
//! Makes one temporary file there and removes it. Where it may not write, it says so and examines
//! what can be examined without.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags};

use super::Finding;
use crate::sys;

/// Names of file systems by their magic numbers; `true`: served.
const FILE_SYSTEMS: [(u32, &str, bool); 12] = [
    (0xef53, "ext4", true),
    (0x5846_5342, "xfs", true),
    (0x9123_683e, "btrfs", true),
    (0x0102_1994, "tmpfs", false),
    (0x794c_7630, "overlayfs", false),
    (0x6969, "NFS", false),
    (0x6573_5546, "FUSE", false),
    (0x2fc1_2fc1, "zfs", false),
    (0xff53_4d42, "CIFS", false),
    (0xfe53_4d42, "SMB", false),
    (0x9fa0, "procfs", false),
    (0x0102_1997, "9p", false),
];

/// Changes of the temporary file, each of which must take a stamp of its own.
const STAMPS: usize = 64;

/// All findings about a directory.
pub fn examine(directory: &Path) -> Vec<Finding> {
    let topic = "directory";
    let named = directory.display();
    let hint = "name the directory of the data:  hooktool doctor DIR";
    let shown = match directory.canonicalize() {
        Ok(shown) if shown.is_dir() => shown,
        Ok(_) => return vec![Finding::bad(topic, format!("{named} is a file"), hint)],
        Err(error) => return vec![Finding::bad(topic, format!("{named}: {error}"), hint)],
    };
    let mut findings = vec![Finding::ok(topic, shown.display().to_string())];
    findings.push(file_system(&shown));
    let path = shown.join(format!(".hooktool-doctor-{}", std::process::id()));
    match Probe::new(path) {
        Err(error) => findings.push(Finding::note(
            "stamps",
            format!("cannot make a file here: {error}"),
            "examine a directory you may write to:  hooktool doctor DIR",
        )),
        Ok(mut probe) => {
            findings.push(stamps(&mut probe));
            findings.push(page_cache(&probe));
            findings.push(leases(&probe));
        }
    }
    findings
}

/// A temporary file, removed when dropped.
struct Probe {
    path: PathBuf,
    file: File,
}

impl Probe {
    fn new(path: PathBuf) -> std::io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes once and returns the file's ctime, in nanoseconds since 1970.
    fn change(&mut self) -> std::io::Result<i128> {
        self.file.write_all(b"x")?;
        let stamp = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::CTIME)?;
        let ctime = stamp.stx_ctime;
        Ok(i128::from(ctime.tv_sec) * 1_000_000_000 + i128::from(ctime.tv_nsec))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn file_system(directory: &Path) -> Finding {
    let topic = "file system";
    let magic = match rustix::fs::statfs(directory) {
        Ok(fs) => fs.f_type as u32,
        Err(error) => {
            let hint = "name the directory of the data:  hooktool doctor DIR";
            return Finding::bad(topic, format!("cannot be told: {error}"), hint);
        }
    };
    match FILE_SYSTEMS.iter().find(|(number, ..)| *number == magic) {
        Some((_, name, true)) => Finding::ok(topic, format!("{name}: served")),
        Some((_, name, false)) => {
            let hint = "files here are never served: keep the data on ext4, xfs or btrfs";
            Finding::bad(topic, format!("{name}: not served"), hint)
        }
        None => {
            let hint = "files here are never served: keep the data on ext4, xfs or btrfs";
            Finding::bad(topic, format!("type {magic:#x}: not served"), hint)
        }
    }
}

/// Since Linux 6.13 a stamp that was read makes the next change take a new one.
fn stamps(probe: &mut Probe) -> Finding {
    let topic = "stamps";
    let taken: std::io::Result<Vec<_>> = (0..STAMPS).map(|_| probe.change()).collect();
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            let hint = "without stamps nothing is proved clean: look at the disk and its quota";
            return Finding::bad(topic, format!("cannot be read: {error}"), hint);
        }
    };
    let shared = taken.windows(2).filter(|pair| pair[0] == pair[1]).count();
    if shared == 0 {
        return Finding::ok(topic, "fine: every change after a look takes a new stamp");
    }
    Finding::note(
        topic,
        format!(
            "coarse: {shared} of {} changes shared a stamp with the one before",
            STAMPS - 1
        ),
        "exact still, with less gain for files that are written: name databases with --own",
    )
}

fn page_cache(probe: &Probe) -> Finding {
    let topic = "page cache";
    match sys::probe_cachestat(probe.file.as_fd()) {
        Ok(_) => Finding::ok(topic, "cachestat answers for files of this user"),
        Err(error) => Finding::note(
            topic,
            format!("cachestat does not answer: {error}"),
            "residency is guessed from latency instead: less gain (Linux 6.5 has cachestat)",
        ),
    }
}

fn leases(probe: &Probe) -> Finding {
    let topic = "leases";
    // A read lease needs a descriptor opened for reading only, and nobody writing.
    let path = probe.path.with_extension("lease");
    let made = std::fs::write(&path, b"x").and_then(|()| File::open(&path));
    let asked = made.and_then(|file| sys::probe_read_lease(file.as_fd()));
    let _ = std::fs::remove_file(&path);
    match asked {
        Ok(()) => Finding::ok(topic, "read leases are granted for files of this user"),
        Err(error) => Finding::note(
            topic,
            format!("refused: {error}"),
            "files are proved clean by 10 s of quiet instead of at once",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;

    #[test]
    fn no_temporary_file_stays() {
        let directory = std::env::temp_dir().join(format!("doctor-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let findings = examine(&directory);
        assert!(findings.len() >= 4, "{findings:?}");
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_told() {
        for path in ["/no/such/place", "/etc/passwd"] {
            let findings = examine(Path::new(path));
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].grade, Grade::Bad, "{path}");
            assert!(findings[0].found.contains(path));
        }
    }

    #[test]
    fn places_that_are_not_served_are_told() {
        assert_eq!(file_system(Path::new("/proc")).grade, Grade::Bad);
        assert_eq!(
            file_system(Path::new("/dev/shm")).found,
            "tmpfs: not served"
        );
    }
}
