//! Measured rounds: native, hooked, hooked, native, ... with the page cache emptied before each,
//! and every counter read before and after.

use std::fs;
use std::path::PathBuf;

use super::{Lab, Pair, order};
use crate::cage::Cage;
use crate::error::Result;
use crate::files;
use crate::report::{Disk, Goal, Row};
use crate::side::Side;
use crate::stats::Hits;

/// Said beside rows that mean little.
const UNLIMITED: &str =
    "no memory limit: this row shows how much the page cache held, not the disk";

/// What one round of one side gave.
pub struct Measured {
    /// In the unit of the row.
    pub value: f64,
    /// Operations, for "per operation".
    pub ops: u64,
}

/// Something that can be run on both sides.
pub trait Subject {
    /// The cage of a side.
    fn cage(&self, side: Side) -> &Cage;
    /// The files of a side, thrown out of the page cache before its rounds.
    fn data(&self, side: Side) -> PathBuf;
    /// Runs unmeasured until the side is in its steady state.
    fn settle(&mut self, side: Side) -> Result<()>;
    /// One measured round.
    fn measure(&mut self, side: Side) -> Result<Measured>;
    /// The hooked side's counters.
    fn hits(&self) -> Result<Option<Hits>>;
}

/// All counters at one moment.
#[derive(Default)]
pub struct Counters {
    cage_reads: Option<u64>,
    device_reads: Option<u64>,
    hits: Option<Hits>,
    node_hits: Option<u64>,
}

impl Counters {
    /// Reads them; `hits` come from the caller, who knows the session.
    pub fn read(lab: &Lab, cage: &Cage, hits: Option<Hits>) -> Result<Self> {
        Ok(Self {
            cage_reads: cage.reads()?,
            device_reads: lab
                .device
                .as_ref()
                .map(|device| device.reads())
                .transpose()?,
            hits,
            node_hits: lab.node.hits(),
        })
    }

    /// Adds what happened between `before` and `self` to a row's side.
    pub fn charge(&self, before: &Self, side: Side, ops: u64, row: &mut Row) {
        let disk = match side {
            Side::Native => &mut row.native_disk,
            Side::Hooked => &mut row.hooked_disk,
        };
        add_disk(disk, self, before, ops);
        if let (Some(now), Some(before)) = (&self.hits, &before.hits) {
            row.hits.get_or_insert_default().add(&now.since(before));
        }
        if let (Side::Hooked, Some(now), Some(then)) = (side, self.node_hits, before.node_hits) {
            *row.node_hits.get_or_insert_default() += now.saturating_sub(then);
        }
        let per_op = row.hits.as_ref().map(|hits| hits.hits_remote as f64);
        let ops = row.hooked_disk.ops.max(1) as f64;
        row.remote_reads_per_op = per_op.map(|remote| remote / ops);
    }
}

fn add_disk(disk: &mut Disk, now: &Counters, before: &Counters, ops: u64) {
    let between = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
    disk.ops += ops;
    if let Some(reads) = between(now.cage_reads, before.cage_reads) {
        *disk.cage_reads.get_or_insert_default() += reads;
    }
    if let Some(reads) = between(now.device_reads, before.device_reads) {
        *disk.device_reads.get_or_insert_default() += reads;
    }
}

/// Empties both kinds of cache a side has: what its cage was charged for, and its files.
pub fn empty(cage: &Cage, data: &std::path::Path) {
    cage.empty();
    files::evict(data);
}

/// Runs all rounds of a subject and fills a row.
pub fn compare(
    lab: &Lab,
    subject: &mut dyn Subject,
    row: &mut Row,
    goal: Option<Goal>,
) -> Result<()> {
    let mut values = Pair {
        native: Vec::new(),
        hooked: Vec::new(),
    };
    for round in 0..lab.args.rounds {
        for side in order(round) {
            empty(subject.cage(side), &subject.data(side));
            subject.settle(side)?;
            let of_side = |subject: &dyn Subject| match side {
                Side::Native => Ok(None),
                Side::Hooked => subject.hits(),
            };
            let before = Counters::read(lab, subject.cage(side), of_side(subject)?)?;
            let measured = subject.measure(side)?;
            let after = Counters::read(lab, subject.cage(side), of_side(subject)?)?;
            after.charge(&before, side, measured.ops, row);
            values.of_mut(side).push(measured.value);
        }
    }
    row.judge(values.native, values.hooked, goal);
    if lab.controllers.memory.is_none() {
        row.notes.push(UNLIMITED.into());
    }
    Ok(())
}

/// A directory of the run for one side.
pub fn side_dir(lab: &Lab, side: Side) -> Result<PathBuf> {
    use crate::error::Because;
    let dir = lab.run_dir.path().join(side.word());
    fs::create_dir_all(&dir).because(|| dir.display().to_string())?;
    crate::users::give(&dir, lab.server_user.as_ref())?;
    Ok(dir)
}
