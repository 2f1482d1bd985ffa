//! Statistics of a session, as `hooktool stats -j` prints them.
//!
//! The keys are pinned by the command line's contract; a missing key is a failure here, so that the
//! tests notice when a key is renamed. Used by every test that asserts that the grid was really
//! used.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One object of `hooktool stats -j`.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The object itself.
    pub all: Value,
}

/// Keys every object has.
pub const PINNED_KEYS: [&str; 22] = [
    "schema",
    "name",
    "pid",
    "processes",
    "reads",
    "read_bytes",
    "hits_local",
    "hits_remote",
    "reads_disk",
    "hit_ratio",
    "writes",
    "invalidations",
    "pushed_blocks",
    "push_dropped",
    "bypass",
    "fallback",
    "remote_latency_us",
    "disk_latency_us",
    "local_bytes",
    "remote_bytes",
    "nodes",
    "files",
];

impl Stats {
    /// Reads the first JSON line of `text`.
    pub fn parse(text: &str) -> Option<Stats> {
        let line = text.lines().find(|line| line.starts_with('{'))?;
        serde_json::from_str(line).ok().map(|all| Stats { all })
    }

    /// Reads what `--stats-at-exit` left; nothing while it is not there or not whole.
    pub fn from_file(path: &Path) -> Option<Stats> {
        let all = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        Some(Stats { all })
    }

    /// A counter.
    #[track_caller]
    pub fn count(&self, key: &str) -> u64 {
        self.all[key]
            .as_u64()
            .unwrap_or_else(|| panic!("stats -j has no counter `{key}`: {}", self.all))
    }

    /// Reads served from memory, near or far.
    pub fn hits(&self) -> u64 {
        self.count("hits_local") + self.count("hits_remote")
    }

    /// The sum over all reasons of `bypass` or `fallback`.
    #[track_caller]
    pub fn sum(&self, key: &str) -> u64 {
        let reasons = self.all[key]
            .as_object()
            .unwrap_or_else(|| panic!("stats -j has no object `{key}`: {}", self.all));
        reasons.values().filter_map(Value::as_u64).sum()
    }

    /// The state of node number `index`.
    #[track_caller]
    pub fn node_state(&self, index: usize) -> &str {
        self.all["nodes"][index]["state"]
            .as_str()
            .unwrap_or_else(|| panic!("stats -j has no nodes[{index}].state: {}", self.all))
    }

    /// Fails unless reads were served; a test whose reads all went to the kernel proves nothing.
    #[track_caller]
    pub fn must_have_hits(&self) {
        assert!(
            self.hits() > 0,
            "no read was served, so nothing was tested: {}",
            self.all
        );
    }
}
