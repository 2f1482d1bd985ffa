//! `lab peers`: memnode beside redis-server and memcached, one machine, one run, alternating.
//!
//! Called by `main`. Each cell (GET or SET, connections, pipeline) is measured in rounds, the
//! servers in turn. Redis and memnode get `redis-benchmark`; all three get the lab's own generator
//! (`load`), which does for each protocol the same work. Beside the rate stands the processor time
//! that the *server* spent per request, and whether the generator had a processor for itself:
//! where it used over 95 % of one, the rate says how fast the generator is.
//!
//! What it never does: use a server that runs already, or leave one behind.

mod load;
mod server;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Result, advice};
use crate::{report, size, stop};

use load::{Load, Op};
use server::{Kind, Server};

/// Flags of `lab peers`.
#[derive(Clone, Debug, clap::Args)]
pub struct PeersArgs {
    /// Measured rounds of each server, alternating
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Requests of one measurement, in thousands, for one connection without a pipeline; the
    /// other cells get up to ten times as many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub thousands: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub value: u32,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,
    /// Memory of each server
    #[arg(long, default_value = "256MiB", value_parser = size::parse)]
    pub memory: u64,
    /// Numbers of connections
    #[arg(long, value_delimiter = ',', default_value = "1,50")]
    pub connections: Vec<u32>,
    /// Requests sent before their replies are read
    #[arg(long, value_delimiter = ',', default_value = "1,16")]
    pub pipelines: Vec<u32>,
    /// Servers to compare
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "memnode,redis,memcached"
    )]
    pub servers: Vec<Kind>,
    /// Only fill the servers and compare memory per block
    #[arg(long)]
    pub memory_only: bool,
    /// Further option for memnode, such as `--memnode-opt=--hugepages=require` (repeatable)
    #[arg(long = "memnode-opt", allow_hyphen_values = true, value_name = "OPT")]
    pub memnode_opts: Vec<String>,
    /// memnode to measure [default: beside lab]
    #[arg(long)]
    pub memnode: Option<PathBuf>,
    /// JSON lines on standard output
    #[arg(short, long)]
    pub json: bool,
}

/// One cell of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// GET or SET.
    pub op: Op,
    /// Open connections.
    pub connections: u32,
    /// Requests in flight on each.
    pub pipeline: u32,
}

/// What one measurement of a cell gave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figure {
    /// Requests per second.
    pub rate: f64,
    /// Processor time of the server per request in microseconds.
    pub server_us: f64,
    /// Share of one processor that the generator used.
    pub generator: f64,
    /// Median time of a batch in microseconds, as the generator saw it.
    pub p50_us: f64,
}

impl Figure {
    fn median(all: &[Figure]) -> Figure {
        let of =
            |value: fn(&Figure) -> f64| report::median(&all.iter().map(value).collect::<Vec<_>>());
        Figure {
            rate: of(|figure| figure.rate),
            server_us: of(|figure| figure.server_us),
            generator: of(|figure| figure.generator),
            p50_us: of(|figure| figure.p50_us),
        }
    }
}

/// Runs the comparison and prints it.
pub fn peers(args: &PeersArgs) -> Result<()> {
    if args.servers.is_empty() {
        return Err(advice(
            "no server to measure",
            "lab peers --servers memnode,redis",
        ));
    }
    let mut servers = Vec::new();
    for kind in &args.servers {
        servers.push(Server::start(*kind, args)?);
    }
    if !args.memory_only {
        measure_all(args, &mut servers)?;
    }
    for server in &mut servers {
        let filled = fill(args, server)?;
        table::memory(args, server, filled);
    }
    Ok(())
}

fn measure_all(args: &PeersArgs, servers: &mut [Server]) -> Result<()> {
    for server in servers.iter() {
        Load::fill(server, args.value, 0..args.keys)?;
    }
    table::head(args);
    for op in [Op::Get, Op::Set] {
        for &connections in &args.connections {
            for &pipeline in &args.pipelines {
                let cell = Cell {
                    op,
                    connections,
                    pipeline,
                };
                let own = rounds(args, servers, cell, true)?;
                table::row(args, cell, "lab", &own);
                let known = rounds(args, servers, cell, false)?;
                table::row(args, cell, "redis-benchmark", &known);
            }
        }
    }
    Ok(())
}

/// All rounds of one cell with one generator: the medians of each server that it can drive.
fn rounds(
    args: &PeersArgs,
    servers: &[Server],
    cell: Cell,
    own: bool,
) -> Result<Vec<(Kind, Figure)>> {
    let able: Vec<&Server> = servers
        .iter()
        .filter(|server| own || server.kind != Kind::Memcached)
        .collect();
    let mut figures = vec![Vec::new(); able.len()];
    for round in 0..args.rounds {
        for turn in 0..able.len() {
            // Every other round backwards, so that no server always follows the same one.
            let turn = if round % 2 == 0 {
                turn
            } else {
                able.len() - 1 - turn
            };
            stop::sleep(Duration::from_millis(50))?;
            let load = Load::of(args, cell);
            let figure = match own {
                true => load.run(able[turn])?,
                false => load.run_redis_benchmark(able[turn])?,
            };
            figures[turn].push(figure);
        }
    }
    let kinds = able.iter().map(|server| server.kind);
    Ok(kinds
        .zip(figures.iter().map(|all| Figure::median(all)))
        .collect())
}

/// Resident bytes and items after twice the memory went in.
fn fill(args: &PeersArgs, server: &mut Server) -> Result<(u64, u64)> {
    let blocks = args.memory * 2 / u64::from(args.value);
    let last = u32::try_from(blocks).unwrap_or(u32::MAX);
    Load::fill(server, args.value, 0..last)?;
    Ok((server.resident_bytes()?, server.items()?))
}
