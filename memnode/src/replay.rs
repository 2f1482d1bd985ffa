//! `memnode replay TRACE`: what each eviction policy would have kept of a recorded load.
//!
//! Called by `main`. The reads of the trace go through a page cache (least recently used) first and
//! what that misses to a node: a second-level cache sees the misses of the first, which is why the
//! policies differ. Both are this program's own stores, with a token for each block.
//!
//! A line of the trace is a block's name (any text: a read), or a line of the MSR Cambridge block
//! traces: `timestamp,host,disk,Read|Write,offset,bytes,latency`, which stands for its 4 KiB
//! blocks. `hooktool trace` records such lines. One that begins with `#` is a remark.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use memnode::store::{HugePages, SetMode, Store};
use memnode::{Eviction, size};

use crate::failure::Failure;

/// Bytes of a block.
const BLOCK_BYTES: u64 = 4096;

/// Most blocks of one line: a line that names more is no read of a file.
const LINE_BLOCKS_MAX: u64 = 16 * 1024;

/// Most reads and writes of a trace: they are held in memory, nine bytes each.
const STEPS_MAX: usize = 200_000_000;

/// Flags of the replay.
#[derive(clap::Args, Debug)]
pub struct ReplayFlags {
    /// The trace: of hooktool trace, MSR Cambridge lines, or a block's name a line
    #[arg(value_name = "TRACE")]
    pub trace: PathBuf,

    /// Size of the page cache in percent of the trace's different blocks
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub local: u32,

    /// Sizes of the node in percent of the trace's different blocks
    #[arg(long, value_delimiter = ',', default_value = "10,20,40",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub remote: Vec<u32>,

    /// JSON lines on stdout
    #[arg(short, long)]
    pub json: bool,
}

/// One block, read or written.
struct Step {
    block: u64,
    write: bool,
}

/// Where the reads of a trace ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    reads: u64,
    local: u64,
    remote: u64,
}

impl Outcome {
    /// Share of the reads that went to the disk.
    fn disk(&self) -> f64 {
        let disk = self.reads - self.local - self.remote;
        disk as f64 / self.reads.max(1) as f64
    }
}

/// Replays the trace for each policy and size and shows the disk reads that are left.
///
/// # Errors
/// The trace cannot be read, or is too small or too large to say anything.
pub fn replay(flags: &ReplayFlags) -> Result<String, Failure> {
    let steps = read(flags)?;
    let blocks: HashSet<u64> = steps.iter().map(|step| step.block).collect();
    let share = |percent: u32| blocks.len() as u64 * u64::from(percent) / 100;
    let mut text = String::new();
    for &percent in &flags.remote {
        let mut line = Vec::new();
        for policy in [Eviction::S3Fifo, Eviction::Lru] {
            let local = cache(flags, share(flags.local), Eviction::Lru)?;
            let remote = cache(flags, share(percent), policy)?;
            line.push((policy.name(), run(&steps, &local, &remote)));
        }
        let reads = line[0].1.reads;
        let _ = match flags.json {
            true => writeln!(
                text,
                "{{\"schema\":1,\"reads\":{reads},\"blocks\":{},\"local_percent\":{},\
                 \"remote_percent\":{percent},\"disk\":{{\"s3fifo\":{:.4},\"lru\":{:.4}}}}}",
                blocks.len(),
                flags.local,
                line[0].1.disk(),
                line[1].1.disk(),
            ),
            false => writeln!(
                text,
                "page cache {} %, node {percent} % of {} blocks ({}): of {reads} reads from the \
                 disk: s3fifo {:.1} %, lru {:.1} %",
                flags.local,
                blocks.len(),
                size::format(share(percent) * BLOCK_BYTES),
                line[0].1.disk() * 100.0,
                line[1].1.disk() * 100.0,
            ),
        };
    }
    Ok(text)
}

fn run(steps: &[Step], local: &Store, remote: &Store) -> Outcome {
    let mut outcome = Outcome::default();
    let keep = |store: &Store, key: &[u8]| {
        // A token is never too large.
        let _ = store.set(key, b"", Some(0), SetMode::Always);
    };
    for step in steps {
        let key = &step.block.to_le_bytes();
        if step.write {
            // Through both to the disk: out of date on the node, new in the page cache.
            remote.remove(key);
            keep(local, key);
            continue;
        }
        outcome.reads += 1;
        if local.get(key, |_| ()).is_some() {
            outcome.local += 1;
            continue;
        }
        match remote.get(key, |_| ()) {
            Some(()) => outcome.remote += 1,
            None => keep(remote, key),
        }
        keep(local, key);
    }
    outcome
}

