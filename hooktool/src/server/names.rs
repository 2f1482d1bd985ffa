//! Names: a node that is known by a name may be elsewhere one day, and a name with SRV records
//! stands for several nodes, which come and go with the record.
//!
//! One thread a session runs `run`. Every half minute it looks the names of all nodes up; a keeper
//! whose node is not found at the address in use moves to where the name points (a node that fails
//! is looked up by its keeper, at once). SRV records are looked up when their time is over: a
//! target that is new joins the pool, one that is not named any more is drained, then removed.
//! While nobody answers for a name everything stays as it is. Resolvers may take their time: nobody
//! waits for this thread.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::nodes::Node;
use super::pool::{Origin, Refusal};
use super::session::Session;
use crate::config::{NodeAddr, Secret, ServeConfig};
use crate::failure::Failure;
use crate::srv::{self, Answer};

/// Between two looks at the addresses of nodes.
const LOOK_PAUSE: Duration = Duration::from_secs(30);

/// Between two looks at a record: its time, within these bounds.
const RECORD_PAUSE_MIN: Duration = Duration::from_secs(1);
const RECORD_PAUSE_MAX: Duration = Duration::from_secs(30);

/// After a look that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Longest look at a record.
const RECORD_LIMIT: Duration = Duration::from_secs(5);

/// The same when a user waits for it, and at the start of a session.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);

/// A name that stands for several nodes.
struct Named {
    addr: NodeAddr,
    /// When its record is due.
    due: Instant,
    /// Nodes that it does not name any more, by their addresses: they leave when they are drained.
    leaving: Vec<String>,
    /// What is wrong with it.
    trouble: Option<String>,
}

/// The names of a session.
#[derive(Default)]
pub struct Names(Mutex<Vec<Named>>);

/// A node, and the name that brought it.
type Brought = (NodeAddr, Origin);

impl Named {
    fn new(addr: &NodeAddr) -> Named {
        Named {
            addr: addr.clone(),
            due: Instant::now(),
            leaving: Vec::new(),
            trouble: None,
        }
    }

    fn note(&mut self, outcome: &Result<Answer, std::io::Error>) {
        let (pause, trouble) = match outcome {
            Ok(answer) => (answer.ttl.clamp(RECORD_PAUSE_MIN, RECORD_PAUSE_MAX), None),
            Err(error) => (RETRY_PAUSE, Some(error.to_string())),
        };
        if let Some(trouble) = &trouble
            && self.trouble.is_none()
        {
            tracing::warn!(name = %self.addr, trouble, "not looked up");
        }
        (self.due, self.trouble) = (Instant::now() + pause, trouble);
    }
}

impl Names {
    /// The names of the settings, and the nodes that they stand for at the start.
    ///
    /// # Errors
    ///
    /// Nodes are required, and nobody answers for a name.
    pub fn of(config: &ServeConfig) -> Result<(Names, Vec<Brought>), Failure> {
        let mut names = Vec::new();
        let mut brought = Vec::new();
        for addr in config.nodes.iter().filter(|addr| name_of(addr).is_some()) {
            let mut named = Named::new(addr);
            let outcome = look_up(addr, PATIENCE);
            named.note(&outcome);
            match outcome {
                Ok(answer) => brought.extend(nodes_of(addr, &answer)),
                Err(error) if config.require => {
                    return Err(Failure::launch(
                        format!("{addr}: {error}"),
                        "--require was given: nothing was started",
                        fix(addr),
                    ));
                }
                Err(_) => {}
            }
            names.push(named);
        }
        Ok((Names(Mutex::new(names)), brought))
    }

    /// Those that there are.
    pub fn addrs(&self) -> Vec<NodeAddr> {
        self.0
            .lock()
            .iter()
            .map(|named| named.addr.clone())
            .collect()
    }

    /// What a user is to be told of names that say nothing.
    pub fn troubles(&self) -> Vec<String> {
        let names = self.0.lock();
        let troubles = names.iter().filter_map(|named| {
            let (addr, why) = (&named.addr, named.trouble.as_ref()?);
            Some(format!(
                "{addr}: {why}: its nodes stay as they are; {}",
                fix(addr)
            ))
        });
        troubles.collect()
    }
}

/// The name and the password of an address that stands for several nodes.
fn name_of(addr: &NodeAddr) -> Option<(&str, Option<&Secret>)> {
    match addr {
        NodeAddr::Srv { name, password } => Some((name, password.as_ref())),
        _ => None,
    }
}

fn fix(addr: &NodeAddr) -> String {
    let name = name_of(addr).map_or("", |(name, _)| name);
    format!("look it up:  dig {name} SRV")
}

fn look_up(addr: &NodeAddr, limit: Duration) -> std::io::Result<Answer> {
    let name = name_of(addr).map_or("", |(name, _)| name);
    srv::look_up(name, limit)
}

/// The nodes that an answer names.
fn nodes_of(addr: &NodeAddr, answer: &Answer) -> Vec<Brought> {
    let password = name_of(addr).and_then(|(_, password)| password.cloned());
    let node = |(host, port): &(String, u16)| {
        let (host, port) = (host.clone(), *port);
        let node = match password.clone() {
            None => NodeAddr::Memnode { host, port },
            password => NodeAddr::Redis {
                host,
                port,
                password,
                is_tls: false,
            },
        };
        (node, Origin::Named(addr.to_string()))
    };
    answer.targets.iter().map(node).collect()
}

