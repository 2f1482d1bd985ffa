//! Where hooktool, memnode and the hook driver are.
//!
//! They are copied into the run directory before use: the database server runs as a user of its
//! own, and the build may lie where that user cannot look (`/root`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Because, Result, advice};

/// File name of the hook driver.
const SHIM: &str = "libramgrid_shim.so";

/// Paths of what is measured.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// The command line; finds the hook driver beside itself.
    pub hooktool: PathBuf,
    /// The memory node.
    pub memnode: PathBuf,
}

impl Binaries {
    /// Copies the binaries from `from` (default: beside `lab`) to `to`. With `needed` false
    /// (calibration) missing ones are no error.
    pub fn install(from: Option<&Path>, to: &Path, needed: bool) -> Result<Self> {
        let beside = std::env::current_exe().because(|| "finding lab itself")?;
        let from = from.or(beside.parent()).unwrap_or(Path::new("."));
        fs::create_dir_all(to).because(|| to.display().to_string())?;
        open_to_all(to)?;
        for name in ["hooktool", "memnode", SHIM] {
            let source = from.join(name);
            if !source.is_file() {
                if needed {
                    return Err(missing(&source));
                }
                continue;
            }
            let target = to.join(name);
            fs::copy(&source, &target).because(|| format!("copying {}", source.display()))?;
            open_to_all(&target)?;
        }
        Ok(Self {
            hooktool: to.join("hooktool"),
            memnode: to.join("memnode"),
        })
    }
}

fn open_to_all(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .because(|| path.display().to_string())
}

fn missing(path: &Path) -> crate::error::Error {
    advice(
        format!(
            "{} is not there, so there is nothing to hook with",
            path.display()
        ),
        "build it with `cargo build --release`, or say --bin DIR (or --calibrate: native only)",
    )
}
