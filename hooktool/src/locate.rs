//! Finds the command as a shell would: `PATH`, 127 where nothing has the name, 126 where something
//! has it and may not be executed.
//!
//! Called by `launch` and `check`. Whether the program can be covered is `precheck`'s question.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::sys;

/// Searched when `PATH` is not set at all.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a path cannot be executed.
enum Hindrance {
    Absent,
    Refused(&'static str),
}

/// The file that `command` names.
///
/// # Errors
///
/// `Kind::NotFound` or `Kind::NotExecutable`.
pub fn command(command: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    let shown = command.to_string_lossy().into_owned();
    if command.is_empty() {
        return Err(not_found(&shown, "the name is empty"));
    }
    if command.as_bytes().contains(&b'/') {
        let file = PathBuf::from(command);
        return match examine(&file) {
            Ok(()) => Ok(file),
            Err(Hindrance::Absent) => Err(not_found(&shown, "there is no such file")),
            Err(Hindrance::Refused(why)) => Err(not_executable(&shown, why)),
        };
    }
    let path = path.unwrap_or(OsStr::new(PATH_DEFAULT));
    let mut refused = None;
    for directory in std::env::split_paths(path) {
        let file = if directory.as_os_str().is_empty() {
            Path::new(".").join(command)
        } else {
            directory.join(command)
        };
        match examine(&file) {
            Ok(()) => return Ok(file),
            Err(Hindrance::Absent) => {}
            Err(Hindrance::Refused(why)) => refused = refused.or(Some((file, why))),
        }
    }
    match refused {
        Some((file, why)) => Err(not_executable(&file.to_string_lossy(), why)),
        None => Err(not_found(&shown, "no directory of PATH has it")),
    }
}

fn examine(file: &Path) -> Result<(), Hindrance> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(
            Hindrance::Refused("a directory of its path may not be entered"),
        ),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            Err(Hindrance::Refused("its symbolic links lead in a circle"))
        }
        Err(_) => Err(Hindrance::Absent),
        Ok(data) if data.is_dir() => Err(Hindrance::Refused("it is a directory")),
        Ok(data) if !data.is_file() => Err(Hindrance::Refused("it is not a regular file")),
        Ok(_) if sys::may_execute(file) => Ok(()),
        Ok(_) => Err(Hindrance::Refused("this user may not execute it")),
    }
}

fn not_found(name: &str, why: &str) -> Failure {
    Failure::new(
        Kind::NotFound,
        format!("cannot find the command '{name}': {why}"),
        "nothing was started",
        match !name.is_empty() && !name.contains('/') && Path::new(name).exists() {
            true => format!("it lies in this directory: write  ./{name}"),
            false => format!("look for it:  command -v '{name}'   or give its whole path"),
        },
    )
}

fn not_executable(name: &str, why: &str) -> Failure {
    Failure::new(
        Kind::NotExecutable,
        format!("cannot execute '{name}': {why}"),
        "nothing was started",
        format!("look at it:  ls -ld '{name}'   (chmod +x makes a program of a file)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_a_circle_are_told() {
        let name = format!("hooktool-circle-{}", std::process::id());
        let link = std::env::temp_dir().join(name);
        std::os::unix::fs::symlink(&link, &link).unwrap();
        let failure = command(link.as_os_str(), None).unwrap_err();
        std::fs::remove_file(&link).unwrap();
        assert_eq!(failure.kind, Kind::NotExecutable);
        assert!(failure.what.contains("in a circle"), "{failure}");
    }

    fn find(name: &str, path: &str) -> Result<PathBuf, Kind> {
        command(OsStr::new(name), Some(OsStr::new(path))).map_err(|failure| failure.kind)
    }

    #[test]
    fn path_is_searched_in_order() {
        assert_eq!(
            find("true", "/nonexistent:/bin:/usr/bin"),
            Ok("/bin/true".into())
        );
        assert_eq!(find("/bin/true", ""), Ok("/bin/true".into()));
    }

    #[test]
    fn absence_and_refusal_differ() {
        assert_eq!(find("no-such-command", "/bin"), Err(Kind::NotFound));
        assert_eq!(find("/no/such", "/bin"), Err(Kind::NotFound));
        assert_eq!(find("", "/bin"), Err(Kind::NotFound));
        assert_eq!(find("/etc/passwd", "/bin"), Err(Kind::NotExecutable));
        assert_eq!(find("/etc", "/bin"), Err(Kind::NotExecutable));
        assert_eq!(find("passwd", "/etc"), Err(Kind::NotExecutable));
        assert_eq!(
            find("passwd", "/etc:/usr/bin"),
            Ok("/usr/bin/passwd".into())
        );
    }
}
