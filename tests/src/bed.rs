//! A bed: one test's directory on a disk file system, with the artefacts staged in it.
//!
//! Made by every whole-system test, removed when dropped (kept when `RAMGRID_TEST_KEEP` is set).
//! The grid serves ext4, xfs and btrfs only, so a bed on anything else would test nothing and is
//! refused.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::mode::Mode;
use crate::session::Hooked;
use crate::stage::stage_artefacts;

/// Where beds are made, if not in [`DEFAULT_BASE`].
pub const BASE_VARIABLE: &str = "RAMGRID_TEST_DIR";
const DEFAULT_BASE: &str = "/var/tmp";
/// Every bed's name begins so; `clean.sh` removes what a killed run left.
const PREFIX: &str = "ramgrid-test-";

/// Magic numbers (statfs(2)) of the file systems that are served.
const SERVED_FILE_SYSTEMS: [i64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];

static BEDS_MADE: AtomicU32 = AtomicU32::new(0);

/// One test's place.
pub struct Bed {
    dir: PathBuf,
    /// How the shim runs here.
    pub mode: Mode,
}

impl Bed {
    /// Makes a bed and stages the artefacts in its `bin/`.
    pub fn new(name: &str, mode: Mode) -> Bed {
        let bed = Bed::bare(name, mode);
        let bin = bed.dir_of("bin");
        stage_artefacts(&bin);
        bed
    }

    /// A bed with artefacts in another place than usual: on a file system made for a test.
    pub fn under(base: &Path, name: &str, mode: Mode) -> Bed {
        let bed = Bed::bare_under(base, name, mode);
        stage_artefacts(&bed.dir_of("bin"));
        bed
    }

    /// A bed without artefacts, for what is tested natively.
    pub fn bare(name: &str, mode: Mode) -> Bed {
        let base = std::env::var_os(BASE_VARIABLE).map_or(DEFAULT_BASE.into(), PathBuf::from);
        Bed::bare_under(&base, name, mode)
    }

    fn bare_under(base: &Path, name: &str, mode: Mode) -> Bed {
        let nth = BEDS_MADE.fetch_add(1, Ordering::Relaxed);
        let word = mode.word();
        let pid = std::process::id();
        let dir = base.join(format!("{PREFIX}{name}-{word}-{pid}-{nth}"));
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("chmod");
        let magic = rustix::fs::statfs(&dir).expect("statfs").f_type;
        assert!(
            SERVED_FILE_SYSTEMS.contains(&magic),
            "{} is on a file system (magic {magic:#x}) that the grid does not serve: \
             set {BASE_VARIABLE} to a directory on ext4, xfs or btrfs",
            base.display()
        );
        Bed { dir, mode }
    }

    /// The bed's directory.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A path inside the bed.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a directory inside the bed.
    pub fn dir_of(&self, name: &str) -> PathBuf {
        let dir = self.join(name);
        fs::create_dir_all(&dir).expect("make a directory in the bed");
        dir
    }

    /// Writes a file inside the bed.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, bytes).expect("write a file in the bed");
        path
    }

    /// A staged artefact.
    pub fn artefact(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// A command with the tests' own small environment, working in `dir`.
    pub fn native<S: AsRef<OsStr>>(&self, dir: &Path, words: &[S]) -> Command {
        let mut command = Command::new(words[0].as_ref());
        command.args(&words[1..]).current_dir(dir);
        small_environment(&mut command);
        command
    }

    /// `hooktool` with the tests' own small environment.
    pub fn hooktool<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut all: Vec<OsString> = vec![self.artefact("hooktool").into()];
        all.extend(words.iter().map(|word| word.as_ref().to_owned()));
        self.native(&self.dir, &all)
    }

    /// The start of a `hooktool run` line.
    pub fn hooked(&self) -> Hooked<'_> {
        Hooked::new(self)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::env::var_os("RAMGRID_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.display());
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {error}", self.dir.display());
        }
    }
}

/// An environment that does not depend on who runs the tests.
pub fn small_environment(command: &mut Command) {
    command.env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("PYTHONDONTWRITEBYTECODE", "1");
}
