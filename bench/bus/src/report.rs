//! The figures as people read them, and as JSON lines.

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::{Kind, RunArgs};
use crate::stage::Scene;

/// What one measurement gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figure {
    /// A shared word beside it, half a round trip: before and after, averaged.
    pub word_ns: u64,
    /// How much the larger of the two is than the smaller.
    pub word_spread: f64,
    /// A futex wake beside it; 0: not measured.
    pub futex_ns: u64,
    /// Half a round trip.
    pub p50_ns: u64,
    /// Half a round trip.
    pub p99_ns: u64,
    /// Messages a second, one way.
    pub per_s: f64,
    /// Processor time of both sides for one message.
    pub cpu_ns: f64,
}

/// All rounds of a scene.
pub struct Row {
    /// What was measured.
    pub scene: Scene,
    /// What each round gave.
    pub rounds: Vec<Figure>,
    /// Why a round gave nothing.
    pub trouble: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    what: &'a str,
    measure: &'a str,
    bytes: u32,
    batch: u32,
    median: Option<Figure>,
    ratio_to_word: Option<f64>,
    rounds: &'a [Figure],
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: &'a Option<String>,
}

impl Row {
    /// A row without figures.
    pub fn new(scene: Scene) -> Row {
        Row {
            scene,
            rounds: Vec::new(),
            trouble: None,
        }
    }

    fn median_of(&self, value: impl Fn(&Figure) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        match values.len() {
            0 => 0.0,
            length if length % 2 == 1 => values[length / 2],
            length => (values[length / 2 - 1] + values[length / 2]) / 2.0,
        }
    }

    fn median(&self) -> Option<Figure> {
        self.rounds.first()?;
        Some(Figure {
            word_ns: self.median_of(|it| it.word_ns as f64) as u64,
            word_spread: self.median_of(|it| it.word_spread),
            futex_ns: self.median_of(|it| it.futex_ns as f64) as u64,
            p50_ns: self.median_of(|it| it.p50_ns as f64) as u64,
            p99_ns: self.median_of(|it| it.p99_ns as f64) as u64,
            per_s: self.median_of(|it| it.per_s),
            cpu_ns: self.median_of(|it| it.cpu_ns),
        })
    }

    /// The median of the rounds' own ratios: each round has its own floor.
    fn ratio(&self) -> f64 {
        self.median_of(|it| it.p50_ns as f64 / it.word_ns.max(1) as f64)
    }

    fn name(&self) -> String {
        let value = self.scene.kind.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_string())
    }
}

/// Prints all of it.
pub fn print(rows: &[Row], arguments: &RunArgs) {
    if arguments.json {
        return rows.iter().for_each(json);
    }
    println!(
        "two processes on two processors, medians of {} rounds of {} ms, rings of {} bytes",
        arguments.rounds, arguments.time_ms, arguments.ring_bytes
    );
    let (latencies, rates): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.scene.batch == 0);
    if !latencies.is_empty() {
        println!("\nlatency, half a round trip (word: the floor measured before and after)");
        println!(
            "{:16}{:>7} {:>9} {:>9} {:>9} {:>8} {:>10}  rounds",
            "", "bytes", "p50 ns", "p99 ns", "word ns", "x word", "cpu ns"
        );
        latencies.iter().for_each(|row| latency(row));
    }
    if !rates.is_empty() {
        println!("\nrate, one way (cpu: both sides, each message)");
        println!(
            "{:16}{:>7} {:>6} {:>11} {:>9} {:>10}  rounds",
            "", "bytes", "batch", "M/s", "word ns", "cpu ns"
        );
        rates.iter().for_each(|row| rate(row));
    }
}

fn latency(row: &Row) {
    let Some(median) = row.median() else {
        return println!("{:16}{:>7} {}", row.name(), row.scene.bytes, told(row));
    };
    let rounds: Vec<String> = row.rounds.iter().map(|it| it.p50_ns.to_string()).collect();
    print!(
        "{:16}{:>7} {:>9} {:>9} {:>9} {:>8.2} {:>10.0}  {}",
        row.name(),
        row.scene.bytes,
        median.p50_ns,
        median.p99_ns,
        median.word_ns,
        row.ratio(),
        median.cpu_ns,
        rounds.join(" ")
    );
    if matches!(row.scene.kind, Kind::RingSleep | Kind::Iceoryx2Event) {
        let ratio = row.median_of(|it| it.p50_ns as f64 / it.futex_ns.max(1) as f64);
        print!("  ({ratio:.2} x a futex wake of {} ns)", median.futex_ns);
    }
    println!();
}

fn rate(row: &Row) {
    let Some(median) = row.median() else {
        return println!(
            "{:16}{:>7} {:>6} {}",
            row.name(),
            row.scene.bytes,
            row.scene.batch,
            told(row)
        );
    };
    let shown = row
        .rounds
        .iter()
        .map(|it| format!("{:.2}@{}", it.per_s / 1e6, it.word_ns));
    println!(
        "{:16}{:>7} {:>6} {:>11.3} {:>9} {:>10.0}  {}",
        row.name(),
        row.scene.bytes,
        row.scene.batch,
        median.per_s / 1e6,
        median.word_ns,
        median.cpu_ns,
        shown.collect::<Vec<_>>().join(" ")
    );
}

fn told(row: &Row) -> String {
    format!(
        "not measured: {}",
        row.trouble.as_deref().unwrap_or("no round")
    )
}

fn json(row: &Row) {
    let line = Line {
        what: &row.name(),
        measure: if row.scene.batch == 0 {
            "latency"
        } else {
            "rate"
        },
        bytes: row.scene.bytes,
        batch: row.scene.batch,
        median: row.median(),
        ratio_to_word: (row.scene.batch == 0 && !row.rounds.is_empty()).then(|| row.ratio()),
        rounds: &row.rounds,
        trouble: &row.trouble,
    };
    println!("{}", serde_json::to_string(&line).unwrap_or_default());
}
