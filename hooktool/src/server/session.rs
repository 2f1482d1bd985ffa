//! What all threads of the hook server share: the settings, the domains, the members, the nodes,
//! and the bells by which they wake each other.
//!
//! Made by `serve`, handed to every thread. Locks are held for moments and never two at a time,
//! except that the pool's `order` may be held while any other is taken, that `members` may be held
//! while `tenancy`, `rest` or a domain's `frozen`, `totals` or `paths` is taken, and `disowned`
//! while the list of domains is read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use grid::files::{JUDGED, OWNED, RecordRef};
use grid::header::switch;
use grid::node::NodeState;
use parking_lot::{Mutex, RwLock};
use rustix::event::EventfdFlags;

use super::cluster::Cluster;
use super::domain::{Credentials, Domain};
use super::door::Door;
use super::judging::Globs;
use super::members::Members;
use super::names::Names;
use super::pool::Pool;
use super::proofs::{Proofs, Sighting};
use super::region::{self, Plan};
use super::rest::Rest;
use super::sys;
use crate::config::ServeConfig;
use crate::control::ServiceState;
use crate::failure::Failure;

/// Most credential domains of a session.
pub const DOMAINS_MAX: usize = 8;

/// A descriptor that becomes readable when rung, for threads that sleep in poll(2).
pub struct Bell(OwnedFd);

/// What the targets of now asked for: begins anew when a target comes to a session in which nobody
/// was left.
#[derive(Clone, Debug)]
pub struct Tenancy {
    /// The first target.
    pub target_pid: u32,
    /// How long the session outlives its last process; the latest target decides.
    pub linger: Duration,
    /// Where the counters go at the end: every file that a target asked for.
    pub stats_at_exit: Vec<PathBuf>,
    /// The counters have been written.
    pub is_written: bool,
}

/// The session.
pub struct Session {
    /// What was asked for.
    pub config: ServeConfig,
    /// When the session began.
    pub started: Instant,
    /// Sizes of its regions.
    pub plan: Plan,
    /// Its globs.
    pub globs: Globs,
    /// Its nodes.
    pub pool: Pool,
    /// The cluster that brings its nodes, if it is one.
    pub cluster: Option<Cluster>,
    /// Names that stand for several of them.
    pub names: Names,
    /// Its processes.
    pub members: Mutex<Members>,
    /// Rung when a process has joined: `reap` has one more to watch.
    pub joined: Bell,
    /// Rung when sockets to a node have been made ready: `attach` may have promised one.
    pub sockets: Bell,
    domains: RwLock<Vec<Arc<Domain>>>,
    /// The thread that looks after proofs, woken by `drain` when the doorbell was rung.
    prover: OnceLock<Thread>,
    /// What `attach` has looked at for it.
    pub sightings: Mutex<Vec<Sighting>>,
    /// What came of its looks.
    pub proofs: Proofs,
    tenancy: Mutex<Tenancy>,
    /// What is known of owned files while nobody is here.
    pub rest: Mutex<Rest>,
    /// No file is owned, for the rest of the tenancy. Whoever judges or disowns holds the lock.
    disowned: Mutex<bool>,
    /// Where processes come in.
    pub door: Door,
    /// A viewer records what is read.
    pub recording: AtomicBool,
    off: AtomicBool,
    ending: AtomicBool,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub fn new() -> std::io::Result<Bell> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Bell(rustix::event::eventfd(0, flags)?))
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes it silent again.
    pub fn silence(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.0, &mut count);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Tenancy {
    fn of(config: &ServeConfig) -> Tenancy {
        Tenancy {
            target_pid: config.target_pid,
            linger: Duration::from_millis(config.linger_ms),
            stats_at_exit: config.stats_at_exit.iter().cloned().collect(),
            is_written: false,
        }
    }
}

impl Session {
    /// Puts a session together and makes the region of this process' own credentials.
    ///
    /// # Errors
    ///
    /// No memory, no descriptors, or a glob that cannot be matched.
    pub fn new(
        config: ServeConfig,
        (pool, names, cluster): (Pool, Names, Option<Cluster>),
        plan: Plan,
    ) -> Result<Session, Failure> {
        let globs = Globs::of(&config)?;
        let session = Session {
            started: Instant::now(),
            plan,
            globs,
            members: Mutex::new(Members::default()),
            joined: Bell::new().map_err(|error| no_descriptors(&error))?,
            sockets: Bell::new().map_err(|error| no_descriptors(&error))?,
            domains: RwLock::new(Vec::new()),
            pool,
            cluster,
            names,
            prover: OnceLock::new(),
            sightings: Mutex::new(Vec::new()),
            proofs: Proofs::default(),
            tenancy: Mutex::new(Tenancy::of(&config)),
            rest: Mutex::new(Rest::default()),
            disowned: Mutex::new(false),
            door: Door::default(),
            recording: AtomicBool::new(false),
            off: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            config,
        };
        let ours = Credentials::of_process(std::process::id()).map_err(|error| {
            Failure::launch(
                format!("cannot read /proc/self/status: {error}"),
                "the hook server sorts processes by their credentials",
                "mount /proc in this mount namespace:  mount -t proc proc /proc",
            )
        })?;
        session.add_domain(ours)?;
        Ok(session)
    }

