//! What calls cost an outsider, a program of no session, on a file that is being read: by hooked
//! readers, and by the same readers natively.
//!
//! The outsider is the lab itself. It comes in bursts, between which the file goes back into
//! service: opens it for writing, writes, cuts and extends it, closes it. In every other burst the
//! hook server is stopped (SIGSTOP) before the first call, and goes on after the last. Each call is
//! timed, on both sides by the same clock and program.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::process::{Pid, Signal, kill_process};

use super::valid;
use super::workers::{Start, Workers, work_command};
use crate::error::{Because, Result, unexpected};
use crate::files::next_random;
use crate::report::{Goal, Row};
use crate::run::rounds::{Counters, empty};
use crate::run::{Lab, Pair, order};
use crate::side::Side;
use crate::stop;

/// Bursts of one slice: even ones beside a hook server that runs, odd ones beside a stopped one.
const BURSTS: u32 = 4;

/// Turns of the outsider in a burst, five calls each.
const TURNS: u32 = 20;

/// Between two turns.
const PAUSE: Duration = Duration::from_millis(2);

/// Between two bursts: a file comes back into service after a second without a change.
const QUIET: Duration = Duration::from_millis(2500);

/// How much dearer a call may be by its 99th percentile before it counts as slower: rounds of one
/// side differ by more.
const NOISE: f64 = 1.25;

/// Bytes the file grows by, and loses again.
const TAIL: u64 = 4096;

/// Nanoseconds of each call: beside a running hook server, beside a stopped one.
type Calls = [Histogram<u64>; 2];

/// A row for each state of the hook server.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    if lab.args.calibrate {
        return Ok(());
    }
    let files = [("data", lab.args.data)];
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let mut pair = Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        work_command(&["pread", "--file", &file, "--size", "4096", "--threads", "2"])
    })?;
    let mut measured = Row::new("outsider", "", "");
    pair.warm(lab, lab.args.data, &mut measured)?;
    let mut rounds: Pair<Vec<Calls>> = Pair {
        native: Vec::new(),
        hooked: Vec::new(),
    };
    for round in 0..lab.args.rounds {
        for side in order(round) {
            let calls = one(lab, &mut pair, side, &mut measured)?;
            rounds.of_mut(side).push(calls);
        }
    }
    for (state, variant) in ["hook server runs", "hook server stopped"]
        .into_iter()
        .enumerate()
    {
        emit(judge(measured.clone(), state, variant, &rounds));
    }
    Ok(())
}

/// One slice of a side, the outsider's bursts in it.
fn one(lab: &Lab, pair: &mut Workers, side: Side, row: &mut Row) -> Result<Calls> {
    empty(pair.cages.of(side), pair.data.of(side));
    let server = match side {
        Side::Native => None,
        Side::Hooked => Some(pair.workers.hooked.target.server()?),
    };
    let file = pair.data.of(side).join("data");
    let mut calls = [histogram()?, histogram()?];
    let counters = |pair: &Workers| {
        let hits = match side {
            Side::Native => None,
            Side::Hooked => pair.workers.hooked.target.hits()?,
        };
        Counters::read(lab, pair.cages.of(side), hits)
    };
    let before = counters(pair)?;
    // The worker's slice is as long as the pauses; the bursts come on top, and it waits for none.
    let ms = u64::try_from(QUIET.as_millis()).unwrap_or(0) * u64::from(BURSTS);
    let slice = pair.workers.of_mut(side).slice_during(ms, &mut || {
        for burst in 0..BURSTS {
            stop::sleep(QUIET)?;
            let state = (burst % 2) as usize;
            let server = server.filter(|_| state == 1);
            meddle_while_stopped(&file, server, &mut calls[state])?;
        }
        Ok(())
    })?;
    counters(pair)?.charge(&before, side, slice.ops, row);
    Ok(calls)
}

/// A burst; `server` is stopped meanwhile.
fn meddle_while_stopped(
    file: &Path,
    server: Option<Pid>,
    calls: &mut Histogram<u64>,
) -> Result<()> {
    let signal = |signal| {
        let sent = server.map_or(Ok(()), |server| kill_process(server, signal));
        sent.because(|| "stopping the hook server, or letting it go on")
    };
    signal(Signal::STOP)?;
    let done = burst(file, calls);
    signal(Signal::CONT)?;
    done.because(|| file.display().to_string())
}

/// Changes the file in the ways an outsider has, each call timed.
fn burst(path: &Path, calls: &mut Histogram<u64>) -> std::io::Result<()> {
    let mut state = u64::from(std::process::id()) << 20 | 1;
    let bytes = [0x5a_u8; 4096];
    for _ in 0..TURNS {
        let file: File = timed(calls, || OpenOptions::new().write(true).open(path))?;
        let len = file.metadata()?.len();
        let at = next_random(&mut state) % (len / 4096).max(1) * 4096;
        timed(calls, || file.write_all_at(&bytes, at))?;
        timed(calls, || file.set_len(len + TAIL))?;
        timed(calls, || file.set_len(len))?;
        timed(calls, || {
            drop(file);
            Ok(())
        })?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn timed<T>(
    calls: &mut Histogram<u64>,
    call: impl FnOnce() -> std::io::Result<T>,
) -> std::io::Result<T> {
    let begun = Instant::now();
    let done = call();
    calls.saturating_record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    done
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(120_000_000_000, 3)
        .map_err(|error| unexpected("a histogram", &error.to_string()))
}

fn judge(mut row: Row, state: usize, variant: &str, rounds: &Pair<Vec<Calls>>) -> Row {
    row.variant = variant.into();
    row.unit = "us, p99 of a call";
    let p99 = |side: &[Calls]| {
        let of = |calls: &Calls| calls[state].value_at_quantile(0.99) as f64 / 1e3;
        side.iter().map(of).collect()
    };
    let goal = Some(Goal::AtMost(NOISE));
    row.judge(p99(&rounds.native), p99(&rounds.hooked), goal);
    let all = |side: &[Calls]| {
        side.iter()
            .fold(None, |sum: Option<Histogram<u64>>, calls| {
                let mut sum = sum.unwrap_or_else(|| Histogram::new_from(&calls[state]));
                sum.add(&calls[state]).ok()?;
                Some(sum)
            })
    };
    let sides = [
        ("native_p50_us", "native_worst_us", all(&rounds.native)),
        ("hooked_p50_us", "hooked_worst_us", all(&rounds.hooked)),
    ];
    for (p50, worst, calls) in sides {
        let Some(calls) = calls else { continue };
        let us = |ns: u64| ns as f64 / 1e3;
        row.figures.insert(p50, us(calls.value_at_quantile(0.5)));
        row.figures.insert(worst, us(calls.max()));
        row.figures.insert("calls_each", calls.len() as f64);
    }
    valid::served_by_node(&mut row);
    row
}
