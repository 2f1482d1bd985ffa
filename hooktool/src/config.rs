//! What a session is made of: the configuration `hooktool run` hands to its hook server.
//!
//! `settings` resolves flags, environment and file into a `ServeConfig`; `run` sends it as JSON
//! through a sealed memory file to the hook server it starts, and `server::serve` obeys it. Every
//! size is in bytes, every time in milliseconds, every value already checked: nothing here parses
//! what a user typed, and nothing here talks to the kernel.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seal::Integrity;
use crate::tls::Papers;

/// Port of a memory node when the address names none.
pub const MEMNODE_PORT: u16 = 7420;

/// Port of a Redis or Valkey server when the address names none.
pub const REDIS_PORT: u16 = 6379;

/// Size of the embedded memory node that stands in when no `--node` is given.
pub const EMBEDDED_BYTES_DEFAULT: u64 = 256 << 20;

/// Most memory nodes one session may use.
pub use grid::node::NODES_MAX;

/// Linger of a session that was given a name, in milliseconds: ten minutes.
pub const LINGER_NAMED_MS: u64 = 600_000;

pub use grid::attach::NAME_BYTES_MAX;

/// 128 random bits that name a session: part of its socket names and of every key on a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SessionId(pub [u8; 16]);

/// 128 random bits a process shows to the hook server to be let into the session.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Token(pub [u8; 16]);

/// A password: never printed by `Debug`, so that no log and no `--dry-run` shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

/// Where blocks are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeAddr {
    /// A memory node, `HOST:PORT`.
    Memnode {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A Redis or Valkey server, or a memory node with a password or with TLS:
    /// `redis://[:PASSWORD@]HOST:PORT`, or `rediss://` by TLS.
    Redis {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// Sent with AUTH before anything else.
        password: Option<Secret>,
        /// Whether it is reached by TLS.
        is_tls: bool,
    },
    /// A Redis or Valkey Cluster, which is the whole pool of a session:
    /// `redis-cluster://[:PASSWORD@]HOST:PORT[,HOST:PORT]`, or `rediss-cluster://` by TLS.
    Cluster {
        /// Members to ask first, name or address without brackets, and TCP port; never empty.
        seeds: Vec<(String, u16)>,
        /// Sent with AUTH to every member.
        password: Option<Secret>,
        /// Whether all members are reached by TLS.
        is_tls: bool,
    },
    /// The nodes that a name has SRV records for: `srv://[:PASSWORD@]NAME`.
    Srv {
        /// The name, such as `_memnode._tcp.example.org`.
        name: String,
        /// Sent with AUTH to every one of them.
        password: Option<Secret>,
    },
    /// A memory node inside the hook server, `embedded:SIZE`.
    Embedded {
        /// Memory the node may use.
        bytes: u64,
    },
}

/// Memory of the local cache in the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalSize {
    /// Grows while remote hits repeat and nothing presses, up to 1/16 of the tightest limit.
    Auto,
    /// Fixed; 0 means no local cache.
    Bytes(u64),
}

/// What a session does with reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Serve what the contract allows.
    Serve,
    /// Measure and predict, serve nothing.
    Observe,
}

/// When a block is worth filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// By judgement: page cache, governor, admission.
    Auto,
    /// Whatever the contract allows (for tests).
    Always,
}

