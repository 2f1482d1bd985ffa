//! The command line of `hooktool bus`, declared once.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What `hooktool bus --help` opens with.
const EXAMPLES: &str = "\
Examples:
  hooktool bus apply orders.toml                   make the channels of a table
  hooktool bus test --src 0.0.1.1 --dst 0.0.2.1    does a message arrive?
  hooktool bus see --all                           who is behind, who holds what";

/// Arguments of `bus`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, subcommand_required = true)]
pub struct BusArgs {
    /// Name of the bus, or (with a slash) its directory [default: default]
    #[arg(long = "bus", value_name = "NAME", global = true, env = "HOOKTOOL_BUS")]
    pub name: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: BusCommand,
}

/// The commands of `bus`.
#[derive(Debug, Subcommand)]
pub enum BusCommand {
    /// Make the bus as a table says: keep what is there, make what is missing, remove the rest
    Apply(ApplyArgs),
    /// List the channels
    Ls(FormatArgs),
    /// Show both queues of the channels of an address, or of all
    See(SeeArgs),
    /// Show queued messages; they stay
    Dump(DumpArgs),
    /// Write test messages from one address to another
    Test(TestArgs),
    /// Send a message (standard input without TEXT)
    Send(SendArgs),
    /// Receive messages at an address
    Recv(RecvArgs),
    /// Throw away what is queued in a channel
    Clean(ChannelArgs),
    /// Remove a channel, with what is queued in it
    Rm(ChannelArgs),
    /// Which far address is behind which relay
    #[command(subcommand)]
    Routes(RoutesCommand),
    /// Carry messages to and from other hosts
    Relay(RelayArgs),
    /// Watch rates, depths and owners
    Top(TopArgs),
    /// Show where a traced message passed
    Trace(TraceArgs),
    /// Receive messages at an address into a file
    Record(RecordArgs),
    /// Send the messages of a file again
    Replay(ReplayArgs),
    /// Measure a channel on this machine, beside a bare shared word
    Bench(BenchArgs),
}

/// Arguments of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The table: TOML, or XML with the root TbusGCIM
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove surplus channels without asking
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Remove surplus channels even if a living process has them bound
    #[arg(long)]
    pub force: bool,
}

/// The commands of `routes`.
#[derive(Debug, Subcommand)]
pub enum RoutesCommand {
    /// Make the route table of the bus what a file says
    Apply(RoutesApplyArgs),
    /// List the routes, and what the relay says of them
    Ls(FormatArgs),
    /// Remove the route of an address; messages for it wait in their rings
    Rm(RoutesRmArgs),
}

/// Arguments of `routes apply`.
#[derive(Debug, Args)]
pub struct RoutesApplyArgs {
    /// The route table: TOML, or XML with the root RelayMnger
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would be done, do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `routes rm`.
#[derive(Debug, Args)]
pub struct RoutesRmArgs {
    /// The far address
    #[arg(value_name = "ADDR")]
    pub address: String,
}

/// Arguments of `relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Accept other relays here (may be given several times)
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Vec<std::net::SocketAddr>,
    /// Route table [default: the one of the bus, see `hooktool bus routes`]
    #[arg(long, value_name = "FILE")]
    pub routes: Option<PathBuf>,
    /// TLS: certificate of this relay, which names the addresses it speaks for
    #[arg(long, value_name = "PEM", requires_all = ["key", "ca"])]
    pub cert: Option<PathBuf>,
    /// TLS: its private key
    #[arg(long, value_name = "PEM", requires = "cert")]
    pub key: Option<PathBuf>,
    /// TLS: who signs the certificates of relays
    #[arg(long, value_name = "PEM", requires = "cert")]
    pub ca: Option<PathBuf>,
    /// Without TLS also beyond this host: anybody on the way may read, change and send messages
    #[arg(long, conflicts_with = "cert")]
    pub insecure: bool,
    /// Give a silent connection up after so many seconds
    #[arg(long, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(2..=3600))]
    pub dead_after: u64,
}

