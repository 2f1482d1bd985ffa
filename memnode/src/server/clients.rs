//! Who is connected: the list behind `CLIENT LIST` and `connected_clients`.
//!
//! Called when a connection comes and goes, and by the CLIENT command; never while serving blocks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

/// Longest name a client may give itself or its library, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// All connections, by their number.
#[derive(Default)]
pub struct Clients {
    connected: Arc<Mutex<Connected>>,
}

#[derive(Default)]
struct Connected {
    last_id: u64,
    by_id: BTreeMap<u64, Arc<Facts>>,
}

/// What is known of one connection.
pub struct Facts {
    /// Its number, never used twice.
    pub id: u64,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it came to.
    pub local: Option<SocketAddr>,
    /// Since when.
    pub since: Instant,
    /// What it calls itself.
    pub names: Mutex<Names>,
    /// Turns it has had. Only looked at from time to time: still the same means idle.
    pub turns: AtomicU64,
    /// Seconds without a turn, as far as the last look knows.
    pub idle_s: AtomicU64,
    /// `turns` at the last look.
    turns_seen: AtomicU64,
    /// Ends its task, wherever that waits.
    task: OnceLock<AbortHandle>,
}

/// What a client calls itself.
#[derive(Clone, Default)]
pub struct Names {
    /// CLIENT SETNAME.
    pub name: String,
    /// CLIENT SETINFO LIB-NAME.
    pub lib_name: String,
    /// CLIENT SETINFO LIB-VER.
    pub lib_version: String,
}

/// One connection's entry in the list; dropped with it.
pub struct Client {
    /// What is known of it.
    pub facts: Arc<Facts>,
    connected: Arc<Mutex<Connected>>,
}

impl Clients {
    /// Lists a new connection until its [`Client`] is dropped.
    pub fn enter(&self, peer: SocketAddr, local: Option<SocketAddr>) -> Client {
        let mut connected = self.connected.lock();
        connected.last_id += 1;
        let id = connected.last_id;
        let names = Mutex::new(Names::default());
        let facts = Arc::new(Facts {
            id,
            peer,
            local,
            since: Instant::now(),
            names,
            turns: AtomicU64::new(0),
            idle_s: AtomicU64::new(0),
            turns_seen: AtomicU64::new(0),
            task: OnceLock::new(),
        });
        connected.by_id.insert(id, facts.clone());
        Client {
            facts,
            connected: self.connected.clone(),
        }
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.connected.lock().by_id.len()
    }

    /// How many ever were.
    pub fn ever(&self) -> u64 {
        self.connected.lock().last_id
    }

    /// Everybody, oldest first.
    pub fn list(&self) -> Vec<Arc<Facts>> {
        self.connected.lock().by_id.values().cloned().collect()
    }
}

impl Facts {
    /// Notes how it can be ended.
    pub fn runs_as(&self, task: AbortHandle) {
        let _ = self.task.set(task);
    }

    /// Ends the connection from outside, at its next wait.
    pub fn end(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Looked at once a second: how long is it idle, in seconds?
    pub fn look(&self) -> u64 {
        let turns = self.turns.load(Relaxed);
        if self.turns_seen.swap(turns, Relaxed) == turns {
            self.idle_s.fetch_add(1, Relaxed) + 1
        } else {
            self.idle_s.store(0, Relaxed);
            0
        }
    }

    /// One line of `CLIENT LIST`.
    pub fn line(&self) -> String {
        let names = self.names.lock();
        let local = self.local.map_or(String::new(), |local| local.to_string());
        format!(
            "id={} addr={} laddr={local} fd=0 name={} age={} idle={} flags=N db=0 sub=0 psub=0 \
             ssub=0 multi=-1 qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 \
             omem=0 tot-mem=0 events=r cmd=NULL user=default redir=-1 resp=2 \
             lib-name={} lib-ver={}\n",
            self.id,
            self.peer,
            names.name,
            self.since.elapsed().as_secs(),
            self.idle_s.load(Relaxed),
            names.lib_name,
            names.lib_version,
        )
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connected.lock().by_id.remove(&self.facts.id);
    }
}
