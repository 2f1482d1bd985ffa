//! How long a session lives: as long as one process may still be in it, and its linger after that.
//!
//! `tend` asks on every tick. Members are known for certain; a process that has the hook driver
//! loaded and has not opened a file yet is found by a look through `/proc`, taken only when nobody
//! else is left.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::session::Session;
use super::{stats, sys};
use crate::config::ServeConfig;

/// The life of a session so far.
pub struct Life {
    /// The target, or the launcher about to become it; `None`: the server stands alone.
    target: Option<OwnedFd>,
    /// Processes that carry the session and have not joined.
    strangers: Vec<OwnedFd>,
    /// Since when nobody is left.
    empty_since: Option<Instant>,
}

impl Life {
    /// Begins with the target that `config` names; without one the session waits for the first
    /// process to be announced.
    pub fn new(config: &ServeConfig) -> Life {
        Life {
            target: sys::pidfd(config.target_pid).ok(),
            strangers: Vec::new(),
            empty_since: None,
        }
    }

    /// Whether the session is over. Writes the last statistics as soon as nobody is left.
    pub fn is_over(&mut self, session: &Session) -> bool {
        if self.is_inhabited(session) {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert_with(|| {
            stats::write_at_exit(session);
            Instant::now()
        });
        since.elapsed() >= Duration::from_millis(session.config.linger_ms)
    }

    fn is_inhabited(&mut self, session: &Session) -> bool {
        if self
            .target
            .as_ref()
            .is_some_and(|target| !sys::is_over(target))
        {
            return true;
        }
        self.target = None;
        if session.members.lock().has_any() {
            return true;
        }
        if self.empty_since.is_some() {
            // Who comes now is announced or joins: nobody is left to be found.
            return false;
        }
        self.strangers.retain(|stranger| !sys::is_over(stranger));
        if self.strangers.is_empty() {
            self.strangers = carriers(&session.config);
        }
        // A carrier may have joined between the two looks.
        !self.strangers.is_empty() || !session.members.lock().is_empty()
    }
}

/// Processes that have the hook driver loaded, or will have it once their program has started.
fn carriers(config: &ServeConfig) -> Vec<OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let session = config.session.to_string();
    let shim = config.shim.as_os_str().as_encoded_bytes().to_vec();
    let carries = |pid: u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        contains(&environ, session.as_bytes()) || {
            let maps = std::fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
            contains(&environ, b"HOOKTOOL_") && contains(&maps, &shim)
        }
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    others
        .filter(|pid| carries(*pid))
        .filter_map(|pid| sys::pidfd(pid).ok())
        .collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        assert!(contains(b"A=1\0HOOKTOOL_SESSION=ab:cd\0", b"ab"));
        assert!(!contains(b"A=1", b"ab") && !contains(b"A=1", b""));
    }
}
