//! The hook server: owns a session's region, sockets and nodes for as long as the session lives.
//!
//! `run` starts it as a process of its own and waits for its readiness; `serve` is all that the
//! command line knows of it. One thread per duty, each parked when there is nothing to do:
//!
//! * `attach`: lets processes in.            * `drain`: blocks to the nodes, one thread a region.
//! * `reap`: releases the dead.              * `keeper`: health and connections, a thread a node.
//! * `proofs`: stamps, names, globs.         * `viewers`: `hooktool ps`, `stats`, `node`, `off`.
//! * `growth`: memory of the local cache.    * `moving`: blocks from node to node.
//! * `cluster`: the slot map of a Redis Cluster.
//! * `tend`: the clock, on the first thread: heartbeat, tokens, growth, the end.
//!
//! Around them: `session` (what they share), `domain` and `region` (the shared memory), `members`
//! (the processes), `pool` and `nodes` (the memory nodes), `orders` (who changes them), `hold`
//! (proof that they live), `trace` (what they read), `door` (who comes), `judging` (names), `rest`
//! (owned files while nobody is here), `totals` and `stats` (the numbers), `client` (RESP), `link`
//! and `tunnel` (connections, plain and by TLS), `sys` (unsafe calls).

mod attach;
mod client;
mod cluster;
mod cooling;
mod device;
mod domain;
mod door;
mod drain;
mod embedded;
mod growth;
mod hold;
mod inventory;
mod judging;
mod keeper;
mod life;
mod link;
mod look;
mod members;
mod moving;
mod names;
mod nodes;
mod orders;
mod pool;
mod pressure;
mod promotion;
mod proofs;
mod reap;
mod region;
mod rest;
mod session;
mod stats;
mod sys;
mod tend;
#[cfg(test)]
mod tests;
mod totals;
mod trace;
mod tunnel;
mod viewers;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::client::NodeError;
use self::cluster::Cluster;
pub use self::cluster::Exam;
use self::names::Names;
use self::pool::Pool;
use self::region::Plan;
use self::session::Session;
use self::tunnel::Tunnels;
use crate::config::{NodeAddr, ServeConfig};
use crate::failure::Failure;
use crate::ready::ReadyPipe;
use crate::tls::{Papers, Trust};

/// How long a start waits for the first word of its nodes. One that is there takes a few
/// milliseconds.
const MEET_LIMIT: Duration = Duration::from_millis(250);

/// Runs the session described by `config` until its last process is gone (and its linger over).
///
/// The caller has detached the process: its own session, no inherited descriptor but standard
/// error for the log, signals at their defaults. `ready` is answered when an attach would succeed.
///
/// # Errors
///
/// The session cannot be made. The caller passes it to `ready` where nothing was answered yet.
pub fn serve(config: ServeConfig, ready: &mut ReadyPipe) -> Result<(), Failure> {
    sys::block_signals();
    sys::raise_descriptors();
    let session = prepare(config)?;
    let troubles = session.troubles();
    let attach = attach::bind(&session.config.session.attach_socket())?;
    session.door.open(&attach);
    let viewers = viewers::bind(&session.config.session.control_socket())?;
    // Until it opens its first file, the target is known by its announcement.
    let _ = session
        .members
        .lock()
        .await_process(session.config.target_pid);
    let (growth, mover) = growth::Growth::new();
    let clock = tend::Clock::new(&session, growth);
    start_keepers(&session)?;
    duty(&session, "reap", reap::run)?;
    duty(&session, "proofs", proofs::run)?;
    duty(&session, "moving", |session| {
        session.set_mover(std::thread::current());
        moving::run(session);
    })?;
    duty(&session, "names", names::run)?;
    if session.cluster.is_some() {
        duty(&session, "cluster", cluster::run)?;
    }
    duty(&session, "growth", move |session| mover.run(session))?;
    duty(&session, "attach", move |session| {
        attach::run(session, &attach)
    })?;
    duty(&session, "viewers", move |session| {
        viewers::run(session, &viewers)
    })?;
    start_drains(&session, 0)?;
    ready.ready(troubles);
    // The threads end by themselves within a second; the caller ends the process before that.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| clock.run(&session)));
    session.end();
    outcome.map_err(|_| broken())
}

/// Looks at a cluster as a session would use it (`doctor`).
///
/// # Errors
///
/// It cannot be used: what is wrong, and what to type.
pub fn examine_cluster(addr: &NodeAddr, papers: &Papers) -> Result<Exam, (String, String)> {
    let tunnels = Arc::new(Tunnels::new(Trust::new(papers.clone())));
    let cluster = Cluster::of(std::slice::from_ref(addr), &tunnels);
    let Some(cluster) = cluster else {
        return Ok(Exam::default());
    };
    cluster.examine().map_err(|error| {
        let why = error.to_string();
        (
            format!("cluster {}: {why}", cluster.shown),
            cluster.fix(&why),
        )
    })
}

