//! A memory hog comes, squeezes the page cache of a data set that fits, and leaves. Remote hits
//! never reach the page cache, so without promotion the data would stay remote for ever. Measured:
//! how long after the hog left each side is back at 0.98 of native speed.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::workers::{Start, Workers, work_command};
use crate::cage::{Cage, Limits};
use crate::error::{Result, advice};
use crate::files;
use crate::report::{Goal, Row, median};
use crate::run::{Lab, Pair, order};
use crate::side::{self, Side, Spec};
use crate::size::{self, MIB};
use crate::slices::{self, Worker};
use crate::stop;

/// Share of the cage's memory the data takes; the rest is room for the worker.
const DATA_SHARE: (u64, u64) = (5, 8);

/// Share of the cage's memory the hog takes.
const HOG_SHARE: (u64, u64) = (11, 16);

/// How long the hog stays.
const STAY: Duration = Duration::from_secs(5);

/// Back at this share of the native baseline.
const BACK: f64 = 0.98;

/// Slices the median of which must be back.
const WINDOW: usize = 5;

/// Length of a slice, in milliseconds.
const SLICE_MS: u64 = 100;

/// Length of a slice of the reference worker, in milliseconds.
const REFERENCE_MS: u64 = 25;

/// Slices that make the native baseline.
const BASELINE_SLICES: usize = 30;

/// A side that is not back by then never comes back.
const GIVE_UP: Duration = Duration::from_secs(180);

/// One variant.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let limit = lab.limits().memory_bytes;
    if lab.controllers.memory.is_none() || limit < 64 * MIB {
        eprintln!("lab: hog left out: it needs a memory limit of 64 MiB or more");
        return Ok(());
    }
    let bytes = limit / DATA_SHARE.1 * DATA_SHARE.0;
    let files = [("data", bytes)];
    let start = Start {
        limits: lab.limits(),
        node: &lab.node,
        options: &[],
        files: &files,
    };
    let mut pair = Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        work_command(&["pread", "--file", &file, "--size", "4096"])
    })?;
    let variant = format!("{} in {}, 4 KiB", size::show(bytes), size::show(limit));
    let mut row = Row::new("hog", variant, "s until back");
    pair.load()?;
    let mut reference = Reference::start(lab, &pair)?;
    let mut baseline = Vec::new();
    for _ in 0..BASELINE_SLICES {
        baseline.push(reference.share(&mut pair.workers.native)?);
    }
    let baseline = median(&baseline);
    let mut seconds = Pair {
        native: Vec::new(),
        hooked: Vec::new(),
    };
    for round in 0..lab.args.rounds {
        for side in order(round) {
            visit(lab, &mut pair, side, limit / HOG_SHARE.1 * HOG_SHARE.0)?;
            let back = until_back(pair.workers.of_mut(side), &mut reference, baseline)?;
            seconds
                .of_mut(side)
                .push(back.unwrap_or(GIVE_UP).as_secs_f64());
            if back.is_none() {
                row.notes
                    .push(format!("{} was never back at native speed", side.word()));
            }
        }
    }
    let (native, hooked) = pair.both();
    let (again, after) = slices::alternate(native, hooked, 20, SLICE_MS)?;
    let rates = |slices: &[_]| median(&slices.iter().map(slices::rate).collect::<Vec<_>>());
    row.figures
        .insert("ratio_in_the_end", rates(&after) / rates(&again));
    let longest = Goal::AddsAtMost(GIVE_UP.as_secs_f64() - 1.0);
    row.judge(seconds.native, seconds.hooked, Some(longest));
    row.hits = pair.workers.hooked.target.hits()?;
    emit(row);
    Ok(())
}

/// The hog comes, both work under it for a while, it goes.
fn visit(lab: &Lab, pair: &mut Workers, side: Side, bytes: u64) -> Result<()> {
    let spec = Spec {
        command: work_command(&["hog", "--memory", &bytes.to_string()])?,
        user: None,
        own: Vec::new(),
        options: Vec::new(),
        log: lab.run_dir.path().join("hog.log"),
        pipes: true,
        end_by: Signal::KILL,
        cwd: lab.run_dir.path(),
    };
    // The hog is nobody's target: it is started natively on both sides.
    let hog = side::launch(Side::Native, pair.cages.of(side), &lab.hooks(), spec)?;
    let mut hog = Worker::new(hog)?;
    let said = hog.line("ready")?;
    if said != "ready" {
        return Err(advice(format!("the hog said '{said}'"), "report this"));
    }
    let leaves = Instant::now() + STAY;
    while Instant::now() < leaves {
        stop::check()?;
        pair.workers.of_mut(side).slice(SLICE_MS)?;
    }
    hog.target.child.end()
}

/// Works until the median of the last slices is back at native speed.
fn until_back(
    worker: &mut Worker,
    reference: &mut Reference,
    baseline: f64,
) -> Result<Option<Duration>> {
    let begun = Instant::now();
    let mut shares = Vec::new();
    while begun.elapsed() < GIVE_UP {
        shares.push(reference.share(worker)?);
        let window = &shares[shares.len().saturating_sub(WINDOW)..];
        if window.len() == WINDOW && median(window) >= BACK * baseline {
            let late = Duration::from_millis(SLICE_MS * WINDOW as u64);
            return Ok(Some(begun.elapsed().saturating_sub(late)));
        }
    }
    Ok(None)
}

/// A third worker, native, on a copy of its own that no hog visits: speeds are told as shares of
/// its speed a moment ago, because the machine's own speed changes within the minutes this takes.
struct Reference {
    /// Dropped before its cage.
    worker: Worker,
    _cage: Cage,
}

impl Reference {
    fn start(lab: &Lab, pair: &Workers) -> Result<Self> {
        let file = lab.run_dir.path().join("reference");
        files::copy(&pair.data.native.join("data"), &file, None)?;
        let limits = Limits {
            memory_bytes: 0,
            read_iops: 0,
        };
        let cage = Cage::new(&lab.controllers, "reference", limits)?;
        let name = file.display().to_string();
        let spec = Spec {
            command: work_command(&["pread", "--file", &name, "--size", "4096"])?,
            user: None,
            own: Vec::new(),
            options: Vec::new(),
            log: lab.run_dir.path().join("reference.log"),
            pipes: true,
            end_by: Signal::TERM,
            cwd: lab.run_dir.path(),
        };
        let mut worker = Worker::new(side::launch(Side::Native, &cage, &lab.hooks(), spec)?)?;
        worker.pass()?;
        Ok(Self {
            worker,
            _cage: cage,
        })
    }

    /// Speed of `other` in a slice, as a share of the reference's.
    fn share(&mut self, other: &mut Worker) -> Result<f64> {
        let own = slices::rate(&self.worker.slice(REFERENCE_MS)?);
        Ok(slices::rate(&other.slice(SLICE_MS)?) / own.max(1.0))
    }
}
