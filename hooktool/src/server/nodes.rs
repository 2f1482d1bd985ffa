//! One node: its keeper thread probes it every second, opens and closes the breaker, and keeps a
//! few connections ready to be handed to processes.
//!
//! `serve` makes the nodes and starts the keepers; `attach` and `drain` take ready connections;
//! `session` asks for health. A dead node costs its keeper a timeout and nobody else anything.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::node::NodeState;
use grid::sync::Ordering;
use parking_lot::{Condvar, Mutex};

use super::client::{self, Client, Info, NodeError, Reply, Target};
use super::domain::Domain;
use super::session::Session;
use crate::config::{NodeAddr, ServeConfig};
use crate::control;
use crate::failure::Failure;
use crate::nodes::WITHOUT_TLS;

/// Between two probes of a node that is well.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

/// The first pause after a failed probe; it doubles.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(250);

/// Between two probes while a breaker is open; it doubles each time it opens again soon.
const BROKEN_PAUSE: Duration = Duration::from_millis(100);

/// Doublings of that pause at most.
const BROKEN_DOUBLINGS_MAX: u32 = 4;

/// A breaker that opens again within this time has not been closed for good.
const BROKEN_MEMORY: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to reach a node.
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Longest wait for a connection, or for an answer on one.
const PROBE_LIMIT: Duration = Duration::from_millis(1000);

/// Good probes in a row that close a breaker.
const GOOD_PROBES: u64 = 2;

/// Connections kept ready to be handed out.
const READY_MAX: usize = 12;

/// How long `take_soon` waits, and how long between two looks.
const TAKE_LIMIT: Duration = Duration::from_millis(50);
const TAKE_PAUSE: Duration = Duration::from_millis(2);

/// A node that is unreachable keeps its share of the files this long before others take it over.
const PLACED_WHILE_DOWN: Duration = Duration::from_secs(10);

/// What is known of a node.
#[derive(Clone, Debug)]
struct Health {
    state: control::NodeState,
    trouble: Option<String>,
    info: Info,
    rtt_ns: u64,
    down_since: Option<Instant>,
    was_up: bool,
}

/// How often the breakers of a node have opened in a row, over all regions.
#[derive(Default)]
struct Flapping {
    opened: Option<Instant>,
    is_open: bool,
    times: u32,
}

/// A memory node.
pub struct Node {
    /// Its place in the settings and in every region.
    pub number: usize,
    /// Its address as shown.
    pub shown: String,
    /// A stable hash of the address, for placement.
    pub name_hash: u64,
    /// Whether it is part of this very process.
    is_embedded: bool,
    target: Target,
    ready: Mutex<Vec<TcpStream>>,
    health: Mutex<Health>,
    called: Mutex<bool>,
    call: Condvar,
}

impl Node {
    /// A node at `target`, nothing known of it yet.
    pub fn new(number: usize, addr: &NodeAddr, target: Target) -> Node {
        let shown = addr.to_string();
        Node {
            number,
            name_hash: stable_hash(shown.as_bytes()),
            shown,
            is_embedded: matches!(addr, NodeAddr::Embedded { .. }),
            target,
            ready: Mutex::new(Vec::new()),
            health: Mutex::new(Health {
                state: control::NodeState::Connecting,
                trouble: None,
                info: Info::default(),
                rtt_ns: 0,
                down_since: None,
                was_up: false,
            }),
            called: Mutex::new(false),
            call: Condvar::new(),
        }
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

    /// What a user is to be told of a node that is of no use yet: what, what it means, what to
    /// type.
    pub fn complaint(&self) -> Option<String> {
        let (state, why) = {
            let health = self.health.lock();
            (health.state, health.trouble.clone().unwrap_or_default())
        };
        let Target { host, port, .. } = &self.target;
        let shown = &self.shown;
        let until = "reads go to the disk until it answers";
        let (what, fix) = match state {
            control::NodeState::Up | control::NodeState::Slow => return None,
            // On a busy machine it comes a moment later, with nothing for anybody to do about it.
            control::NodeState::Connecting if self.is_embedded => return None,
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
                format!("start it there:  memnode --listen {host}:{port}"),
            ),
            control::NodeState::Unauthorized => (
                match self.target.password {
                    Some(_) => {
                        format!("memory node {shown} wants another password ({why}): {until}")
                    }
                    None => format!("memory node {shown} wants a password ({why}): {until}"),
                },
                format!("give it:  --node redis://:PASSWORD@{host}:{port}"),
            ),
            control::NodeState::Tls => (
                format!(
                    "memory node {shown} speaks TLS, which hooktool cannot speak yet: reads go \
                     to the disk"
                ),
                WITHOUT_TLS.replace("HOST", host),
            ),
            control::NodeState::Foreign => (
                format!("{shown} is no memory node ({why}): reads go to the disk"),
                format!("see what listens there:  ss -ltnp 'sport = :{port}'"),
            ),
        };
        Some(format!("{what}; {fix}"))
    }