/// Looks names up until the session ends.
pub fn run(session: &Session) {
    let mut due = Instant::now() + LOOK_PAUSE;
    while !session.is_ending() {
        std::thread::sleep(TICK);
        if Instant::now() >= due {
            let nodes = session.pool.nodes();
            for node in nodes.iter().filter(|node| node.target.is_named()) {
                node.look_again();
            }
            due = Instant::now() + LOOK_PAUSE;
        }
        for addr in session.names.addrs() {
            heed(session, &addr);
        }
    }
}

/// Looks at one name if it is due, and sees to the nodes that leave.
fn heed(session: &Session, addr: &NodeAddr) {
    let is_due = with(session, addr, |named| Instant::now() >= named.due);
    if is_due == Some(true) {
        let outcome = look_up(addr, RECORD_LIMIT);
        with(session, addr, |named| named.note(&outcome));
        if let Ok(answer) = outcome {
            follow(session, addr, &answer);
        }
    }
    let leaving = with(session, addr, |named| named.leaving.clone());
    for shown in leaving.unwrap_or_default() {
        let node = session.pool.find(&shown);
        if let Some(node) = &node
            && (!node.is_up() || session.share_of(node) == 0)
        {
            let _ = session.remove_node(node);
        }
        if session.pool.find(&shown).is_none() {
            with(session, addr, |named| {
                named.leaving.retain(|gone| *gone != shown)
            });
        }
    }
}

fn with<T>(session: &Session, addr: &NodeAddr, look: impl FnOnce(&mut Named) -> T) -> Option<T> {
    let mut names = session.names.0.lock();
    names.iter_mut().find(|named| named.addr == *addr).map(look)
}

/// Makes the pool what the record says.
fn follow(session: &Session, addr: &NodeAddr, answer: &Answer) {
    let wanted = nodes_of(addr, answer);
    for (node, origin) in &wanted {
        let shown = node.to_string();
        let was_leaving = with(session, addr, |named| {
            let before = named.leaving.len();
            named.leaving.retain(|gone| *gone != shown);
            named.leaving.len() != before
        });
        if (was_leaving == Some(true) || session.pool.find(&shown).is_none())
            && let Err(Refusal::Full) = session.add_node(node, origin.clone())
        {
            let trouble = format!("it names more nodes than a session has room for: {shown}");
            with(session, addr, |named| named.trouble = Some(trouble));
        }
    }
    let name = addr.to_string();
    let is_ours = |node: &Node| node.name() == Some(&name);
    let is_wanted = |node: &Node| wanted.iter().any(|(addr, _)| *addr == node.addr);
    for node in session.pool.nodes() {
        if is_ours(&node) && !is_wanted(&node) && !node.is_draining() {
            // If nobody else takes blocks, or it is gone already, there is nothing to wait for.
            if !node.is_up() || session.drain_node(&node).is_err() {
                let _ = session.remove_node(&node);
            }
        }
        if is_ours(&node) && !is_wanted(&node) && !node.is_gone() {
            with(session, addr, |named| {
                if !named.leaving.contains(&node.shown) {
                    named.leaving.push(node.shown.clone());
                }
            });
        }
    }
}

impl Session {
    /// Takes a name in, with the nodes that it stands for.
    ///
    /// # Errors
    ///
    /// `Known`, or `Failed`: nobody answers for it.
    pub fn add_name(&self, addr: &NodeAddr) -> Result<(), Refusal> {
        let shown = addr.to_string();
        let is_known = |known: &NodeAddr| known.to_string() == shown;
        if self.names.addrs().iter().any(is_known) {
            return Err(Refusal::Known);
        }
        let outcome = look_up(addr, PATIENCE);
        let answer = outcome.map_err(|error| {
            let means = "the nodes of a name are those of its SRV records";
            Refusal::Failed(Failure::command(
                format!("{addr}: {error}"),
                means,
                fix(addr),
            ))
        })?;
        let mut named = Named::new(addr);
        named.note(&Ok(answer.clone()));
        self.names.0.lock().push(named);
        follow(self, addr, &answer);
        Ok(())
    }

    /// Lets a name go, with its nodes, at once.
    ///
    /// # Errors
    ///
    /// `Unknown`, or `Last`: nobody else takes blocks.
    pub fn remove_name(&self, addr: &NodeAddr) -> Result<(), Refusal> {
        let shown = addr.to_string();
        let nodes = self.pool.nodes();
        let (ours, others): (Vec<_>, Vec<_>) =
            nodes.iter().partition(|node| node.name() == Some(&shown));
        let is_known = |known: &NodeAddr| known.to_string() == shown;
        if !self.names.addrs().iter().any(is_known) {
            return Err(Refusal::Unknown);
        }
        if !others.iter().any(|node| !node.is_draining()) {
            return Err(Refusal::Last);
        }
        self.names.0.lock().retain(|named| !is_known(&named.addr));
        for node in ours {
            let _ = self.remove_node(node);
        }
        Ok(())
    }

    /// Whether it is made of just these addresses, as far as people brought them.
    pub fn is_made_of(&self, addrs: &[NodeAddr]) -> bool {
        let nodes = self.pool.nodes();
        let brought = nodes.iter().filter(|node| !node.is_of_a_name());
        let mut all = self.names.addrs();
        all.extend(brought.map(|node| node.addr.clone()));
        all.len() == addrs.len() && all.iter().all(|addr| addrs.contains(addr))
    }
}