    /// All domains, oldest first.
    pub fn domains(&self) -> Vec<Arc<Domain>> {
        self.domains.read().clone()
    }

    /// The domain of these credentials, if there is one.
    pub fn domain(&self, credentials: &Credentials) -> Option<Arc<Domain>> {
        let domains = self.domains.read();
        domains
            .iter()
            .find(|domain| domain.credentials == *credentials)
            .cloned()
    }

    /// Makes the domain of these credentials. `attach` alone calls it while the session runs.
    ///
    /// # Errors
    ///
    /// There are too many, or no memory for one more.
    pub fn add_domain(&self, credentials: Credentials) -> Result<Arc<Domain>, Failure> {
        if self.domains.read().len() >= DOMAINS_MAX {
            return Err(Failure::launch(
                format!("a session has at most {DOMAINS_MAX} sets of credentials"),
                "further users and groups are served by the kernel alone",
                "start their processes in sessions of their own:  hooktool run ...",
            ));
        }
        let mapped = region::make(&self.config, self.plan)?;
        let number = u32::try_from(self.domains.read().len()).unwrap_or(u32::MAX);
        let domain = Arc::new(Domain::new(number, credentials, mapped));
        let _unchanged = self.furnish(&domain);
        domain
            .region
            .header()
            .set_switch(switch::SERVE, !self.off.load(Ordering::Relaxed));
        self.domains.write().push(Arc::clone(&domain));
        Ok(domain)
    }

    /// Registers the thread that looks after proofs.
    pub fn set_prover(&self, thread: Thread) {
        let _ = self.prover.set(thread);
    }

    /// Somebody may want a proof.
    pub fn wake_prover(&self) {
        if let Some(thread) = self.prover.get() {
            thread.unpark();
        }
    }

    /// Switches service on or off in every domain, at the user's order.
    pub fn switch_service(&self, on: bool) {
        self.off.store(!on, Ordering::Relaxed);
        for domain in self.domains() {
            domain.region.header().set_switch(switch::SERVE, on);
        }
    }

    /// What the targets of now asked for.
    pub fn tenancy(&self) -> Tenancy {
        self.tenancy.lock().clone()
    }

    /// The files to which the counters are still to be written; they count as written from now on.
    pub fn take_writing(&self) -> Option<Vec<PathBuf>> {
        let mut tenancy = self.tenancy.lock();
        let was_written = std::mem::replace(&mut tenancy.is_written, true);
        (!was_written).then(|| tenancy.stats_at_exit.clone())
    }

    /// Somebody is here: the counters are to be written when nobody is.
    pub fn note_inhabited(&self) {
        self.tenancy.lock().is_written = false;
    }

    /// Judges a file by its path, once (rule O1): owned is what the globs say, while nobody else of
    /// the session may be writing it.
    pub fn judge(&self, domain: &Domain, found: RecordRef, path: &str) {
        let files = domain.region.files();
        let record = files.record(found);
        let disowned = self.disowned.lock();
        let hash = record.ident().hash();
        let busy = |other: &Arc<Domain>| {
            let cells = other.region.cells().file(hash);
            [&cells.epoch, &cells.writes]
                .iter()
                .any(|cell| !grid::cell::is_quiet(cell.load(grid::sync::Ordering::SeqCst)))
        };
        let mut others = self.domains().into_iter();
        let is_busy = others.any(|other| other.number != domain.number && busy(&other));
        let mut flags = self.globs.judge(path);
        if *disowned || is_busy {
            flags &= !OWNED;
        }
        // Refused: the record is another file's by now, which will ask for itself.
        let _ = files.judge(found, flags);
        if domain.region.header().is_on(switch::DISOWNED) {
            record.clear_policy(OWNED);
        }
    }

    /// Rule O2: from now on a process may write files of the session and nobody else learns of it:
    /// one of other credentials, or one that could not be let in. Called before it is answered.
    pub fn disown(&self, why: &str) {
        let mut disowned = self.disowned.lock();
        if self.config.own.is_empty() || std::mem::replace(&mut *disowned, true) {
            return;
        }
        tracing::warn!(why, "no file is owned any more (--own)");
        for domain in self.domains() {
            domain.region.files().disown();
        }
    }

    /// Whether files that match `--own` are owned.
    pub fn is_disowned(&self) -> bool {
        let told = |domain: &Arc<Domain>| domain.region.header().is_on(switch::DISOWNED);
        *self.disowned.lock() || self.domains().iter().any(told)
    }

    /// Whether a file is owned in another region than this domain's.
    pub fn owns_outside(&self, domain: &Domain) -> bool {
        let mut others = self.domains().into_iter();
        others.any(|other| {
            let mut records = other.region.files().live();
            other.number != domain.number && records.any(|(_, record)| record.has_policy(OWNED))
        })
    }

    /// A target comes to a session in which nobody was left. Nobody was here to keep the promise
    /// that owned files (`--own`) are written by this session alone (`rest`).
    pub fn begin_tenancy(&self, wanted: &ServeConfig) {
        *self.tenancy.lock() = Tenancy::of(wanted);
        self.rise();
        self.own_again();
    }

