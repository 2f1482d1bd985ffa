//! Credential domains: each (user, group, further groups, root directory) of a session has a region
//! of its own.
//!
//! A process maps only the region of its own credentials, so that it never sees a block that it
//! could not have read itself, and nothing it scribbles reaches others. `session` makes domains on
//! demand; `attach` sorts processes into them; `drain`, `proofs`, `reap`, `tend` work on each.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use grid::local::{Local, WAYS};
use grid::node::{NODES_MAX, NodeRecord, Nodes};
use grid::ops::Op;
use grid::refresh::Refresh;
use grid::region::Region;
use grid::sync::{AtomicU64, Ordering};
use parking_lot::Mutex;
use wire::Keys;

use super::region::Mapped;
use super::totals::Totals;

/// What decides which region a process may map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Its root directory, as device and inode: what lies outside of it is not its to read. Zeros
    /// where that cannot be seen from here.
    pub root: (u64, u64),
}

/// An operation of a dead process whose cells are still frozen, or whose file's stamp is still to
/// be distrusted.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    /// What the dead process had begun.
    pub op: Op,
    /// Its cells are back in service.
    pub is_thawed: bool,
}

/// A credential domain: its region and what the hook server knows about it alone.
pub struct Domain {
    /// Its number in the session.
    pub number: u32,
    /// Who may map it.
    pub credentials: Credentials,
    /// The memory file.
    pub memory: OwnedFd,
    /// The region.
    pub region: Region,
    /// Keys of its blocks on the nodes.
    pub keys: Keys,
    /// Released operations to be thawed. Whoever freezes or thaws holds this lock.
    pub frozen: Mutex<Vec<Frozen>>,
    /// Counters of processes that are gone.
    pub totals: Mutex<Totals>,
    /// Blocks that a node has acknowledged.
    pub pushed_blocks: AtomicU64,
    /// Bytes of those blocks.
    pub pushed_bytes: AtomicU64,
    /// Blocks taken from refresh slots and not brought to a node.
    pub dropped_blocks: AtomicU64,
    /// Most sets of the local cache that have ever been in use.
    pub local_sets_max: AtomicU64,
    /// Good probes of each node since its breaker opened.
    pub good_probes: [AtomicU64; NODES_MAX],
    /// Path of a file record by its index, with the generation it belongs to.
    pub paths: Mutex<HashMap<u32, (u32, String)>>,
}

impl Credentials {
    /// Reads those of a process from `/proc`.
    ///
    /// # Errors
    ///
    /// The process is gone or `/proc` is not mounted.
    pub fn of_process(pid: u32) -> io::Result<Credentials> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let root = root_of(pid);
        Credentials::parse(&text, root).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(status: &str, root: (u64, u64)) -> Option<Credentials> {
        let numbers = |key: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace()
                .map(|number| number.parse().ok())
                .collect()
        };
        let mut groups = numbers("Groups:")?;
        groups.sort_unstable();
        groups.dedup();
        Some(Credentials {
            uid: *numbers("Uid:")?.get(1)?,
            gid: *numbers("Gid:")?.get(1)?,
            groups,
            root,
        })
    }
}

/// The root directory of a process.
pub fn root_of(pid: u32) -> (u64, u64) {
    let root = rustix::fs::stat(format!("/proc/{pid}/root/").as_str());
    root.map_or((0, 0), |root| (root.st_dev, root.st_ino))
}

impl Domain {
    /// A domain around a fresh region.
    pub fn new(number: u32, credentials: Credentials, mapped: Mapped) -> Domain {
        let header = mapped.region.header();
        let keys = Keys::derive(&header.secret_bytes(), mapped.integrity);
        let local_sets = header.local_active.load(Ordering::Relaxed);
        Domain {
            number,
            credentials,
            memory: mapped.memory,
            region: mapped.region,
            keys,
            frozen: Mutex::new(Vec::new()),
            totals: Mutex::new(Totals::default()),
            pushed_blocks: AtomicU64::new(0),
            pushed_bytes: AtomicU64::new(0),
            dropped_blocks: AtomicU64::new(0),
            local_sets_max: AtomicU64::new(local_sets),
            good_probes: std::array::from_fn(|_| AtomicU64::new(0)),
            paths: Mutex::new(HashMap::new()),
        }
    }

    /// The part of the local cache that has ever been in use: no tag beyond it was ever touched.
    pub fn local_used(&self) -> Local<'static> {
        let local = self.region.local();
        let sets = self.local_sets_max.load(Ordering::Relaxed);
        let tags = usize::try_from(sets)
            .unwrap_or(usize::MAX)
            .saturating_mul(WAYS);
        Local {
            tags: &local.tags[..tags.min(local.tags.len())],
            active: local.active,
        }
    }

    /// The record of a node in this region.
    pub fn node(&self, number: usize) -> &'static NodeRecord {
        &self.region.nodes().records[number]
    }

    /// The slot that a block on its way to a node is placed on.
    pub fn slot_of(&self, refresh: &Refresh) -> usize {
        let hash = refresh.ident.hash() ^ self.keys.salt();
        Nodes::slot_of(hash, refresh.block, refresh.log2)
    }

    /// Mean size of the blocks pushed so far, in bytes; 8 KiB before the first.
    pub fn block_bytes_mean(&self) -> u64 {
        let blocks = self.pushed_blocks.load(Ordering::Relaxed);
        match blocks {
            0 => 8192,
            blocks => self.pushed_bytes.load(Ordering::Relaxed) / blocks,
        }
    }

    /// Forgets every block: index and local cache. What the nodes hold is never asked for again.
    pub fn forget_blocks(&self) {
        self.region.index().clear();
        for (_, record) in self.region.files().live() {
            record.blocks_held.store(0, Ordering::Relaxed);
        }
        let local = self.local_used();
        for slot in 0..local.tags.len() {
            let _ = local.evict(slot, super::members::OWN_SLOT, |_| ());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_ids_and_sorted_groups_are_read() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t30 4 24 4 \n";
        let expected = Credentials {
            uid: 2,
            gid: 6,
            groups: vec![4, 24, 30],
            root: (7, 8),
        };
        assert_eq!(Credentials::parse(status, (7, 8)), Some(expected));
        assert_eq!(Credentials::parse("Name:\tx\n", (7, 8)), None);
    }

    #[test]
    fn this_process_has_credentials() {
        let ours = Credentials::of_process(std::process::id()).unwrap();
        assert_eq!(ours.uid, super::super::sys::effective_user());
    }
}
