//! The hit table: what `hooktool stats -j` says about a session, and differences of two of them.
//!
//! Read from outside with keys of our own choosing, not through hooktool's types: the lab is a
//! witness, and a key that is renamed must fail here.

use std::collections::BTreeMap;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::child;
use crate::error::{Error, Result, unexpected};

/// The counters the lab uses; all since the session began.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hits {
    /// Reads that passed the hooks.
    pub reads: u64,
    /// Of these, from the local cache.
    pub hits_local: u64,
    /// Of these, from memory nodes.
    pub hits_remote: u64,
    /// Of these, by the kernel.
    pub reads_disk: u64,
    /// Calls that wrote.
    pub writes: u64,
    /// Blocks put out of date.
    pub invalidations: u64,
    /// Blocks sent to nodes.
    pub pushed_blocks: u64,
    /// Blocks that could not be sent.
    pub push_dropped: u64,
    /// Reads not tried, by reason.
    pub bypass: BTreeMap<String, u64>,
    /// Reads tried and finished by the kernel, by reason.
    pub fallback: BTreeMap<String, u64>,
    /// Bytes in the local cache now.
    pub local_bytes: u64,
    /// Bytes on memory nodes now.
    pub remote_bytes: u64,
}

impl Hits {
    /// What happened between `before` and `self`; sizes stay as they are now.
    pub fn since(&self, before: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            reads: less(self.reads, before.reads),
            hits_local: less(self.hits_local, before.hits_local),
            hits_remote: less(self.hits_remote, before.hits_remote),
            reads_disk: less(self.reads_disk, before.reads_disk),
            writes: less(self.writes, before.writes),
            invalidations: less(self.invalidations, before.invalidations),
            pushed_blocks: less(self.pushed_blocks, before.pushed_blocks),
            push_dropped: less(self.push_dropped, before.push_dropped),
            bypass: map_since(&self.bypass, &before.bypass),
            fallback: map_since(&self.fallback, &before.fallback),
            local_bytes: self.local_bytes,
            remote_bytes: self.remote_bytes,
        }
    }

    /// Adds another interval; sizes are those of the later one.
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.hits_local += other.hits_local;
        self.hits_remote += other.hits_remote;
        self.reads_disk += other.reads_disk;
        self.writes += other.writes;
        self.invalidations += other.invalidations;
        self.pushed_blocks += other.pushed_blocks;
        self.push_dropped += other.push_dropped;
        for (reason, count) in &other.bypass {
            *self.bypass.entry(reason.clone()).or_default() += count;
        }
        for (reason, count) in &other.fallback {
            *self.fallback.entry(reason.clone()).or_default() += count;
        }
        self.local_bytes = other.local_bytes;
        self.remote_bytes = other.remote_bytes;
    }
}

fn map_since(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let left = |(reason, count): (&String, &u64)| {
        let count = count.saturating_sub(before.get(reason).copied().unwrap_or(0));
        (count > 0).then(|| (reason.clone(), count))
    };
    now.iter().filter_map(left).collect()
}

/// Asks the session called `name`; `hooktool` is the command that reaches it.
pub fn ask(hooktool: &mut Command, name: &str) -> Result<Hits> {
    let answer = child::run(hooktool.args(["stats", "-j", name]))?;
    let line = answer.lines().next().unwrap_or_default();
    let hits: Hits = serde_json::from_str(line)
        .map_err(|error| unexpected(format!("hooktool stats -j {name}: {error}"), line))?;
    if hits.reads == hits.hits_local + hits.hits_remote + hits.reads_disk {
        return Ok(hits);
    }
    Err(Error::Advice {
        what: format!("hooktool stats -j {name}: reads is not the sum of hits and disk reads"),
        advice: format!("report it with this line: {line}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_keep_only_what_happened() {
        let mut before = Hits {
            reads: 10,
            hits_remote: 4,
            ..Hits::default()
        };
        before.bypass.insert("page_cache".into(), 5);
        let mut now = Hits {
            reads: 30,
            hits_remote: 14,
            remote_bytes: 7,
            ..Hits::default()
        };
        now.bypass.insert("page_cache".into(), 5);
        now.bypass.insert("stream".into(), 2);
        let since = now.since(&before);
        assert_eq!(
            (since.reads, since.hits_remote, since.remote_bytes),
            (20, 10, 7)
        );
        assert_eq!(since.bypass, BTreeMap::from([("stream".to_string(), 2)]));
    }

    #[test]
    fn intervals_add_up() {
        let mut sum = Hits::default();
        let one = Hits {
            reads: 3,
            bypass: BTreeMap::from([("x".into(), 1)]),
            ..Hits::default()
        };
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.reads, sum.bypass["x"]), (6, 2));
    }
}
