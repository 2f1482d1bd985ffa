//! What all threads of a node see: configuration, store, counters, clients.
//!
//! Called from everywhere in the server. Everything in it is fixed, atomic or behind its own lock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::thread::available_parallelism;
use std::time::Instant;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::Stats;
use super::clients::Clients;
use crate::commands::COMMANDS;
use crate::config::{Budget, Config};
use crate::store::{HugePages, Store};
use crate::timing::Timing;
use crate::tls::Tls;

/// A silent peer is asked after so many seconds whether it is there. CONFIG SET tcp-keepalive
/// changes it.
const KEEPALIVE_S: u64 = 60;

/// The common ground of one node.
pub struct Shared {
    /// What the node was told.
    pub config: Config,
    /// How it divided its memory.
    pub budget: Budget,
    /// The blocks.
    pub store: Store,
    /// Who is connected.
    pub clients: Clients,
    /// Since when the node is up, for `uptime_in_seconds`.
    pub started: Instant,
    /// Requests answered; workers add a burst at a time.
    pub commands: AtomicU64,
    /// Bytes of requests understood; workers add a burst at a time.
    pub received_bytes: AtomicU64,
    /// Bytes of replies made, likewise.
    pub sent_bytes: AtomicU64,
    /// Connections turned away because all places were taken.
    pub rejected: AtomicU64,
    /// Bytes that connections hold beyond their turn, see [`Charge`].
    pub buffered_bytes: AtomicUsize,
    /// How often each command was called and how long it took, in the order of the table.
    pub timings: Box<[Timing]>,
    /// Requests in the second before last, for `instantaneous_ops_per_sec`.
    pub rate: AtomicU64,
    /// How long a silent client may stay, in seconds; 0: for ever.
    pub idle_s_max: AtomicU64,
    /// After how many silent seconds the peer of a new connection is asked: there? 0: never.
    pub keepalive_s: AtomicU64,
    /// What clients have to say first. Begins as configured.
    pub password: RwLock<Option<Vec<u8>>>,
    /// What is shown to clients and asked of them. Begins as configured.
    pub tls: RwLock<Option<Tls>>,
    /// Connections that ended in their TLS handshake.
    pub handshakes_failed: AtomicU64,
    /// The second, since the start, in which such an end was last told. One line a second.
    handshake_told_s: AtomicU64,
    /// Bytes of blocks that were given back to the host.
    given_back_bytes: AtomicU64,
    /// Told to end; the connections that are left are served.
    pub draining: AtomicBool,
    /// Rung by SHUTDOWN.
    pub end: Notify,
    /// Bytes that one worker may have pinned for a burst of replies.
    pub lease_bytes_max: usize,
    /// Workers that busily wait right now.
    pub spinning: AtomicUsize,
    /// How many may: half of the processors. Kept here because asking reads files.
    pub spinning_max: usize,
}

impl Shared {
    /// Reserves the store.
    ///
    /// # Errors
    /// The kernel does not give the memory.
    pub fn new(config: Config, budget: Budget) -> io::Result<Shared> {
        let huge_pages = match (config.lend, config.huge_pages) {
            // Reserved ones are no use to anybody else: nothing to lend.
            (Some(_), HugePages::Try) => HugePages::Transparent,
            (_, wish) => wish,
        };
        let store = Store::reserve(budget.store_bytes, config.eviction, huge_pages)?;
        let mut lease_bytes_max = store.lease_bytes_max(config.workers);
        if let Some(lend) = config.lend {
            let fixed_bytes = config.memory_bytes - budget.store_bytes;
            store.resize(lend.begin_bytes.saturating_sub(fixed_bytes))?;
            lease_bytes_max = store.lease_bytes_min(config.workers);
        }
        let timings = COMMANDS.iter().map(|_| Timing::default()).collect();
        Ok(Shared {
            lease_bytes_max,
            store,
            timings,
            rate: AtomicU64::new(0),
            idle_s_max: AtomicU64::new(config.idle_time_max.as_secs()),
            keepalive_s: AtomicU64::new(KEEPALIVE_S),
            password: RwLock::new(config.password.clone()),
            tls: RwLock::new(config.tls.clone()),
            handshakes_failed: AtomicU64::new(0),
            handshake_told_s: AtomicU64::new(u64::MAX),
            given_back_bytes: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            end: Notify::new(),
            config,
            budget,
            clients: Clients::default(),
            started: Instant::now(),
            commands: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            buffered_bytes: AtomicUsize::new(0),
            spinning: AtomicUsize::new(0),
            spinning_max: available_parallelism().map_or(1, usize::from) / 2,
        })
    }

    /// Counts a handshake that failed; is it time to tell?
    pub fn handshake_failed(&self) -> bool {
        self.handshakes_failed.fetch_add(1, Relaxed);
        let now_s = self.started.elapsed().as_secs();
        self.handshake_told_s.swap(now_s, Relaxed) != now_s
    }

    /// Counts bytes of blocks that were given back to the host.
    pub fn gave_back(&self, bytes: u64) {
        self.given_back_bytes.fetch_add(bytes, Relaxed);
    }

    /// All the memory it may take now, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let fixed_bytes = self.config.memory_bytes - self.budget.store_bytes;
        (fixed_bytes + self.store.capacity_bytes()) as u64
    }

    /// CONFIG RESETSTAT: what was counted since the start is counted anew.
    pub fn forget_counts(&self) {
        self.store.forget_counts();
        self.commands.store(0, Relaxed);
        self.received_bytes.store(0, Relaxed);
        self.sent_bytes.store(0, Relaxed);
        self.rejected.store(0, Relaxed);
        self.handshakes_failed.store(0, Relaxed);
        self.timings.iter().for_each(Timing::forget);
    }

    /// One look at all counters.
    pub fn stats(&self) -> Stats {
        let counters = self.store.counters();
        Stats {
            items: counters.items,
            used_bytes: self.store.used_bytes(),
            capacity_bytes: self.store.capacity_bytes() as u64,
            hits: counters.hits,
            misses: counters.misses,
            evictions: counters.evictions,
            sets: counters.sets,
            commands: self.commands.load(Relaxed),
            connections: self.clients.len() as u64,
            memory_bytes: self.memory_bytes(),
            given_back_bytes: self.given_back_bytes.load(Relaxed),
            buffered_bytes: self.buffered_bytes.load(Relaxed) as u64,
            expirations: counters.expirations,
            rejected: self.rejected.load(Relaxed),
            handshakes_failed: self.handshakes_failed.load(Relaxed),
        }
    }
}

/// Bytes that one connection holds between its turns, counted against the budget of all. Given
/// back when dropped.
pub struct Charge {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Charge {
    /// Holds nothing yet.
    pub fn new(shared: Arc<Shared>) -> Charge {
        Charge { shared, bytes: 0 }
    }

    /// Holds so many bytes from now on; `false` if that is over the budget (nothing changes then).
    pub fn resize(&mut self, bytes: usize) -> bool {
        let total = &self.shared.buffered_bytes;
        if bytes <= self.bytes {
            total.fetch_sub(self.bytes - bytes, Relaxed);
        } else {
            let more = bytes - self.bytes;
            if total.fetch_add(more, Relaxed) + more > self.shared.budget.buffers_bytes {
                total.fetch_sub(more, Relaxed);
                return false;
            }
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shared.buffered_bytes.fetch_sub(self.bytes, Relaxed);
    }
}
