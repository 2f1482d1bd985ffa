//! The world that the model runs in: the shared structures of one session, as small as they can be,
//! a disk that reads and writes half a page at a time, a memory node, and the ghosts, which know
//! what no process knows: what the disk held at every instant.
//!
//! Made anew for every schedule. Ghosts are changed between two steps of the model (no other thread
//! can run in between), so that they need no protocol of their own.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use grid::files::{FileRecord, Files, Stamp};
use grid::ident::FileIdent;
use grid::index::{Bucket, Index};
use grid::local::{Local, Tag, WAYS};
use grid::ops::{Op, OpSlot, Ops};
use grid::refresh::{RefreshSlot, RefreshSlots};
use grid::sync::{AtomicU32, AtomicU64, Ordering};
use grid::writes::{Cells, FileCells};

use crate::faults::Fault;

/// A page as the model knows it: two halves, each holding the number of the write that made it.
pub type Page = [u64; 2];

/// Files of the world.
pub const FILES: usize = 2;
/// Pages of a file.
pub const PAGES: u64 = 2;

/// What a world is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Records in the file table.
    pub records: usize,
    /// Operation records.
    pub ops: usize,
    /// Whether the two files share their pair of cells.
    pub files_collide: bool,
    /// Files named by `--own`: served by identity alone.
    pub owned: bool,
    /// The rule to be broken, if any.
    pub fault: Option<Fault>,
}

impl Plan {
    /// Room enough for everything, no file owned, every rule kept.
    pub const PLAIN: Plan = Plan {
        records: 8,
        ops: 4,
        files_collide: false,
        owned: false,
        fault: None,
    };
}

/// A file on the simulated disk.
struct DiskFile {
    ident: FileIdent,
    pages: [[AtomicU64; 2]; PAGES as usize],
    ctime: AtomicU64,
}

/// What the disk held at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instant {
    page: Page,
    /// No write was half way through this page.
    whole: bool,
}

/// What no process of the session can see.
#[derive(Default)]
struct Ghost {
    history: HashMap<(usize, u64), Vec<Instant>>,
    /// Writes in the kernel: by whom, which page.
    in_kernel: Vec<(u16, usize, u64)>,
    /// Changes in progress by outsiders, by file.
    outsiders: [u32; FILES],
    node: HashMap<NodeKey, Page>,
    ticks: u64,
    dead: Vec<u16>,
    frozen: Vec<Op>,
    hits: u64,
}

/// As on the wire: the whole name of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeKey {
    /// The file.
    pub file: usize,
    /// The page.
    pub page: u64,
    /// log2 of the block size.
    pub log2: u8,
    /// Epoch of the file.
    pub epoch: u64,
    /// Version of the block.
    pub version: u64,
}

/// Everything.
pub struct World {
    /// How it was made.
    pub plan: Plan,
    blocks: Vec<AtomicU64>,
    file_cells: Vec<FileCells>,
    /// Cells that nobody looks at, for the faults that forget a new epoch.
    decoys: Vec<FileCells>,
    records: Vec<FileRecord>,
    ops: Vec<OpSlot>,
    tags: Vec<Tag>,
    tags_active: AtomicU64,
    content: Vec<[AtomicU64; 2]>,
    buckets: Vec<Bucket>,
    refresh: Vec<RefreshSlot>,
    /// Content of the refresh slots.
    pub refresh_content: Vec<[AtomicU64; 2]>,
    disk: Vec<DiskFile>,
    /// A step without effect, where the kernel or the network takes its time.
    idle: AtomicU64,
    /// The lock that session writers and outsiders take, where both do.
    pub lock: shuttle::sync::Mutex<()>,
    ghost: Mutex<Ghost>,
}

fn page(value: u64) -> [AtomicU64; 2] {
    [AtomicU64::new(value), AtomicU64::new(value)]
}