    /// Files may be owned again: they are judged anew, and what is held of any begins anew, too,
    /// because it was right by its stamp, which is not looked at any more.
    fn own_again(&self) {
        let was_disowned = self.is_disowned();
        let mut disowned = self.disowned.lock();
        if self.config.own.is_empty() || !was_disowned {
            return;
        }
        for domain in self.domains() {
            domain.region.header().set_switch(switch::DISOWNED, false);
            domain.region.files().disown();
            for (_, record) in domain.region.files().live() {
                record.clear_policy(JUDGED);
            }
        }
        *disowned = false;
    }

    /// A further target comes.
    pub fn join_tenancy(&self, wanted: &ServeConfig) {
        let mut tenancy = self.tenancy.lock();
        tenancy.linger = Duration::from_millis(wanted.linger_ms);
        let file = wanted.stats_at_exit.clone();
        let new = file.filter(|file| !tenancy.stats_at_exit.contains(file));
        tenancy.stats_at_exit.extend(new);
    }

    /// How long the session outlives its last process. Blocks that somebody has turned away from,
    /// or that a verified read has found wrong, are not kept for the next target.
    pub fn linger(&self) -> Duration {
        match self.is_out_of_service() {
            true => Duration::ZERO,
            false => self.tenancy.lock().linger,
        }
    }

    /// Whether the session was switched off, by its user, by a verified read that differed, or by a
    /// process that could not tell what it writes.
    pub fn is_out_of_service(&self) -> bool {
        let domains = self.domains();
        let mut headers = domains.iter().map(|domain| domain.region.header());
        self.off.load(Ordering::Relaxed) || headers.any(|header| !header.is_on(switch::SERVE))
    }

    /// What the session is doing, and why where that needs a word.
    pub fn state(&self) -> (ServiceState, Option<String>) {
        if self.off.load(Ordering::Relaxed) {
            (ServiceState::Off, None)
        } else if self.is_out_of_service() {
            let means = "a served read, repeated through the kernel, differed, or a write could \
                         not be counted";
            (ServiceState::Bypass, Some(means.into()))
        } else if self.config.mode == crate::config::Mode::Observe {
            (ServiceState::Observing, None)
        } else if !self.pool.nodes().iter().any(|node| node.is_up()) {
            let nodes = self.pool.nodes();
            let of_cluster = self.cluster.as_ref().and_then(|cluster| cluster.trouble());
            let of_node = || nodes.first().and_then(|node| node.trouble());
            let of_name = || self.names.troubles().into_iter().next();
            let why = of_cluster.or_else(of_node).or_else(of_name);
            (
                ServiceState::Bypass,
                Some(why.unwrap_or_else(|| "no node is up".into())),
            )
        } else {
            let disowned = "no file is owned (--own): others of the session may write as well";
            let disowned = self.is_disowned().then(|| disowned.to_string());
            (
                ServiceState::Serving,
                disowned.or_else(|| self.globs.remark()),
            )
        }
    }

    /// What a user is to be told of nodes that are of no use yet, one line each.
    pub fn troubles(&self) -> Vec<String> {
        let nodes = self.pool.nodes();
        let of_cluster = self
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.complaint());
        let has_others = nodes.iter().any(|node| node.is_up());
        let of_nodes = nodes.iter().filter_map(|node| node.complaint(has_others));
        let of_names = self.names.troubles();
        of_cluster
            .into_iter()
            .chain(of_nodes)
            .chain(of_names)
            .collect()
    }

    /// Somebody was sent elsewhere, or a master does not answer: the slot map of the cluster, if
    /// there is one, may be stale.
    pub fn doubt_placement(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.ring();
        }
    }

    /// Whether any domain has opened its breaker for a node.
    pub fn is_broken(&self, node: usize) -> bool {
        self.domains()
            .iter()
            .any(|domain| domain.node(node).state() == NodeState::Broken)
    }

    /// Tells every thread to end.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.joined.ring();
        self.sockets.ring();
        self.wake_prover();
        self.pool.wake_mover();
        self.doubt_placement();
        for node in self.pool.nodes() {
            node.wake();
        }
        for domain in self.domains() {
            region::retire(domain.region.header());
        }
    }

    /// Whether threads shall end.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

fn no_descriptors(error: &std::io::Error) -> Failure {
    Failure::launch(
        format!("cannot make a descriptor: {error}"),
        "the hook server needs one per process, node and region",
        "raise the limit of open files:  ulimit -n 4096",
    )
}

/// Sleeps in poll(2) until one of the descriptors is ready; which of them are.
pub fn wait_for(fds: &[BorrowedFd<'_>], limit: Option<Duration>) -> Vec<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(limit.subsec_nanos()),
    });
    let ready = rustix::event::poll(&mut polled, limit.as_ref()).unwrap_or(0);
    if ready == 0 {
        return vec![false; fds.len()];
    }
    polled.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// Monotonic milliseconds (the clock of heartbeats).
pub fn now_ms() -> u64 {
    sys::monotonic_ms()
}
