//! The flags, declared once.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum};

/// The bus beside its peers: two processes on two processors, every figure in turn
#[derive(Debug, Parser)]
#[command(name = "bus-lab", version)]
pub enum Cli {
    /// Measure everything and print it with ratios
    Run(RunArgs),
    /// One end of a measurement
    #[command(hide = true)]
    Actor(ActorArgs),
}

/// Flags of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Rounds; medians are printed
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Length of one measurement in milliseconds
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    pub time_ms: u64,
    /// Bytes of a message
    #[arg(long, value_delimiter = ',', default_value = "64,1024,16384",
          value_parser = clap::value_parser!(u32).range(8..=65536))]
    pub sizes: Vec<u32>,
    /// Bytes of the bus's rings, a power of two
    #[arg(long, default_value_t = bus::RING_BYTES_DEFAULT)]
    pub ring_bytes: u64,
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Measure only latencies, or only rates
    #[arg(long, value_enum)]
    pub measure: Option<Measure>,
    /// hooktool, for the relay; without it the relay is left out
    #[arg(long)]
    pub hooktool: Option<PathBuf>,
    /// JSON lines
    #[arg(short, long)]
    pub json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// There and back, halved
    Latency,
    /// One way, as many as go
    Rate,
}

/// What lies between the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kind {
    /// A shared word, spinning: the floor
    Word,
    /// A futex wake: the floor of whoever sleeps
    Futex,
    /// The bus, spinning, without checksum
    RingSpin,
    /// The bus as it is by default: adaptive, checksum
    Ring,
    /// The bus, adaptive, without checksum
    RingBare,
    /// The bus, sleeping at once, checksum
    RingSleep,
    /// iceoryx2, polled
    Iceoryx2,
    /// iceoryx2, woken by its events
    Iceoryx2Event,
    /// ZeroMQ, PAIR over ipc
    Zmq,
    /// POSIX message queues
    Mq,
    /// Named pipes
    Pipe,
    /// Two buses, two relays, TCP over loopback
    Relay,
    /// Plain TCP over loopback, acknowledged the same way
    Tcp,
}

/// What an actor does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Sends, waits for the answer, takes the time
    Ping,
    /// Answers
    Pong,
    /// Sends
    Source,
    /// Counts
    Sink,
}

/// Arguments of an actor.
#[derive(Clone, Debug, Args)]
pub struct ActorArgs {
    /// What lies between
    #[arg(value_enum)]
    pub kind: Kind,
    /// What to do
    #[arg(value_enum)]
    pub role: Role,
    /// Bytes of a message
    pub bytes: u32,
    /// Messages of a batch
    pub batch: u32,
    /// Milliseconds
    pub time_ms: u64,
    /// Directory of this measurement; its last part is a name nobody else has
    pub stage: PathBuf,
}