/// Nodes, sizes, regions: everything that can fail before the target depends on it.
fn prepare(config: ServeConfig) -> Result<Arc<Session>, Failure> {
    let (names, mut named) = Names::of(&config)?;
    let tunnels = Arc::new(Tunnels::new(Trust::new(config.papers.clone())));
    let cluster = Cluster::of(&config.nodes, &tunnels);
    let found = match cluster
        .as_ref()
        .map(|cluster| (cluster, cluster::first_look(&config, &tunnels)))
    {
        Some((cluster, Err(error))) if config.require => {
            let fix = cluster.fix(&error.to_string());
            let means = "--require was given: nothing was started";
            let what = format!("cluster {}: {error}", cluster.shown);
            return Err(Failure::launch(what, means, fix));
        }
        Some((cluster, Err(error))) => {
            cluster.note(&error);
            None
        }
        Some((_, Ok(found))) => Some(found),
        None => None,
    };
    let of_cluster = cluster.as_ref().zip(found.as_ref());
    let masters = of_cluster.map(|(cluster, found)| cluster.nodes_of(found));
    named.extend(masters.unwrap_or_default());
    let pool = Pool::of(&config.nodes, named, tunnels)?;
    let nodes = pool.nodes();
    let limit = (!config.require).then_some(MEET_LIMIT);
    for (node, error) in keeper::meet(&nodes, limit)? {
        if config.require {
            return Err(unreachable(&node.shown, &error));
        }
        tracing::warn!(node = %node.shown, %error, "not reached yet");
    }
    let pool_bytes = nodes
        .iter()
        .map(|node| node.max_bytes())
        .sum::<Option<u64>>();
    let pool_bytes = pool_bytes.filter(|_| !nodes.is_empty());
    let plan = Plan::of(&config, crate::limits::memory().bytes, pool_bytes);
    let session = Session::new(config, (pool, names, cluster), plan)?;
    if let Some((cluster, found)) = session.cluster.as_ref().zip(found) {
        cluster.bring_in(&session, &found);
    }
    Ok(Arc::new(session))
}

fn unreachable(shown: &str, error: &NodeError) -> Failure {
    let fix: String = match error {
        NodeError::Unauthorized(_) => {
            "give its password:  --node redis://:PASSWORD@HOST:PORT".into()
        }
        NodeError::Tls => crate::nodes::with_tls("HOST:PORT"),
        NodeError::Untrusted(refused) => refused.fix("HOST:PORT"),
        NodeError::Unreachable(_) | NodeError::Foreign(_) => {
            "start it:  memnode --listen HOST:PORT   or leave --require out".into()
        }
    };
    Failure::launch(
        format!("node {shown}: {error}"),
        "--require was given: nothing was started",
        fix,
    )
}

/// Starts the keepers of the nodes that have none yet.
fn start_keepers(session: &Arc<Session>) -> Result<(), Failure> {
    for node in session.pool.nodes() {
        if !node.is_kept.swap(true, Ordering::Relaxed) {
            duty(session, "nodes", move |session| node.keep(session))?;
        }
    }
    Ok(())
}

/// Starts the drains of the domains from number `started` on; how many there are now.
fn start_drains(session: &Arc<Session>, started: usize) -> Result<usize, Failure> {
    let domains = session.domains();
    for domain in domains.iter().skip(started) {
        let domain = Arc::clone(domain);
        duty(session, "drain", move |session| {
            drain::run(session, &domain)
        })?;
    }
    Ok(domains.len())
}

/// Starts a thread. A duty that panics takes the session out of service: nobody does it any more.
fn duty(
    session: &Arc<Session>,
    name: &str,
    work: impl FnOnce(&Session) + Send + 'static,
) -> Result<(), Failure> {
    let session = Arc::clone(session);
    let run = move || {
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| work(&session)));
        if outcome.is_err() {
            tracing::error!("a thread of the hook server panicked: the session ends");
            session.end();
        }
    };
    let started = std::thread::Builder::new()
        .name(format!("hook-{name}"))
        .spawn(run);
    started.map(|_| ()).map_err(|error| no_thread(&error))
}

fn no_thread(error: &std::io::Error) -> Failure {
    Failure::launch(
        format!("cannot start a thread: {error}"),
        "the hook server needs about ten",
        "raise the limits:  ulimit -u 4096 -v unlimited   (or pids.max of the cgroup)",
    )
}

fn broken() -> Failure {
    Failure::launch(
        "a thread of the hook server panicked",
        "the session has ended; its processes go on with the kernel",
        "report it, with the log:  HOOKTOOL_LOG=debug hooktool run ...",
    )
}