/// A store with room for so many tokens.
fn cache(flags: &ReplayFlags, blocks: u64, policy: Eviction) -> Result<Store, Failure> {
    let bytes = usize::try_from(blocks).unwrap_or(usize::MAX);
    let bytes = bytes.saturating_mul(memnode::store::ITEM_BYTES_MIN);
    if bytes < memnode::store::STORE_BYTES_MIN {
        return Err(Failure::usage(
            format!(
                "{}: {blocks} blocks are too few for a cache",
                flags.trace.display()
            ),
            "with so few, chance decides which policy looks better",
            "a longer trace, or larger --local and --remote",
        ));
    }
    Store::reserve(bytes, policy, HugePages::Off).map_err(|error| {
        Failure::own(
            format!("cannot simulate {blocks} blocks: {error}"),
            "each takes about a kilobyte here",
            "a shorter trace, or a machine with more memory",
        )
    })
}

fn read(flags: &ReplayFlags) -> Result<Vec<Step>, Failure> {
    let shown = flags.trace.display();
    let refuse = |what: String| {
        let means = "a line is a block's name, or an MSR Cambridge line of seven fields";
        Failure::usage(what, means, "memnode replay FILE with one of these in it")
    };
    let file = File::open(&flags.trace).map_err(|error| refuse(format!("{shown}: {error}")))?;
    let mut steps = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let line = line.map_err(|error| refuse(format!("{shown}:{number}: {error}")))?;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !understand(&line, &mut steps) {
            return Err(refuse(format!("{shown}:{number}: cannot be understood")));
        }
        if steps.len() > STEPS_MAX {
            return Err(refuse(format!("{shown}: over {STEPS_MAX} blocks")));
        }
    }
    Ok(steps)
}

/// Appends the steps of a line; `false` if it makes no sense.
fn understand(line: &str, steps: &mut Vec<Step>) -> bool {
    let fields: Vec<&str> = line.split(',').collect();
    let [_, host, disk, kind, offset, bytes, _] = fields[..] else {
        let write = false;
        steps.push(Step {
            block: name(line),
            write,
        });
        return fields.len() == 1;
    };
    let (Ok(offset), Ok(bytes)) = (offset.parse::<u64>(), bytes.parse::<u64>()) else {
        return false;
    };
    let (first, last) = (
        offset / BLOCK_BYTES,
        offset.saturating_add(bytes.max(1) - 1),
    );
    let last = last / BLOCK_BYTES;
    if last - first >= LINE_BLOCKS_MAX {
        return false;
    }
    let write = kind.eq_ignore_ascii_case("write");
    let device = name(host) ^ name(disk).rotate_left(1);
    steps.extend((first..=last).map(|block| Step {
        block: device.wrapping_add(block.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        write,
    }));
    write || kind.eq_ignore_ascii_case("read")
}

/// FNV-1a: the same block has the same number in every run.
fn name(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(lines: &str) -> Option<Vec<(u64, bool)>> {
        let mut steps = Vec::new();
        let all = lines.lines().all(|line| understand(line, &mut steps));
        all.then(|| steps.iter().map(|step| (step.block, step.write)).collect())
    }

    #[test]
    fn both_kinds_of_lines_are_read() {
        assert_eq!(steps("a\nb\na").unwrap().len(), 3);
        let line = |kind: &str, offset: u64, bytes: u64| {
            steps(&format!(
                "128166372003061629,src1,1,{kind},{offset},{bytes},41286"
            ))
        };
        assert_eq!(line("Read", 8192, 16384).unwrap().len(), 4);
        assert_eq!(line("Read", 4095, 2).unwrap().len(), 2);
        assert!(line("Write", 0, 512).unwrap()[0].1);
        assert_eq!(line("Read", 4096, 1), line("read", 5000, 100));
        assert_eq!(line("Erase", 0, 512), None);
        assert_eq!(line("Read", 0, 1 << 40), None);
        assert_eq!(steps("1,2,3"), None);
    }

    #[test]
    fn a_scan_costs_lru_more_than_s3fifo() {
        // A hot set that the page cache cannot hold, read at random beside one long scan.
        let mut state = 1u64;
        let mut steps = Vec::new();
        for turn in 0..400_000u64 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (hot, scanned) = ((state >> 33) % 8000, 1_000_000 + turn);
            steps.extend([hot, scanned].map(|block| Step {
                block,
                write: false,
            }));
        }
        let store = |policy| {
            let bytes = 12_000 * memnode::store::ITEM_BYTES_MIN;
            Store::reserve(bytes, policy, HugePages::Off).unwrap()
        };
        let outcome = |policy| {
            let bytes = memnode::store::STORE_BYTES_MIN;
            let local = Store::reserve(bytes, Eviction::Lru, HugePages::Off).unwrap();
            run(&steps, &local, &store(policy))
        };
        let (s3fifo, lru) = (outcome(Eviction::S3Fifo), outcome(Eviction::Lru));
        assert_eq!((s3fifo.reads, lru.local), (800_000, s3fifo.local));
        assert!(
            s3fifo.disk() < 0.56 && lru.disk() > 0.65,
            "{s3fifo:?} {lru:?}"
        );
    }
}
