//! The node as a server: accepts, admits, hands sockets to workers, ends when told.
//!
//! Called with a bound socket and a future that ends it; `worker` does the serving. Admission is
//! decided here, once: whoever is not let in is told so and costs nothing further.

mod clients;
mod connection;
mod receive;
mod shared;
mod spin;
mod transport;
mod worker;

use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

pub(crate) use clients::{Client, Facts, NAME_BYTES_MAX};
pub(crate) use connection::Session;
pub(crate) use shared::Shared;
pub(crate) use transport::CIPHER_BYTES;

use crate::config::{Budget, Config, MEMORY_BYTES_MIN};
use crate::lend::Lending;
use crate::tls::Tls;
use worker::{Admitted, Worker};

/// How long accepting pauses when the process has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How often it is looked whether the last connection has gone.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why a node cannot be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// Less memory than a node needs for anything at all.
    #[error(
        "{given_bytes} bytes are too little for a node: at least {MEMORY_BYTES_MIN} are needed"
    )]
    TooSmall {
        /// What it was given.
        given_bytes: usize,
    },
    /// The kernel does not give the memory.
    #[error("cannot reserve {wanted_bytes} bytes of memory: {cause}")]
    Memory {
        /// What was asked for.
        wanted_bytes: usize,
        /// What the kernel said.
        cause: io::Error,
    },
    /// Threads or the listening socket failed.
    #[error("cannot serve: {0}")]
    Serve(#[from] io::Error),
}

/// What a node has done so far and holds now, as one look at its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks held now.
    pub items: u64,
    /// Memory in use by blocks now, index included, in bytes.
    pub used_bytes: u64,
    /// Memory that blocks may take, index included, in bytes.
    pub capacity_bytes: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Blocks given up for lack of room.
    pub evictions: u64,
    /// Values stored.
    pub sets: u64,
    /// Requests answered.
    pub commands: u64,
    /// Connections open now.
    pub connections: u64,
    /// All the memory it may take now, in bytes.
    pub memory_bytes: u64,
    /// Blocks that were given back to the host because it needed the memory, in bytes.
    pub given_back_bytes: u64,
    /// What connections hold beyond their turn: unfinished requests, unsent replies. In bytes.
    pub buffered_bytes: u64,
    /// Blocks given up because their time had come.
    pub expirations: u64,
    /// Connections turned away because all places were taken.
    pub rejected: u64,
    /// Connections that ended in their TLS handshake.
    pub handshakes_failed: u64,
}

/// A memory node, its memory reserved. Cheap to clone: all clones are one node.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

/// Builds a node and serves until `shutdown` ends; see [`Node::run`].
///
/// # Errors
/// [`NodeError`]: too little memory, none to be had, or no threads.
pub async fn run(
    listener: StdListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), NodeError> {
    Node::new(config)?.run(listener, shutdown).await
}

impl Node {
    /// Reserves a node's memory.
    ///
    /// # Errors
    /// [`NodeError::TooSmall`] or [`NodeError::Memory`].
    pub fn new(config: Config) -> Result<Node, NodeError> {
        let too_small = NodeError::TooSmall {
            given_bytes: config.memory_bytes,
        };
        let budget = Budget::of(&config).ok_or(too_small)?;
        let wanted_bytes = budget.store_bytes;
        let shared = Shared::new(config, budget);
        let shared = shared.map_err(|cause| NodeError::Memory {
            wanted_bytes,
            cause,
        })?;
        if let Err(error) = shared.store.lock_memory() {
            tracing::debug!(%error, "blocks may be swapped out: RLIMIT_MEMLOCK is too low to lock");
        }
        Ok(Node {
            shared: Arc::new(shared),
        })
    }

    /// The counters now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Changes what clients have to say first. Who has said the old password stays.
    pub fn set_password(&self, password: Option<Vec<u8>>) {
        *self.shared.password.write() = password;
    }

