//! A hit in the region's local cache against a hit in the kernel's page cache, 4 KiB. A local hit
//! replaces a remote or a disk read, so it may cost a little more than the page cache.

use super::workers::{Start, Workers, medians, work_command};
use crate::cage::Limits;
use crate::error::Result;
use crate::report::{Goal, Row};
use crate::run::Lab;
use crate::size::MIB;
use crate::slices;

/// Fits the local cache and the page cache.
const BYTES: u64 = 16 * MIB;

/// Time a local hit may take, in page-cache hits.
const GOAL: Goal = Goal::AtMost(1.3);

/// Turns of each side in a round.
const TURNS: u32 = 60;

/// Unmeasured turns, in which blocks move from the node to the local cache.
const SETTLE_TURNS: u32 = 60;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 10;

/// Share of reads that must be local hits for the row to mean anything.
const LOCAL: f64 = 0.95;

/// `--fill always` and a fixed local cache, because by judgement ramgrid would leave a file in the
/// page cache alone.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let files = [("data", BYTES)];
    let options = ["--local", "64MiB", "--fill", "always"];
    let limits = Limits {
        memory_bytes: 0,
        read_iops: 0,
    };
    let start = Start {
        limits,
        node: &lab.node,
        options: &options,
        files: &files,
    };
    let mut row = Row::new("local-hit", "4 KiB against a page-cache hit", "ns per read");
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for _ in 0..lab.args.rounds {
        let mut pair = Workers::start(lab, &start, |dir| {
            let file = dir.join("data").display().to_string();
            work_command(&["pread", "--file", &file, "--size", "4096"])
        })?;
        pair.warm(lab, BYTES, &mut row)?;
        pair.load()?;
        let (native, hooked) = pair.both();
        slices::alternate(native, hooked, SETTLE_TURNS, TURN_MS)?;
        let turns = pair.turns(lab, TURNS, TURN_MS, &mut row)?;
        let (native, hooked) = medians(&turns, slices::cost_ns);
        natives.push(native);
        hookeds.push(hooked);
    }
    row.judge(natives, hookeds, Some(GOAL));
    if let Some(hits) = &row.hits {
        let share = hits.hits_local as f64 / hits.reads.max(1) as f64;
        row.figures.insert("local_share", share);
        if share < LOCAL {
            row.reached = Some(false);
            row.notes.push(format!(
                "only {:.0} % were local hits: no valid row",
                share * 100.0
            ));
        }
    }
    emit(row);
    Ok(())
}
