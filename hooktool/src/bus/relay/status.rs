//! What a relay says of itself, in a file beside the channels, for `hooktool bus routes ls`.
//!
//! Written anew by renaming whenever something changed, and once a second, so that whoever reads it
//! can tell a relay that is gone. Nothing depends on it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bus::{Bus, sys};
use serde::{Deserialize, Serialize};

/// Losses remembered.
const LOSSES_MAX: usize = 100;
/// A relay that has not written for so long is gone, in nanoseconds.
const GONE_NS: u64 = 5_000_000_000;

/// The file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The relay.
    pub pid: u32,
    /// When it wrote this, in nanoseconds since 1970.
    pub at_ns: u64,
    /// Each relay it dials, and how that stands.
    pub targets: BTreeMap<String, Standing>,
    /// Messages lost with a far ring, youngest last.
    pub losses: Vec<String>,
}

/// A connection that was dialled.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Standing {
    /// Is it up?
    pub is_up: bool,
    /// Since when, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Why it is down.
    pub why: String,
    /// Streams that the far side refuses, and why.
    pub refused: BTreeMap<String, String>,
}

fn path_of(bus: &Bus) -> PathBuf {
    bus.path().join("relay.status")
}

/// What the relay of a bus last said; empty if there is none.
pub fn read(bus: &Bus) -> Status {
    let text = std::fs::read_to_string(path_of(bus)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

impl Status {
    /// Writes the file.
    pub fn write(&mut self, bus: &Bus) {
        self.pid = std::process::id();
        self.at_ns = sys::wall_clock_ns();
        let path = path_of(bus);
        let hidden = path.with_extension("status-new");
        let text = serde_json::to_string(self).unwrap_or_default();
        // Only `routes ls` misses it.
        let _ = std::fs::write(&hidden, text).and_then(|()| std::fs::rename(&hidden, &path));
    }

    /// A loss, remembered.
    pub fn lose(&mut self, what: String) {
        if self.losses.len() == LOSSES_MAX {
            self.losses.remove(0);
        }
        self.losses.push(what);
    }

    /// How the connection to a relay stands, in words.
    pub fn of(&self, target: &str) -> String {
        if sys::wall_clock_ns().saturating_sub(self.at_ns) > GONE_NS {
            return "no relay runs".into();
        }
        match self.targets.get(target) {
            None => "not dialled: no channel needs it".into(),
            Some(standing) => match (standing.is_up, standing.refused.iter().next()) {
                (false, _) => format!("down: {}", standing.why),
                (true, None) => "up".into(),
                (true, Some((stream, why))) => format!("up, but {stream}: {why}"),
            },
        }
    }
}
