//! The drain of one region: takes blocks from refresh slots, seals them, and sends them to the
//! nodes.
//!
//! One thread per domain runs `run`. It copies a block out of its slot once, into the send buffer,
//! seals that private copy, and frees the slot before anything is sent, so that a slow node never
//! holds slots. A block is entered into the index when the node has said OK and the version cells
//! are still what its filler saw. A node that fails costs one timeout, then its breaker is open. A
//! block that a node of a cluster sends elsewhere goes there at once, and once only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::ident::block_hash;
use grid::index::Held;
use grid::layout::BLOCK_LOG2_MIN;
use grid::node::NodeState;
use grid::refresh::Refresh;
use grid::sync::Ordering;
use grid::writes::{look_block, look_file};
use rustix::thread::futex;
use wire::resp::refusal::{self, Refusal};
use wire::resp::{SET_TAIL, encode_set_head, set_head_bytes};
use wire::{BlockId, HEADER_BYTES, KEY_BYTES};

use super::client::{Client, NodeError, Reply};
use super::domain::Domain;
use super::nodes::Node;
use super::session::Session;

/// Longest sleep between two looks at the slots. The doorbell ends it earlier; only a process that
/// is killed between leaving a block and ringing needs it.
const SLEEP: futex::Timespec = futex::Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Pause after a batch of few blocks, and after each of the first looks that find none. Every time
/// a thread wakes costs tens of microseconds on a virtual machine, and most of them are taken from
/// the target: a database that writes a block a millisecond must not wake two threads for each.
/// More blocks gather meanwhile, and whoever leaves them need not ring, which costs a system call.
const NAP: Duration = Duration::from_millis(2);

/// Pause after a batch of many blocks: somebody is filling, and the slots are few.
const LINGER: Duration = Duration::from_micros(300);

/// A batch of so many blocks is one of many.
const MANY_BLOCKS: usize = 8;

/// So many looks in a row that find nothing, a nap apart, before the thread sleeps until rung.
const NAPS_MAX: u32 = 5;

/// The prover is told of the doorbell at most so often: most rings mean a block, not a proof.
const PROVER_EVERY: Duration = Duration::from_millis(20);

/// Longest wait for a node to take blocks or to answer for one.
const NODE_LIMIT: Duration = Duration::from_millis(300);

/// Longest wait for the answers to a batch: one that trickles in must not keep the others waiting.
const BATCH_LIMIT: Duration = Duration::from_secs(3);

/// A batch is sent when it has grown to as many bytes.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Blocks on their way to one node.
struct Lane {
    node: Arc<Node>,
    client: Option<Client>,
    requests: Vec<u8>,
    /// Bytes of `requests` that are in use.
    filled: usize,
    /// The blocks in `requests`, in order.
    blocks: Vec<Parcel>,
    /// Blocks that the node has sent elsewhere: where to, and the request.
    moved: Vec<(Place, Refresh, Vec<u8>)>,
}

/// A block on its way, and where its request lies.
struct Parcel {
    refresh: Refresh,
    request: std::ops::Range<usize>,
}

/// Host (empty: the one that said so) and port.
type Place = (String, u16);

/// A lane to each node of the pool.
#[derive(Default)]
struct Lanes {
    lanes: Vec<Lane>,
    /// The state of the pool that they were made for.
    changes: u64,
}

/// Drains `domain` until the session ends.
pub fn run(session: &Session, domain: &Domain) {
    let header = domain.region.header();
    let mut lanes = Lanes::default();
    let mut prover = Prover::new(header.doorbell.load(Ordering::Acquire));
    let mut naps = 0;
    while !session.is_ending() {
        lanes.renew(session);
        let rung = header.doorbell.load(Ordering::Acquire);
        prover.tell(session, rung);
        let gathered = gather(domain, &mut lanes);
        if gathered != 0 {
            naps = 0;
            send(domain, &mut lanes);
            // The answers come meanwhile, and need not wake this thread.
            std::thread::sleep(if gathered < MANY_BLOCKS { NAP } else { LINGER });
            collect(session, domain, &mut lanes);
            continue;
        }
        if naps < NAPS_MAX || !prover.has_heard(rung) {
            naps += 1;
            std::thread::sleep(NAP);
            continue;
        }
        header.asleep.store(1, Ordering::SeqCst);
        // Who left a block after the look above and before the word was set did not ring.
        if gather(domain, &mut lanes) == 0 {
            let shared = futex::Flags::empty();
            let _ = futex::wait(&header.doorbell, shared, rung, Some(&SLEEP));
        }
        header.asleep.store(0, Ordering::Relaxed);
        naps = 0;
        send(domain, &mut lanes);
        collect(session, domain, &mut lanes);
    }
}

