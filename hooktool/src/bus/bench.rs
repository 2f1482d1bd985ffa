//! `hooktool bus bench`: what a channel costs on this machine, beside what any two processors must
//! pay: a word handed back and forth, and a bare futex wake.
//!
//! Two threads on two processors, each with its own mapping of the channel file; every figure is
//! the median of the rounds. `duel` measures, this prints.

mod duel;

use std::path::PathBuf;
use std::time::Duration;

use bus::wait::Pace;
use bus::{Bus, RING_BYTES_DEFAULT, Spec, Template};
use serde::Serialize;

use self::duel::{Pair, Percentiles};
use super::cli::BenchArgs;
use super::told;
use crate::failure::Failure;
use crate::viewer::{json_line, line};

/// Messages of a batch.
const BATCH: usize = 32;

/// One figure.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    what: &'static str,
    bytes: usize,
    checksum: bool,
    /// Half a round trip, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_per_s: Option<u64>,
}

/// A bus for the time of the measurement.
struct Ground {
    path: PathBuf,
}

impl Ground {
    fn new(is_summed: bool) -> Result<(Ground, Pair), Failure> {
        let base = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
        let base = base
            .into_iter()
            .find(|path| path.is_dir())
            .unwrap_or_default();
        let name = format!("ramgrid-bus-bench-{}-{is_summed}", std::process::id());
        let ground = Ground {
            path: base.join(name),
        };
        let bus = Bus::open(&ground.path.display().to_string()).map_err(told)?;
        bus.make().map_err(told)?;
        let template = Template::default();
        let ends = [bus::Address(0x101), bus::Address(0x201)];
        let spec = Spec {
            template,
            ends,
            ring_bytes: [RING_BYTES_DEFAULT; 2],
            message_bytes_max: None,
            is_summed,
            is_stamped: false,
            priority: 0,
            description: "bench".into(),
        };
        bus.create(&spec).map_err(told)?;
        let bind = |end| bus.bind_as(end, bus::Role::Both).map_err(told);
        let pair = Pair {
            ends,
            near: bind(ends[0])?,
            far: bind(ends[1])?,
        };
        Ok((ground, pair))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Runs `bench`.
///
/// # Errors
///
/// No room for the channel, or a size that does not fit it.
pub fn bench(arguments: &BenchArgs) -> Result<u8, Failure> {
    let too_large = arguments
        .size
        .iter()
        .find(|size| **size as u64 > RING_BYTES_DEFAULT / 4);
    if let Some(size) = too_large {
        return Err(Failure::usage(
            format!("--size {size} is too large"),
            format!(
                "the ring that is measured takes {} bytes",
                RING_BYTES_DEFAULT / 4
            ),
            "measure a smaller one:  --size 65536",
        ));
    }
    if bus::sys::has_one_processor() && !arguments.json {
        line("one processor: both sides share it, so nothing here can be fast")?;
    }
    let time = Duration::from_secs(arguments.seconds.max(1));
    let mut rounds: Vec<Vec<Figure>> = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        rounds.push(round(&arguments.size, time)?);
    }
    for nth in 0..rounds[0].len() {
        let figure = median(rounds.iter().map(|round| round[nth].clone()).collect());
        match arguments.json {
            true => json_line(&figure)?,
            false => show(&figure)?,
        }
    }
    Ok(0)
}

fn round(sizes: &[usize], time: Duration) -> Result<Vec<Figure>, Failure> {
    let mut figures = vec![
        latency("raw word", 8, false, duel::raw_word(time)),
        latency("futex wake", 8, false, duel::futex_wake(time)),
    ];
    for is_summed in [true, false] {
        let (_ground, mut pair) = Ground::new(is_summed)?;
        for &bytes in sizes {
            let paces = [
                ("ring, spinning", Pace::fixed(Duration::MAX)),
                ("ring, sleeping", Pace::fixed(Duration::ZERO)),
                ("ring, adaptive", Pace::default()),
            ];
            for (what, pace) in paces {
                let took = pair.ping_pong(bytes, pace, time).map_err(told)?;
                figures.push(latency(what, bytes, is_summed, took));
            }
            for (what, batch) in [("single", 1), ("batched", BATCH)] {
                let rate = pair.stream(bytes, batch, time).map_err(told)?;
                figures.push(Figure {
                    what,
                    bytes,
                    checksum: is_summed,
                    p50_ns: None,
                    p99_ns: None,
                    messages_per_s: Some(rate),
                });
            }
        }
    }
    Ok(figures)
}

fn latency(what: &'static str, bytes: usize, checksum: bool, took: Percentiles) -> Figure {
    Figure {
        what,
        bytes,
        checksum,
        p50_ns: Some(took.p50_ns),
        p99_ns: Some(took.p99_ns),
        messages_per_s: None,
    }
}

/// The figure in the middle.
fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by_key(|figure| (figure.p50_ns, figure.messages_per_s));
    figures.swap_remove(figures.len() / 2)
}

fn show(figure: &Figure) -> Result<(), Failure> {
    let Figure {
        what,
        bytes,
        checksum,
        ..
    } = figure;
    let sum = match checksum {
        true => "summed",
        false => "",
    };
    let head = format!("{what:16} {bytes:6} B  {sum:6}");
    match (figure.p50_ns, figure.p99_ns, figure.messages_per_s) {
        (Some(p50), Some(p99), _) => line(&format!("{head}  p50 {p50:7} ns  p99 {p99:7} ns")),
        (_, _, Some(rate)) => line(&format!("{head}  {:7.2} M messages/s", rate as f64 / 1e6)),
        _ => Ok(()),
    }
}
