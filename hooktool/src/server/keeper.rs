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
use super::nodes::{Node, PROBE_LIMIT, note_ill, note_well, write_numbers};
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
        while !self.is_over(session) {
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
