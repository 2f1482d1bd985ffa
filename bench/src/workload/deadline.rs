//! The worst read while the memory node is stopped (SIGSTOP), against what it may take: its
//! deadline, and then the disk. The native side reads the same file from the same kind of disk.
//!
//! Every round is one slice of each side. In the hooked one the node is stopped after a third of
//! the time, in the middle of service, and goes on after two thirds.

use std::time::Duration;

use super::valid;
use super::workers::{Start, Workers, work_command};
use crate::error::{Result, advice};
use crate::report::{Goal, Row};
use crate::run::rounds::{Counters, empty};
use crate::run::{Lab, order};
use crate::side::Side;
use crate::stop;
use crate::work::Slice;

/// A read waits for a node at most as long as so many reads of the device take...
const DISK_READS: f64 = 4.0;

/// ... within these bounds, in milliseconds (`docs/benchmarks.md`).
const DEADLINE_MS_MIN: f64 = 5.0;
const DEADLINE_MS_MAX: f64 = 50.0;

/// Rounds at least: the worst of few reads says little.
const ROUNDS_MIN: u32 = 5;

/// A row for each number of threads.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    if lab.args.calibrate {
        return Ok(());
    }
    for &threads in &lab.args.clients {
        variant(lab, threads, emit)?;
    }
    Ok(())
}

fn variant(lab: &Lab, threads: u32, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let files = [("data", lab.args.data)];
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let count = threads.to_string();
    let mut pair = Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        let words = ["pread", "--file", &file, "--size", "4096", "--latency"];
        work_command(&[&words[..], &["--threads", &count]].concat())
    })?;
    let name = format!("{threads} threads, 4 KiB, node stopped");
    let mut row = Row::new("deadline", name, "ms, worst read");
    pair.warm(lab, lab.args.data, &mut row)?;
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for round in 0..lab.args.rounds.max(ROUNDS_MIN) {
        for side in order(round) {
            let slice = one(lab, &mut pair, side, &mut row)?;
            match side {
                Side::Native => natives.push(slice),
                Side::Hooked => hookeds.push(slice),
            }
        }
    }
    judge(&mut row, threads, &natives, &hookeds);
    valid::served_by_node(&mut row);
    emit(row);
    Ok(())
}

/// One slice of a side, with its counters.
fn one(lab: &Lab, pair: &mut Workers, side: Side, row: &mut Row) -> Result<Slice> {
    empty(pair.cages.of(side), pair.data.of(side));
    pair.workers
        .of_mut(side)
        .slice(u64::from(lab.args.settle_seconds) * 1000)?;
    let counters = |pair: &Workers| {
        let hits = match side {
            Side::Native => None,
            Side::Hooked => pair.workers.hooked.target.hits()?,
        };
        Counters::read(lab, pair.cages.of(side), hits)
    };
    let before = counters(pair)?;
    let ms = u64::from(lab.args.seconds) * 1000;
    let slice = match side {
        Side::Native => pair.workers.native.slice(ms)?,
        Side::Hooked => pair
            .workers
            .hooked
            .slice_during(ms, &mut || stop_node(lab, ms / 3))?,
    };
    counters(pair)?.charge(&before, side, slice.ops, row);
    Ok(slice)
}

/// After `third_ms` the node is stopped for as long again.
fn stop_node(lab: &Lab, third_ms: u64) -> Result<()> {
    let Some(node) = lab.node.process() else {
        return Err(advice(
            "the node cannot be stopped: it is not a process of the lab",
            "use --node spawn",
        ));
    };
    let third = Duration::from_millis(third_ms);
    stop::sleep(third)?;
    node.pause()?;
    let slept = stop::sleep(third);
    node.resume()?;
    slept
}

fn judge(row: &mut Row, threads: u32, natives: &[Slice], hookeds: &[Slice]) {
    let worst = |slices: &[Slice]| slices.iter().map(|it| it.max_ns as f64 / 1e6).collect();
    let (ops, ns) = natives
        .iter()
        .fold((0, 0), |(ops, ns), it| (ops + it.ops, ns + it.ns));
    let disk_ms = ns as f64 / 1e6 * f64::from(threads) / ops.max(1) as f64;
    let deadline_ms = (DISK_READS * disk_ms).clamp(DEADLINE_MS_MIN, DEADLINE_MS_MAX);
    row.judge(
        worst(natives),
        worst(hookeds),
        Some(Goal::AddsAtMost(deadline_ms)),
    );
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let (native, hooked) = (largest(&row.native.rounds), largest(&row.hooked.rounds));
    for (name, value) in [
        ("disk_read_ms", disk_ms),
        ("deadline_ms", deadline_ms),
        ("native_worst_ms", native),
        ("hooked_worst_ms", hooked),
    ] {
        row.figures.insert(name, value);
    }
    let hits = row.hits.as_ref();
    let waited = hits.map_or(0, |hits| {
        hits.fallback.get("deadline").copied().unwrap_or(0)
    });
    row.figures.insert("reads_past_deadline", waited as f64);
    if waited == 0 {
        valid::refuse(row, "no read waited for the stopped node".into());
    }
}
