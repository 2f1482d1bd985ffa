//! Finds the hook driver, `libramgrid_shim.so`, and asks what it exports and needs.
//!
//! `HOOKTOOL_SHIM`, then beside the hooktool binary (`../lib/ramgrid/`, the same directory), then
//! `/usr/lib/ramgrid/`. A driver that the loader could not use is refused here, because the loader
//! itself would only complain and go on without.

use std::path::{Path, PathBuf};

use crate::elf::{self, Elf, Head};
use crate::failure::Failure;

/// File name of the hook driver.
pub const FILE_NAME: &str = "libramgrid_shim.so";

/// Where packages put it.
const INSTALLED: &str = "/usr/lib/ramgrid";

/// A usable hook driver.
#[derive(Clone, Debug)]
pub struct Shim {
    /// Absolute path, without the characters that separate entries of `LD_PRELOAD`.
    pub path: PathBuf,
    /// What it says about itself.
    pub elf: Elf,
}

/// Finds the hook driver. `named` is `HOOKTOOL_SHIM`.
///
/// # Errors
///
/// There is none, or the loader could not use it.
pub fn find(named: Option<&str>) -> Result<Shim, Failure> {
    let program = std::env::current_exe().unwrap_or_default();
    let candidates = match named.filter(|path| !path.is_empty()) {
        Some(path) => vec![PathBuf::from(path)],
        None => candidates(program.parent().unwrap_or(Path::new("/"))),
    };
    let Some(path) = candidates.iter().find(|path| path.exists()) else {
        let looked: Vec<_> = candidates
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(Failure::launch(
            format!("cannot find the hook driver {FILE_NAME}"),
            format!("looked for {}", looked.join(", ")),
            "install it there, or say where it is:  HOOKTOOL_SHIM=/path/to/libramgrid_shim.so",
        ));
    };
    examine(path)
}

fn candidates(directory: &Path) -> Vec<PathBuf> {
    let parent = directory.parent().unwrap_or(directory);
    let places = [
        parent.join("lib/ramgrid"),
        directory.to_path_buf(),
        INSTALLED.into(),
    ];
    places
        .into_iter()
        .map(|place| place.join(FILE_NAME))
        .collect()
}

fn examine(path: &Path) -> Result<Shim, Failure> {
    let broken = |why: String| {
        Failure::launch(
            format!("cannot use the hook driver {}: {why}", path.display()),
            "the loader would leave it out in silence and nothing would be served",
            "install ramgrid again, or name another:  HOOKTOOL_SHIM=/path/to/libramgrid_shim.so",
        )
    };
    let path = path
        .canonicalize()
        .map_err(|error| broken(error.to_string()))?;
    if path.to_string_lossy().contains([':', ' ', '$']) {
        return Err(broken(
            "a colon, a space or a dollar sign in its path".into(),
        ));
    }
    match elf::head(&path) {
        Ok(Head::Native) => {}
        Ok(Head::Foreign(machine)) => return Err(broken(format!("it is built for {machine}"))),
        Ok(_) => return Err(broken("it is not a shared object".into())),
        Err(error) => return Err(broken(error.to_string())),
    }
    let elf = elf::read(&path).map_err(&broken)?;
    if elf.soname.is_none() && elf.needed.is_empty() {
        return Err(broken("it is not a shared object".into()));
    }
    Ok(Shim { path, elf })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_cannot_be_loaded_is_refused() {
        for path in ["/no/such.so", "/etc/passwd", "/etc"] {
            let failure = find(Some(path)).unwrap_err();
            assert_eq!(failure.kind.exit_status(), 125, "{path}");
        }
    }

    #[test]
    fn places_follow_the_binary() {
        let found = candidates(Path::new("/opt/ramgrid/bin"));
        assert_eq!(
            found[0],
            Path::new("/opt/ramgrid/lib/ramgrid/libramgrid_shim.so")
        );
        assert_eq!(found[1], Path::new("/opt/ramgrid/bin/libramgrid_shim.so"));
        assert_eq!(found[2], Path::new("/usr/lib/ramgrid/libramgrid_shim.so"));
    }
}
