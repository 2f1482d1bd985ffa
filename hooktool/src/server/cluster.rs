//! A Redis or Valkey Cluster as the pool: its masters are the nodes of the session, its slot map is
//! the slot map of the regions, for every key carries the hash tag of its slot (`wire::hash_tag`).
//!
//! One thread runs `run`: it asks any member that answers for CLUSTER SLOTS every few seconds, and
//! at once when a reader or the drain was sent elsewhere, or when a master does not answer.
//! `prepare` takes the first look, `pool` has the nodes and the map. Blocks are never moved by us:
//! resharding and failover are the cluster's. Nothing here decides who is a master.

mod exam;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grid::node::SLOTS;
use parking_lot::{Condvar, Mutex};

pub use self::exam::Exam;
use self::topology::{Member, Topology};
use super::client::{Client, NodeError, Target, Value};
use super::nodes::Node;
use super::pool::{Origin, Refusal};
use super::session::Session;
use super::tunnel::Tunnels;
use crate::config::{NodeAddr, Secret, ServeConfig};

/// Between two looks at a cluster that is well.
const REST: Duration = Duration::from_secs(5);

/// Between two looks while somebody is missing; it doubles up to `REST`.
const REST_MIN: Duration = Duration::from_millis(250);

/// Between two looks in any case.
const CALM: Duration = Duration::from_millis(100);

/// Longest wait for a connection to a member, or for its answer.
const LIMIT: Duration = Duration::from_millis(500);

/// Longest look: members that have not been asked by then are asked at the next one.
const PATIENCE: Duration = Duration::from_secs(1);

/// Longest wait of a start: `PATIENCE`, and the answer of the last member that was asked.
const FIRST_PATIENCE: Duration = Duration::from_millis(2500);

/// The cluster of a session.
pub struct Cluster {
    /// Its address as shown.
    pub shown: String,
    password: Option<Secret>,
    /// What carries connections to its members, if they speak TLS.
    tunnels: Option<Arc<Tunnels>>,
    seeds: Vec<Member>,
    /// Who was named by the last look.
    known: Mutex<Vec<Member>>,
    trouble: Mutex<Option<String>>,
    /// Readers that were sent elsewhere, as far as they have been heeded.
    moved: AtomicU64,
    called: Mutex<bool>,
    call: Condvar,
}

/// A first look: what was found, to be brought into a session once there is one.
pub struct Found(Topology);

/// Asks the seeds, before there is a session. A start waits for that, but not for a resolver that
/// takes its time, or for several members that say nothing.
///
/// # Errors
///
/// What the last of them answered, or did not.
pub fn first_look(config: &ServeConfig, tunnels: &Arc<Tunnels>) -> Result<Found, NodeError> {
    let (tell, told) = crossbeam_channel::bounded(1);
    let (nodes, tunnels) = (config.nodes.clone(), Arc::clone(tunnels));
    let ask = move || {
        if let Some(cluster) = Cluster::of(&nodes, &tunnels) {
            let _ = tell.send(cluster.look(&mut None, &cluster.seeds).map(Found));
        }
    };
    let thread = std::thread::Builder::new().name("hook-meet".into());
    thread.spawn(ask)?;
    let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
    told.recv_timeout(FIRST_PATIENCE).unwrap_or_else(late)
}

impl Cluster {
    /// The cluster that the settings name, if they name one; nobody has been asked yet.
    pub fn of(nodes: &[NodeAddr], tunnels: &Arc<Tunnels>) -> Option<Cluster> {
        nodes.iter().find_map(|addr| {
            let NodeAddr::Cluster {
                seeds,
                password,
                is_tls,
            } = addr
            else {
                return None;
            };
            let seeds = seeds.iter().cloned();
            let seed = |(host, port)| Member { host, port };
            Some(Cluster {
                shown: addr.to_string(),
                password: password.clone(),
                tunnels: is_tls.then(|| Arc::clone(tunnels)),
                seeds: seeds.map(seed).collect(),
                known: Mutex::new(Vec::new()),
                trouble: Mutex::new(None),
                moved: AtomicU64::new(0),
                called: Mutex::new(false),
                call: Condvar::new(),
            })
        })
    }

    /// Nobody answers, or not as a cluster does.
    pub fn note(&self, error: &NodeError) {
        *self.trouble.lock() = Some(error.to_string());
    }

