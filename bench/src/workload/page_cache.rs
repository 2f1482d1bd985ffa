//! Everything in the page cache: ramgrid cannot help, and must not be noticed. 100-byte and 4 KiB
//! reads of a small file, alone, and beside a second file of the same process that is larger than
//! the cage and served remotely.

use super::workers::{Start, Workers, judge, medians, work_command};
use crate::error::Result;
use crate::report::{Goal, Row, median};
use crate::run::Lab;
use crate::size::MIB;
use crate::slices;
use crate::work::Slice;

/// Pairs of processes; each is a round.
const PAIRS: u32 = 5;

/// Turns of each side in a round.
const TURNS: u32 = 60;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 10;

/// The file that stays in the page cache.
const HOT_BYTES: u64 = 16 * MIB;

/// Device reads per second of both cages while the other file is read: few enough that it is served
/// at several times its native speed, as the row asks for. While the small file is being read, the
/// cap gathers allowance, so that at 3000 a read beside natively costs a fraction of 1/3000 s.
const BESIDE_IOPS_MAX: u32 = 300;

/// How much faster than natively the other file has to be for the row to mean anything.
const BESIDE: f64 = 4.0;

/// Turns of 150 ms beside the other file, whose reads take a disk's time natively.
const TURNS_BESIDE: u32 = 40;

/// See `TURNS_BESIDE`.
const TURN_BESIDE_MS: u64 = 150;

/// What the hooked side must keep of native speed.
const GOAL: Goal = Goal::AtLeast(0.98);

/// Four variants.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    for size in [100, 4096] {
        alone(lab, size, emit)?;
    }
    for size in [100, 4096] {
        beside(lab, size, emit)?;
    }
    Ok(())
}

fn alone(lab: &Lab, size: u32, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let files = [("hot", HOT_BYTES)];
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let mut row = Row::new("page-cache", format!("{size} bytes, alone"), "reads/s");
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let mut pair = Workers::start(lab, &start, |dir| {
            let file = dir.join("hot").display().to_string();
            work_command(&["pread", "--file", &file, "--size", &size.to_string()])
        })?;
        pair.load()?;
        let (native, hooked) = pair.both();
        slices::alternate(native, hooked, 10, TURN_MS)?;
        let turns = pair.turns(lab, TURNS, TURN_MS, &mut row)?;
        let (native, hooked) = medians(&turns, slices::rate);
        natives.push(native);
        hookeds.push(hooked);
    }
    row.judge(natives, hookeds, Some(GOAL));
    cost_figures(&mut row);
    emit(row);
    Ok(())
}

fn beside(lab: &Lab, size: u32, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let files = [("hot", HOT_BYTES), ("cold", lab.args.data)];
    let mut limits = lab.limits();
    limits.read_iops = match limits.read_iops {
        0 => BESIDE_IOPS_MAX,
        iops => iops.min(BESIDE_IOPS_MAX),
    };
    let start = Start {
        limits,
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let mut pair = Workers::start(lab, &start, |dir| {
        let file = |name: &str| dir.join(name).display().to_string();
        let size = size.to_string();
        let (hot, cold) = (file("hot"), file("cold"));
        work_command(&["pread", "--file", &hot, "--size", &size, "--beside", &cold])
    })?;
    let mut row = Row::new(
        "page-cache",
        format!("{size} bytes, beside a served file"),
        "reads/s",
    );
    pair.warm(lab, lab.args.data, &mut row)?;
    let (native, hooked) = pair.both();
    slices::alternate(native, hooked, 10, 1000)?;
    let turns = pair.turns(lab, TURNS_BESIDE, TURN_BESIDE_MS, &mut row)?;
    judge(&mut row, &turns, slices::rate, Some(GOAL));
    cost_figures(&mut row);
    let other = |slices: &[Slice]| {
        let rates: Vec<f64> = slices
            .iter()
            .map(|it| it.beside_ops as f64 * 1e9 / it.beside_ns.max(1) as f64)
            .collect();
        median(&rates)
    };
    let (native, hooked) = (other(&turns.0), other(&turns.1));
    row.figures.insert("beside_native_per_s", native);
    row.figures.insert("beside_hooked_per_s", hooked);
    let ratio = hooked / native.max(1.0);
    row.figures.insert("beside_ratio", ratio);
    if ratio < BESIDE {
        row.reached = Some(false);
        row.notes.push(format!(
            "the file beside was served at {ratio:.1}x only, not at {BESIDE}x: no valid row"
        ));
    }
    emit(row);
    Ok(())
}

fn cost_figures(row: &mut Row) {
    for (name, sample) in [
        ("native_ns_per_read", &row.native),
        ("hooked_ns_per_read", &row.hooked),
    ] {
        row.figures.insert(name, 1e9 / sample.median.max(1.0));
    }
}
