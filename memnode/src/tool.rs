//! `memnode stat|ping|bench ADDR`: looks at a running node from outside, over its own protocol.
//!
//! Called by `main`. Data on stdout, one JSON object with `-j`; they work with any Redis, too.

mod bench;
mod dial;
mod secure;
mod stat;
mod target;

use std::path::PathBuf;

use crate::failure::Failure;

/// Flags of the tools.
#[derive(clap::Args, Debug)]
pub struct ToolFlags {
    /// The node: HOST, HOST:PORT, [V6]:PORT, redis://[:PASSWORD@]HOST:PORT, or by TLS rediss://...
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:7420")]
    pub address: String,

    /// File that holds the password
    #[arg(long, env = "MEMNODE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Believe a node whose certificate an authority in this file has signed (PEM)
    /// [default: what this machine believes]
    #[arg(long, env = "MEMNODE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,

    /// Certificate to show to a node that asks for one (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The key of --tls-cert (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// One JSON object on stdout
    #[arg(short, long)]
    pub json: bool,
}

/// How often `ping` and `bench` ask.
#[derive(clap::Args, Debug)]
pub struct CountedFlags {
    #[command(flatten)]
    pub tool: ToolFlags,

    /// How many pings [default: 100], or requests of each kind of the benchmark [default: 20000]
    #[arg(short = 'n', long, value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub count: Option<u32>,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Tool {
    /// The counters that say whether it helps.
    Stat,
    /// So many round trips.
    Ping(Option<u32>),
    /// So many blocks in and out, and how fast.
    Bench(Option<u32>),
}

/// Does it.
///
/// # Errors
/// The node cannot be reached, refuses, or answers nonsense.
pub fn run(tool: Tool, flags: &ToolFlags) -> Result<(), Failure> {
    let mut node = dial::Dialled::open(flags)?;
    let text = match tool {
        Tool::Stat => stat::stat(&mut node, flags.json)?,
        Tool::Ping(count) => bench::ping(&mut node, flags.json, count)?,
        Tool::Bench(count) => bench::bench(&mut node, flags.json, count)?,
    };
    use std::io::Write;
    // A reader that has seen enough is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}
