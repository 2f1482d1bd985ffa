//! The target's environment: the caller's own, with the hook driver and the session put in.
//!
//! Entries keep their order and their bytes, also malformed ones; other preloads are kept, after
//! ours. `launch` executes with it, `--dry-run` prints what is new.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::{SessionId, Token};

/// Lets a process into a session: `<session hex>:<token hex>:<name>`.
pub const SESSION: &str = grid::attach::SESSION_ENV;

/// `1` makes everything inert.
pub const DISABLED: &str = "HOOKTOOL_DISABLED";

/// The only process that is hooked (`--no-follow`): the hook driver is inert in any other.
const ONLY_PID: &str = "HOOKTOOL_ONLY_PID";

/// What the loader reads.
const PRELOAD: &str = "LD_PRELOAD";

/// Whether the kill switch is set.
pub fn is_disabled() -> bool {
    std::env::var_os(DISABLED).is_some_and(|value| value == "1")
}

/// The value of `LD_PRELOAD`: ours first, then what was there, without ours twice.
pub fn preload(shim: &Path, theirs: Option<&OsStr>) -> Vec<u8> {
    let ours = shim.as_os_str().as_bytes();
    let mut value = ours.to_vec();
    let theirs = theirs.map_or(&b""[..], OsStrExt::as_bytes);
    let others = theirs.split(|byte| *byte == b':' || *byte == b' ');
    for other in others.filter(|other| !other.is_empty() && *other != ours) {
        value.push(b':');
        value.extend_from_slice(other);
    }
    value
}

/// Puts hook driver and session into an environment.
pub fn hooked(
    environment: Vec<CString>,
    shim: &Path,
    (session, token): (&SessionId, &Token),
    name: &str,
) -> Vec<CString> {
    let preload = preload(shim, std::env::var_os(PRELOAD).as_deref());
    let session = session.environment(token, name).into_bytes();
    let environment = with(environment, PRELOAD, preload);
    with(environment, SESSION, session)
}

/// Hooks process `only` alone, or whatever it starts as well.
pub fn limited(mut environment: Vec<CString>, only: Option<u32>) -> Vec<CString> {
    let start = format!("{ONLY_PID}=").into_bytes();
    environment.retain(|entry| !entry.as_bytes().starts_with(&start));
    match only {
        Some(pid) => with(environment, ONLY_PID, pid.to_string().into_bytes()),
        None => environment,
    }
}

/// Sets one variable in its old place, or at the end.
fn with(mut environment: Vec<CString>, name: &str, value: Vec<u8>) -> Vec<CString> {
    let start = [name.as_bytes(), b"="].concat();
    // A value with a NUL cannot come from the kernel or from our own texts.
    let Ok(entry) = CString::new([start.clone(), value].concat()) else {
        return environment;
    };
    let place = environment
        .iter()
        .position(|old| old.as_bytes().starts_with(&start));
    match place {
        Some(at) => environment[at] = entry,
        None => environment.push(entry),
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_preloads_are_kept_behind_ours() {
        let shim = Path::new("/s.so");
        let value =
            |theirs: &str| String::from_utf8(preload(shim, Some(OsStr::new(theirs)))).unwrap();
        assert_eq!(value(""), "/s.so");
        assert_eq!(value("a.so b.so"), "/s.so:a.so:b.so");
        assert_eq!(value("a.so:/s.so"), "/s.so:a.so");
        assert_eq!(preload(shim, None), b"/s.so");
    }

    #[test]
    fn entries_keep_their_places() {
        let old = ["A=1", "broken", "X=", "B=2"].map(|text| CString::new(text).unwrap());
        let new = with(old.to_vec(), "X", b"9".to_vec());
        let texts: Vec<_> = new.iter().map(|entry| entry.to_str().unwrap()).collect();
        assert_eq!(texts, ["A=1", "broken", "X=9", "B=2"]);
        assert_eq!(
            with(new, "Y", b"1".to_vec()).last().unwrap().to_str(),
            Ok("Y=1")
        );
    }
}
