//! How long a session lives: as long as one process may still be in it, and its linger after that.
//!
//! `tend` asks on every tick. Members are known for certain; a process that was started in the
//! session and has not opened a file yet is found by a look through `/proc` (`carriers`), taken
//! only when nobody else is left, and seldom where that takes long.

use std::time::{Duration, Instant};

use super::hold::Hold;
use super::session::Session;
use super::{stats, sys};
use crate::carriers;
use crate::config::ServeConfig;

/// Looks through `/proc` that must find nobody before nobody is left: a process that forks and ends
/// may slip through one, where the child's number is lower than its own.
const LOOKS: u32 = 2;

/// A look is followed by a pause so many times as long, in which nobody is sent away: where
/// processes come and go without ever joining, a session looks again and again.
const PAUSE_LOOKS: u32 = 20;

/// Longest such pause.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// The life of a session so far.
pub struct Life {
    /// The target, or the launcher about to become it; `None`: the server stands alone.
    target: Option<Hold>,
    /// Processes that carry the session and have not joined.
    strangers: Vec<Hold>,
    /// Looks in a row that have found nobody, and when the next one is due.
    vain_looks: u32,
    next_look: Instant,
    /// Since when nobody is left.
    empty_since: Option<Instant>,
}

impl Life {
    /// Begins with the target that `config` names; without one the session waits for the first
    /// process to be announced.
    pub fn new(config: &ServeConfig) -> Life {
        Life {
            target: Hold::of(config.target_pid).ok(),
            strangers: Vec::new(),
            vain_looks: 0,
            next_look: Instant::now(),
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
        known.any(|known| !known.is_over()) || session.members.lock().has_living()
    }

    fn is_inhabited(&mut self, session: &Session) -> bool {
        if self.target.as_ref().is_some_and(|target| !target.is_over()) {
            return true;
        }
        self.target = None;
        if session.members.lock().has_any() {
            self.vain_looks = 0;
            return true;
        }
        if self.empty_since.is_some() {
            // Who comes now is announced or joins: nobody is left to be found.
            return false;
        }
        self.strangers.retain(|stranger| !stranger.is_over());
        if !self.strangers.is_empty() || Instant::now() < self.next_look {
            return true;
        }
        self.look(&session.config);
        // A carrier may have joined between the two looks.
        self.vain_looks < LOOKS || !session.members.lock().is_empty()
    }

    /// Looks for processes that have not joined.
    fn look(&mut self, config: &ServeConfig) {
        let begun = Instant::now();
        self.strangers = carriers(config);
        let took = begun.elapsed();
        self.vain_looks = match self.strangers.is_empty() {
            true => self.vain_looks + 1,
            false => 0,
        };
        // Nobody was found: the second look decides.
        let pause = if self.vain_looks > 0 { 0 } else { PAUSE_LOOKS };
        self.next_look = begun + took + took.saturating_mul(pause).min(PAUSE_MOST);
    }
}

/// Processes that were started in this session and live.
pub fn carriers(config: &ServeConfig) -> Vec<Hold> {
    let carries = |pid: u32| {
        let carried = carriers::of(pid);
        carried.is_some_and(|carried| carried.is_of(&config.session, &config.token))
    };
    let others = carriers::pids().filter(|pid| *pid != std::process::id());
    let carrying = others.filter(|pid| carries(*pid));
    // Looked at once more: the number may be another process's by now.
    let held = carrying.filter_map(|pid| Some((pid, Hold::of(pid).ok()?)));
    held.filter(|(pid, _)| carries(*pid))
        .map(|(_, hold)| hold)
        .collect()
}
