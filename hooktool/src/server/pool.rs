//! The pool: which memory nodes the session has right now, under which numbers, and which part of
//! the files each of them holds.
//!
//! Nodes come with the settings, by `hooktool node add`, or with a name that stands for several;
//! they go by `hooktool node remove`, or with that name. `viewers` and whoever looks names up
//! change the pool, `tend` and the keepers have the placement looked at, everybody else asks for
//! `nodes`. Why a number may change hands is in docs/design.md, section 15. Nothing here waits for
//! a node.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use grid::attach::NodeRef;
use grid::node::{NODES_MAX, NodeState, SLOTS, rendezvous};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::domain::Domain;
use super::embedded;
use super::moving::Move;
use super::nodes::{Node, Place};
use super::session::Session;
use super::tunnel::Tunnels;
use crate::config::NodeAddr;
use crate::failure::Failure;
use crate::server::client::Target;

/// Who brought a node into the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The settings of the session.
    Settings,
    /// `hooktool node add`.
    Command,
    /// An address that stands for several nodes, which come and go as it says.
    Named(String),
}

/// Why the pool is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node is in it.
    Known,
    /// No number is free.
    Full,
    /// It is the last one that takes blocks.
    Last,
    /// It comes and goes with this address.
    Named(String),
    /// Nobody has it.
    Unknown,
    /// It stands for several nodes, each of which is drained by itself.
    Several,
    /// It is part of this process and could not be made, or nobody answers for the name.
    Failed(Failure),
}

/// The nodes of a session.
pub struct Pool {
    /// What carries connections by TLS.
    pub tunnels: Arc<Tunnels>,
    seats: RwLock<[Option<Arc<Node>>; NODES_MAX]>,
    order: Mutex<Order>,
    changes: AtomicU64,
    /// The thread that takes blocks along with their slots.
    mover: OnceLock<Thread>,
}

/// What whoever changes the pool needs. It is held, too, by whoever writes into the regions what is
/// known of a node, so that nobody writes under a number that has changed hands.
pub struct Order {
    /// The last generation given out.
    generation: u32,
    /// The generation under which each number was given back.
    vacated: [u32; NODES_MAX],
    /// A placement from outside, a byte a slot: number + 1, 0 nobody.
    given: Option<Box<[u8]>>,
    /// What `target` was made from: the hash of each node that is to have a share.
    names: [Option<u64>; NODES_MAX],
    /// Where each slot belongs.
    target: Box<[u8]>,
    /// Where it is.
    placed: Box<[u8]>,
}

impl Pool {
    /// The nodes of the settings, and those that come with an address that stands for several.
    ///
    /// # Errors
    ///
    /// One that is part of this process cannot be made.
    pub fn of(
        addrs: &[NodeAddr],
        named: Vec<(NodeAddr, Origin)>,
        tunnels: Arc<Tunnels>,
    ) -> Result<Pool, Failure> {
        let mut order = Order {
            generation: 0,
            vacated: [0; NODES_MAX],
            given: None,
            names: [None; NODES_MAX],
            target: vec![0; SLOTS].into(),
            placed: vec![0; SLOTS].into(),
        };
        let mut seats = [const { None }; NODES_MAX];
        let is_one =
            |addr: &&NodeAddr| !matches!(addr, NodeAddr::Cluster { .. } | NodeAddr::Srv { .. });
        let settings = addrs.iter().filter(is_one);
        let settings = settings.map(|addr| (addr.clone(), Origin::Settings));
        let mut nodes: Vec<(NodeAddr, Origin)> = Vec::new();
        for (addr, origin) in settings.chain(named) {
            // Two names may bring the same node, or one that the settings name, too.
            if !nodes.iter().any(|(known, _)| *known == addr) {
                nodes.push((addr, origin));
            }
        }
        if nodes.len() > NODES_MAX {
            tracing::warn!(
                nodes = nodes.len(),
                NODES_MAX,
                "more nodes than there is room for"
            );
        }
        for (number, (seat, who)) in seats.iter_mut().zip(nodes).enumerate() {
            let place = place_of(&who.0, &tunnels)?;
            *seat = Some(Arc::new(Node::new(number, order.next(), who, place)));
        }
        Ok(Pool {
            tunnels,
            seats: RwLock::new(seats),
            order: Mutex::new(order),
            changes: AtomicU64::new(1),
            mover: OnceLock::new(),
        })
    }

