//! Pairs of the lab's own workers, one on each side, each with data of its own.
//!
//! Each side reads its own copy of the data: pages of a shared file would be charged to whoever
//! touched them first, and one side would live on the other's page cache.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::cage::{Cage, Limits};
use crate::error::{Because, Result};
use crate::files;
use crate::node::Node;
use crate::report::{Disk, Goal, Row, median};
use crate::run::rounds::{Counters, Measured, Subject, side_dir};
use crate::run::warm::{Cold, warm};
use crate::run::{Lab, Pair};
use crate::side::{self, Hooks, SIDES, Side, Spec};
use crate::slices::{self, Worker, alternate};
use crate::stats::Hits;
use crate::work::Slice;

/// Two workers in their cages. Workers are dropped before the cages.
pub struct Workers {
    /// The programs.
    pub workers: Pair<Worker>,
    /// Where they are.
    pub cages: Pair<Cage>,
    /// Each side's data directory.
    pub data: Pair<PathBuf>,
}

/// How workers are started.
pub struct Start<'a> {
    /// Limits of both cages.
    pub limits: Limits,
    /// Node of the hooked side.
    pub node: &'a Node,
    /// Further options of `hooktool run`.
    pub options: &'a [&'a str],
    /// Files to make on each side: name and bytes.
    pub files: &'a [(&'a str, u64)],
}

impl Workers {
    /// Makes the files and starts `command(data directory)` on both sides.
    pub fn start(
        lab: &Lab,
        start: &Start,
        mut command: impl FnMut(&Path) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let data = Pair::try_of(|side| {
            let dir = side_dir(lab, side)?;
            for (name, bytes) in start.files {
                files::make_random(&dir.join(name), *bytes)?;
            }
            Ok(dir)
        })?;
        let cages = lab.cages(start.limits)?;
        let hooks = Hooks {
            node: start.node,
            ..lab.hooks()
        };
        let workers = Pair::try_of(|side| {
            let spec = Spec {
                command: command(data.of(side))?,
                user: None,
                own: Vec::new(),
                options: start.options.iter().map(ToString::to_string).collect(),
                log: lab.run_dir.path().join(format!("{}.log", side.word())),
                pipes: true,
                end_by: Signal::TERM,
                cwd: data.of(side),
            };
            Worker::new(side::launch(side, cages.of(side), &hooks, spec)?)
        })?;
        Ok(Self {
            workers,
            cages,
            data,
        })
    }

    /// Both workers at once.
    pub fn both(&mut self) -> (&mut Worker, &mut Worker) {
        (&mut self.workers.native, &mut self.workers.hooked)
    }

    /// Warms the hooked side by sequential passes; `bytes` is what can be served.
    pub fn warm(&mut self, lab: &Lab, bytes: u64, row: &mut Row) -> Result<()> {
        let cold = Cold {
            cage: &self.cages.hooked,
            data: &self.data.hooked,
            bytes,
        };
        let worker = std::cell::RefCell::new(&mut self.workers.hooked);
        row.warm = warm(
            lab.args.warm,
            &cold,
            &mut || worker.borrow_mut().pass().map(|_| ()),
            &mut || worker.borrow().target.hits(),
        )?;
        Ok(())
    }

    /// Short turns with counters around; returns the slices of both sides.
    pub fn turns(
        &mut self,
        lab: &Lab,
        count: u32,
        ms: u64,
        row: &mut Row,
    ) -> Result<(Vec<Slice>, Vec<Slice>)> {
        let before = self.counters(lab)?;
        let (native, hooked) = self.both();
        let (natives, hookeds) = alternate(native, hooked, count, ms)?;
        let after = self.counters(lab)?;
        let ops = |slices: &[Slice]| slices.iter().map(|it| it.ops + it.beside_ops).sum();
        after
            .native
            .charge(&before.native, Side::Native, ops(&natives), row);
        after
            .hooked
            .charge(&before.hooked, Side::Hooked, ops(&hookeds), row);
        // In turns this short the device's own counter cannot be told apart by side.
        for disk in [&mut row.native_disk, &mut row.hooked_disk] {
            *disk = Disk {
                device_reads: None,
                ..*disk
            };
        }
        Ok((natives, hookeds))
    }

    fn counters(&self, lab: &Lab) -> Result<Pair<Counters>> {
        let hits = self.workers.hooked.target.hits()?;
        Ok(Pair {
            native: Counters::read(lab, &self.cages.native, None)?,
            hooked: Counters::read(lab, &self.cages.hooked, hits)?,
        })
    }

    /// Goes over everything once on both sides, without a cap: into the page cache.
    pub fn load(&mut self) -> Result<()> {
        for side in SIDES {
            self.cages.of(side).cap(false)?;
            self.workers.of_mut(side).pass()?;
            self.cages.of(side).cap(true)?;
        }
        Ok(())
    }
}

/// Workers measured in long rounds, disk-bound.
pub struct Rounds<'a> {
    /// The workers.
    pub pair: Workers,
    /// Lengths come from here.
    pub lab: &'a Lab,
}

impl Subject for Rounds<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.pair.cages.of(side)
    }

    fn data(&self, side: Side) -> PathBuf {
        self.pair.data.of(side).clone()
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        let ms = u64::from(self.lab.args.settle_seconds) * 1000;
        if ms > 0 {
            self.pair.workers.of_mut(side).slice(ms)?;
        }
        Ok(())
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        let ms = u64::from(self.lab.args.seconds) * 1000;
        let slice = self.pair.workers.of_mut(side).slice(ms)?;
        Ok(Measured {
            value: slices::rate(&slice),
            ops: slice.ops,
        })
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.pair.workers.hooked.target.hits()
    }
}

/// The command line of one of the lab's own programs.
pub fn work_command(words: &[&str]) -> Result<Vec<String>> {
    let lab = std::env::current_exe().because(|| "finding lab itself")?;
    let mut command = vec![lab.display().to_string(), "work".into()];
    command.extend(words.iter().map(ToString::to_string));
    Ok(command)
}

/// Medians of the turns of one pair of processes: native, hooked.
///
/// Two processes of the same program differ by a few percent for all their life (where their pages
/// lie, which processor they woke on), so rows about nanoseconds take a round from each of several
/// pairs, not several rounds from one.
pub fn medians(turns: &(Vec<Slice>, Vec<Slice>), value: impl Fn(&Slice) -> f64) -> (f64, f64) {
    let of = |slices: &[Slice]| median(&slices.iter().map(&value).collect::<Vec<_>>());
    (of(&turns.0), of(&turns.1))
}

/// Judges a row of many short turns: `value` of each slice, which becomes a round.
pub fn judge(
    row: &mut Row,
    turns: &(Vec<Slice>, Vec<Slice>),
    value: impl Fn(&Slice) -> f64,
    goal: Option<Goal>,
) {
    let of = |slices: &[Slice]| slices.iter().map(&value).collect();
    row.judge(of(&turns.0), of(&turns.1), goal);
}
