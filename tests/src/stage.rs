//! Finds the artefacts under test and stages them where every user may read them.
//!
//! The tests run servers as other users (PostgreSQL refuses root), and a target directory may lie
//! in a home that those users cannot enter. So each bed gets links to, or copies of, the artefacts
//! in a directory of its own. Called by `bed`. Never builds anything: `make test` has built before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What is staged, by file name.
pub const ARTEFACTS: [&str; 3] = ["hooktool", "memnode", "libramgrid_shim.so"];

/// Names a directory with the artefacts, where they do not lie beside the test binary.
pub const BIN_DIR_VARIABLE: &str = "RAMGRID_BIN_DIR";

/// Links or copies the artefacts into `to`, which must exist.
pub fn stage_artefacts(to: &Path) {
    let from = artefact_dir();
    for name in ARTEFACTS {
        let source = from.join(name);
        assert!(
            source.is_file(),
            "{} is missing: the tests run what is built; type `make build` \
             (or set {BIN_DIR_VARIABLE} to where {name} is)",
            source.display()
        );
        let target = to.join(name);
        if fs::hard_link(&source, &target).is_err() {
            fs::copy(&source, &target).expect("copy an artefact");
            fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
    }
}

/// Stages the shim that breaks its promise on purpose (feature `plant`), which `make plant` puts
/// beside the artefacts in a target directory of its own; its path.
pub fn stage_planted_shim(to: &Path) -> PathBuf {
    let from = artefact_dir();
    let profile = from.file_name().expect("a profile's directory");
    let target = from.parent().expect("lies in the target directory");
    let source = target
        .join("plant")
        .join(profile)
        .join("libramgrid_shim.so");
    assert!(
        source.is_file(),
        "{} is missing: type `make plant`",
        source.display()
    );
    let staged = to.join("planted_shim.so");
    fs::copy(&source, &staged).expect("copy the planted shim");
    staged
}

/// The directory cargo puts artefacts in: the parent of the test binary's own `deps/`.
fn artefact_dir() -> PathBuf {
    if let Some(named) = std::env::var_os(BIN_DIR_VARIABLE) {
        return PathBuf::from(named);
    }
    let me = std::env::current_exe().expect("a test binary knows its path");
    let deps = me.parent().expect("a binary lies in a directory");
    deps.parent()
        .expect("deps/ lies in the profile's directory")
        .to_path_buf()
}

/// A program the tests need, or a failure that says what to install.
pub fn tool(name: &str) -> PathBuf {
    let places = [
        "/usr/lib/postgresql/15/bin",
        "/usr/bin",
        "/bin",
        "/usr/sbin",
        "/sbin",
    ];
    places
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not installed: type `make test-deps` as root; nothing is skipped")
        })
}

/// A program that `make test-deps` builds with cargo, in `tools/` of the target directory.
pub fn cargo_tool(name: &str) -> PathBuf {
    let target = artefact_dir();
    let target = target.parent().expect("lies in the target directory");
    let path = target.join("tools/bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: type `make test-deps`; nothing is skipped",
        path.display()
    );
    path
}

/// Does this test run as root?
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// For tests that only root can run: says so loudly to others. In CI nothing may be left out.
#[must_use]
pub fn root_or_say(what: &str) -> bool {
    if is_root() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "{what} needs root, and in CI nothing may skip"
    );
    eprintln!("NOT RUN, needs root: {what}");
    false
}
