//! One node, as the hook server knows it: where it is, how it is, and connections that are ready.
//!
//! `pool` makes nodes and lets them go; the node's `keeper` looks after it; `attach` and `drain`
//! take ready connections; `session` and `stats` ask for health. Nothing here waits for a node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::{Duration, Instant};

use grid::node::NodeState;
use grid::sync::Ordering;
use parking_lot::{Condvar, Mutex};

use super::client::{Info, NodeError, Target};
use super::domain::Domain;
use super::embedded::Stopper;
use super::link::Link;
use super::pool::Origin;
use crate::config::NodeAddr;
use crate::control;
use crate::tls::Refused;

/// Longest wait for a connection, or for an answer on one.
pub const PROBE_LIMIT: Duration = Duration::from_millis(1000);

/// How long `take_soon` waits, and how long between two looks.
const TAKE_LIMIT: Duration = Duration::from_millis(50);
const TAKE_PAUSE: Duration = Duration::from_millis(2);

/// A node that is unreachable keeps its share of the files this long before others take it over.
const PLACED_WHILE_DOWN: Duration = Duration::from_secs(10);

/// What is known of a node.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) state: control::NodeState,
    trouble: Option<String>,
    /// Why there is no trust, if that is its trouble.
    refused: Option<Refused>,
    pub(super) info: Info,
    rtt_ns: u64,
    down_since: Option<Instant>,
    pub(super) was_up: bool,
}

/// Which of its addresses a node is used at: always one, because several addresses may be several
/// servers, each with blocks of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Home {
    /// The address.
    pub(super) at: Option<SocketAddr>,
    /// The name does not say so any more.
    pub(super) is_doubted: bool,
    /// It was another address before, and nobody has been told.
    pub(super) has_moved: bool,
}

/// A memory node.
pub struct Node {
    /// Its number in every region, while it is in the pool.
    pub number: usize,
    /// Its address.
    pub addr: NodeAddr,
    /// Its address as shown.
    pub shown: String,
    /// Who brought it into the pool.
    pub origin: Origin,
    /// A stable hash of the address, for placement.
    pub name_hash: u64,
    pub(super) target: Target,
    /// If it is part of this very process: ends with this.
    embedded: Option<Stopper>,
    /// What its record says of it in every region: moves when it lives at another address.
    generation: AtomicU32,
    pub(super) home: Mutex<Home>,
    pub(super) ready: Mutex<Vec<Link>>,
    pub(super) health: Mutex<Health>,
    /// It has a keeper.
    pub(super) is_kept: AtomicBool,
    /// It takes no more blocks: its share goes to the others.
    pub(super) is_draining: AtomicBool,
    /// It has left the pool.
    pub(super) is_gone: AtomicBool,
    called: Mutex<bool>,
    call: Condvar,
}

/// Where a node is, and what keeps it if it is part of this process.
pub type Place = (Target, Option<Stopper>);

impl Node {
    /// A node, nothing known of it yet.
    pub fn new(
        number: usize,
        generation: u32,
        (addr, origin): (NodeAddr, Origin),
        (target, embedded): Place,
    ) -> Node {
        let shown = addr.to_string();
        Node {
            number,
            generation: AtomicU32::new(generation),
            name_hash: stable_hash(shown.as_bytes()),
            addr,
            shown,
            origin,
            target,
            embedded,
            home: Mutex::new(Home::default()),
            ready: Mutex::new(Vec::new()),
            health: Mutex::new(Health {
                state: control::NodeState::Connecting,
                trouble: None,
                refused: None,
                info: Info::default(),
                rtt_ns: 0,
                down_since: None,
                was_up: false,
            }),
            is_kept: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
            called: Mutex::new(false),
            call: Condvar::new(),
        }
    }

