//! A data set that just fits the cage natively, but would not beside a fixed 64 MiB of cache: the
//! region must take no memory where memory is what the page cache lives on.

use super::workers::{Start, Workers, medians, work_command};
use crate::error::Result;
use crate::report::{Goal, Row};
use crate::run::Lab;
use crate::size::{self, MIB};
use crate::slices;

/// What the worker and the kernel's bookkeeping need beside the data.
const SPARE_BYTES: u64 = 36 * MIB;

/// Turns of each side in a round.
const TURNS: u32 = 40;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 50;

/// Unmeasured turns, in which a local cache would grow if it were to.
const SETTLE_TURNS: u32 = 40;

/// Runs with the default local cache; each round is a fresh pair of processes.
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
    let variant = format!("{} in {}, 4 KiB", size::show(bytes), size::show(memory));
    let mut row = Row::new("small-cage", variant, "reads/s");
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for _ in 0..lab.args.rounds {
        let mut pair = Workers::start(lab, &start, |dir| {
            let file = dir.join("data").display().to_string();
            work_command(&["pread", "--file", &file, "--size", "4096"])
        })?;
        pair.load()?;
        let (native, hooked) = pair.both();
        slices::alternate(native, hooked, SETTLE_TURNS, TURN_MS)?;
        let turns = pair.turns(lab, TURNS, TURN_MS, &mut row)?;
        let (native, hooked) = medians(&turns, slices::rate);
        natives.push(native);
        hookeds.push(hooked);
    }
    let goal = lab
        .controllers
        .memory
        .is_some()
        .then_some(Goal::AtLeast(0.98));
    row.judge(natives, hookeds, goal);
    emit(row);
    Ok(())
}
