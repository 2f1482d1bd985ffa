//! Calls ramgrid has no business with: `write` and `read` on sockets and pipes, hooked or not, must
//! cost the same to a few nanoseconds.

use super::workers::{Start, Workers, medians, work_command};
use crate::cage::Limits;
use crate::error::Result;
use crate::report::{Goal, Row};
use crate::run::Lab;
use crate::slices;

/// Pairs of processes; each is a round.
const PAIRS: u32 = 7;

/// Turns of each side in a round.
const TURNS: u32 = 60;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 10;

/// Nanoseconds a hook may add to a call.
const ADDS_NS: f64 = 10.0;

/// Runs `lab work socket` with `flags`.
pub fn run(lab: &Lab, name: &str, flags: &[&str], emit: &mut dyn FnMut(Row)) -> Result<()> {
    let limits = Limits {
        memory_bytes: 0,
        read_iops: 0,
    };
    let start = Start {
        limits,
        node: &lab.node,
        options: &[],
        files: &[],
    };
    let words = [&["socket"], flags].concat();
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let mut pair = Workers::start(lab, &start, |_| work_command(&words))?;
        let (native, hooked) = pair.both();
        slices::alternate(native, hooked, 5, TURN_MS)?;
        let turns = slices::alternate(native, hooked, TURNS, TURN_MS)?;
        let (native, hooked) = medians(&turns, slices::cost_ns);
        natives.push(native);
        hookeds.push(hooked);
    }
    let mut row = Row::new(name, "64 bytes, one thread", "ns per call");
    row.judge(natives, hookeds, Some(Goal::AddsAtMost(ADDS_NS)));
    row.figures
        .insert("added_ns", row.hooked.median - row.native.median);
    emit(row);
    Ok(())
}
