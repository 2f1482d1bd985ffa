//! What a run says: one row per workload and variant, as text for people and as JSON lines.
//!
//! Both forms come from the same `Row`. Units are in the names of the JSON keys or in `unit`;
//! `ratio` is always hooked : native, whichever direction is better.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::stats::Hits;

mod text;

pub use text::{head, row as text_row};

/// Version of the JSON objects.
pub const SCHEMA: u32 = 1;

/// Several measurements of one thing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// The median of `rounds`.
    pub median: f64,
    /// In the order they were measured.
    pub rounds: Vec<f64>,
}

impl Sample {
    /// Takes the median.
    pub fn of(rounds: Vec<f64>) -> Self {
        Self {
            median: median(&rounds),
            rounds,
        }
    }
}

/// What is to be reached (`docs/benchmarks.md`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The ratio, or more.
    AtLeast(f64),
    /// The ratio, or less.
    AtMost(f64),
    /// The difference hooked - native in the row's unit, or less.
    AddsAtMost(f64),
}

/// How one side used the disk while it was measured.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Disk {
    /// Operations of the workload.
    pub ops: u64,
    /// Device reads of the cage, by its own control group; absent without one.
    pub cage_reads: Option<u64>,
    /// Device reads of the whole machine in the same time; absent without a block device.
    pub device_reads: Option<u64>,
}

/// How the hooked side was warmed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Warmth {
    /// Time it took.
    pub seconds: f64,
    /// Sequential passes over the data.
    pub passes: u32,
    /// Whether the read cap held meanwhile.
    pub capped: bool,
    /// Bytes on the node afterwards.
    pub remote_bytes: u64,
    /// Bytes of the data set.
    pub data_bytes: u64,
}

/// One comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// `SCHEMA`.
    pub schema: u32,
    /// Name of the workload.
    pub workload: String,
    /// What distinguishes this row from its neighbours (`8 clients`).
    pub variant: String,
    /// Of the medians (`transactions/s`).
    pub unit: &'static str,
    /// The native side.
    pub native: Sample,
    /// The hooked side.
    pub hooked: Sample,
    /// hooked : native, of the medians.
    pub ratio: f64,
    /// What is to be reached; absent where these settings have no goal.
    pub goal: Option<Goal>,
    /// Whether it was.
    pub reached: Option<bool>,
    /// Remote hits per operation of the workload.
    pub remote_reads_per_op: Option<f64>,
    /// Disk use of the native side.
    pub native_disk: Disk,
    /// Disk use of the hooked side.
    pub hooked_disk: Disk,
    /// Hit table of the measured rounds (`hooktool stats`).
    pub hits: Option<Hits>,
    /// GETs the node itself counted as hits in the same time.
    pub node_hits: Option<u64>,
    /// Warm-up of the hooked side; absent where there was none.
    pub warm: Option<Warmth>,
    /// Further figures, unit in the name.
    pub figures: BTreeMap<&'static str, f64>,
    /// What this machine did not let the lab limit or count.
    pub left_out: Vec<String>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Row {
    /// An empty row.
    pub fn new(workload: &str, variant: impl Into<String>, unit: &'static str) -> Self {
        Self {
            schema: SCHEMA,
            workload: workload.into(),
            variant: variant.into(),
            unit,
            native: Sample::default(),
            hooked: Sample::default(),
            ratio: 0.0,
            goal: None,
            reached: None,
            remote_reads_per_op: None,
            native_disk: Disk::default(),
            hooked_disk: Disk::default(),
            hits: None,
            node_hits: None,
            warm: None,
            figures: BTreeMap::new(),
            left_out: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Sets both samples, their ratio and whether the goal was reached.
    pub fn judge(&mut self, native: Vec<f64>, hooked: Vec<f64>, goal: Option<Goal>) {
        self.native = Sample::of(native);
        self.hooked = Sample::of(hooked);
        self.ratio = self.hooked.median / self.native.median.max(f64::MIN_POSITIVE);
        self.goal = goal;
        self.reached = goal.map(|goal| match goal {
            Goal::AtLeast(least) => self.ratio >= least,
            Goal::AtMost(most) => self.ratio <= most,
            Goal::AddsAtMost(most) => self.hooked.median - self.native.median <= most,
        });
    }
}

/// The median; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_nothing() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn goals_are_judged_in_their_own_direction() {
        let judged = |goal| {
            let mut row = Row::new("w", "v", "u");
            row.judge(vec![100.0], vec![120.0], Some(goal));
            row.reached
        };
        assert_eq!(judged(Goal::AtLeast(1.2)), Some(true));
        assert_eq!(judged(Goal::AtLeast(1.3)), Some(false));
        assert_eq!(judged(Goal::AtMost(1.3)), Some(true));
        assert_eq!(judged(Goal::AddsAtMost(10.0)), Some(false));
        assert_eq!(judged(Goal::AddsAtMost(20.0)), Some(true));
    }
}
