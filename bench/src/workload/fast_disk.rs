//! A disk as fast as the network: nothing to win, so ramgrid must step aside by itself. The disk is
//! not capped; the network is given the round trip that makes a remote read as slow as this
//! disk's random read, measured natively just before.

use super::workers::{Start, Workers, judge, work_command};
use crate::cage::Limits;
use crate::error::Result;
use crate::report::{Goal, Row};
use crate::run::Lab;
use crate::run::rounds::empty;
use crate::side::{SIDES, Side};
use crate::slices;

/// Length of the native measurement, in milliseconds.
const PROBE_MS: u64 = 1500;

/// Turns of each side; a disk that is not capped is noisy.
const TURNS: u32 = 60;

/// Unmeasured turns, until memory is full and judgements have settled.
const SETTLE_TURNS: u32 = 30;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 200;

/// One thread.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let disk_us = disk_us(lab)?;
    let node = lab.start_node(disk_us)?;
    let mut row = Row::new(
        "fast-disk",
        "1 thread, 4 KiB, disk as fast as the network",
        "reads/s",
    );
    row.figures.insert("disk_read_us", f64::from(disk_us));
    row.notes.push(format!(
        "no read cap; +{disk_us} us of round trip to the node"
    ));
    let mut pair = start(lab, &node)?;
    pair.warm(lab, lab.args.data, &mut row)?;
    for side in SIDES {
        empty(pair.cages.of(side), pair.data.of(side));
    }
    let (native, hooked) = pair.both();
    slices::alternate(native, hooked, SETTLE_TURNS, TURN_MS)?;
    let turns = pair.turns(lab, TURNS, TURN_MS, &mut row)?;
    judge(&mut row, &turns, slices::rate, Some(Goal::AtLeast(0.98)));
    emit(row);
    Ok(())
}

fn start(lab: &Lab, node: &crate::node::Node) -> Result<Workers> {
    let files = [("data", lab.args.data)];
    let limits = Limits {
        read_iops: 0,
        ..lab.limits()
    };
    let start = Start {
        limits,
        node,
        options: &[],
        files: &files,
    };
    Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        work_command(&["pread", "--file", &file, "--size", "4096", "--latency"])
    })
}

/// Median of this disk's random 4 KiB read, native, in microseconds.
fn disk_us(lab: &Lab) -> Result<u32> {
    let mut pair = start(lab, &lab.node)?;
    empty(pair.cages.of(Side::Native), pair.data.of(Side::Native));
    let slice = pair.workers.native.slice(PROBE_MS)?;
    Ok(u32::try_from(slice.p50_ns / 1000)
        .unwrap_or(u32::MAX)
        .clamp(1, 20_000))
}