/// What the prover has been told of the doorbell: whoever rang may want a proof as well.
struct Prover {
    heard: u32,
    told: Option<Instant>,
}

impl Prover {
    fn new(heard: u32) -> Prover {
        Prover { heard, told: None }
    }

    /// Wakes the prover if the doorbell was rung, unless it was woken a moment ago.
    fn tell(&mut self, session: &Session, rung: u32) {
        let is_soon = self.told.is_some_and(|told| told.elapsed() < PROVER_EVERY);
        if rung != self.heard && !is_soon {
            session.wake_prover();
            self.heard = rung;
            self.told = Some(Instant::now());
        }
    }

    fn has_heard(&self, rung: u32) -> bool {
        self.heard == rung
    }
}

/// Takes every block that is ready, up to a batch, and tells how many there were.
fn gather(domain: &Domain, lanes: &mut Lanes) -> usize {
    let slots = domain.region.refresh();
    let mut bytes = 0;
    let mut blocks = 0;
    for slot in 0..slots.0.len() {
        let Some(refresh) = slots.take(slot) else {
            continue;
        };
        blocks += 1;
        let lane = lane_of(domain, &refresh).and_then(|number| lanes.of(number));
        match lane {
            Some(lane) => bytes += lane.stage(domain, slot, refresh),
            None => drop_blocks(domain, 1),
        }
        slots.free(slot);
        if bytes >= BATCH_BYTES_MAX {
            break;
        }
    }
    blocks
}

/// The node that a block goes to; `None`: it is out of date already, malformed, or has no node.
fn lane_of(domain: &Domain, refresh: &Refresh) -> Option<usize> {
    let log2_max = domain.region.layout().shape.refresh_log2();
    if !(BLOCK_LOG2_MIN..=log2_max).contains(&refresh.log2) || !is_current(domain, refresh) {
        return None;
    }
    let nodes = domain.region.nodes();
    let number = nodes.node_of(domain.slot_of(refresh))?;
    (nodes.records.get(number)?.state() == NodeState::Up).then_some(number)
}

/// Whether the cells are still what the filler of a block saw (a hint: readers look for
/// themselves).
fn is_current(domain: &Domain, refresh: &Refresh) -> bool {
    let (cells, file_hash) = (domain.region.cells(), refresh.ident.hash());
    look_file(cells, file_hash, false).is_some_and(|seen| seen.epoch() == refresh.epoch)
        && look_block(cells, file_hash, refresh.block) == Some(refresh.version)
}

/// Sends what was gathered to all nodes.
fn send(domain: &Domain, lanes: &mut Lanes) {
    for lane in lanes.busy() {
        if let Err(error) = lane.send() {
            lane.fail(domain, &error);
        }
    }
}

/// Waits for the answers of all nodes. What they send elsewhere goes there.
fn collect(session: &Session, domain: &Domain, lanes: &mut Lanes) {
    let mut is_stale = collect_once(domain, lanes);
    if lanes.redirect(domain) {
        send(domain, lanes);
        is_stale |= collect_once(domain, lanes);
        for lane in &mut lanes.lanes {
            drop_blocks(domain, lane.moved.drain(..).count());
        }
    }
    if is_stale {
        session.doubt_placement();
    }
}

/// Waits for one answer to each request; true: the slot map is stale.
fn collect_once(domain: &Domain, lanes: &mut Lanes) -> bool {
    let mut is_stale = false;
    for lane in lanes.busy() {
        match lane.collect(domain) {
            Ok(stale) => is_stale |= stale,
            Err(error) => lane.fail(domain, &error),
        }
    }
    is_stale
}

