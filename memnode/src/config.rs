//! What a node is told, and how it divides the memory it is given.
//!
//! Called by whoever starts a node. `--memory` is a promise about the whole process as seen from
//! outside (resident memory), so what connections and the program itself need comes off first and
//! the store gets the rest.

use std::thread::available_parallelism;
use std::time::Duration;

use crate::host::{self, Idle};
use crate::lend::Lend;
use crate::server::CIPHER_BYTES;
use crate::store::{Eviction, HugePages, STORE_BYTES_MIN, VALUE_BYTES_MAX};
use crate::tls::Tls;

const MIB: usize = 1 << 20;

/// Least memory of a node in bytes.
pub const MEMORY_BYTES_MIN: usize = 16 * MIB;

/// What the program itself is allowed: code, stacks, allocator, runtime. In bytes.
const PROCESS_BYTES: usize = 7 * MIB;

/// What one worker may need at once: its input, and replies up to their limit. In bytes.
const WORKER_BYTES: usize = INPUT_BYTES + REPLY_BYTES_MAX;

/// Room for one burst of requests, per worker, in bytes.
pub(crate) const INPUT_BYTES: usize = 256 * 1024;

/// Largest reply in bytes: a few of the largest values, or an `MGET` of 1 MiB in blocks.
pub(crate) const REPLY_BYTES_MAX: usize = 2 * VALUE_BYTES_MAX;

/// Memory behind one worker: a small node does not need many.
const MEMORY_BYTES_PER_WORKER: usize = 64 * MIB;

/// Most workers: one carries a few hundred thousand requests a second.
const WORKERS_MAX: usize = 8;

/// What a connection that only waits costs, in bytes (the kernel's own buffers not counted).
const CONNECTION_BYTES: usize = 8 * 1024;

/// The same by TLS: its state, and its buffers while hands are shaken.
const SECURE_CONNECTION_BYTES: usize = 40 * 1024;

/// Most connections, whatever the memory.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a worker looks for the next request before it sleeps, at most, in microseconds: what it
/// costs to wake an idle virtual processor (30 to 70), once for the server and once for a client
/// that sleeps too. Measured with a blocking client: 56 us a round trip without, 32 us with.
const BUSY_POLL_US_MAX: u64 = 100;

/// How long a connection may stay without having said the password.
const STRANGER_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an unfinished request, or a reply that nobody takes, may hold memory.
const STALL_TIME_MAX: Duration = Duration::from_secs(30);

/// What a node needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// All the memory the node may take, in bytes.
    pub memory_bytes: usize,
    /// Whether it takes and gives back memory as its host has some to spare; `None`: it keeps all.
    pub lend: Option<Lend>,
    /// How it learns what its host has to spare.
    pub host: fn() -> Option<Idle>,
    /// What is thrown away when it is full.
    pub eviction: Eviction,
    /// What clients have to say before anything else; `None` lets everybody in.
    pub password: Option<Vec<u8>>,
    /// What clients are shown and asked; `None`: they come without TLS.
    pub tls: Option<Tls>,
    /// Threads that serve. A node is a guest on its host: by default half of the processors.
    pub workers: usize,
    /// Longest busy wait for the next request in microseconds; 0 never waits busily.
    pub busy_poll_us_max: u64,
    /// Whether blocks lie on huge pages.
    pub huge_pages: HugePages,
    /// How long a silent client may stay; zero: for ever. CONFIG SET timeout changes it.
    pub idle_time_max: Duration,
    /// How long a node that was told to end goes on serving the connections it has.
    pub grace: Duration,
    /// Whether SHUTDOWN ends the node; not where it is a part of another program.
    pub shutdown_allowed: bool,
    /// How long a connection may stay without having said the password: it holds a place.
    pub stranger_time_max: Duration,
    /// How long an unfinished request, or a reply that nobody takes, may hold memory; large ones
    /// have a second more for each 64 KiB.
    pub stall_time_max: Duration,
}

impl Config {
    /// The defaults for so much memory, in bytes.
    #[must_use]
    pub fn new(memory_bytes: usize) -> Config {
        let processors = available_parallelism().map_or(1, usize::from);
        let affordable = (memory_bytes / MEMORY_BYTES_PER_WORKER).max(1);
        Config {
            memory_bytes,
            lend: None,
            host: host::look,
            eviction: Eviction::default(),
            password: None,
            tls: None,
            workers: processors.div_ceil(2).min(WORKERS_MAX).min(affordable),
            busy_poll_us_max: BUSY_POLL_US_MAX,
            huge_pages: HugePages::default(),
            idle_time_max: Duration::ZERO,
            grace: Duration::ZERO,
            shutdown_allowed: false,
            stranger_time_max: STRANGER_TIME_MAX,
            stall_time_max: STALL_TIME_MAX,
        }
    }
}

/// How the memory of a node is divided. All in bytes except `connections_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Blocks, with their index.
    pub store_bytes: usize,
    /// Requests that came in part and replies that could not be sent yet, all connections together.
    pub buffers_bytes: usize,
    /// How many connections that leaves room for.
    pub connections_max: usize,
}

impl Budget {
    /// Divides a node's memory; `None` if it is less than [`MEMORY_BYTES_MIN`].
    #[must_use]
    pub fn of(config: &Config) -> Option<Budget> {
        if config.memory_bytes < MEMORY_BYTES_MIN {
            return None;
        }
        let buffers_bytes = (config.memory_bytes / 64 * 3).clamp(MIB / 2 * 3, 96 * MIB);
        let (connection_bytes, worker_bytes) = match config.tls {
            None => (CONNECTION_BYTES, WORKER_BYTES),
            Some(_) => (SECURE_CONNECTION_BYTES, WORKER_BYTES + CIPHER_BYTES),
        };
        // A quarter of what connections get; three quarters by TLS, as each needs so much more.
        let places_bytes = buffers_bytes / 3 * (1 + 2 * usize::from(config.tls.is_some()));
        let fixed_bytes = PROCESS_BYTES + config.workers * worker_bytes;
        let store_bytes = config
            .memory_bytes
            .checked_sub(fixed_bytes + buffers_bytes + places_bytes)?;
        let connections_max = places_bytes / connection_bytes;
        (store_bytes >= STORE_BYTES_MIN).then_some(Budget {
            store_bytes,
            buffers_bytes,
            connections_max: connections_max.min(CONNECTIONS_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_never_more_than_the_whole() {
        for mib in [16, 17, 64, 256, 1024, 1 << 20] {
            let config = Config::new(mib * MIB);
            let budget = Budget::of(&config).unwrap_or_else(|| panic!("{mib} MiB"));
            let connections = budget.connections_max * CONNECTION_BYTES;
            let sum = budget.store_bytes + budget.buffers_bytes + connections;
            assert!(
                sum + PROCESS_BYTES <= config.memory_bytes,
                "{mib} MiB: {budget:?}"
            );
            assert!(budget.connections_max >= 60, "{mib} MiB: {budget:?}");
        }
        assert_eq!(Budget::of(&Config::new(MEMORY_BYTES_MIN - 1)), None);
    }
}
