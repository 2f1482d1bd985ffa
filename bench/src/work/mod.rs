//! The lab's own little programs: what is run native and hooked where no real server is needed.
//!
//! Each is an ordinary program that calls libc through Rust's standard library and knows nothing
//! of ramgrid. `drive` reads orders, one per line, from standard input and answers each with one
//! line of JSON, so that the lab can alternate two such processes in short slices.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use clap::Subcommand;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

mod echo;
mod hog;
mod pread;
mod socket;

/// Flags of `lab work`.
#[derive(Debug, clap::Args)]
pub struct WorkArgs {
    #[command(subcommand)]
    work: Work,
}

/// The programs.
#[derive(Debug, Subcommand)]
enum Work {
    /// Random reads of a file
    Pread(pread::PreadArgs),
    /// One message through a socket pair or a pipe and back out, in one thread
    Socket(socket::SocketArgs),
    /// Requests to `echo` over TCP, one at a time
    Ping(echo::PingArgs),
    /// Answers `ping`
    Echo(echo::EchoArgs),
    /// Takes memory until its standard input ends
    Hog(hog::HogArgs),
}

/// What one slice did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Operations finished.
    pub ops: u64,
    /// Time they took.
    pub ns: u64,
    /// Median of one operation, where each was timed.
    #[serde(default)]
    pub p50_ns: u64,
    /// 99th percentile of the same.
    #[serde(default)]
    pub p99_ns: u64,
    /// The slowest of them.
    #[serde(default)]
    pub max_ns: u64,
    /// Reads of the file beside, and the time they took.
    #[serde(default)]
    pub beside_ops: u64,
    /// See `beside_ops`.
    #[serde(default)]
    pub beside_ns: u64,
}

/// A program that works in slices.
trait Slices {
    /// Works for about `time`.
    fn slice(&mut self, time: Duration) -> io::Result<Slice>;

    /// Goes once over everything in order, where that means something.
    fn pass(&mut self) -> io::Result<Slice> {
        Ok(Slice::default())
    }
}

/// Runs the program `args` names.
pub fn work(args: &WorkArgs) -> io::Result<()> {
    match &args.work {
        Work::Pread(args) => drive(&mut pread::Pread::open(args)?),
        Work::Socket(args) => drive(&mut socket::PingPong::open(args)?),
        Work::Ping(args) => drive(&mut echo::Ping::connect(args)?),
        Work::Echo(args) => echo::serve(args),
        Work::Hog(args) => hog::take(args),
    }
}

/// Obeys `slice MS` and `pass` until standard input ends.
fn drive(work: &mut dyn Slices) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let done = match line.split_once(' ') {
            Some(("slice", ms)) => {
                let ms = ms
                    .parse()
                    .map_err(|_| io::Error::other("slice wants milliseconds"))?;
                work.slice(Duration::from_millis(ms))?
            }
            _ if line == "pass" => work.pass()?,
            _ => return Err(io::Error::other(format!("unknown order '{line}'"))),
        };
        serde_json::to_writer(&mut out, &done)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}

/// A histogram of nanoseconds; its size is fixed, so that recording never allocates.
fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_max(60_000_000_000, 3).map_err(io::Error::other)
}

/// Nanoseconds of a duration, saturating.
fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