    /// What is wrong, in words; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().clone()?;
        Some(format!("cluster {}: {trouble}", self.shown))
    }

    /// What a user is to be told of a cluster that cannot be used.
    pub fn complaint(&self) -> Option<String> {
        let trouble = self.trouble()?;
        let fix = self.fix(&trouble);
        Some(format!(
            "{trouble}: reads go to the disk until it answers; {fix}"
        ))
    }

    /// What to type.
    pub fn fix(&self, trouble: &str) -> String {
        let Some(Member { host, port }) = self.seeds.first() else {
            return "hooktool doctor".into();
        };
        match trouble {
            text if text.contains("AUTH") || text.contains("WRONGPASS") => {
                let scheme = self.shown.split("://").next().unwrap_or_default();
                format!("give its password:  --node {scheme}://:PASSWORD@{host}:{port}")
            }
            text if text.contains("TLS") || text.contains("certificate") => {
                format!("see what is wrong:  hooktool doctor --node {}", self.shown)
            }
            text if text.contains("cluster support disabled") => {
                format!("it is a single server:  --node redis://{host}:{port}")
            }
            _ => format!("ask it yourself:  redis-cli -h {host} -p {port} CLUSTER INFO"),
        }
    }

    /// The slot map may be stale.
    pub fn ring(&self) {
        *self.called.lock() = true;
        self.call.notify_one();
    }

    /// Asks for the map, over the connection in hand or one to the first of `members` that answers.
    fn look(
        &self,
        hand: &mut Option<(Client, String)>,
        members: &[Member],
    ) -> Result<Topology, NodeError> {
        let start = Instant::now();
        if let Some((mut client, host)) = hand.take()
            && let Ok(found) = ask(&mut client, &host)
        {
            *hand = Some((client, host));
            return Ok(found);
        }
        let mut failure = std::io::Error::other("nobody to ask").into();
        for member in members {
            if start.elapsed() >= PATIENCE {
                break;
            }
            let target = Target {
                host: member.host.clone(),
                port: member.port,
                password: self.password.clone(),
                tunnels: self.tunnels.clone(),
            };
            let asked = Client::connect(&target, LIMIT).and_then(|mut client| {
                let found = ask(&mut client, &member.host)?;
                Ok((client, found))
            });
            match asked {
                Ok((client, found)) => {
                    *hand = Some((client, member.host.clone()));
                    return Ok(found);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Whom to ask, the likeliest to answer first: masters that are up, then the rest, then the
    /// seeds. `turn` begins with another master each time.
    fn candidates(&self, session: &Session, turn: usize) -> Vec<Member> {
        let is_up = |member: &Member| {
            let node = session.pool.find(&self.addr_of(member).to_string());
            node.is_some_and(|node| node.is_up())
        };
        let known = self.known.lock().clone();
        let (mut up, mut rest): (Vec<_>, Vec<_>) = known.into_iter().partition(is_up);
        for seed in &self.seeds {
            if !up.contains(seed) && !rest.contains(seed) {
                rest.push(seed.clone());
            }
        }
        for members in [&mut up, &mut rest] {
            let first = turn % members.len().max(1);
            members.rotate_left(first);
        }
        up.extend(rest);
        up
    }

    fn addr_of(&self, member: &Member) -> NodeAddr {
        NodeAddr::Redis {
            host: member.host.clone(),
            port: member.port,
            password: self.password.clone(),
            is_tls: self.tunnels.is_some(),
        }
    }

    /// The masters of a first look, as nodes that come with the cluster.
    pub fn nodes_of(&self, found: &Found) -> Vec<(NodeAddr, Origin)> {
        let origin = || Origin::Named(self.shown.clone());
        let masters = found.0.masters.iter();
        masters.map(|m| (self.addr_of(m), origin())).collect()
    }

    /// Makes the session's nodes and slot map the cluster's.
    pub fn bring_in(&self, session: &Session, found: &Found) {
        self.apply(session, &found.0);
    }

    fn apply(&self, session: &Session, found: &Topology) {
        let addrs: Vec<NodeAddr> = found.masters.iter().map(|m| self.addr_of(m)).collect();
        let shown: Vec<String> = addrs.iter().map(ToString::to_string).collect();
        // Those that are here get their slots first, then the others come and go.
        session.place_given(Some(placement(session, found, &shown)));
        for node in session.pool.nodes() {
            if !shown.contains(&node.shown) {
                let _ = session.remove_node(&node);
            }
        }
        let mut has_come = false;
        for addr in &addrs {
            match session.add_node(addr, Origin::Named(self.shown.clone())) {
                Ok(_) => has_come = true,
                Err(Refusal::Known) => {}
                Err(refusal) => tracing::warn!(node = %addr, ?refusal, "master left out"),
            }
        }
        if has_come {
            session.place_given(Some(placement(session, found, &shown)));
        }
        let masters = found.masters.iter().chain(&found.others);
        *self.known.lock() = masters.cloned().collect();
        *self.trouble.lock() = trouble_of(found);
    }

    fn is_restless(&self, session: &Session) -> bool {
        let nodes = session.pool.nodes();
        self.trouble.lock().is_some() || nodes.is_empty() || !nodes.iter().all(|n| n.is_up())
    }

    /// Sleeps until `until`, or until somebody rings; true: somebody did.
    fn rest(&self, session: &Session, until: Instant) -> bool {
        let mut called = self.called.lock();
        while !*called && !session.is_ending() {
            if self.call.wait_until(&mut called, until).timed_out() {
                break;
            }
        }
        std::mem::take(&mut *called)
    }
}

/// The number of the node of each slot + 1, 0 nobody.
fn placement(session: &Session, found: &Topology, shown: &[String]) -> Box<[u8]> {
    let node = |shown: &String| session.pool.find(shown);
    let byte = |node: Option<Arc<Node>>| node.map_or(0, |node| node.number as u8 + 1);
    let bytes: Vec<u8> = shown.iter().map(|shown| byte(node(shown))).collect();
    let of = |slot: usize| usize::from(found.slots[slot]).checked_sub(1);
    (0..SLOTS)
        .map(|slot| of(slot).and_then(|nth| bytes.get(nth)).copied())
        .map(Option::unwrap_or_default)
        .collect()
}

fn trouble_of(found: &Topology) -> Option<String> {
    match (found.masters.is_empty(), found.left_out) {
        (true, _) => Some("no slot has a master".into()),
        (false, 0) => None,
        (false, slots) => Some(format!(
            "it has more than {} masters; {slots} slots are not used",
            grid::node::NODES_MAX
        )),
    }
}

/// One question, one answer.
fn ask(client: &mut Client, host: &str) -> Result<Topology, NodeError> {
    match client.value(&[b"CLUSTER", b"SLOTS"])? {
        Value::Refused(text) => Err(NodeError::Foreign(text)),
        answer => Topology::of(&answer, host).map_err(NodeError::Foreign),
    }
}

/// Follows the cluster until the session ends; ends at once where there is none.
pub fn run(session: &Session) {
    let Some(cluster) = &session.cluster else {
        return;
    };
    let (mut hand, mut turn, mut pause) = (None, 0, REST_MIN);
    while !session.is_ending() {
        let looked = Instant::now();
        match cluster.look(&mut hand, &cluster.candidates(session, turn)) {
            Ok(found) => cluster.apply(session, &found),
            Err(error) => cluster.note(&error),
        }
        pause = match cluster.is_restless(session) {
            true => (pause * 2).min(REST),
            false => REST,
        };
        let is_rung = cluster.rest(session, looked + pause);
        if is_rung || cluster.is_restless(session) {
            // Somebody else may know better than whoever was asked.
            (hand, turn) = (None, turn + 1);
        }
        if is_rung {
            pause = REST_MIN / 2;
            let calm = looked + CALM;
            std::thread::sleep(calm.saturating_duration_since(Instant::now()));
        }
    }
}

/// Rings if readers were sent elsewhere since the last time (`tend`).
pub fn heed(session: &Session) {
    let Some(cluster) = &session.cluster else {
        return;
    };
    let headers = session.domains();
    let moved = headers.iter().map(|domain| domain.region.header());
    let moved: u64 = moved
        .map(|header| header.moved.load(Ordering::Relaxed))
        .sum();
    if cluster.moved.swap(moved, Ordering::Relaxed) != moved {
        cluster.ring();
    }
}
