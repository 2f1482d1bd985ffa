//! The control protocol: what a viewer asks a hook server, and what it answers.
//!
//! One abstract Unix stream socket per session, `@ramgrid/<session>/control`; one JSON object per
//! line each way; any number of requests on one connection, answered in order. The hook server
//! accepts its own user and root only (peer credentials); `sessions` finds the sockets and checks
//! the same the other way. `stats -j` prints a `Snapshot` as it came: its keys are pinned, words
//! and units are those of the documents, and a key may be added but never renamed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Mode, NodeAddr, ServeConfig, SessionId, Token};

/// Version of the objects on the wire and in `stats -j`.
pub const SCHEMA: u32 = 1;

/// Longest line either side accepts, in bytes.
pub const LINE_BYTES_MAX: usize = 4 << 20;

/// Most files a snapshot lists, those with the most reads first.
pub const FILES_MAX: usize = 64;

/// What a viewer asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Who is in the session: answered by `Response::Session`.
    Session,
    /// All counters: answered by `Response::Snapshot`.
    Snapshot {
        /// Only this process; absent: the whole session, with the counters of processes gone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// Serve again, or step aside within 100 ms: answered by `Response::Done`.
    Service {
        /// The new state.
        on: bool,
    },
    /// Forget every block, local and remote: answered by `Response::Done`.
    Flush,
    /// Change the set of nodes: answered by `Response::Node`.
    Node {
        /// What is to become of the node.
        order: NodeOrder,
        /// The node.
        addr: NodeAddr,
    },
    /// Let a process the launcher is about to start into the session, if it is what was asked for:
    /// answered by `Response::Joined` or `Response::Differs`. Ends a linger.
    Join {
        /// The launcher's process, which becomes the target by exec.
        pid: u32,
        /// What the launcher was asked for.
        wanted: Box<ServeConfig>,
    },
    /// As `Join`, without doing it: answered by `Response::Differs`, with no setting if it would be
    /// `Response::Joined`.
    Compare {
        /// What the launcher was asked for.
        wanted: Box<ServeConfig>,
    },
    /// End, unless a process is in the session: answered by `Response::Done`.
    End,
    /// What has been read and written since this was last asked on this connection, or from now
    /// on: answered by `Response::Trace`. Recording ends with the connection.
    Trace,
}

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeOrder {
    /// It joins, or is not drained any more.
    Add,
    /// It leaves, at once.
    Remove,
    /// Its share goes to the others, a little at a time.
    Drain,
}

/// What the hook server answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Response {
    /// To `Request::Session`.
    Session(SessionInfo),
    /// To `Request::Snapshot`.
    Snapshot(Box<Snapshot>),
    /// The order is carried out, not merely accepted.
    Done,
    /// To `Request::Node`: the order is carried out.
    Node {
        /// What a user is to be told of a node that was added and is of no use yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trouble: Option<String>,
    },
    /// To `Request::Join`.
    Joined {
        /// For `HOOKTOOL_SESSION`.
        token: Token,
        /// The hook driver the session was made with.
        shim: PathBuf,
        /// What is wrong with its nodes, one line each.
        #[serde(default)]
        troubles: Vec<String>,
    },
    /// To `Request::Join` and `Request::Compare`: the session is another one than was asked for.
    Differs {
        /// The settings that differ, as flags; or what else speaks against it.
        settings: Vec<String>,
        /// Whether a process lives in it.
        is_inhabited: bool,
    },
    /// To `Request::Trace`.
    Trace(Box<TracePart>),
    /// The request was understood and refused, or not understood.
    Refused {
        /// What failed, in words.
        what: String,
        /// What it means.
        means: String,
        /// What to type.
        fix: String,
    },
}

/// What a session is doing, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceState {
    /// Serving what the contract allows.
    Serving,
    /// Measuring only (`--mode observe`).
    Observing,
    /// Switched off by `hooktool off`.
    Off,
    /// Every read goes to the kernel; the reason is beside it.
    Bypass,
    /// The hook server is gone: no session says this, `ps` does of processes that outlived theirs.
    Gone,
    /// The hook server does not answer: said by `ps`, likewise.
    Silent,
}

