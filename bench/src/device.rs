//! The block device under a directory, and its own read counter.
//!
//! The lab caps this device for its control groups and reads `/sys/dev/block/M:N/stat`, so that
//! what the hit table claims can be compared with reads that did or did not happen. A directory
//! without such a device (tmpfs, overlayfs, btrfs subvolumes) gets a reason instead.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Because, Result, unexpected};

/// A whole disk.
#[derive(Clone, Debug)]
pub struct Device {
    /// `MAJOR:MINOR`, as control groups name it.
    pub number: String,
    /// Kernel name, `vda`.
    pub name: String,
    /// Its directory in sysfs.
    sysfs: PathBuf,
}

impl Device {
    /// Finds the whole disk under `dir`, or says why there is none.
    pub fn under(dir: &Path) -> std::result::Result<Self, String> {
        let found = fs::metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (major, minor) = (
            rustix::fs::major(found.dev()),
            rustix::fs::minor(found.dev()),
        );
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let mut sysfs = fs::canonicalize(&link).map_err(|_| {
            format!(
                "{} is on no block device of its own ({major}:{minor})",
                dir.display()
            )
        })?;
        if sysfs.join("partition").exists() {
            sysfs.pop();
        }
        let number = fs::read_to_string(sysfs.join("dev")).map_err(|error| error.to_string())?;
        Ok(Self {
            number: number.trim().to_string(),
            name: sysfs
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            sysfs,
        })
    }

    /// Reads completed by the device since boot, for everybody.
    pub fn reads(&self) -> Result<u64> {
        let path = self.sysfs.join("stat");
        let text = fs::read_to_string(&path).because(|| path.display().to_string())?;
        let first = text
            .split_whitespace()
            .next()
            .and_then(|word| word.parse().ok());
        first.ok_or_else(|| unexpected(path.display().to_string(), &text))
    }
}
