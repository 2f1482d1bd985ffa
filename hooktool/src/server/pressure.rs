//! Pressure on the host: how long tasks waited for processors and for memory lately.
//!
//! `tend` asks on every tick. Told by the kernel's pressure stall information where there is any:
//! the memory of our own cgroup (version 2) or of the machine, the processors of the machine.
//! Without it, the number of runnable tasks stands in for the processors and memory counts as
//! plentiful.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Over how long processors are judged.
const CPU_WINDOW: Duration = Duration::from_millis(200);

/// Over how long memory is judged.
const MEMORY_WINDOW: Duration = Duration::from_millis(500);

/// A processor is to be had while tasks waited for one less than this share of the time.
const CPU_SHARE_MAX: f64 = 0.40;

/// Memory is short when tasks waited for it this share of the time ...
const MEMORY_SHARE_MAX: f64 = 0.02;

/// ... and plentiful again after so long without.
const MEMORY_CALM: Duration = Duration::from_secs(5);

/// One kind of pressure, from its running total.
struct Gauge {
    file: Option<PathBuf>,
    window: Duration,
    seen: VecDeque<(Instant, u64)>,
}

/// The host's pressure.
pub struct Pressure {
    cpu: Gauge,
    memory: Gauge,
    memory_short_at: Option<Instant>,
}

/// What it was at a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Felt {
    /// Processors have idle time: a reader may spin for its reply.
    pub cpu_is_idle: bool,
    /// Memory is short.
    pub memory_is_short: bool,
}

impl Pressure {
    /// Finds what the kernel tells.
    pub fn new() -> Pressure {
        let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let ours = group.lines().find_map(|line| line.strip_prefix("0::/"));
        let ours = ours.filter(|group| !group.is_empty());
        let memory = ours.map(|group| format!("/sys/fs/cgroup/{group}/memory.pressure"));
        Pressure {
            cpu: Gauge::new(&["/proc/pressure/cpu".into()], CPU_WINDOW),
            memory: Gauge::new(
                &[memory.unwrap_or_default(), "/proc/pressure/memory".into()],
                MEMORY_WINDOW,
            ),
            memory_short_at: None,
        }
    }

    /// Reads the gauges.
    pub fn feel(&mut self, now: Instant) -> Felt {
        let cpu = self.cpu.read(now);
        let memory = self.memory.read(now).unwrap_or(0.0);
        if memory > MEMORY_SHARE_MAX {
            self.memory_short_at = Some(now);
        }
        let since = self.memory_short_at.map(|at| now.duration_since(at));
        Felt {
            cpu_is_idle: cpu.map_or_else(few_run, |share| share < CPU_SHARE_MAX),
            memory_is_short: since.is_some_and(|since| since < MEMORY_CALM),
        }
    }
}

impl Gauge {
    /// A gauge on the first of these files that can be read.
    fn new(files: &[String], window: Duration) -> Gauge {
        let mut files = files.iter().map(PathBuf::from);
        let file = files.find(|file| std::fs::read_to_string(file).is_ok());
        Gauge {
            file,
            window,
            seen: VecDeque::new(),
        }
    }

    /// Share of the last window that some task had to wait; `None`: the kernel does not tell.
    fn read(&mut self, now: Instant) -> Option<f64> {
        let text = std::fs::read_to_string(self.file.as_ref()?).ok()?;
        Some(self.note(now, some_total_us(&text)?))
    }

    fn note(&mut self, now: Instant, total_us: u64) -> f64 {
        self.seen.push_back((now, total_us));
        let over = |at: Instant| now.duration_since(at) >= self.window;
        while self.seen.len() > 2 && over(self.seen[1].0) {
            self.seen.pop_front();
        }
        let (then, total_then_us) = self.seen[0];
        let waited_us = total_us.saturating_sub(total_then_us);
        let passed_us = now.duration_since(then).as_micros().max(1);
        waited_us as f64 / passed_us as f64
    }
}

/// `total=` of the line `some`, in microseconds.
fn some_total_us(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    line.rsplit_once("total=")?.1.trim().parse().ok()
}

/// Whether no more tasks want to run than there are processors.
fn few_run() -> bool {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("procs_running "));
    let running = line.and_then(|number| number.trim().parse::<usize>().ok());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    running.is_some_and(|running| running <= processors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_window() {
        let mut gauge = Gauge::new(&[], Duration::from_millis(200));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(gauge.note(at(0), 1000), 0.0);
        assert_eq!(gauge.note(at(100), 1000), 0.0);
        let share = gauge.note(at(200), 101_000);
        assert!((share - 0.5).abs() < 0.01, "{share}");
        for tick in 3..6 {
            gauge.note(at(tick * 100), 101_000);
        }
        assert_eq!(gauge.note(at(600), 101_000), 0.0);
    }

    #[test]
    fn the_total_is_read_from_the_right_line() {
        let text = "some avg10=0.00 avg60=0.39 avg300=0.33 total=1685451\n\
                    full avg10=0.00 avg60=0.01 avg300=0.00 total=205271\n";
        assert_eq!(some_total_us(text), Some(1_685_451));
        assert_eq!(some_total_us(""), None);
    }

    #[test]
    fn short_memory_is_remembered_for_a_while() {
        let mut pressure = Pressure {
            cpu: Gauge::new(&[], CPU_WINDOW),
            memory: Gauge::new(&[], MEMORY_WINDOW),
            memory_short_at: None,
        };
        let start = Instant::now();
        assert!(!pressure.feel(start).memory_is_short);
        pressure.memory_short_at = Some(start);
        assert!(
            pressure
                .feel(start + Duration::from_secs(1))
                .memory_is_short
        );
        assert!(!pressure.feel(start + MEMORY_CALM).memory_is_short);
    }
}