    /// Changes how long a silent client may stay; zero: for ever.
    pub fn set_idle_time_max(&self, time: Duration) {
        self.shared.idle_s_max.store(time.as_secs(), Relaxed);
    }

    /// Changes what is shown to clients that come from now on, and asked of them. A node that was
    /// started without TLS stays so.
    pub fn set_tls(&self, tls: Tls) {
        if self.is_secure() {
            *self.shared.tls.write() = Some(tls);
        }
    }

    /// Does it speak TLS?
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.shared.config.tls.is_some()
    }

    /// Was it told to end, and serves the connections that are left?
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Relaxed)
    }

    /// Ends it now, as SHUTDOWN does: no grace.
    pub fn end(&self) {
        self.shared.end.notify_one();
    }

    /// Serves `listener` until `shutdown` ends. No new connections then; those that are left are
    /// served until they go, for [`Config::grace`] at most, and then closed. Needs a tokio
    /// runtime only for accepting; serving has its own threads.
    ///
    /// # Errors
    /// [`NodeError::Serve`]: the socket is not one to listen on, or no thread can be started.
    pub async fn run(
        &self,
        listener: StdListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), NodeError> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (stop, stopped) = watch::channel(false);
        let workers: io::Result<Vec<Worker>> = (0..self.shared.config.workers.max(1))
            .map(|index| Worker::start(index, self.shared.clone(), stopped.clone()))
            .collect();
        let workers = workers?;
        let lending = Lending::start(&self.shared)?;
        let gently = tokio::select! {
            () = accept_all(&listener, &self.shared, &workers) => false,
            () = look_around(&self.shared) => false,
            () = self.shared.end.notified() => false,
            () = shutdown => true,
        };
        drop(listener);
        if gently {
            self.drain().await;
        }
        lending.into_iter().for_each(Lending::end);
        let _ = stop.send(true);
        for worker in workers {
            worker.join().await;
        }
        Ok(())
    }
}

impl Node {
    /// Waits for the connections that are left, not longer than the grace.
    async fn drain(&self) {
        self.shared.draining.store(true, Relaxed);
        let empty = async {
            while self.shared.clients.len() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        tokio::select! {
            () = empty => {}
            () = tokio::time::sleep(self.shared.config.grace) => {}
            () = self.shared.end.notified() => {}
        }
    }
}

/// Once a second: how busy is the node, and who has been silent for too long?
async fn look_around(shared: &Shared) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before = 0;
    loop {
        second.tick().await;
        let commands = shared.commands.load(Relaxed);
        shared.rate.store(commands.saturating_sub(before), Relaxed);
        before = commands;
        let most = shared.idle_s_max.load(Relaxed);
        for client in shared.clients.list() {
            let idle_s = client.look();
            if most > 0 && idle_s > most {
                tracing::debug!(peer = %client.peer, idle_s, "silent for too long");
                client.end();
            }
        }
    }
}

async fn accept_all(listener: &TcpListener, shared: &Arc<Shared>, workers: &[Worker]) {
    let places = Arc::new(Semaphore::new(shared.budget.connections_max));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            let nth = shared.rejected.fetch_add(1, Relaxed) + 1;
            // Told, and not once for each of a flood.
            if nth.is_power_of_two() {
                let most = shared.budget.connections_max;
                tracing::warn!(%peer, most, refused = nth, "every place for a connection is taken");
            }
            refuse(&stream);
            continue;
        };
        let client = shared.clients.enter(peer, stream.local_addr().ok());
        let least_loaded = workers.iter().min_by_key(|worker| worker.connections());
        if let (Some(worker), Ok(stream)) = (least_loaded, stream.into_std()) {
            worker.hand_over(Admitted {
                stream,
                client,
                place,
            });
        }
    }
}

fn refuse(stream: &TcpStream) {
    // Fresh sockets have room for a line; a peer that is gone already does not need it.
    let _ = stream.try_write(b"-ERR max number of clients reached\r\n");
}