    /// It lives elsewhere, or is somebody else: connections made before are of no use. The pool
    /// calls it.
    pub fn set_generation(&self, generation: u32) {
        let mut ready = self.ready.lock();
        ready.clear();
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// What its record says while it has the number.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether it came with an address that stands for several nodes.
    pub fn is_of_a_name(&self) -> bool {
        self.name().is_some()
    }

    /// That address.
    pub fn name(&self) -> Option<&str> {
        match &self.origin {
            Origin::Named(name) => Some(name),
            Origin::Settings | Origin::Command => None,
        }
    }

    /// Whether it lives there.
    pub fn is_at(&self, host: &str, port: u16) -> bool {
        self.target.host == host && self.target.port == port
    }

    /// Where it is reached, if it has been.
    pub fn home(&self) -> Option<SocketAddr> {
        self.home.lock().at
    }

    /// Whether it gives its share away.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Whether it has left the pool.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Whether the last probe went well.
    pub fn is_up(&self) -> bool {
        self.health.lock().state == control::NodeState::Up
    }

    /// Whether blocks are placed on it: up, or down so shortly that it may be back.
    pub fn is_placed(&self) -> bool {
        let health = self.health.lock();
        let gone = health
            .down_since
            .map(|since| since.elapsed() >= PLACED_WHILE_DOWN);
        health.was_up && gone != Some(true)
    }

    /// Whether it is to have a share of the files.
    pub fn takes_share(&self) -> bool {
        self.is_placed() && !self.is_draining()
    }

    /// What it can hold, in bytes; `None`: it does not say.
    pub fn max_bytes(&self) -> Option<u64> {
        let bytes = self.health.lock().info.max_bytes;
        (bytes != 0).then_some(bytes)
    }

    /// What is wrong with it, in words; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        let health = self.health.lock();
        let trouble = health.trouble.as_deref()?;
        Some(format!("node {}: {trouble}", self.shown))
    }

    /// What a user is to be told of a node that is of no use yet, or of less than it could be:
    /// what, what it means, what to type. `has_others`: other nodes have its share meanwhile.
    pub fn complaint(&self, has_others: bool) -> Option<String> {
        let (state, why, is_member, refused) = {
            let health = self.health.lock();
            let why = health.trouble.clone().unwrap_or_default();
            let refused = health.refused.clone();
            (health.state, why, health.info.is_member, refused)
        };
        let Target { host, port, .. } = &self.target;
        let shown = &self.shown;
        let place = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let until = match has_others {
            true => "others have its share until it answers",
            false => "reads go to the disk until it answers",
        };
        let fix = refused.map(|refused| refused.fix(&place));
        let (what, fix) = match state {
            control::NodeState::Up if is_member && !self.is_of_a_name() => (
                format!("{shown} is one of a cluster: it refuses the blocks of its other members"),
                format!("name the cluster:  --node redis-cluster://{place}"),
            ),
            control::NodeState::Up
            | control::NodeState::Slow
            | control::NodeState::Draining
            | control::NodeState::Drained => return None,
            // On a busy machine it comes a moment later, with nothing for anybody to do about it.
            control::NodeState::Connecting if self.is_embedded() => return None,
            control::NodeState::Connecting => (
                format!("memory node {shown} has not answered yet: {until}"),
                "see:  hooktool ps".into(),
            ),
            control::NodeState::Unreachable if why.contains("address information") => (
                format!("memory node {shown} has no address ({why}): {until}"),
                format!("look it up:  getent hosts {host}"),
            ),
            control::NodeState::Unreachable => (
                format!("cannot reach memory node {shown}: {why}: {until}"),
                format!("start it there:  memnode --listen {place}"),
            ),
            control::NodeState::Unauthorized => (
                match self.target.password {
                    Some(_) => {
                        format!("memory node {shown} wants another password ({why}): {until}")
                    }
                    None => format!("memory node {shown} wants a password ({why}): {until}"),
                },
                format!("give it:  --node {}://:PASSWORD@{place}", self.scheme()),
            ),
            control::NodeState::Tls => (
                format!("memory node {shown} speaks TLS: {until}"),
                crate::nodes::with_tls(&place),
            ),
            control::NodeState::Untrusted => (
                format!("memory node {shown}: {why}: {until}"),
                fix.unwrap_or_default(),
            ),
            control::NodeState::Foreign => (
                format!("{shown} is no memory node ({why}): reads go to the disk"),
                format!("see what listens there:  ss -ltnp 'sport = :{port}'"),
            ),
        };
        Some(format!("{what}; {fix}"))
    }

