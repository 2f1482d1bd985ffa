//! The command line: every command, flag and help text, declared once.
//!
//! Values of settings stay texts here: `settings` checks them, whatever layer they came from, so
//! that a wrong value reads the same on the command line, in a variable and in the file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bus::cli::BusArgs;

/// What `hooktool --help` opens with.
const EXAMPLES: &str = "\
Examples:
  hooktool check postgres                                can it be covered?
  hooktool run --node 10.0.0.7:7420 -- postgres -D /srv/pg
  hooktool stats 1                                       what is gained, each second
  hooktool off                                           step aside, now";

/// What `hooktool --help` ends with.
const STATUSES: &str = "\
Exit status:
  run     that of CMD; 125 hooktool failed, 126 CMD cannot be executed, 127 it is not there
  check   0 covered, 3 partly, 4 impossible, 126 and 127 as run
  doctor  0, or 1 if a row says BAD
  others  0; 1 no such session, or it does not answer; 2 the command line cannot be understood

Variables:
  HOOKTOOL_BUS=NAME     the bus of hooktool bus
  HOOKTOOL_CONFIG=FILE  the settings file of run
  HOOKTOOL_DISABLED=1   whatever is started runs unhooked
  HOOKTOOL_LOG=info     the hook server logs to standard error (or debug, warn)
  HOOKTOOL_SHIM=FILE    the hook driver, where it does not lie beside hooktool
  HOOKTOOL_NODE, ...    each setting of run: its flag in capitals, dashes as underscores";

/// What `hooktool run --help` ends with.
const SETTINGS: &str = "\
Without --node, the node is embedded:256MiB: memory of this very machine, enough to try it.
A node that cannot be reached keeps nothing from starting, unless --require is given: reads go to
the disk until it is there. `hooktool ps` says so.

