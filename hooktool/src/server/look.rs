//! One look at a file that a process of the session has open: who it is and how it stands, by the
//! kernel alone.
//!
//! Called by `proofs`, and by `stats` for sizes. A file is found through the process' descriptor,
//! or by its path where the descriptor is closed by now; either way it is first opened as a mere
//! name (`O_PATH`, which no device or pipe notices) and goes no further unless it is the very file
//! of the record.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use grid::files::Stamp;
use grid::ident::FileIdent;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, StatxTimestamp};

use super::sys;

/// A file, looked at.
pub struct Look {
    name: OwnedFd,
    /// Its stamp at that moment.
    pub stamp: Stamp,
}

/// Where the kernel says that a process' descriptor leads.
pub fn path_of(pid: u32, fd: u32) -> Option<String> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// Descriptors of a process that are looked at for the path of a file.
const DESCRIPTORS_MAX: usize = 4096;

/// Paths of the files that processes have open, by device and inode, in the terms of the grid: for
/// files that nobody has asked to be proved yet. Opens none of them.
pub fn open_paths(pids: impl Iterator<Item = u32>) -> HashMap<(u64, u64), String> {
    let mut found = HashMap::new();
    for pid in pids {
        let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten().take(DESCRIPTORS_MAX) {
            let Ok(link) = std::fs::read_link(entry.path()) else {
                continue;
            };
            if !link.is_absolute() {
                continue;
            }
            // What is on the disk of another host is not asked for.
            let flags = AtFlags::STATX_DONT_SYNC;
            let seen = rustix::fs::statx(CWD, entry.path(), flags, StatxFlags::INO);
            if let Ok(stat) = seen {
                found.insert(
                    (device(&stat), stat.stx_ino),
                    link.to_string_lossy().into_owned(),
                );
            }
        }
    }
    found
}

fn device(stat: &Statx) -> u64 {
    u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor)
}

/// Looks at the file `ident`, that process `pid` has or had open as `fd` at `path`. `None`: it is
/// not to be found there any more.
pub fn at(pid: u32, fd: u32, path: &str, ident: FileIdent) -> Option<Look> {
    let places = [
        format!("/proc/{pid}/fd/{fd}"),
        format!("/proc/{pid}/root{path}"),
        path.to_string(),
    ];
    places.iter().find_map(|place| open(place, ident))
}

fn open(place: &str, ident: FileIdent) -> Option<Look> {
    let name = rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let (seen, stamp) = ask(&name)?;
    (seen == ident).then_some(Look { name, stamp })
}

impl Look {
    /// Whether, at this moment, the stamp is `stamp` and nobody has the file open or mapped for
    /// writing. The lease that proves it is given back before this returns.
    pub fn is_clean_at(&self, stamp: Stamp) -> bool {
        let Some(file) = self.open_for_reading() else {
            return false;
        };
        if sys::take_read_lease(file.as_fd()).is_err() {
            return false;
        }
        let under_lease = ask(&file);
        sys::drop_lease(file.as_fd());
        under_lease.is_some_and(|(_, seen)| seen == stamp)
    }

    /// Opens for reading the very file that was looked at, without touching its access time where
    /// that is allowed.
    fn open_for_reading(&self) -> Option<OwnedFd> {
        let place = format!("/proc/self/fd/{}", self.name.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open = |flags| rustix::fs::open(place.as_str(), flags, Mode::empty());
        open(flags | OFlags::NOATIME).or_else(|_| open(flags)).ok()
    }
}

/// Stamp of the file at `path`, if that is `ident` still.
pub fn stamp_at(path: &str, ident: FileIdent) -> Option<Stamp> {
    open(path, ident).map(|look| look.stamp)
}

/// Size in bytes of the file at `path`, if that is `ident` still.
pub fn size_at(path: &str, ident: FileIdent) -> Option<u64> {
    open(path, ident).map(|look| look.stamp.size)
}

/// Identity and stamp of a regular file, in the terms of the grid.
fn ask(file: &OwnedFd) -> Option<(FileIdent, Stamp)> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let stat: Statx = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, mask).ok()?;
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile {
        return None;
    }
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    let ident = FileIdent {
        dev: device(&stat),
        ino: stat.stx_ino,
        birth_ns: if has_birth {
            nanoseconds(stat.stx_btime)
        } else {
            0
        },
    };
    let stamp = Stamp {
        size: stat.stx_size,
        ctime_ns: nanoseconds(stat.stx_ctime),
    };
    Some((ident, stamp))
}

fn nanoseconds(time: StatxTimestamp) -> u64 {
    time.tv_sec
        .cast_unsigned()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec.into())
}

/// Identity and stamp of an open file, as a process of the session asks for them (for tests).
#[cfg(test)]
pub fn ask_open(file: &std::fs::File) -> (FileIdent, Stamp) {
    ask(&OwnedFd::from(file.try_clone().unwrap())).unwrap()
}