/// Arguments of viewers without any of their own.
#[derive(Debug, Args)]
pub struct FormatArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
}

/// Arguments of `see`.
#[derive(Debug, Args)]
pub struct SeeArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
    /// Every channel
    #[arg(long, conflicts_with = "address")]
    pub all: bool,
    /// An end
    #[arg(value_name = "ADDR", required_unless_present = "all")]
    pub address: Option<String>,
}

/// How payloads are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Sixteen bytes a line, with letters beside
    Hex,
    /// As text; what is none is escaped
    Text,
    /// One JSON object a message
    Json,
}

/// Arguments of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// How payloads are shown
    #[arg(long, value_enum, default_value_t = Shape::Hex)]
    pub format: Shape,
    /// Most messages of a queue
    #[arg(short = 'n', long, default_value_t = 10, value_name = "COUNT")]
    pub messages: usize,
    /// Most bytes of a payload
    #[arg(long, default_value_t = 256, value_name = "BYTES")]
    pub bytes: usize,
    /// Who sends
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Who receives
    #[arg(value_name = "TO")]
    pub to: String,
}

/// Arguments of `test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Who is to send: must not be bound
    #[arg(long, value_name = "ADDR")]
    pub src: String,
    /// Who is to receive
    #[arg(long, value_name = "ADDR")]
    pub dst: String,
    /// Messages
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub count: u64,
    /// Bytes of each
    #[arg(long, default_value_t = 14, value_name = "BYTES")]
    pub data_len: usize,
    /// Wait until the receiver has acknowledged them, so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub receipt: Option<u64>,
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// Note its way at every step, and print the number of its trace
    #[arg(long)]
    pub traced: bool,
    /// Wait for room, so many seconds
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait: u64,
    /// Who sends: must not be bound
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Who receives
    #[arg(value_name = "TO")]
    pub to: String,
    /// The message
    #[arg(value_name = "TEXT")]
    pub text: Option<String>,
}

/// Arguments of `recv`.
#[derive(Debug, Args)]
pub struct RecvArgs {
    /// Messages; 0: until interrupted
    #[arg(short = 'n', long, default_value_t = 1, value_name = "COUNT")]
    pub count: u64,
    /// Wait for each, so many seconds
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub wait: u64,
    /// Payload and a line feed, or more
    #[arg(long, value_enum, default_value_t = Shape::Text)]
    pub format: Shape,
    /// Who receives: must not be bound
    #[arg(value_name = "ADDR")]
    pub address: String,
}

/// Arguments of `clean` and `rm`.
#[derive(Debug, Args)]
pub struct ChannelArgs {
    /// Even if a living process has it bound: that process may lose or repeat messages
    #[arg(long)]
    pub force: bool,
    /// Both ends, or the number `ls` shows
    #[arg(value_name = "A B | N", num_args = 1..=2, required = true)]
    pub channel: Vec<String>,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Seconds between two screens, and how many [default: 1, until interrupted]
    #[arg(value_name = "INTERVAL COUNT", num_args = 0..=2,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub arguments: Vec<u64>,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The number `send --traced` printed
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Messages; 0: until interrupted
    #[arg(short = 'n', long, default_value_t = 0, value_name = "COUNT")]
    pub count: u64,
    /// Stop after so many seconds without a message
    #[arg(long, value_name = "SECONDS")]
    pub idle: Option<u64>,
    /// Who receives: must not be bound
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// JSON lines are appended to it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// As fast as they are taken, not in the time they took
    #[arg(long)]
    pub fast: bool,
    /// Who receives instead of who received
    #[arg(long, value_name = "ADDR")]
    pub to: Option<String>,
    /// Who sends: must not be bound
    #[arg(value_name = "FROM")]
    pub from: String,
    /// What `record` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
    /// Seconds of each figure
    #[arg(long, default_value_t = 1, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// Rounds; the median is shown
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub rounds: usize,
    /// Bytes of a message (repeatable)
    #[arg(long, value_name = "BYTES", default_values_t = [64, 1024])]
    pub size: Vec<usize>,
}