    /// Those that are in it, in the order of their numbers.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        self.seats.read().iter().flatten().cloned().collect()
    }

    /// The one that is shown by this address.
    pub fn find(&self, shown: &str) -> Option<Arc<Node>> {
        let seats = self.seats.read();
        let mut nodes = seats.iter().flatten();
        nodes.find(|node| node.shown == shown).cloned()
    }

    /// The one at this address, with or without `redis://` and a password.
    pub fn find_at(&self, addr: &NodeAddr) -> Option<Arc<Node>> {
        self.find(&addr.to_string()).or_else(|| {
            let seats = self.seats.read();
            let mut nodes = seats.iter().flatten();
            nodes
                .find(|node| addr.place().is_some() && node.addr.place() == addr.place())
                .cloned()
        })
    }

    /// There is something to be moved, or nothing any more.
    pub fn wake_mover(&self) {
        if let Some(mover) = self.mover.get() {
            mover.unpark();
        }
    }

    /// Moves whenever a node comes or goes, or lives at another address.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

impl Order {
    fn next(&mut self) -> u32 {
        self.generation = (self.generation + 1) & NodeRef::GENERATION_MAX;
        self.generation
    }
}

/// Where a node is; one that is to be part of this process is started.
fn place_of(addr: &NodeAddr, tunnels: &Arc<Tunnels>) -> Result<Place, Failure> {
    let (host, port, password, is_tls) = match addr.clone() {
        NodeAddr::Memnode { host, port } => (host, port, None, false),
        NodeAddr::Redis {
            host,
            port,
            password,
            is_tls,
        } => (host, port, password, is_tls),
        // What they bring are nodes, they are none (`orders` and `Pool::of` know).
        NodeAddr::Cluster { .. } | NodeAddr::Srv { .. } => return Err(no_node(addr)),
        NodeAddr::Embedded { bytes } => {
            return embedded::start(bytes).map(|(target, stopper)| (target, Some(stopper)));
        }
    };
    let target = Target {
        host,
        port,
        password,
        tunnels: is_tls.then(|| Arc::clone(tunnels)),
    };
    Ok((target, None))
}

fn no_node(addr: &NodeAddr) -> Failure {
    Failure::launch(
        format!("{addr} is no node: it stands for several"),
        "they come and go by themselves",
        format!("start a session of it:  hooktool run --node {addr} ..."),
    )
}

impl Session {
    /// Takes a node in. It gets its share when it has answered its first probe; one that was being
    /// drained gets it back; one that does not answer is taken anew where the password is another.
    ///
    /// # Errors
    ///
    /// `Known`, `Full`, `Failed`.
    pub fn add_node(&self, addr: &NodeAddr, origin: Origin) -> Result<Arc<Node>, Refusal> {
        let known = self.pool.find_at(addr);
        if let Some(known) = &known {
            if known.is_draining.swap(false, Ordering::Relaxed) {
                self.place_where_needed();
                return Ok(Arc::clone(known));
            }
            if known.addr == *addr || known.is_up() || known.is_of_a_name() {
                return Err(Refusal::Known);
            }
            // It has not answered under the password it was given: here is another.
        }
        if known.is_none() && self.pool.nodes().len() >= NODES_MAX {
            return Err(Refusal::Full);
        }
        let place = place_of(addr, &self.pool.tunnels).map_err(Refusal::Failed)?;
        let mut order = self.pool.order.lock();
        if let Some(known) = known {
            self.dismiss(&known, &mut order)?;
        }
        if self.pool.find_at(addr).is_some() {
            return Err(Refusal::Known);
        }
        // The number that has been free the longest.
        let free = {
            let seats = self.pool.seats.read();
            let free = (0..NODES_MAX).filter(|number| seats[*number].is_none());
            free.min_by_key(|number| order.vacated[*number])
        };
        let number = free.ok_or(Refusal::Full)?;
        let node = Node::new(number, order.next(), (addr.clone(), origin), place);
        let node = Arc::new(node);
        tracing::info!(node = %node.shown, number, "joins the pool");
        self.pool.seats.write()[number] = Some(Arc::clone(&node));
        for domain in self.domains() {
            node.introduce(&domain);
        }
        self.announce_change(&order);
        Ok(node)
    }

    /// Lets a node go, at once: its share goes to the others, its blocks are not asked for again.
    ///
    /// # Errors
    ///
    /// `Last` (unless another address will bring others), `Unknown`.
    pub fn remove_node(&self, node: &Node) -> Result<(), Refusal> {
        let mut order = self.pool.order.lock();
        let stands_alone = !self
            .pool
            .nodes()
            .iter()
            .any(|other| can_stand_in(other, node));
        if stands_alone && !node.is_of_a_name() {
            return Err(Refusal::Last);
        }
        self.dismiss(node, &mut order)
    }