fn drop_blocks(domain: &Domain, blocks: usize) {
    domain
        .dropped_blocks
        .fetch_add(blocks as u64, Ordering::Relaxed);
}

impl Lanes {
    /// Lanes to nodes that have left are given up, nodes that have come get theirs. Nothing is on
    /// its way.
    fn renew(&mut self, session: &Session) {
        let changes = session.pool.changes();
        if changes == self.changes {
            return;
        }
        let mut old = std::mem::take(&mut self.lanes);
        let nodes = session.pool.nodes();
        let lane = |node: &Arc<Node>| {
            let known = old.iter().position(|lane| Arc::ptr_eq(&lane.node, node));
            let known = known.map(|nth| old.swap_remove(nth));
            known.unwrap_or_else(|| Lane::new(node))
        };
        self.lanes = nodes.iter().map(lane).collect();
        self.changes = changes;
    }

    fn of(&mut self, number: usize) -> Option<&mut Lane> {
        let mut lanes = self.lanes.iter_mut();
        lanes.find(|lane| lane.node.number == number)
    }

    /// Puts blocks that were sent elsewhere on the lane to where they belong; true: there is one.
    fn redirect(&mut self, domain: &Domain) -> bool {
        let mut moved = Vec::new();
        for lane in &mut self.lanes {
            let asked = &lane.node.target.host;
            let here = |host: String| if host.is_empty() { asked.clone() } else { host };
            let of_lane = lane.moved.drain(..);
            moved.extend(
                of_lane.map(|((host, port), block, bytes)| (here(host), port, block, bytes)),
            );
        }
        let mut is_any = false;
        for (host, port, refresh, bytes) in moved {
            let mut lanes = self.lanes.iter_mut();
            match lanes.find(|lane| lane.node.is_at(&host, port)) {
                Some(lane) => {
                    lane.put(refresh, &bytes);
                    is_any = true;
                }
                None => drop_blocks(domain, 1),
            }
        }
        is_any
    }

    /// Those with blocks on their way.
    fn busy(&mut self) -> impl Iterator<Item = &mut Lane> {
        let lanes = self.lanes.iter_mut();
        lanes.filter(|lane| !lane.blocks.is_empty())
    }
}