    /// Health and smoothed round trip in nanoseconds (0: none yet), for the viewers.
    pub fn health(&self) -> (control::NodeState, u64) {
        let health = self.health.lock();
        (health.state, health.rtt_ns)
    }

    /// Writes what is known of this node into a region that was just made.
    pub fn introduce(&self, domain: &Domain) {
        let health = self.health.lock();
        domain.node(self.number).set_state(grid_state(&health));
        write_numbers(domain, self.number, &health);
    }

    /// Whether it is part of this process.
    pub fn is_embedded(&self) -> bool {
        self.is_embedded
    }

    /// Takes a connection that is ready to be used, if there is one. Never waits.
    pub fn take_ready(&self) -> Option<TcpStream> {
        let taken = {
            let mut ready = self.ready.lock();
            loop {
                match ready.pop() {
                    Some(stream) if client::is_silent(&stream) => break Some(stream),
                    Some(_) => {}
                    None => break None,
                }
            }
        };
        self.wake();
        taken
    }

    /// Takes a connection, waiting a moment for the keeper to make one if none is ready.
    pub fn take_soon(&self) -> Option<TcpStream> {
        let until = Instant::now() + TAKE_LIMIT;
        loop {
            let taken = self.take_ready();
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

    /// The keeper: probes and replenishes until the session ends.
    pub fn keep(&self, session: &Session) {
        let mut client = None;
        let mut pause = PROBE_PAUSE_MIN;
        let mut flapping = Flapping::default();
        while !session.is_ending() {
            match self.probe(&mut client) {
                Ok((info, rtt_ns)) => {
                    self.is_well(session, info, rtt_ns);
                    pause = PROBE_PAUSE_MIN;
                    self.rest(session, &mut flapping);
                }
                Err(error) => {
                    client = None;
                    self.is_ill(session, &error);
                    self.rest_deaf(session, pause);
                    pause = (pause * 2).min(PROBE_PAUSE_MAX);
                }
            }
        }
    }

    /// One probe: a round trip that is timed, then what the node says of itself.
    fn probe(&self, client: &mut Option<Client>) -> Result<(Info, u64), NodeError> {
        if client.is_none() {
            *client = Some(Client::connect(&self.target, PROBE_LIMIT)?);
        }
        let connected = client
            .as_mut()
            .ok_or_else(|| std::io::Error::other("no connection"))?;
        let start = Instant::now();
        connected.command(&[b"PING"])?;
        let rtt_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match connected.command(&[b"INFO"])? {
            Reply::Bulk(text) => Ok((Info::parse(&String::from_utf8_lossy(&text)), rtt_ns)),
            // Somebody's proxy may refuse INFO; the node is up all the same.
            _ => Ok((Info::default(), rtt_ns)),
        }
    }

    fn is_well(&self, session: &Session, info: Info, rtt_ns: u64) {
        let (came_up, restarted, health) = {
            let mut health = self.health.lock();
            let restarted = health.was_up && info.is_restart_of(&health.info);
            let came_up = health.state != control::NodeState::Up;
            note_well(&mut health, info, rtt_ns);
            (came_up, restarted, health.clone())
        };
        if came_up {
            tracing::info!(node = %self.shown, "up");
        }
        if restarted {
            self.ready.lock().clear();
        }
        // Before anybody is told that the node is up, there are connections to be had.
        self.replenish(session);
        for domain in session.domains() {
            write_numbers(&domain, self.number, &health);
            self.tend_breaker(&domain);
            if restarted {
                self.was_emptied(session, &domain);
            }
            if came_up {
                session.place(&domain);
            }
        }
    }

    /// Closes an open breaker after some good probes; makes a node usable that had been away.
    fn tend_breaker(&self, domain: &Domain) {
        let record = domain.node(self.number);
        let good = &domain.good_probes[self.number];
        match record.state() {
            NodeState::Up => good.store(0, Ordering::Relaxed),
            NodeState::Broken if good.fetch_add(1, Ordering::Relaxed) + 1 < GOOD_PROBES => {}
            NodeState::Broken | NodeState::Down | NodeState::Absent => {
                good.store(0, Ordering::Relaxed);
                record.set_state(NodeState::Up);
            }
        }
    }

    /// The node was started anew and holds nothing. With one node the whole index is wrong; with
    /// several, readers remove the wrong entries as they meet them.
    fn was_emptied(&self, session: &Session, domain: &Domain) {
        tracing::info!(node = %self.shown, "started anew: its blocks are gone");
        domain.node(self.number).blocks.store(0, Ordering::Relaxed);
        if session.nodes.len() == 1 {
            domain.region.index().clear();
        }
    }

    fn is_ill(&self, session: &Session, error: &NodeError) {
        let was_up = {
            let mut health = self.health.lock();
            let was_up = health.state == control::NodeState::Up;
            note_ill(&mut health, error);
            was_up
        };
        if was_up {
            tracing::warn!(node = %self.shown, %error, "down");
        }
        self.ready.lock().clear();
        for domain in session.domains() {
            domain.node(self.number).set_state(NodeState::Down);
            domain.good_probes[self.number].store(0, Ordering::Relaxed);
        }
    }

    fn replenish(&self, session: &Session) {
        if self.fill_pool() > 0 {
            session.sockets.ring();
        }
    }

    /// Makes connections until enough are ready; how many were made.
    fn fill_pool(&self) -> usize {
        let mut made = 0;
        while self.ready.lock().len() < READY_MAX {
            let connected = Client::connect(&self.target, PROBE_LIMIT);
            let Some(stream) = connected.ok().and_then(|client| client.into_stream().ok()) else {
                break;
            };
            self.ready.lock().push(stream);
            made += 1;
        }
        made
    }

    /// Rests between two probes, replenishing the pool whenever somebody took from it. `tend` calls
    /// when a breaker is open: then the next probe comes sooner.
    fn rest(&self, session: &Session, flapping: &mut Flapping) {
        let start = Instant::now();
        while !session.is_ending() {
            let pause = match flapping.note(session.is_broken(self.number), Instant::now()) {
                Some(times) => BROKEN_PAUSE * (1 << times.min(BROKEN_DOUBLINGS_MAX)),
                None => PROBE_PAUSE,
            };
            if !self.is_called_before(start + pause) {
                return;
            }
            self.replenish(session);
        }
    }

    /// Rests while the node is away: what is asked of it cannot be had.
    fn rest_deaf(&self, session: &Session, pause: Duration) {
        let until = Instant::now() + pause;
        while !session.is_ending() && self.is_called_before(until) {}
    }

    fn is_called_before(&self, until: Instant) -> bool {
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

/// What a node says at the first contact, in two words.
enum Word {
    /// The outcome of a probe.
    Probed(Result<(Info, u64), NodeError>),
    /// As many connections are ready as can be had.
    Ready,
}

/// The first contact with all nodes at once, before the session is announced: notes how they are
/// and makes connections. Waits for `limit` at most; a node that has not answered by then is met by
/// its keeper. Returns those with which something is wrong.
///
/// # Errors
///
/// No thread is to be had.
pub fn meet(
    nodes: &[Arc<Node>],
    limit: Option<Duration>,
) -> Result<Vec<(Arc<Node>, NodeError)>, Failure> {
    let (tell, told) = crossbeam_channel::unbounded();
    for (number, node) in nodes.iter().enumerate() {
        let (node, tell) = (Arc::clone(node), tell.clone());
        let first_contact = move || {
            let outcome = node.probe(&mut None);
            let is_well = outcome.is_ok();
            let _ = tell.send((number, Word::Probed(outcome)));
            if is_well {
                node.fill_pool();
            }
            let _ = tell.send((number, Word::Ready));
        };
        let thread = std::thread::Builder::new().name("hook-meet".into());
        thread
            .spawn(first_contact)
            .map_err(|error| super::no_thread(&error))?;
    }
    drop(tell);
    let until = limit.map(|limit| Instant::now() + limit);
    let mut wrong = Vec::new();
    let mut unready = nodes.len();
    while unready > 0 {
        let word = match until {
            Some(until) => told.recv_deadline(until).ok(),
            None => told.recv().ok(),
        };
        let Some((number, word)) = word else { break };
        let mut health = nodes[number].health.lock();
        match word {
            Word::Probed(Ok((info, rtt_ns))) => note_well(&mut health, info, rtt_ns),
            Word::Probed(Err(error)) => {
                note_ill(&mut health, &error);
                wrong.push((Arc::clone(&nodes[number]), error));
            }
            Word::Ready => unready -= 1,
        }
    }
    Ok(wrong)
}

impl Flapping {
    /// Notes whether a breaker is open; how often it had opened shortly before, if it is.
    fn note(&mut self, is_open: bool, now: Instant) -> Option<u32> {
        if is_open && !self.is_open {
            let again = self
                .opened
                .is_some_and(|at| now.duration_since(at) < BROKEN_MEMORY);
            self.times = if again { self.times + 1 } else { 0 };
            self.opened = Some(now);
        }
        self.is_open = is_open;
        is_open.then_some(self.times)
    }
}

fn note_well(health: &mut Health, info: Info, rtt_ns: u64) {
    health.state = control::NodeState::Up;
    health.trouble = None;
    health.down_since = None;
    health.was_up = true;
    health.info = info;
    health.rtt_ns = match health.rtt_ns {
        0 => rtt_ns,
        old => old - old / 8 + rtt_ns / 8,
    };
}

fn note_ill(health: &mut Health, error: &NodeError) {
    health.state = match error {
        NodeError::Unreachable(_) => control::NodeState::Unreachable,
        NodeError::Unauthorized(_) => control::NodeState::Unauthorized,
        NodeError::Tls => control::NodeState::Tls,
        NodeError::Foreign(_) => control::NodeState::Foreign,
    };
    health.trouble = Some(error.to_string());
    health.down_since = health.down_since.or(Some(Instant::now()));
}

fn grid_state(health: &Health) -> NodeState {
    match health.state {
        control::NodeState::Up => NodeState::Up,
        _ => NodeState::Down,
    }
}

fn write_numbers(domain: &Domain, number: usize, health: &Health) {
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

/// The nodes of a session, with the address of the embedded one filled in by `embed`.
///
/// # Errors
///
/// What `embed` says.
pub fn from_config<E>(
    config: &ServeConfig,
    mut embed: impl FnMut(u64) -> Result<Target, E>,
) -> Result<Vec<Arc<Node>>, E> {
    let nodes = config.nodes.iter().enumerate().map(|(number, addr)| {
        let target = match addr.clone() {
            NodeAddr::Memnode { host, port } => Target {
                host,
                port,
                password: None,
            },
            NodeAddr::Redis {
                host,
                port,
                password,
            } => Target {
                host,
                port,
                password,
            },
            NodeAddr::Embedded { bytes } => embed(bytes)?,
        };
        Ok(Arc::new(Node::new(number, addr, target)))
    });
    nodes.collect()
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
        };
        let own = NodeAddr::Embedded { bytes: 1 << 20 };
        assert_eq!(Node::new(0, &own, target()).complaint(), None);
        let other = NodeAddr::Memnode {
            host: "neighbour".into(),
            port: 7420,
        };
        let told = Node::new(0, &other, target()).complaint();
        assert!(told.is_some_and(|told| told.contains("neighbour:7420 has not answered yet")));
    }

    #[test]
    fn a_breaker_that_opens_again_and_again_is_trusted_less() {
        let mut flapping = Flapping::default();
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(flapping.note(false, at(0)), None);
        assert_eq!(flapping.note(true, at(1)), Some(0));
        assert_eq!(flapping.note(true, at(2)), Some(0));
        assert_eq!(flapping.note(false, at(3)), None);
        assert_eq!(flapping.note(true, at(4)), Some(1));
        assert_eq!(flapping.note(false, at(5)), None);
        assert_eq!(flapping.note(true, at(60)), Some(0));
    }
}