    fn dismiss(&self, node: &Node, order: &mut Order) -> Result<(), Refusal> {
        if node.is_gone.swap(true, Ordering::Relaxed) {
            return Err(Refusal::Unknown);
        }
        tracing::info!(node = %node.shown, "leaves the pool");
        self.pool.seats.write()[node.number] = None;
        self.place_now(order);
        let generation = order.next();
        order.vacated[node.number] = generation;
        for domain in self.domains() {
            let record = domain.node(node.number);
            record.begin(generation, NodeState::Absent);
            domain.good_probes[node.number].store(0, Ordering::Relaxed);
        }
        self.announce_change(order);
        node.wake();
        Ok(())
    }

    /// A node answers at another address: what leads to the old one is of no use any more, and what
    /// lies there is lost. It keeps number and share.
    pub fn renew_node(&self, node: &Node) {
        let mut order = self.pool.order.lock();
        if node.is_gone() {
            return;
        }
        let generation = order.next();
        node.set_generation(generation);
        for domain in self.domains() {
            let record = domain.node(node.number);
            record.begin(generation, record.state());
        }
        self.announce_change(&order);
    }

    /// Lets the others take over a node's share; it stays, for what it still holds.
    ///
    /// # Errors
    ///
    /// `Last`.
    pub fn drain_node(&self, node: &Node) -> Result<(), Refusal> {
        let mut order = self.pool.order.lock();
        if !self
            .pool
            .nodes()
            .iter()
            .any(|other| can_stand_in(other, node))
        {
            return Err(Refusal::Last);
        }
        node.is_draining.store(true, Ordering::Relaxed);
        self.place_now(&mut order);
        Ok(())
    }

    /// How many slots are on a node.
    pub fn share_of(&self, node: &Node) -> usize {
        let order = self.pool.order.lock();
        let placed = order.placed.iter();
        placed
            .filter(|byte| usize::from(**byte) == node.number + 1)
            .count()
    }

    /// Places the slots as somebody else says (a byte each: number of the node + 1, 0 nobody), or
    /// by rendezvous hashing again.
    pub fn place_given(&self, given: Option<Box<[u8]>>) {
        let mut order = self.pool.order.lock();
        order.given = given.filter(|given| given.len() == SLOTS);
        order.names = [None; NODES_MAX];
        self.place_now(&mut order);
    }

    /// Places the slots anew if a node has gone for good or has come (`tend`, keepers).
    pub fn place_where_needed(&self) {
        self.place_now(&mut self.pool.order.lock());
    }

