//! How long a session lives: as long as one process may still be in it, and its linger after that.
//!
//! `tend` asks on every tick. Members are known for certain; a process that carries the
//! session in its environment and has not opened a file yet is found by a look through `/proc`,
//! taken only when nobody else is left.

use std::os::fd::OwnedFd;
use std::time::Instant;

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
        let now_ns = sys::realtime_ns();
        if self.is_inhabited(session) {
            if self.sees_anybody(session) {
                session.note_seen(now_ns);
            }
            self.empty_since = None;
            session.note_inhabited();
            return false;
        }
        // Under the lock under which a target is let in: it comes before this, or is turned away.
        let mut members = session.members.lock();
        if members.has_any() {
            return false;
        }
        let files = session.take_writing();
        // A target may have come and gone between two looks: then the linger begins anew.
        let since = self.empty_since.filter(|_| files.is_none());
        let since = *self.empty_since.insert(since.unwrap_or_else(Instant::now));
        let is_over = since.elapsed() >= session.linger();
        if is_over {
            members.close();
        }
        session.lie_down();
        drop(members);
        stats::write_at_exit(session, files);
        is_over
    }

    /// Whether somebody is alive at this instant, proved.
    fn sees_anybody(&self, session: &Session) -> bool {
        let mut known = self.target.iter().chain(&self.strangers);
        known.any(|known| !sys::is_over(known)) || session.members.lock().has_living()
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

/// Processes that were started with this session in their environment. One that has lost it (a
/// program may overwrite its own) is known by having joined, or not at all.
pub fn carriers(config: &ServeConfig) -> Vec<OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let carried = config.session.environment(&config.token);
    let carries = |pid: u32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        session_of(&environ) == Some(carried.as_bytes())
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

/// The session that an environment names.
fn session_of(environ: &[u8]) -> Option<&[u8]> {
    let entries = environ.split(|byte| *byte == 0);
    entries
        .filter_map(|entry| entry.strip_prefix(b"HOOKTOOL_SESSION="))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_names_one_session_or_none() {
        assert_eq!(
            session_of(b"A=1\0HOOKTOOL_SESSION=ab:cd\0"),
            Some(&b"ab:cd"[..])
        );
        assert_eq!(
            session_of(b"A=HOOKTOOL_SESSION=ab:cd\0HOOKTOOL_LOG=debug\0"),
            None
        );
        assert_eq!(session_of(b""), None);
    }
}