/// Everything the hook server must know, before the target starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeConfig {
    /// Names the session and its sockets.
    pub session: SessionId,
    /// What the target's environment carries to prove that it belongs to the session.
    pub token: Token,
    /// `--name`, or the base name of the command.
    pub name: String,
    /// Whether `--name` was given: only a named session can be found again after a linger.
    pub named: bool,
    /// The target's process (the launcher's own, before its exec): the session's first member.
    pub target_pid: u32,
    /// The command as typed, for `ps`.
    pub command: Vec<String>,
    /// Absolute path of the hook driver, for children whose environment must be rebuilt.
    pub shim: PathBuf,
    /// Memory nodes, in the order given; never empty.
    pub nodes: Vec<NodeAddr>,
    /// Whom to believe of those that speak TLS, and what to show them; absolute paths.
    pub papers: Papers,
    /// Size of the local cache.
    pub local: LocalSize,
    /// Bytes of index, version cells and ring; `None`: chosen from the limits.
    pub index_bytes: Option<u64>,
    /// Only files that match one of these are served; empty: all.
    pub include: Vec<String>,
    /// Files that match one of these are never served.
    pub exclude: Vec<String>,
    /// Files the session alone writes: identity alone is compared.
    pub own: Vec<String>,
    /// Serve or observe.
    pub mode: Mode,
    /// Share of served reads repeated through the kernel, in millionths.
    pub verify_ppm: u32,
    /// When to fill.
    pub fill: Fill,
    /// How blocks are protected on the nodes.
    pub integrity: Integrity,
    /// Most bytes per second sent to the nodes; `None`: no limit.
    pub fill_rate_bytes_per_s: Option<u64>,
    /// How long region and key outlive the last process, in milliseconds.
    pub linger_ms: u64,
    /// Refuse to start where a node cannot be reached.
    pub require: bool,
    /// Whether children and programs they execute stay in the session.
    pub follow: bool,
    /// Whether `io_uring_setup` answers ENOSYS in the target.
    pub deny_io_uring: bool,
    /// Absolute path that receives the final snapshot, `%p`, `%h`, `%t` already replaced.
    pub stats_at_exit: Option<PathBuf>,
}

/// A text that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hexadecimal digits")]
pub struct NotHex;

impl SessionId {
    /// Abstract name of the socket the hook driver attaches to, without the leading NUL.
    pub fn attach_socket(&self) -> String {
        format!("ramgrid/{self}/attach")
    }

    /// Abstract name of the socket the viewers talk to, without the leading NUL.
    pub fn control_socket(&self) -> String {
        format!("ramgrid/{self}/control")
    }

    /// Value of `HOOKTOOL_SESSION` in the target's environment, for a session of this name.
    pub fn environment(&self, token: &Token, name: &str) -> String {
        format!("{self}:{}:{name}", token.to_hex())
    }
}

impl Token {
    /// As it stands in an environment. Not for eyes: whoever knows it may join the session.
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }
}

impl ServeConfig {
    /// The settings in which this session differs from the one that `wanted` asks for, as far as
    /// they are made for its whole life. Every field has its line: one that is added is either
    /// compared here, or applied to a session that is joined (`Session::begin_tenancy`, or the
    /// target's environment), or means nothing after the start.
    pub fn differences(&self, wanted: &ServeConfig) -> Vec<&'static str> {
        let ServeConfig {
            // Who they are.
            session: _,
            token: _,
            name: _,
            named: _,
            command: _,
            // Applied by whoever joins.
            target_pid: _,
            linger_ms: _,
            stats_at_exit: _,
            follow: _,
            // Asked before the start.
            require: _,
            shim,
            nodes,
            papers,
            local,
            index_bytes,
            include,
            exclude,
            own,
            mode,
            verify_ppm,
            fill,
            integrity,
            fill_rate_bytes_per_s,
            deny_io_uring,
        } = self;
        let key = |integrity: &Integrity| match integrity {
            Integrity::Sealed(key) => Some(key.clone()),
            Integrity::Tag | Integrity::Checksum => None,
        };
        let table = [
            ("--node", *nodes != wanted.nodes),
            ("--node-ca", papers.ca != wanted.papers.ca),
            ("--node-cert", papers.cert != wanted.papers.cert),
            ("--node-key", papers.key != wanted.papers.key),
            ("--local", *local != wanted.local),
            ("--index", *index_bytes != wanted.index_bytes),
            ("--include", *include != wanted.include),
            ("--exclude", *exclude != wanted.exclude),
            ("--own", *own != wanted.own),
            ("--mode", *mode != wanted.mode),
            ("--verify", *verify_ppm != wanted.verify_ppm),
            ("--fill", *fill != wanted.fill),
            (
                "--fill-rate",
                *fill_rate_bytes_per_s != wanted.fill_rate_bytes_per_s,
            ),
            ("--seal", key(integrity) != key(&wanted.integrity)),
            (
                "--integrity",
                (*integrity == Integrity::Checksum) != (wanted.integrity == Integrity::Checksum),
            ),
            ("--no-io-uring", *deny_io_uring != wanted.deny_io_uring),
            ("the hook driver", *shim != wanted.shim),
        ];
        let differing = table.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(setting, _)| setting).collect()
    }

    /// Sum of the embedded nodes' memory, in bytes.
    pub fn embedded_bytes(&self) -> u64 {
        let embedded = self.nodes.iter().map(|node| match node {
            NodeAddr::Embedded { bytes } => *bytes,
            NodeAddr::Memnode { .. }
            | NodeAddr::Redis { .. }
            | NodeAddr::Cluster { .. }
            | NodeAddr::Srv { .. } => 0,
        });
        embedded.fold(0, u64::saturating_add)
    }
}

