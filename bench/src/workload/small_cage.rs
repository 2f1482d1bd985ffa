//! A data set that just fits the cage natively, but would not beside a fixed 64 MiB of cache: the
//! region must take no memory where memory is what the page cache lives on.

use super::workers::{Rounds, Start, Workers, work_command};
use crate::error::Result;
use crate::report::{Goal, Row};
use crate::run::Lab;
use crate::run::rounds::{Measured, Subject, compare};
use crate::side::Side;
use crate::size::{self, MIB};
use crate::{cage::Cage, stats::Hits};

/// What the worker and the kernel's bookkeeping need beside the data.
const SPARE_BYTES: u64 = 36 * MIB;

/// Runs with the default local cache.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let memory = if lab.args.memory == 0 {
        256 * MIB
    } else {
        lab.args.memory
    };
    let bytes = memory.saturating_sub(SPARE_BYTES).max(16 * MIB);
    let files = [("data", bytes)];
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let pair = Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        work_command(&["pread", "--file", &file, "--size", "4096"])
    })?;
    let variant = format!("{} in {}, 4 KiB", size::show(bytes), size::show(memory));
    let mut row = Row::new("small-cage", variant, "reads/s");
    let mut subject = Fits(Rounds { pair, lab });
    let goal = (lab.controllers.memory.is_some()).then_some(Goal::AtLeast(0.98));
    compare(lab, &mut subject, &mut row, goal)?;
    emit(row);
    Ok(())
}

/// As `Rounds`, but each round begins with the data in the page cache.
struct Fits<'a>(Rounds<'a>);

impl Subject for Fits<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.0.cage(side)
    }

    fn data(&self, side: Side) -> std::path::PathBuf {
        self.0.data(side)
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        self.cage(side).cap(false)?;
        self.0.pair.workers.of_mut(side).pass()?;
        self.cage(side).cap(true)?;
        self.0.settle(side)
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        self.0.measure(side)
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.0.hits()
    }
}
