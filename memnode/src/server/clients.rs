//! Who is connected: the list behind `CLIENT LIST` and `connected_clients`.
//!
//! Called when a connection comes and goes, and by the CLIENT command; never while serving blocks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

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
    /// Since when.
    pub since: Instant,
    /// What it calls itself.
    pub names: Mutex<Names>,
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
    pub fn enter(&self, peer: SocketAddr) -> Client {
        let mut connected = self.connected.lock();
        connected.last_id += 1;
        let id = connected.last_id;
        let names = Mutex::new(Names::default());
        let facts = Arc::new(Facts {
            id,
            peer,
            since: Instant::now(),
            names,
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
    /// One line of `CLIENT LIST`.
    pub fn line(&self) -> String {
        let names = self.names.lock();
        format!(
            "id={} addr={} name={} age={} db=0 cmd=NULL user=default lib-name={} lib-ver={}\n",
            self.id,
            self.peer,
            names.name,
            self.since.elapsed().as_secs(),
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
