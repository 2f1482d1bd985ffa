//! The flags of `lab`, declared once.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::DemoArgs;
use crate::enter::EnterArgs;
use crate::peers::PeersArgs;
use crate::proxy::ProxyArgs;
use crate::size;
use crate::work::WorkArgs;
use crate::workload::Name;

/// The slow-disk lab: the same workload native and hooked, alternating, on a disk made slow
#[derive(Debug, Parser)]
#[command(name = "lab", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of `lab`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run workloads native and hooked in one run and print both with their ratio
    Run(Box<RunArgs>),
    /// Delay a TCP connection: a network's round trip on one machine
    Proxy(ProxyArgs),
    /// Install, build a PostgreSQL data set on a slow disk, show what is gained (make demo)
    Demo(DemoArgs),
    /// memnode beside redis-server and memcached: rate, processor time, memory per block
    Peers(PeersArgs),
    /// One little program of the lab, driven by lines on its standard input
    #[command(hide = true)]
    Work(WorkArgs),
    /// Enter control groups, become a user, execute a command
    #[command(hide = true)]
    Enter(EnterArgs),
}

/// How the hooked side is warmed before it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Warm {
    /// Sequential passes with the read cap lifted
    Fast,
    /// Sequential passes under the read cap
    Capped,
    /// No warm-up: the first round pays
    None,
}

/// pgbench's protocol (`pgbench -M`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// One text query per transaction
    Simple,
    /// Prepared statements
    Prepared,
}

/// Flags of `lab run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Workload (repeatable); default: all
    #[arg(long = "workload", value_enum, value_name = "NAME")]
    pub workloads: Vec<Name>,
    /// Measured rounds of each side, alternating
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Length of one measured round
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Unmeasured time before each round, after the page cache was emptied
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub settle_seconds: u32,
    /// Memory limit of each side's cage, page cache included; 0: none
    #[arg(long, default_value = "256MiB", value_parser = size::parse)]
    pub memory: u64,
    /// Device reads per second of each side's cage; 0: as fast as the device is
    #[arg(long, default_value_t = 3000)]
    pub iops: u32,
    /// Round trip added between the hooked side and its node
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub rtt_us: u32,
    /// pgbench scale (100 is 1.5 GB)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub scale: u32,
    /// Clients (pgbench) or threads (pread) of the variants
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    pub clients: Vec<u32>,
    /// pgbench protocol
    #[arg(long, value_enum, default_value_t = Protocol::Prepared)]
    pub protocol: Protocol,
    /// Data file of the raw read, SQLite and remote-read workloads
    #[arg(long, default_value = "768MiB", value_parser = size::parse)]
    pub data: u64,
    /// Where templates and run data are kept [default: /var/tmp/ramgrid-lab; one per user]
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Memory node: `spawn` (a memnode outside the cage), `embedded`, or an address
    #[arg(long, default_value = "spawn")]
    pub node: String,
    /// Memory of a spawned or embedded node
    #[arg(long, default_value = "3GiB", value_parser = size::parse)]
    pub node_memory: u64,
    /// Warm-up of the hooked side
    #[arg(long, value_enum, default_value_t = Warm::Fast)]
    pub warm: Warm,
    /// Further option for `hooktool run`, such as `--hook-opt=--local=16MiB` (repeatable)
    #[arg(long = "hook-opt", allow_hyphen_values = true, value_name = "OPT")]
    pub hook_opts: Vec<String>,
    /// Do not declare the data of a server its own (`hooktool run --own`)
    #[arg(long)]
    pub no_own: bool,
    /// Directory of hooktool, memnode and libramgrid_shim.so [default: beside lab]
    #[arg(long)]
    pub bin: Option<PathBuf>,
    /// User of the database server when lab runs as root
    #[arg(long, default_value = "postgres")]
    pub server_user: String,
    /// Both sides native: shows the lab's own noise, every ratio should be 1.00
    #[arg(long)]
    pub calibrate: bool,
    /// JSON lines on standard output
    #[arg(short, long)]
    pub json: bool,
}
