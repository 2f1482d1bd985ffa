//! The command line, declared once: help text and environment names derive from it.
//!
//! Called by `main`. Values stay text here; `settings` judges them, together with what the
//! environment and the file say, so that one wrong value gets one message wherever it came from.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::replay::ReplayFlags;
use crate::tool::{CountedFlags, Tool, ToolFlags};

/// Lends this machine's memory to its neighbours: a cache of file blocks that speaks the Redis
/// protocol. Settings: flag, then MEMNODE_* variable, then file, then default.
#[derive(Debug, Parser)]
#[command(name = "memnode", version, args_conflicts_with_subcommands = true)]
pub struct Command {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve; the same as no command at all
    Serve(Box<Flags>),
    /// What a running node holds and how often it helped
    Stat(ToolFlags),
    /// How far a node is: round trips
    Ping(CountedFlags),
    /// How fast 4 KiB blocks go to a node and back
    Bench(CountedFlags),
    /// What each eviction policy would have kept of a recorded load
    Replay(ReplayFlags),
}

impl Command {
    /// What is to be done.
    pub fn task(self) -> Task {
        match self.verb {
            None => Task::Serve(Box::new(self.flags)),
            Some(Verb::Serve(flags)) => Task::Serve(flags),
            Some(Verb::Stat(flags)) => Task::Ask(Tool::Stat, flags),
            Some(Verb::Ping(flags)) => Task::Ask(Tool::Ping(flags.count), flags.tool),
            Some(Verb::Bench(flags)) => Task::Ask(Tool::Bench(flags.count), flags.tool),
            Some(Verb::Replay(flags)) => Task::Replay(flags),
        }
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// Be a node.
    Serve(Box<Flags>),
    /// Ask one.
    Ask(Tool, ToolFlags),
    /// Compare policies.
    Replay(ReplayFlags),
}

/// What can be set on the command line, or by the variable of the same name.
#[derive(Args, Clone, Debug, Default)]
pub struct Flags {
    /// Where to listen [default: 127.0.0.1:7420]
    #[arg(long, env = "MEMNODE_LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// All the memory it may take: KiB, MiB, GiB or bytes; auto takes what the host has to spare
    /// and gives it back when others need it [default: auto]
    #[arg(long, env = "MEMNODE_MEMORY", value_name = "SIZE|auto")]
    pub memory: Option<String>,

    /// With --memory auto: what it keeps whatever the host needs [default: 64MiB]
    #[arg(long, env = "MEMNODE_MEMORY_FLOOR", value_name = "SIZE")]
    pub memory_floor: Option<String>,

    /// With --memory auto: what it takes at most [default: half of the host's memory]
    #[arg(long, env = "MEMNODE_MEMORY_CEILING", value_name = "SIZE")]
    pub memory_ceiling: Option<String>,

    /// What is thrown away when memory is full [default: s3fifo]
    #[arg(long, env = "MEMNODE_EVICTION", value_name = "s3fifo|lru")]
    pub eviction: Option<String>,

    /// Blocks on huge pages: try uses reserved ones if there are enough, else transparent ones
    /// [default: try]
    #[arg(long, env = "MEMNODE_HUGEPAGES", value_name = "try|require|off")]
    pub hugepages: Option<String>,

    /// A client that says nothing for so many seconds is sent away; 0: never [default: 0]
    #[arg(long, env = "MEMNODE_IDLE_TIMEOUT", value_name = "SECONDS")]
    pub idle_timeout: Option<u64>,

    /// File that holds the password clients must say (AUTH); spaces and ends of lines behind it do
    /// not count. To make one, fit for a URL: (umask 077; head -c 32 /dev/urandom | base64 | tr
    /// '/+' '_-' > FILE)
    #[arg(long, env = "MEMNODE_PASSWORD_FILE", value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Speak TLS and nothing else, with this certificate (PEM, and what leads to its authority).
    /// hooktool cannot use such a node yet: for its nodes take a tunnel or a network of your own
    #[arg(long, env = "MEMNODE_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,

    /// The key of --tls-cert (PEM, without a passphrase)
    #[arg(long, env = "MEMNODE_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Let in only clients with a certificate that an authority in this file has signed (PEM)
    #[arg(long, env = "MEMNODE_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Where /metrics (Prometheus) and /healthz are served over HTTP; nowhere if not said
    #[arg(long, env = "MEMNODE_METRICS", value_name = "HOST:PORT")]
    pub metrics: Option<String>,

    /// After SIGTERM, serve the connections that are left for so many seconds; a second signal ends
    /// at once [default: 0]
    #[arg(long, env = "MEMNODE_GRACE", value_name = "SECONDS")]
    pub grace: Option<u64>,

    /// How log lines on stderr look [default: text]
    #[arg(long, env = "MEMNODE_LOG_FORMAT", value_name = "text|json")]
    pub log_format: Option<String>,

    /// Let everybody in who can reach the address
    #[arg(
        long,
        env = "MEMNODE_NO_AUTH",
        value_parser = clap::builder::FalseyValueParser::new(),
    )]
    pub no_auth: bool,

    /// Read settings from this file instead of /etc/ramgrid/memnode.toml
    #[arg(long, env = "MEMNODE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Command::command().debug_assert();
    }

    #[test]
    fn serve_may_be_said_or_left_out() {
        for line in [
            &["memnode", "--memory", "1GiB"][..],
            &["memnode", "serve", "--memory", "1GiB"],
        ] {
            let Task::Serve(flags) = Command::try_parse_from(line).unwrap().task() else {
                panic!("{line:?} does not serve");
            };
            assert_eq!(flags.memory.as_deref(), Some("1GiB"));
        }
    }
}