    /// A domain that was just made: nodes and placement. Nodes stay as they are until the guard is
    /// dropped, so that the domain is not left out of a change.
    pub fn furnish(&self, domain: &Domain) -> MutexGuard<'_, Order> {
        let mut order = self.pool.order.lock();
        for node in self.pool.nodes() {
            node.introduce(domain);
        }
        let header = domain.region.header();
        header
            .pool_changes
            .store(self.pool.changes(), Ordering::Release);
        self.place_now(&mut order);
        place(domain, &order.placed);
        order
    }

    /// Calls `write` for every domain, unless the node has left the pool.
    pub fn of_member(&self, node: &Node, write: impl Fn(&Domain)) {
        let _order = self.pool.order.lock();
        if !node.is_gone() {
            self.domains().iter().for_each(|domain| write(domain));
        }
    }

    /// Finds out where each slot belongs. Slots of nodes that do not answer go there at once, the
    /// others when the mover has taken their blocks along.
    fn place_now(&self, order: &mut Order) {
        let nodes = self.pool.nodes();
        let mut names = [None; NODES_MAX];
        for node in nodes.iter().filter(|node| node.takes_share()) {
            names[node.number] = Some(node.name_hash);
        }
        if let Some(given) = &order.given {
            let is_there = |byte: u8| {
                nodes
                    .iter()
                    .any(|node| node.number + 1 == usize::from(byte))
            };
            let known = |byte: &u8| if is_there(*byte) { *byte } else { 0 };
            order.target = given.iter().map(known).collect();
        } else if names != order.names {
            order.target = target_of(&names);
        }
        order.names = names;
        let answers = answering(&nodes, order);
        let (mut moved, mut waits) = (false, false);
        for (placed, target) in order.placed.iter_mut().zip(&order.target) {
            if placed == target {
                continue;
            }
            // Who answers keeps a slot until there is somebody to bring its blocks to.
            match (answers[usize::from(*placed)], answers[usize::from(*target)]) {
                (true, true) => waits = true,
                (true, false) => {}
                (false, _) => (*placed, moved) = (*target, true),
            }
        }
        if moved {
            self.domains().iter().for_each(|d| place(d, &order.placed));
        }
        if waits {
            self.pool.wake_mover();
        }
    }

    /// Registers the mover.
    pub fn set_mover(&self, thread: Thread) {
        let _ = self.pool.mover.set(thread);
    }

    /// The slots that are to go next, with their blocks: all that go from one node to another.
    pub fn next_move(&self) -> Option<Move> {
        let order = self.pool.order.lock();
        let nodes = self.pool.nodes();
        let answers = answering(&nodes, &order);
        let can = |byte: &u8| answers[usize::from(*byte)];
        let pairs = order.placed.iter().zip(&order.target);
        let (from, to) = pairs
            .clone()
            .find(|(from, to)| from != to && can(from) && can(to))?;
        let node = |byte: u8| {
            let mut nodes = nodes.iter();
            nodes
                .find(|node| node.number + 1 == usize::from(byte))
                .cloned()
        };
        let wanted = pairs
            .enumerate()
            .filter(|(_, pair)| *pair == (from, to))
            .map(|(slot, _)| slot);
        Some(Move {
            slots: wanted.collect(),
            from: node(*from)?,
            to: node(*to)?,
        })
    }

    /// Leaves out of a move what has changed its mind since: slots that belong elsewhere by now, or
    /// all of them if one of the nodes does not answer any more.
    pub fn revise_move(&self, planned: &mut Move) {
        let order = self.pool.order.lock();
        let [from, to] = [&planned.from, &planned.to];
        let can = from.is_up() && to.is_up() && !from.is_gone() && !to.is_gone();
        let pair = [from.number + 1, to.number + 1];
        planned.slots.retain(|slot| {
            let is = [order.placed[*slot], order.target[*slot]].map(usize::from);
            can && is == pair
        });
    }

    /// Moves slots whose blocks have been brought, unless they belong elsewhere by now.
    pub fn finish_move(&self, done: &Move) {
        let mut order = self.pool.order.lock();
        if done.from.is_gone() || done.to.is_gone() {
            return;
        }
        let (from, to) = (done.from.number, done.to.number);
        for &slot in &done.slots {
            let pair = [order.placed[slot], order.target[slot]].map(usize::from);
            if pair == [from + 1, to + 1] {
                order.placed[slot] = order.target[slot];
                for domain in self.domains() {
                    domain.region.nodes().place_one(slot, Some(to));
                }
            }
        }
    }

    /// Tells processes and drains that connections may be of no use any more.
    fn announce_change(&self, _held: &Order) {
        let changes = self.pool.changes.fetch_add(1, Ordering::AcqRel) + 1;
        for domain in self.domains() {
            let header = domain.region.header();
            header.pool_changes.store(changes, Ordering::Release);
        }
    }
}

/// Whether a node can take over from another: one that answers is not given up for one that does
/// not.
fn can_stand_in(other: &Node, node: &Node) -> bool {
    other.number != node.number && !other.is_draining() && (other.is_up() || !node.is_up())
}

/// Who gives blocks and takes them, by number + 1. Where others place the slots we move none.
fn answering(nodes: &[Arc<Node>], order: &Order) -> [bool; NODES_MAX + 1] {
    let mut answers = [false; NODES_MAX + 1];
    for node in nodes.iter().filter(|node| node.is_up()) {
        answers[node.number + 1] = order.given.is_none();
    }
    answers
}

/// Where each slot belongs by rendezvous hashing.
fn target_of(names: &[Option<u64>; NODES_MAX]) -> Box<[u8]> {
    let byte = |slot| rendezvous(names, slot).map_or(0, |node| node as u8 + 1);
    (0..SLOTS).map(byte).collect()
}

/// Brings a placement into a region at once.
fn place(domain: &Domain, placed: &[u8]) {
    let nodes = domain.region.nodes();
    let before = nodes.shares();
    let mut kept = [0_u64; NODES_MAX];
    for (slot, byte) in placed.iter().enumerate() {
        let node = usize::from(*byte).checked_sub(1);
        if node.is_some() && nodes.node_of(slot) == node {
            node.and_then(|node| kept.get_mut(node))
                .into_iter()
                .for_each(|kept| *kept += 1);
        }
    }
    nodes.place(|slot| usize::from(placed[slot]).checked_sub(1));
    // What lies on a node under a slot that is not its own any more is never asked for.
    for (record, (before, kept)) in nodes.records.iter().zip(before.iter().zip(kept)) {
        let blocks = record.blocks.load(Ordering::Relaxed);
        let left = u128::from(blocks) * u128::from(kept) / u128::from((*before).max(1));
        let left = u64::try_from(left).unwrap_or(blocks);
        record.blocks.store(left, Ordering::Relaxed);
    }
}
