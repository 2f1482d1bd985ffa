//! Random reads of one file by `pread`, by one process with any number of threads; optionally a
//! second file beside it, read once for every batch of reads of the first.
//!
//! The file beside answers whether reads of a file that lies in the page cache get slower in a
//! process where another file is being served from afar. It is read in the same thread, between
//! timed batches, because a second thread would measure the scheduler.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Slice, Slices, histogram, ns};
use crate::files::next_random;

/// Reads between two looks at the clock.
const BATCH: u64 = 32;

/// Timed reads for one read of the file beside.
const BATCH_BESIDE: u64 = 256;

/// Bytes of one read of the file beside.
const SIZE_BESIDE: usize = 4096;

/// Flags of `lab work pread`.
#[derive(Debug, clap::Args)]
pub struct PreadArgs {
    /// File to read
    #[arg(long)]
    file: PathBuf,
    /// Bytes of one read; reads are aligned to it
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Time each read (p50, p99, the slowest)
    #[arg(long)]
    latency: bool,
    /// Second file, read beside the first
    #[arg(long)]
    beside: Option<PathBuf>,
}

/// The open files and one state per thread.
pub struct Pread {
    file: File,
    beside: Option<(File, u64)>,
    size: usize,
    places: u64,
    latency: bool,
    threads: Vec<u64>,
}

impl Pread {
    pub fn open(args: &PreadArgs) -> io::Result<Self> {
        let file = File::open(&args.file)?;
        let places = file.metadata()?.len() / args.size as u64;
        if places == 0 || args.threads == 0 {
            return Err(io::Error::other(
                "a file of at least one read and a thread are needed",
            ));
        }
        let beside = match &args.beside {
            Some(path) => {
                let file = File::open(path)?;
                let places = file.metadata()?.len() / SIZE_BESIDE as u64;
                Some((file, places.max(1)))
            }
            None => None,
        };
        let seed = u64::from(std::process::id()) << 20;
        let threads = (1..=args.threads as u64)
            .map(|number| seed + number)
            .collect();
        Ok(Self {
            file,
            beside,
            size: args.size,
            places,
            latency: args.latency,
            threads,
        })
    }

    /// One thread's share of a slice.
    fn read_until(&self, state: &mut u64, end: Instant) -> io::Result<Share> {
        let mut buffer = vec![0_u8; self.size];
        let mut share = Share::new(self.latency)?;
        let begun = Instant::now();
        while Instant::now() < end {
            for _ in 0..BATCH {
                let at = next_random(state) % self.places * self.size as u64;
                let before = share.latency.is_some().then(Instant::now);
                self.file.read_exact_at(&mut buffer, at)?;
                share.note(before);
            }
            share.slice.ops += BATCH;
        }
        share.slice.ns = ns(begun.elapsed());
        Ok(share)
    }

    /// The same, with the file beside; only the reads of the first file are timed as `ns`.
    fn read_beside(&self, state: &mut u64, end: Instant) -> io::Result<Share> {
        let mut buffer = vec![0_u8; self.size];
        let mut other = [0_u8; SIZE_BESIDE];
        let mut share = Share::new(false)?;
        let Some((file, places)) = &self.beside else {
            return Ok(share);
        };
        while Instant::now() < end {
            let at = next_random(state) % places * SIZE_BESIDE as u64;
            let begun = Instant::now();
            file.read_exact_at(&mut other, at)?;
            share.slice.beside_ns += ns(begun.elapsed());
            share.slice.beside_ops += 1;
            let begun = Instant::now();
            for _ in 0..BATCH_BESIDE {
                let at = next_random(state) % self.places * self.size as u64;
                self.file.read_exact_at(&mut buffer, at)?;
            }
            share.slice.ns += ns(begun.elapsed());
            share.slice.ops += BATCH_BESIDE;
        }
        Ok(share)
    }
}

impl Slices for Pread {
    fn slice(&mut self, time: Duration) -> io::Result<Slice> {
        let end = Instant::now() + time;
        let mut states = std::mem::take(&mut self.threads);
        let this = &*self;
        let one = |state: &mut u64| match this.beside {
            Some(_) => this.read_beside(state, end),
            None => this.read_until(state, end),
        };
        let shares: io::Result<Vec<Share>> = if let [state] = states.as_mut_slice() {
            one(state).map(|share| vec![share])
        } else {
            thread::scope(|scope| {
                let spawn = |state| scope.spawn(move || one(state));
                let running: Vec<_> = states.iter_mut().map(spawn).collect();
                running
                    .into_iter()
                    .map(|it| it.join().map_err(|_| panicked())?)
                    .collect()
            })
        };
        self.threads = states;
        sum(shares?)
    }

    fn pass(&mut self) -> io::Result<Slice> {
        let begun = Instant::now();
        let ops = pass_over(&self.file, self.size)?;
        let beside_ops = match &self.beside {
            Some((file, _)) => pass_over(file, SIZE_BESIDE)?,
            None => 0,
        };
        Ok(Slice {
            ops,
            beside_ops,
            ns: ns(begun.elapsed()),
            ..Slice::default()
        })
    }
}

/// Reads a file in order, in reads of `size` bytes.
fn pass_over(file: &File, size: usize) -> io::Result<u64> {
    let mut buffer = vec![0_u8; size];
    let places = file.metadata()?.len() / size as u64;
    for place in 0..places {
        file.read_exact_at(&mut buffer, place * size as u64)?;
    }
    Ok(places)
}

/// What one thread did.
struct Share {
    slice: Slice,
    latency: Option<Histogram<u64>>,
}

impl Share {
    fn new(latency: bool) -> io::Result<Self> {
        let histogram = latency.then(histogram);
        Ok(Self {
            slice: Slice::default(),
            latency: histogram.transpose()?,
        })
    }

    fn note(&mut self, before: Option<Instant>) {
        if let (Some(histogram), Some(before)) = (&mut self.latency, before) {
            histogram.saturating_record(ns(before.elapsed()));
        }
    }
}

/// Operations of all threads over their mean time.
fn sum(shares: Vec<Share>) -> io::Result<Slice> {
    let count = shares.len().max(1) as u64;
    let mut total = Slice::default();
    let mut all = histogram()?;
    for share in shares {
        total.ops += share.slice.ops;
        total.ns += share.slice.ns;
        total.beside_ops += share.slice.beside_ops;
        total.beside_ns += share.slice.beside_ns;
        if let Some(histogram) = share.latency {
            all.add(histogram).map_err(io::Error::other)?;
        }
    }
    total.ns /= count;
    total.p50_ns = all.value_at_quantile(0.5);
    total.p99_ns = all.value_at_quantile(0.99);
    total.max_ns = all.max();
    Ok(total)
}

fn panicked() -> io::Error {
    io::Error::other("a reading thread panicked")
}