impl NodeAddr {
    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        match self {
            Self::Redis { is_tls, .. } | Self::Cluster { is_tls, .. } => *is_tls,
            Self::Memnode { .. } | Self::Srv { .. } | Self::Embedded { .. } => false,
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl NodeAddr {
    /// Host and port of a single server, however its address is written.
    pub fn place(&self) -> Option<(&str, u16)> {
        match self {
            Self::Memnode { host, port } | Self::Redis { host, port, .. } => Some((host, *port)),
            Self::Cluster { .. } | Self::Srv { .. } | Self::Embedded { .. } => None,
        }
    }
}

/// The address as it is shown everywhere (`stats`, `ps`, messages): never with a password.
impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memnode { host, port } => write_host(f, host, *port),
            Self::Redis {
                host, port, is_tls, ..
            } => {
                f.write_str(if *is_tls { "rediss://" } else { "redis://" })?;
                write_host(f, host, *port)
            }
            Self::Cluster { seeds, is_tls, .. } => {
                f.write_str(if *is_tls { "rediss" } else { "redis" })?;
                for (nth, (host, port)) in seeds.iter().enumerate() {
                    f.write_str(if nth == 0 { "-cluster://" } else { "," })?;
                    write_host(f, host, *port)?;
                }
                Ok(())
            }
            Self::Srv { name, .. } => write!(f, "srv://{name}"),
            Self::Embedded { bytes } => write!(f, "embedded:{}", crate::sizes::show(*bytes)),
        }
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]:{port}")
    } else {
        write!(f, "{host}:{port}")
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        to_hex(&id.0)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        to_hex(&token.0)
    }
}

impl TryFrom<String> for SessionId {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        from_hex(&text).map(Self)
    }
}

impl TryFrom<String> for Token {
    type Error = NotHex;

    fn try_from(text: String) -> Result<Self, NotHex> {
        from_hex(&text).map(Self)
    }
}

fn to_hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<[u8; 16], NotHex> {
    let digits = text.as_bytes();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(NotHex);
    }
    u128::from_str_radix(text, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| NotHex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_id_round_trips_through_its_hex_form() {
        let id = SessionId(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\xff");
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(SessionId::try_from(id.to_string()), Ok(id));
        assert_eq!(
            id.control_socket(),
            "ramgrid/000102030405060708090a0b0c0d0eff/control"
        );
        for bad in [
            "",
            "00",
            "000102030405060708090a0b0c0d0eg0",
            "+00102030405060708090a0b0c0d0e00",
        ] {
            assert_eq!(SessionId::try_from(bad.to_string()), Err(NotHex), "{bad}");
        }
    }

    #[test]
    fn no_form_of_an_address_shows_its_password() {
        let node = NodeAddr::Redis {
            host: "::1".into(),
            port: 6379,
            password: Some(Secret("hunter2".into())),
            is_tls: true,
        };
        assert_eq!(node.to_string(), "rediss://[::1]:6379");
        assert!(!format!("{node:?}").contains("hunter2"));
    }
}