impl Lane {
    fn new(node: &Arc<Node>) -> Lane {
        Lane {
            node: Arc::clone(node),
            client: None,
            requests: Vec::new(),
            filled: 0,
            blocks: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Room for a request of so many bytes behind those that are there.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        let end = self.filled + bytes;
        if self.requests.len() < end {
            self.requests.resize(end.next_power_of_two(), 0);
        }
        &mut self.requests[self.filled..end]
    }

    /// The request for a block has been written into its room.
    fn staged(&mut self, refresh: Refresh, bytes: usize) {
        let request = self.filled..self.filled + bytes;
        self.filled = request.end;
        self.blocks.push(Parcel { refresh, request });
    }

    /// Takes over a request that another lane has made.
    fn put(&mut self, refresh: Refresh, request: &[u8]) {
        self.room(request.len()).copy_from_slice(request);
        self.staged(refresh, request.len());
    }

    /// Copies the block in `slot` behind a SET request and seals it there; the bytes it took.
    fn stage(&mut self, domain: &Domain, slot: usize, refresh: Refresh) -> usize {
        let id = BlockId {
            dev: refresh.ident.dev,
            ino: refresh.ident.ino,
            birth_ns: refresh.ident.birth_ns,
            block_log2: refresh.log2,
            block: refresh.block,
            epoch: refresh.epoch,
            version: refresh.version,
        };
        let payload_bytes = 1_usize << refresh.log2;
        let value_bytes = HEADER_BYTES + payload_bytes;
        let head_bytes = set_head_bytes(KEY_BYTES, value_bytes);
        let bytes = head_bytes + value_bytes + SET_TAIL.len();
        let (head, rest) = self.room(bytes).split_at_mut(head_bytes);
        let (envelope, rest) = rest.split_at_mut(HEADER_BYTES);
        let (payload, tail) = rest.split_at_mut(payload_bytes);
        let key = &domain.keys.wire_key(&id, domain.slot_of(&refresh));
        let written = encode_set_head(head, key, value_bytes);
        debug_assert_eq!(written, Some(head_bytes));
        super::sys::copy_refresh(&domain.region, slot, payload);
        envelope.copy_from_slice(&domain.keys.seal(&id, payload));
        tail.copy_from_slice(SET_TAIL);
        self.staged(refresh, bytes);
        bytes
    }

    /// Writes the requests, over a fresh connection if the node has closed the last one meanwhile.
    fn send(&mut self) -> Result<(), NodeError> {
        let rested = self.client.take().filter(Client::is_fit);
        let mut client = match rested {
            Some(client) => client,
            None => {
                let stream = self.node.take_soon();
                let none = || std::io::Error::other("no connection is ready");
                Client::of(stream.ok_or_else(none)?, NODE_LIMIT)?
            }
        };
        client.send(&self.requests[..self.filled])?;
        self.client = Some(client);
        Ok(())
    }

    /// Reads one answer per block and enters the blocks that the node has taken into the index;
    /// true: it has sent somebody elsewhere, or is no master any more.
    fn collect(&mut self, domain: &Domain) -> Result<bool, NodeError> {
        let client = self.client.as_mut();
        let client = client.ok_or_else(|| std::io::Error::other("the connection was lost"))?;
        let (mut answered, mut is_stale) = (0, false);
        let until = Instant::now() + BATCH_LIMIT;
        let outcome = loop {
            let Some(Parcel { refresh, request }) = self.blocks.get(answered) else {
                break Ok(is_stale);
            };
            if Instant::now() >= until {
                break Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
            }
            match client.reply() {
                Ok(Reply::Simple(_)) => enter(domain, self.node.number, refresh),
                Ok(Reply::Refused(text)) => {
                    tracing::debug!(node = %self.node.shown, text, "block refused");
                    is_stale |= refusal::of_text(text.as_bytes()) == Refusal::Moved;
                    match refusal::moved_to(text.as_bytes()) {
                        Some((host, port)) => {
                            let bytes = self.requests[request.clone()].to_vec();
                            self.moved.push(((host.into(), port), *refresh, bytes));
                        }
                        None => drop_blocks(domain, 1),
                    }
                }
                Ok(other) => break Err(NodeError::Foreign(format!("it answers SET with {other}"))),
                Err(error) => break Err(error),
            }
            answered += 1;
        };
        self.blocks.drain(..answered);
        if outcome.is_ok() {
            self.filled = 0;
        }
        outcome
    }

    /// Gives up what is on its way, and opens the breaker of the node.
    fn fail(&mut self, domain: &Domain, error: &NodeError) {
        tracing::debug!(node = %self.node.shown, %error, "blocks not delivered");
        let record = domain.node(self.node.number);
        if record.generation() == self.node.generation() {
            record.failed(true, 0, 0);
        }
        drop_blocks(domain, self.blocks.len() + self.moved.len());
        self.blocks.clear();
        self.moved.clear();
        self.filled = 0;
        self.client = None;
        self.node.wake();
    }
}

/// Enters a block that a node has acknowledged, if it is still what the file holds.
fn enter(domain: &Domain, node: usize, refresh: &Refresh) {
    domain.pushed_blocks.fetch_add(1, Ordering::Relaxed);
    domain
        .pushed_bytes
        .fetch_add(1 << refresh.log2, Ordering::Relaxed);
    if !is_current(domain, refresh) {
        return;
    }
    let hash = block_hash(refresh.ident.hash(), refresh.block);
    let held = Held::new(hash, refresh.log2, refresh.epoch, refresh.version);
    if !domain.region.index().insert(held) {
        return;
    }
    domain.node(node).blocks.fetch_add(1, Ordering::Relaxed);
    let files = domain.region.files();
    let known = (refresh.record.index as usize) < files.records.len();
    if known && files.is_current(refresh.record) {
        files
            .record(refresh.record)
            .blocks_held
            .fetch_add(1, Ordering::Relaxed);
    }
}
