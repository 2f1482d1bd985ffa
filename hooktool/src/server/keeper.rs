//! The keeper of a node: a thread that probes it every second, opens and closes its breaker in
//! every region, and keeps a few connections ready to be handed to processes.
//!
//! `tend` starts one for every node of the pool; it ends when the node leaves the pool. A dead node
//! costs its keeper a timeout and nobody else anything. `meet` is the first contact of all, before
//! the session is announced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::node::NodeState;
use grid::sync::Ordering;

use super::client::{Client, Info, NodeError, Reply};
use super::domain::Domain;
use super::nodes::{Home, Node, PROBE_LIMIT, note_ill, note_well, write_numbers};
use super::session::Session;
use crate::control;
use crate::failure::Failure;

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

/// Good probes in a row that close a breaker.
const GOOD_PROBES: u64 = 2;

/// Connections kept ready to be handed out.
const READY_MAX: usize = 12;

/// How often the breakers of a node have opened in a row, over all regions.
#[derive(Default)]
struct Flapping {
    opened: Option<Instant>,
    is_open: bool,
    times: u32,
}

impl Node {
    /// The keeper: probes and replenishes until the session ends.
    pub fn keep(&self, session: &Session) {
        let mut client = None;
        let mut pause = PROBE_PAUSE_MIN;
        let mut flapping = Flapping::default();
        while !self.is_over(session) {
            match self.probe(&mut client) {
                Ok((info, rtt_ns)) => {
                    self.is_well(session, info, rtt_ns);
                    pause = PROBE_PAUSE_MIN;
                    self.rest(session, &mut flapping);
                    if self.home.lock().is_doubted {
                        client = None;
                    }
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
            *client = Some(self.reach()?);
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

    /// A connection: where the node was last, or, if it is not there any more, wherever else its
    /// name says by now.
    fn reach(&self) -> Result<Client, NodeError> {
        let home = *self.home.lock();
        let at_home = |at| Client::connect_at(at, &self.target, PROBE_LIMIT);
        let mut failure = None;
        if let Some(at) = home
            .at
            .filter(|_| !home.is_doubted || !self.target.is_named())
        {
            match at_home(at) {
                Err(NodeError::Unreachable(error)) if self.target.is_named() => {
                    failure = Some(error);
                }
                outcome => return outcome,
            }
        }
        let addresses = match (self.target.look_up(), failure) {
            (Ok(addresses), _) => addresses,
            // That it is not there says more than that nobody knows where else it could be.
            (Err(error), failure) => return Err(failure.unwrap_or(error).into()),
        };
        let mut failure = std::io::Error::other("the name has no address").into();
        for at in addresses {
            match at_home(at) {
                Err(error) => failure = error,
                Ok(client) => {
                    let has_moved = home.at.is_some_and(|old| old != at) || home.has_moved;
                    *self.home.lock() = Home {
                        at: Some(at),
                        is_doubted: false,
                        has_moved,
                    };
                    if has_moved {
                        tracing::info!(node = %self.shown, %at, "lives elsewhere now");
                    }
                    return Ok(client);
                }
            }
        }
        // Nobody is where the name points by now: better where the node was.
        if let Some(Ok(client)) = home.at.filter(|_| home.is_doubted).map(at_home) {
            self.home.lock().is_doubted = false;
            return Ok(client);
        }
        Err(failure)
    }

    /// Looks the name up (a thread of its own calls this now and then): if it does not stand for
    /// the address in use any more, the keeper is told.
    pub fn look_again(&self) {
        let Ok(addresses) = self.target.look_up() else {
            return;
        };
        let mut home = self.home.lock();
        home.is_doubted = home.at.is_some_and(|at| !addresses.contains(&at));
        if home.is_doubted {
            drop(home);
            self.wake();
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
        if std::mem::take(&mut self.home.lock().has_moved) {
            session.renew_node(self);
        }
        // Before anybody is told that the node is up, there are connections to be had.
        self.replenish(session);
        session.of_member(self, |domain| {
            write_numbers(domain, self.number, &health);
            self.tend_breaker(domain);
            if restarted {
                self.was_emptied(session, domain);
            }
        });
        if came_up {
            session.place_where_needed();
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
        if session.pool.nodes().len() == 1 {
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
            session.doubt_placement();
        }
        self.ready.lock().clear();
        session.of_member(self, |domain| {
            domain.node(self.number).set_state(NodeState::Down);
            domain.good_probes[self.number].store(0, Ordering::Relaxed);
        });
    }

    fn replenish(&self, session: &Session) {
        if self.fill_pool() > 0 {
            session.sockets.ring();
        }
    }

    /// Makes connections until enough are ready; how many were made.
    pub(super) fn fill_pool(&self) -> usize {
        let mut made = 0;
        while self.ready.lock().len() < READY_MAX {
            let home = self.home.lock().at;
            let Some(home) = home else { break };
            let connected = Client::connect_at(home, &self.target, PROBE_LIMIT);
            let Some(link) = connected.ok().and_then(|client| client.into_link().ok()) else {
                break;
            };
            self.ready.lock().push(link);
            made += 1;
        }
        made
    }

    /// Rests between two probes, replenishing the pool whenever somebody took from it. `tend` calls
    /// when a breaker is open: then the next probe comes sooner.
    fn rest(&self, session: &Session, flapping: &mut Flapping) {
        let start = Instant::now();
        while !self.is_over(session) {
            let pause = match flapping.note(session.is_broken(self.number), Instant::now()) {
                Some(times) => BROKEN_PAUSE * (1 << times.min(BROKEN_DOUBLINGS_MAX)),
                None => PROBE_PAUSE,
            };
            let until = start + pause;
            // Who is called again and again still probes: a stopped node is found out by that.
            let is_over = !self.is_called_before(until) || Instant::now() >= until;
            if is_over || self.home.lock().is_doubted {
                return;
            }
            self.replenish(session);
        }
    }

    /// Rests while the node is away: what is asked of it cannot be had.
    fn rest_deaf(&self, session: &Session, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.is_over(session) && self.is_called_before(until) {}
    }

    /// Whether nobody needs this node any more.
    fn is_over(&self, session: &Session) -> bool {
        self.is_gone() || session.is_ending()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeAddr;
    use crate::server::client::Target;
    use crate::server::pool::Origin;

    #[test]
    fn a_name_is_tried_at_all_of_its_addresses_and_kept_at_one() {
        // In most places a name of two addresses, of which the node has one.
        let fake = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = fake.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in fake.incoming().map_while(Result::ok) {
                let mut stream = stream;
                let _ = std::io::Write::write_all(&mut stream, b"+PONG\r\n");
                std::thread::spawn(move || std::io::Read::read(&mut stream, &mut [0; 64]));
            }
        });
        let host = String::from("localhost");
        let target = Target {
            host: host.clone(),
            port,
            password: None,
            tunnels: None,
        };
        let addr = NodeAddr::Memnode { host, port };
        let node = Node::new(0, 1, (addr, Origin::Settings), (target, None));
        assert!(node.reach().is_ok());
        let at = node.home.lock().at.expect("found");
        assert_eq!(at, ([127, 0, 0, 1], port).into());
        node.look_again();
        assert!(!node.home.lock().is_doubted && !node.home.lock().has_moved);
        // The name does not stand for this one: the node is elsewhere.
        node.home.lock().at = Some(([127, 0, 0, 9], port).into());
        node.look_again();
        assert!(node.home.lock().is_doubted);
        assert!(node.reach().is_ok());
        let home = *node.home.lock();
        assert_eq!(
            (home.at, home.is_doubted, home.has_moved),
            (Some(at), false, true)
        );
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