Every setting is also a variable (--fill-rate is HOOKTOOL_FILL_RATE, which keeps a password off
the command line: HOOKTOOL_NODE) and a line of the settings file (fill_rate = \"50MiB/s\"). The
flag wins, then the variable, then the file. A password is written as in a URL: %40 is @.
rediss:// speaks TLS 1.3, in the hook server; the certificate has to be for the name that is typed.

A session is CMD and what it starts, with one region of memory and one set of counters. With
--name it lingers: its blocks are kept after its last process, for the next start of that name. A
start with the same --name and the same settings joins the session, also while others are in it.
Where a setting differs, a session that lingers is ended and a new one made; beside one that has
processes a second one of the name is made, and a line says so. --dry-run tells which. --linger,
--stats-at-exit and --no-follow are taken over by the session that is joined. `hooktool off NAME`
ends a session that lingers; one that is switched off does not linger.

A glob matches files by where they really lie: '/srv/pg/**' is all below a directory, '/srv/pg'
none of it; what leads there by a symbolic link matches nothing.

--seal KEYFILE encrypts blocks before they leave this machine, so that neither a node nor anybody on
the way can read or alter them. A key is 32 random bytes or more, as they are or in hexadecimal
digits:  head -c 32 /dev/urandom > KEYFILE; chmod 600 KEYFILE
Without it they are readable there, and cannot be altered unnoticed (--integrity tag).

--own is a promise of yours: while the session runs, no process without the hooks writes these
files, children that cannot be hooked (static, set-user-id, HOOKTOOL_DISABLED=1) included.";

/// What `hooktool node --help` ends with.
const POOL: &str = "\
Examples:
  hooktool node add 10.0.0.9:7420      a neighbour has memory to spare
  hooktool node add - < FILE           one whose address has a password in it
  hooktool node drain 10.0.0.7:7420    before its host goes down for repair
  hooktool node list                   drained?
  hooktool node remove 10.0.0.7:7420

No read fails or waits for any of it. What a node holds when it is removed is read from the disk
once more; that is why one drains it before. A session has 16 nodes at most, and one at least. The
settings of the session stay as they are: a later start takes its nodes from them.";

/// What `hooktool trace --help` ends with.
const RECORDED: &str = "\
Examples:
  hooktool trace --out pg.trace --seconds 60        beside a running session
  memnode replay pg.trace                           what would a node of which size keep?

Reads and writes at a position (pread, pwrite and their kin, sendfile) of files that could be
served, in blocks of 4 KiB, those included that the page cache serves. What is read or written at
the file offset is not recorded. A file that was open before, and that the page cache serves, is
seen after 256 more of its reads. Calls that come too fast are left out, counted, and told in
FILE.";

/// What `hooktool stats --help` ends with.
const COLUMNS: &str = "\
READS/s  reads that passed the hooks        LOCAL   served from the local cache
HIT%     share of them served               REMOTE  served by memory nodes
p50us    median of a remote read            DISK    left to the kernel: its page cache or the disk
p99us    slowest hundredth of them          BYPASS  not even tried (reasons: stats -j)
NODE     bytes held on the nodes            FALLBK  tried and given up (reasons: stats -j)

All counts are per second; the first line is the average since the session began. READS/s is LOCAL
and REMOTE and DISK. BYPASS and FALLBK say why reads are in DISK, and BYPASS counts as well what is
no read of a file that could be served, so that it may exceed READS/s. Globs that match nothing are
told; stats -j has how many files each glob matches (globs).";

/// RAM of other machines, under programs nobody has to change.
#[derive(Debug, Parser)]
#[command(name = "hooktool", version, before_help = EXAMPLES, after_help = STATUSES)]
#[command(max_term_width = 100)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    infer_long_args = false
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start CMD with its file reads served from memory nodes (executes it in place)
    Run(Box<RunArgs>),
    /// Tell whether CMD (or a running process) can be covered, and which calls
    Check(CheckArgs),
    /// List the hooked processes of this host
    Ps(JsonArgs),
    /// Show what was served and what it cost, once or every INTERVAL
    Stats(StatsArgs),
    /// Serve again
    On(SelectArgs),
    /// Step aside: every read goes to the kernel within 100 ms
    Off(SelectArgs),
    /// Forget every block, local and remote
    Flush(SelectArgs),
    /// List, add, drain or remove memory nodes of a running session
    Node(NodeArgs),
    /// Record which blocks a session reads and writes, for `memnode replay`
    Trace(TraceArgs),
    /// Examine this machine: kernel, limits, file systems, hook driver, nodes
    Doctor(DoctorArgs),
    /// Message channels in shared memory: make, look, try, clean
    Bus(BusArgs),
    /// The hook server of one session (started by run)
    #[command(hide = true)]
    SessionServer {
        /// The session's name, for the process list.
        name: OsString,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
#[command(after_help = SETTINGS)]
pub struct RunArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Print environment, settings and command, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The program and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

/// Settings of a session, as texts.
#[derive(Debug, Default, Args)]
pub struct SettingArgs {
    /// A memory node: HOST[:PORT], redis://[:PASSWORD@]HOST[:PORT], rediss:// by TLS,
    /// embedded:SIZE, or srv://NAME for those of a name's SRV records (repeatable); or a whole
    /// pool: redis-cluster://[:PASSWORD@]HOST[:PORT][,HOST[:PORT]], rediss-cluster:// by TLS
    /// [default: embedded:256MiB]
    #[arg(long, value_name = "ADDR")]
    pub node: Vec<String>,
    /// Files for TLS.
    #[command(flatten)]
    pub node_tls: NodeTlsArgs,
    /// Local cache in this machine's memory: SIZE or auto [default: auto]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub local: Option<String>,
    /// Serve only files that match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// Never serve files that match (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Files only hooked processes of this session write: survives checkpoints best (repeatable)
    #[arg(long, value_name = "GLOB")]
    pub own: Vec<String>,
    /// Name of the session [default: base name of CMD]
    #[arg(long)]
    pub name: Option<String>,
    /// serve, or observe: serve nothing, and let stats predict what it would be worth
    /// [default: serve]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// Repeat this share of served reads through the kernel and compare: 0.1% or 0.001
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    pub verify: Option<String>,
    /// What to keep: auto (by judgement) or always (for tests) [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub fill: Option<String>,
    /// Most bytes sent to the nodes, such as 50MiB/s
    #[arg(long, value_name = "SIZE/s", allow_negative_numbers = true)]
    pub fill_rate: Option<String>,
    /// Encrypt blocks on their way to the nodes with the key in KEYFILE: 32 random bytes or more
    #[arg(long, value_name = "KEYFILE")]
    pub seal: Option<String>,
    /// tag: nobody can alter blocks on the nodes unnoticed; checksum: finds accidents only, and is
    /// a little faster [default: tag]
    #[arg(long, value_name = "HOW")]
    pub integrity: Option<String>,
    /// Memory of index, version cells and ring [default: 1/64 of the memory limit]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub index: Option<String>,
    /// Let io_uring_setup answer ENOSYS, so that the target falls back to calls that are covered
    #[arg(long)]
    pub no_io_uring: bool,
    /// Leave children and the programs they execute alone
    #[arg(long)]
    pub no_follow: bool,
    /// Keep the blocks this long after the last process [default: 10min with --name, else 0]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true)]
    pub linger: Option<String>,
    /// Refuse to start where a node cannot be reached
    #[arg(long)]
    pub require: bool,
    /// Write the session's final counters to FILE, a moment after its last process is gone
    /// (%p pid, %h host, %t seconds since 1970)
    #[arg(long, value_name = "FILE")]
    pub stats_at_exit: Option<String>,
    /// Settings file [default: /etc/ramgrid/hooktool.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Whom to believe of the nodes that speak TLS, and what to show them, as texts.
#[derive(Debug, Default, Args)]
pub struct NodeTlsArgs {
    /// Believe only rediss:// nodes whose certificate an authority in FILE (PEM) has signed
    /// [default: those this machine believes]
    #[arg(long, value_name = "FILE")]
    pub node_ca: Option<String>,
    /// Show this certificate (PEM, with what leads to its authority) to rediss:// nodes that ask
    #[arg(long, value_name = "FILE")]
    pub node_cert: Option<String>,
    /// The key of --node-cert (PEM)
    #[arg(long, value_name = "FILE")]
    pub node_key: Option<String>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// JSON, one object
    #[arg(short = 'j', long)]
    pub json: bool,
    /// A program with its arguments, or the number of a running process
    #[arg(value_name = "CMD|PID", required = true, trailing_var_arg = true)]
    pub target: Vec<OsString>,
}

/// Arguments of viewers without any of their own.
#[derive(Debug, Args)]
pub struct JsonArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
}

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = COLUMNS)]
pub struct StatsArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
    /// [NAME|PID] [INTERVAL [COUNT]]: a session or process, seconds, number of lines
    #[arg(value_name = "NAME|PID INTERVAL COUNT", num_args = 0..=3)]
    pub arguments: Vec<String>,
}

