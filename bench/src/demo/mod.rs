//! `lab demo`, behind `make demo`: one command on a fresh machine that shows what is gained.
//!
//! As root on Debian it installs PostgreSQL if it is missing, makes a data set larger than the
//! memory its server gets on a disk with a cloud volume's speed, runs pgbench native and hooked and
//! says what the difference was. As anybody else, or without control groups, it runs smaller and
//! says what it left out. Nothing stays: data, processes and control groups go at the end.

use std::fs;
use std::path::Path;

use clap::Parser;

use crate::cage::Controllers;
use crate::cli::{Cli, Command, RunArgs};
use crate::error::{Result, advice};
use crate::files::RunDir;
use crate::report::Row;
use crate::size::MIB;
use crate::{pg, run, size, users};

mod install;

/// Bytes of a pgbench data set per unit of scale, with its index.
const SCALE_BYTES: u64 = 15 * MIB;

/// The scale that is measured elsewhere too; smaller machines get less.
const SCALE_MAX: u64 = 100;

/// Without limits there is nothing to be larger than; small is quick.
const SCALE_UNLIMITED: u64 = 20;

/// Template and a copy for each side.
const COPIES: u64 = 3;

/// Flags of `lab demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Where the data goes; it is removed at the end
    #[arg(long, default_value = "/var/tmp")]
    dir: std::path::PathBuf,
    /// Length of one measured round
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
    /// Further option for `hooktool run` (repeatable)
    #[arg(long = "hook-opt", allow_hyphen_values = true, value_name = "OPT")]
    hook_opts: Vec<String>,
}

/// Runs the demonstration.
pub fn demo(args: &DemoArgs) -> Result<()> {
    install::postgresql()?;
    let server_user = users::is_root()
        .then(|| users::find("postgres"))
        .transpose()?;
    let name = format!("ramgrid-demo-{}", rustix::process::geteuid().as_raw());
    let home = RunDir::make(&args.dir.join(name), server_user.as_ref())?;
    let limited = Controllers::find(home.path());
    let limits = limited.memory.is_some() && limited.io.is_some();
    let scale = scale(home.path(), limits)?;
    tell(scale, limits, &limited.left_out);
    let rows = run::run(settings(args, home.path(), scale, limits)?)?;
    summary(&rows, limits);
    Ok(())
}

/// As large as memory and disk allow.
fn scale(dir: &Path, limits: bool) -> Result<u64> {
    let wanted = if limits { SCALE_MAX } else { SCALE_UNLIMITED };
    let disk = rustix::fs::statvfs(dir).map_or(u64::MAX, |it| it.f_bavail * it.f_frsize);
    let by_disk = disk / 5 * 4 / COPIES / SCALE_BYTES;
    let by_memory = available_bytes() / 2 / SCALE_BYTES;
    let scale = wanted.min(by_disk).min(by_memory);
    if scale < 5 {
        return Err(advice(
            format!(
                "{} has too little free space, or the machine too little memory",
                dir.display()
            ),
            "the demo needs about 1 GiB of either; give it another --dir",
        ));
    }
    Ok(scale)
}

/// Memory nobody needs right now.
fn available_bytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(u64::MAX, |kib| kib << 10)
}

fn tell(scale: u64, limits: bool, left_out: &[String]) {
    let data = size::show(scale * SCALE_BYTES);
    println!("ramgrid demo: PostgreSQL with {data} of data (pgbench scale {scale}),");
    if limits {
        println!("256 MiB of memory and a disk of 3000 reads/s, without and with a memory node.\n");
        return;
    }
    println!("without and with a memory node. Left out on this machine:");
    for line in left_out {
        println!("  {line}");
    }
    println!(
        "  so the data fits the page cache, where there is little to gain and little to lose;"
    );
    println!("  as root with control groups the same command shows the real thing.\n");
}

fn settings(args: &DemoArgs, dir: &Path, scale: u64, limits: bool) -> Result<RunArgs> {
    let (memory, iops) = if limits {
        ("256MiB", "3000")
    } else {
        ("0", "0")
    };
    let node_memory = (scale * SCALE_BYTES * 3 / 2).max(256 * MIB).to_string();
    let (scale, seconds) = (scale.to_string(), args.seconds.to_string());
    let mut words = vec![
        "lab",
        "run",
        "--workload",
        "pgbench-select",
        "--rounds",
        "2",
    ];
    words.extend([
        "--settle-seconds",
        "3",
        "--seconds",
        &seconds,
        "--scale",
        &scale,
    ]);
    words.extend([
        "--memory",
        memory,
        "--iops",
        iops,
        "--node-memory",
        &node_memory,
    ]);
    let mut words: Vec<String> = words.into_iter().map(Into::into).collect();
    words.extend(["--dir".into(), dir.display().to_string()]);
    words.extend(
        args.hook_opts
            .iter()
            .map(|option| format!("--hook-opt={option}")),
    );
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Run(args)) => Ok(*args),
        Ok(_) => Err(advice(
            "the demo asked lab for something else than a run",
            "report this",
        )),
        Err(error) => Err(advice(error.to_string(), "report this")),
    }
}

fn summary(rows: &[Row], limits: bool) {
    println!("\nwhat was gained");
    for row in rows {
        println!(
            "  {:<32} {:>7.0} -> {:>7.0} {}  ({:.1}x)",
            row.variant, row.native.median, row.hooked.median, row.unit, row.ratio
        );
    }
    if !limits {
        println!("  (no limits on this machine: see what was left out above)");
    }
    let version = pg::bin()
        .and_then(|bin| pg::major(&bin))
        .unwrap_or_default();
    println!("\nthe same for a server of yours (PostgreSQL {version} here was not modified):");
    println!("  memnode --listen 127.0.0.1:7420 --memory 2GiB &");
    println!("  hooktool run --node 127.0.0.1:7420 --own '/srv/pg/**' -- postgres -D /srv/pg");
}