/// A session as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Version of this object.
    pub schema: u32,
    /// The session.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// Its first process, dead or alive.
    pub pid: u32,
    /// The hook server's process.
    pub server_pid: u32,
    /// Serve or observe.
    pub mode: Mode,
    /// How blocks are protected on the nodes: `tag`, `checksum` or `sealed`.
    #[serde(default)]
    pub integrity: String,
    /// What it is doing.
    pub state: ServiceState,
    /// Why, where the state alone does not say (`node unreachable`).
    pub reason: Option<String>,
    /// Age in seconds.
    pub uptime_s: u64,
    /// Memory nodes.
    pub nodes: Vec<NodeInfo>,
    /// Living processes, oldest first.
    pub processes: Vec<ProcessInfo>,
    /// Hooked processes of the session that have read nothing eligible yet: added by `ps`, which
    /// looks for them itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<ProcessInfo>,
}

/// A process of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its number in the hook server's pid namespace.
    pub pid: u32,
    /// Base name of its program (`/proc/PID/comm`).
    pub command: String,
    /// Age in the session, in seconds.
    pub uptime_s: u64,
    /// Reads that passed the hooks, whole calls.
    pub reads: u64,
    /// Of these, served from the local cache.
    pub hits_local: u64,
    /// Of these, served from memory nodes.
    pub hits_remote: u64,
    /// Of these, served by the kernel.
    pub reads_disk: u64,
}

/// A memory node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Answers.
    Up,
    /// Not tried to an end yet.
    Connecting,
    /// No connection, or lost and not back.
    Unreachable,
    /// Wants a password, or another one.
    Unauthorized,
    /// Speaks TLS, and was addressed without.
    Tls,
    /// Is to speak TLS, and is not believed, or does not believe us.
    Untrusted,
    /// Something answers that does not speak RESP.
    Foreign,
    /// Answers too late: the breaker is open.
    Slow,
    /// Answers; its share goes to the others.
    Draining,
    /// Answers; it has no share any more.
    Drained,
}

/// A memory node as a session sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its address, without password.
    pub addr: String,
    /// Its health.
    pub state: NodeState,
    /// Blocks the session's index places there.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its share of the files: slots of 16384.
    #[serde(default)]
    pub slots: u64,
    /// Smoothed round trip, in microseconds; absent before the first.
    pub rtt_us: Option<f64>,
}

/// A file as a session sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Path at its first open; `inode N on device M` while nobody has told it and no process of
    /// the session has the file open.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// `serve`, `kernel`, or the reason it is bypassed.
    pub state: String,
    /// Blocks in the local cache.
    pub blocks_local: u64,
    /// Blocks on memory nodes.
    pub blocks_remote: u64,
    /// Reads served, local and remote.
    pub hits: u64,
    /// Reads of the file that passed the hooks.
    pub reads: u64,
}

/// How far the session's files are proved to stand as they were read (`docs/semantics.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofInfo {
    /// Files whose stamp is being looked after right now.
    pub under_way: u64,
    /// Files that were proved, each time counted.
    pub proved: u64,
    /// Looks at which a file that the session writes had changed, since it was proved or since the
    /// look before.
    pub changed: u64,
    /// The same of files that the session has never written: others change them.
    #[serde(default)]
    pub changed_by_others: u64,
}

/// A glob of `--include`, `--exclude` or `--own`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlobInfo {
    /// The setting: `include`, `exclude` or `own`.
    pub setting: String,
    /// The glob as typed.
    pub glob: String,
    /// Files read so far that it matches.
    pub files: u64,
}

/// What nodes that held every block would have been worth, at most (`--mode observe`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Reads that came off the device and would have been tried.
    pub reads: u64,
    /// Further reads off the device, of files that were not proved or were being written: they
    /// would have been tried, too, if the session owned these files (`--own`).
    #[serde(default)]
    pub reads_unproved: u64,
    /// Their share of all reads, 0 to 1.
    pub hit_ratio: f64,
    /// Mean time of a read off the device, in microseconds; absent before the first.
    pub disk_us: Option<f64>,
    /// Round trip to a node, in microseconds; absent while none has answered.
    pub remote_us: Option<f64>,
    /// Time that those reads would have taken less, in seconds; absent without the two above.
    pub saved_s: Option<f64>,
}

/// Two percentiles of a latency, in microseconds; absent while nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
}