/// Arguments of `on`, `off` and `flush`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Name of a session, or number of one of its processes; without: the only session
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Arguments of `node`.
#[derive(Debug, Args)]
#[command(after_help = POOL)]
pub struct NodeArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: NodeCommand,
}

/// The commands of `node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes: state, share of the files, blocks, bytes, round trip
    List(NodeListArgs),
    /// Take a node in: it gets its share of the files as soon as it answers
    Add(NodeChangeArgs),
    /// Let the others take over the share of a node, a little at a time
    Drain(NodeChangeArgs),
    /// Let a node go, at once
    Remove(NodeChangeArgs),
}

/// Arguments of `node list`.
#[derive(Debug, Args)]
pub struct NodeListArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
    /// Session to look at.
    #[command(flatten)]
    pub select: SelectArgs,
}

/// Arguments of `node add`, `drain` and `remove`.
#[derive(Debug, Args)]
pub struct NodeChangeArgs {
    /// HOST[:PORT], redis://[:PASSWORD@]HOST[:PORT] (rediss:// by TLS), embedded:SIZE, srv://NAME;
    /// -: standard input
    #[arg(value_name = "ADDR")]
    pub addr: String,
    /// Session to change.
    #[command(flatten)]
    pub select: SelectArgs,
}

/// Arguments of `trace`.
#[derive(Debug, Args)]
#[command(after_help = RECORDED)]
pub struct TraceArgs {
    /// Session to record.
    #[command(flatten)]
    pub select: SelectArgs,
    /// Where to: CSV as the MSR Cambridge block traces have it, one disk a file
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// How long [default: until ^C, or the end of the session]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub seconds: Option<u64>,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// JSON lines
    #[arg(short = 'j', long)]
    pub json: bool,
    /// A memory node to reach (repeatable)
    #[arg(
        long,
        value_name = "ADDR",
        env = "HOOKTOOL_NODE",
        hide_env_values = true
    )]
    pub node: Vec<String>,
    /// Files for TLS.
    #[command(flatten)]
    pub node_tls: NodeTlsArgs,
    /// Directory of the data [default: the current one]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Puts `run` before a bare `-- CMD` (also with flags before the dashes).
pub fn with_default_command(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let first = arguments
        .get(1)
        .and_then(|text| text.to_str())
        .unwrap_or("");
    let asks = ["-h", "--help", "-V", "--version"].contains(&first);
    let dashes = arguments.iter().any(|text| text == "--");
    if first.starts_with('-') && !asks && dashes {
        arguments.insert(1, "run".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Cli, clap::Error> {
        let words = text.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(with_default_command(words))
    }

    fn run(text: &str) -> RunArgs {
        match parse(text) {
            Ok(Cli {
                command: Command::Run(run),
            }) => *run,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn the_declaration_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_command_runs() {
        assert_eq!(run("hooktool -- ls -l").command, ["ls", "-l"]);
        assert_eq!(run("hooktool --require -- ls").command, ["ls"]);
        assert!(run("hooktool --require -- ls").settings.require);
    }

    #[test]
    fn flags_after_the_command_belong_to_the_command() {
        let run = run("hooktool run --name a ls --name b -- c");
        assert_eq!(run.command, ["ls", "--name", "b", "--", "c"]);
        assert_eq!(run.settings.name.as_deref(), Some("a"));
    }

    #[test]
    fn wrong_words_are_refused() {
        for text in [
            "hooktool frob",
            "hooktool run",
            "hooktool run --nodes x -- ls",
            "hooktool",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