impl World {
    /// A world in which every page holds write 0 and nothing is cached.
    pub fn new(plan: Plan) -> World {
        let file_cells: Vec<FileCells> = (0..2).map(|_| FileCells::unused()).collect();
        let blocks: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
        let idents = {
            let cells = Cells {
                blocks: &blocks,
                files: &file_cells,
            };
            choose_idents(cells, plan.files_collide)
        };
        let disk_file = |ident| DiskFile {
            ident,
            pages: [page(0), page(0)],
            ctime: AtomicU64::new(0),
        };
        let world = World {
            plan,
            blocks,
            file_cells,
            decoys: (0..2).map(|_| FileCells::unused()).collect(),
            records: (0..plan.records).map(|_| FileRecord::free()).collect(),
            ops: (0..plan.ops).map(|_| OpSlot::idle()).collect(),
            tags: (0..WAYS).map(|_| Tag::empty()).collect(),
            tags_active: AtomicU64::new(1),
            content: (0..WAYS).map(|_| page(0)).collect(),
            buckets: vec![Bucket(std::array::from_fn(|_| AtomicU32::new(0)))],
            refresh: (0..1).map(|_| RefreshSlot::free()).collect(),
            refresh_content: (0..1).map(|_| page(0)).collect(),
            disk: idents.map(disk_file).into(),
            idle: AtomicU64::new(0),
            lock: shuttle::sync::Mutex::new(()),
            ghost: Mutex::default(),
        };
        for file in 0..FILES {
            for nth in 0..PAGES {
                let first = Instant {
                    page: [0, 0],
                    whole: true,
                };
                world.ghost().history.insert((file, nth), vec![first]);
            }
        }
        world
    }