/// A file of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFile {
    /// Its number in the trace.
    pub number: u32,
    /// Its path, if anybody has told it.
    pub path: Option<String>,
    /// Device, major and minor number.
    pub device: (u64, u64),
    /// Inode.
    pub inode: u64,
}

/// A call of a trace, or a part of one that is larger than 256 KiB: number of the file, whether it
/// wrote, first block, how many. Blocks of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceCall(pub u32, pub bool, pub u64, pub u64);

/// A part of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePart {
    /// Files that occur for the first time.
    pub files: Vec<TraceFile>,
    /// Calls, in their order.
    pub calls: Vec<TraceCall>,
    /// There is more at once.
    pub is_full: bool,
    /// Calls since the beginning for which there was no place: they came too fast.
    pub dropped: u64,
    /// Calls since the beginning whose process was stopped or killed while it noted them.
    pub lost: u64,
}

/// What the regions of a session hold: with no call under way, `operations`, `cells_in_flight` and
/// `refreshes` are 0, and `slots` are as many as processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionInfo {
    /// Memory, local cache included.
    pub bytes: u64,
    /// Processes that have a place, each as often as it has changed its credentials.
    pub slots: u64,
    /// Writes and pins under way, those of dead processes included that wait for their release.
    pub operations: u64,
    /// Version cells in which a writer is noted.
    pub cells_in_flight: u64,
    /// Version cells taken out of service for the rest of the session.
    pub cells_poisoned: u64,
    /// Blocks on their way to the nodes.
    pub refreshes: u64,
}

/// All counters of a session, from its start: the object of `stats -j` and `--stats-at-exit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Version of this object: `SCHEMA`.
    pub schema: u32,
    /// The session.
    pub session: SessionId,
    /// Its name.
    pub name: String,
    /// Its first process, or the one asked for.
    pub pid: u32,
    /// What it is doing.
    pub state: ServiceState,
    /// Why, where the state alone does not say.
    pub reason: Option<String>,
    /// How blocks are protected on the nodes: `tag`, `checksum` or `sealed`.
    #[serde(default)]
    pub integrity: String,
    /// Age in seconds.
    pub uptime_s: f64,
    /// Living processes.
    pub processes: u32,
    /// Living processes that are not served because every place is taken (1023 to a region, 255 or
    /// 127 to a small one). Not among `processes`.
    #[serde(default)]
    pub processes_unserved: u32,
    /// Reads that passed the hooks: `hits_local + hits_remote + reads_disk`, whole calls.
    pub reads: u64,
    /// Bytes those reads returned.
    pub read_bytes: u64,
    /// Reads served from the local cache.
    pub hits_local: u64,
    /// Reads whose slowest part came from a memory node.
    pub hits_remote: u64,
    /// Reads whose slowest part came from the kernel.
    pub reads_disk: u64,
    /// `(hits_local + hits_remote) / reads`, 0 to 1; 0 while there is no read.
    pub hit_ratio: f64,
    /// Calls that wrote.
    pub writes: u64,
    /// Blocks (or whole files) those calls put out of date.
    pub invalidations: u64,
    /// Blocks sent to memory nodes.
    pub pushed_blocks: u64,
    /// Blocks not sent: ring full, rate limit, node down.
    pub push_dropped: u64,
    /// Reads not tried, by reason.
    pub bypass: BTreeMap<String, u64>,
    /// Reads tried and finished by the kernel, by reason.
    pub fallback: BTreeMap<String, u64>,
    /// Latency of reads served from memory nodes.
    pub remote_latency_us: Percentiles,
    /// Latency of reads the device served.
    pub disk_latency_us: Percentiles,
    /// Bytes in the local cache.
    pub local_bytes: u64,
    /// Bytes on memory nodes.
    pub remote_bytes: u64,
    /// Memory nodes.
    pub nodes: Vec<NodeInfo>,
    /// Files, most reads first, at most `FILES_MAX`.
    pub files: Vec<FileInfo>,
    /// Globs of the settings, with what they have matched.
    #[serde(default)]
    pub globs: Vec<GlobInfo>,
    /// Proofs.
    #[serde(default)]
    pub proofs: ProofInfo,
    /// What the session's regions hold.
    #[serde(default)]
    pub region: RegionInfo,
    /// In mode observe: what serving would have been worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<Prediction>,
}