    fn scheme(&self) -> &'static str {
        if self.addr.is_tls() {
            "rediss"
        } else {
            "redis"
        }
    }

    /// Health and smoothed round trip in nanoseconds (0: none yet), for the viewers.
    pub fn health(&self) -> (control::NodeState, u64) {
        let health = self.health.lock();
        (health.state, health.rtt_ns)
    }

    /// Writes what is known of this node into a region in which its number is free.
    pub fn introduce(&self, domain: &Domain) {
        let health = self.health.lock();
        domain
            .node(self.number)
            .begin(self.generation(), grid_state(&health));
        write_numbers(domain, self.number, &health);
    }

    /// Whether it is part of this process.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Takes a connection that is ready to be used, if there is one, with the generation that it
    /// belongs to. Never waits.
    pub fn take_ready(&self) -> Option<(Link, u32)> {
        let taken = {
            let mut ready = self.ready.lock();
            loop {
                match ready.pop() {
                    Some(link) if link.is_silent() => {
                        break Some((link, self.generation()));
                    }
                    Some(_) => {}
                    None => break None,
                }
            }
        };
        self.wake();
        taken
    }

    /// Takes a connection, waiting a moment for the keeper to make one if none is ready.
    pub fn take_soon(&self) -> Option<Link> {
        let until = Instant::now() + TAKE_LIMIT;
        loop {
            let taken = self.take_ready().map(|(link, _)| link);
            if taken.is_some() || Instant::now() >= until {
                return taken;
            }
            std::thread::sleep(TAKE_PAUSE);
        }
    }

    /// Wakes the keeper.
    pub fn wake(&self) {
        *self.called.lock() = true;
        self.call.notify_one();
    }

    /// Waits until it is called (true) or the time has come.
    pub(super) fn is_called_before(&self, until: Instant) -> bool {
        let mut called = self.called.lock();
        while !*called {
            if self.call.wait_until(&mut called, until).timed_out() {
                return false;
            }
        }
        *called = false;
        true
    }
}

pub(super) fn note_well(health: &mut Health, info: Info, rtt_ns: u64) {
    health.state = control::NodeState::Up;
    health.trouble = None;
    health.refused = None;
    health.down_since = None;
    health.was_up = true;
    health.info = info;
    health.rtt_ns = match health.rtt_ns {
        0 => rtt_ns,
        old => old - old / 8 + rtt_ns / 8,
    };
}

pub(super) fn note_ill(health: &mut Health, error: &NodeError) {
    health.state = match error {
        NodeError::Unreachable(_) => control::NodeState::Unreachable,
        NodeError::Unauthorized(_) => control::NodeState::Unauthorized,
        NodeError::Tls => control::NodeState::Tls,
        NodeError::Untrusted(_) => control::NodeState::Untrusted,
        NodeError::Foreign(_) => control::NodeState::Foreign,
    };
    health.trouble = Some(error.to_string());
    health.refused = match error {
        NodeError::Untrusted(refused) => Some(refused.clone()),
        _ => None,
    };
    health.down_since = health.down_since.or(Some(Instant::now()));
}

fn grid_state(health: &Health) -> NodeState {
    match health.state {
        control::NodeState::Up => NodeState::Up,
        _ => NodeState::Down,
    }
}

pub(super) fn write_numbers(domain: &Domain, number: usize, health: &Health) {
    let record = domain.node(number);
    record.rtt_ns.store(health.rtt_ns, Ordering::Relaxed);
    record
        .bytes
        .store(health.info.used_bytes, Ordering::Relaxed);
    record
        .bytes_max
        .store(health.info.max_bytes, Ordering::Relaxed);
}

/// FNV-1a: the same in every release, so that a node keeps its share across restarts.
fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_not_answered_yet_is_told_of_unless_it_is_our_own() {
        let target = || Target {
            host: "neighbour".into(),
            port: 7420,
            password: None,
            tunnels: None,
        };
        let own = NodeAddr::Embedded { bytes: 1 << 20 };
        let (stopper, _) = super::super::embedded::stopper();
        let here = (target(), Some(stopper));
        let own = Node::new(0, 1, (own, Origin::Settings), here);
        assert_eq!(own.complaint(false), None);
        let other = NodeAddr::Memnode {
            host: "neighbour".into(),
            port: 7420,
        };
        let told = Node::new(0, 1, (other, Origin::Settings), (target(), None)).complaint(false);
        assert!(told.is_some_and(|told| told.contains("neighbour:7420 has not answered yet")));
    }
}