    fn ghost(&self) -> MutexGuard<'_, Ghost> {
        self.ghost
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The session's cells.
    pub fn cells(&self) -> Cells<'_> {
        Cells {
            blocks: &self.blocks,
            files: &self.file_cells,
        }
    }

    /// The file table.
    pub fn files(&self) -> Files<'_> {
        Files {
            records: &self.records,
            cells: self.cells(),
        }
    }

    /// The file table whose new records bump an epoch that nobody looks at.
    pub fn files_without_epochs(&self) -> Files<'_> {
        let cells = Cells {
            blocks: &self.blocks,
            files: &self.decoys,
        };
        Files {
            records: &self.records,
            cells,
        }
    }

    /// Operation records.
    pub fn ops(&self) -> Ops<'_> {
        Ops(&self.ops)
    }

    /// The local cache: one set.
    pub fn local(&self) -> Local<'_> {
        Local {
            tags: &self.tags,
            active: &self.tags_active,
        }
    }

    /// The block index: one bucket.
    pub fn index(&self) -> Index<'_> {
        Index(&self.buckets)
    }

    /// The refresh slots: one.
    pub fn refresh(&self) -> RefreshSlots<'_> {
        RefreshSlots(&self.refresh)
    }

    /// Copies a page of the local cache out, half by half.
    pub fn copy_out(&self, slot: usize) -> Page {
        load(&self.content[slot])
    }

    /// Copies a page into the local cache, half by half.
    pub fn copy_in(&self, slot: usize, page: Page) {
        store(&self.content[slot], page);
    }

    /// Lets time pass.
    pub fn step(&self) {
        self.idle.load(Ordering::Relaxed);
    }

    /// Identity of a file.
    pub fn ident(&self, file: usize) -> FileIdent {
        self.disk[file].ident
    }

    /// `statx`.
    pub fn stat(&self, file: usize) -> Stamp {
        Stamp {
            size: PAGES * 4096,
            ctime_ns: self.disk[file].ctime.load(Ordering::Relaxed),
        }
    }

    /// The kernel's read: half by half.
    pub fn kernel_read(&self, file: usize, nth: u64) -> Page {
        load(&self.disk[file].pages[nth as usize])
    }

    /// The kernel's write: the stamp moves when it starts, then half by half.
    pub fn kernel_write(&self, owner: u16, file: usize, nth: u64) {
        self.step();
        let tick = {
            let mut ghost = self.ghost();
            ghost.ticks += 1;
            ghost.in_kernel.push((owner, file, nth));
            ghost.ticks
        };
        let on_disk = &self.disk[file];
        on_disk.ctime.store(tick, Ordering::Relaxed);
        self.remember(file, nth, |_| ());
        for half in 0..2 {
            on_disk.pages[nth as usize][half].store(tick, Ordering::Relaxed);
            self.remember(file, nth, |page| page[half] = tick);
        }
        self.end_kernel_write(owner, file, nth);
    }

    fn end_kernel_write(&self, owner: u16, file: usize, nth: u64) {
        self.ghost()
            .in_kernel
            .retain(|write| *write != (owner, file, nth));
        self.remember(file, nth, |_| ());
    }

    fn remember(&self, file: usize, nth: u64, change: impl FnOnce(&mut Page)) {
        let mut ghost = self.ghost();
        let whole = ghost
            .in_kernel
            .iter()
            .all(|(_, f, n)| (*f, *n) != (file, nth));
        let history = ghost
            .history
            .get_mut(&(file, nth))
            .expect("every page has a history");
        let mut page = history[history.len() - 1].page;
        change(&mut page);
        history.push(Instant { page, whole });
    }

    /// Now, as an instant in the history of a page.
    pub fn now(&self, file: usize, nth: u64) -> usize {
        self.ghost().history[&(file, nth)].len() - 1
    }

    /// The property: what a read that began at `begin` and ends now was given is what the disk held
    /// at some instant in between at which no write was half way through.
    pub fn judge(&self, file: usize, nth: u64, begin: usize, answer: Page) {
        let mut ghost = self.ghost();
        ghost.hits += 1;
        let span = &ghost.history[&(file, nth)][begin..];
        let is_right = span.iter().any(|at| at.whole && at.page == answer);
        assert!(
            is_right,
            "file {file} page {nth}: served {answer:?}, the disk held {span:?}"
        );
    }

    /// An outsider's change of a file begins.
    pub fn outsider_begins(&self, file: usize) {
        self.ghost().outsiders[file] += 1;
    }

    /// ... and ends.
    pub fn outsider_ends(&self, file: usize) {
        self.ghost().outsiders[file] -= 1;
    }

    /// What the hook server's lease tells: the stamp, at an instant at which nobody outside of the
    /// session is changing the file.
    pub fn proved_stamp(&self, file: usize) -> Option<Stamp> {
        let stamp = self.stat(file);
        (self.ghost().outsiders[file] == 0).then_some(stamp)
    }

    /// Notes a death, as the process descriptor will tell: its system calls have ended by then.
    pub fn bury(&self, owner: u16) {
        let writes = self.ghost().in_kernel.clone();
        for (_, file, nth) in writes.into_iter().filter(|(by, ..)| *by == owner) {
            self.end_kernel_write(owner, file, nth);
        }
        self.ghost().dead.push(owner);
    }

    /// Processes whose death is proved.
    pub fn dead(&self) -> Vec<u16> {
        self.ghost().dead.clone()
    }

    /// The reaper's list of what it has frozen; it is the only one who has it.
    pub fn take_frozen(&self) -> Vec<Op> {
        std::mem::take(&mut self.ghost().frozen)
    }

    /// ... and gives it back.
    pub fn put_frozen(&self, frozen: Vec<Op>) {
        self.ghost().frozen = frozen;
    }

    /// SET on the memory node.
    pub fn node_set(&self, key: NodeKey, page: Page) {
        self.step();
        self.ghost().node.insert(key, page);
    }

    /// GET from the memory node.
    pub fn node_get(&self, key: NodeKey) -> Option<Page> {
        self.step();
        self.ghost().node.get(&key).copied()
    }

    /// How many reads were served.
    pub fn hits(&self) -> u64 {
        self.ghost().hits
    }
}

/// Loads both halves, with time in between.
pub fn load(halves: &[AtomicU64; 2]) -> Page {
    [
        halves[0].load(Ordering::Relaxed),
        halves[1].load(Ordering::Relaxed),
    ]
}

/// Stores both halves, with time in between.
pub fn store(halves: &[AtomicU64; 2], page: Page) {
    halves[0].store(page[0], Ordering::Relaxed);
    halves[1].store(page[1], Ordering::Relaxed);
}

/// Two files that share a pair of cells, or do not.
fn choose_idents(cells: Cells, collide: bool) -> [FileIdent; FILES] {
    let ident = |ino| FileIdent {
        dev: 1,
        ino,
        birth_ns: 3,
    };
    let first = ident(1);
    let pair = |ident: FileIdent| std::ptr::from_ref(cells.file(ident.hash()));
    let second = (2..)
        .map(ident)
        .find(|ident| (pair(*ident) == pair(first)) == collide)
        .expect("half of all identities");
    [first, second]
}
