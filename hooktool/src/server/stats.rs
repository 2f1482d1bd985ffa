//! The numbers as viewers get them: one `Snapshot` from all regions, living processes and those
//! gone.
//!
//! `viewers` asks on request, `life` when the last process is gone. Reads shared counters while
//! they move: each is right for an instant, their sum need not be of one instant.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};

use grid::files::{EXCLUDED, FileRecord, JUDGED, OWNED, RecordRef, Trust};
use grid::header::switch;
use grid::ident::FileIdent;
use grid::names::{Bypass, Counter, Fallback};
use grid::node::NodeState;
use grid::sync::Ordering;

use super::domain::Domain;
use super::inventory;
use super::look;
use super::members::Member;
use super::session::Session;
use super::totals::Totals;
use crate::config::Mode;
use crate::control::{
    self, FILES_MAX, FileInfo, NodeInfo, Percentiles, Prediction, ProcessInfo, SCHEMA, SessionInfo,
    Snapshot,
};
use crate::seal::Integrity;

/// Processes whose descriptors are looked at for the path of a file.
const PROCESSES_ASKED: usize = 64;

/// The counters of the session, or of one process of it; `None`: there is no such process.
pub fn snapshot(session: &Session, pid: Option<u32>) -> Option<Snapshot> {
    let (totals, processes) = count(session, pid)?;
    let domains = session.domains();
    let (state, reason) = session.state();
    let reason = reason.or_else(|| damage(session, &totals));
    let hits = [Counter::HitsLocal, Counter::HitsRemote, Counter::ReadsDisk];
    let [hits_local, hits_remote, reads_disk] = hits.map(|counter| totals.counter(counter));
    let hits = hits_local.saturating_add(hits_remote);
    let reads = hits.saturating_add(reads_disk);
    let (pushed_blocks, dropped) = pushes(&domains);
    let held = pages_held(&domains);
    let pages: u64 = held.values().sum();
    let nodes = nodes(session);
    Some(Snapshot {
        schema: SCHEMA,
        session: session.config.session,
        name: session.config.name.clone(),
        pid: pid.unwrap_or(session.tenancy().target_pid),
        state,
        reason,
        integrity: session.config.integrity.word().into(),
        uptime_s: session.started.elapsed().as_secs_f64(),
        processes,
        processes_unserved: match pid {
            None => u32::try_from(session.members.lock().unserved()).unwrap_or(u32::MAX),
            Some(_) => 0,
        },
        reads,
        read_bytes: totals.counter(Counter::ReadBytes),
        hits_local,
        hits_remote,
        reads_disk,
        hit_ratio: share(hits, reads),
        writes: totals.counter(Counter::Writes),
        invalidations: totals.counter(Counter::Invalidations),
        pushed_blocks,
        push_dropped: totals.counter(Counter::PushDropped).saturating_add(dropped),
        bypass: named(totals.bypasses()),
        fallback: named(totals.fallbacks()),
        remote_latency_us: Percentiles {
            p50: totals.remote_us(50),
            p99: totals.remote_us(99),
        },
        disk_latency_us: Percentiles {
            p50: totals.disk_us(50),
            p99: totals.disk_us(99),
        },
        local_bytes: pages * grid::local::PAGE_BYTES as u64,
        remote_bytes: nodes
            .iter()
            .fold(0, |sum, node| node.bytes.saturating_add(sum)),
        files: files(session, &domains, &held),
        globs: session.globs.infos(),
        proofs: session.proofs.info(),
        region: inventory::of(&domains),
        prediction: (session.config.mode == Mode::Observe)
            .then(|| prediction(&totals, reads, &nodes)),
        nodes,
    })
}

/// A word on blocks that a node gave back as something else than was left there: none of them was
/// used, and whoever runs the node wants to know.
fn damage(session: &Session, totals: &Totals) -> Option<String> {
    let failed = totals.fallback(Fallback::Envelope);
    let blocks = if failed == 1 { "block" } else { "blocks" };
    let proof = match session.config.integrity {
        Integrity::Checksum => "checksum",
        Integrity::Tag | Integrity::Sealed(_) => "tag",
    };
    (failed != 0)
        .then(|| format!("{failed} {blocks} of a node failed their {proof}, read from disk"))
}

/// What serving would have been worth.
fn prediction(totals: &Totals, reads: u64, nodes: &[NodeInfo]) -> Prediction {
    let hits = totals.bypass(Bypass::Observe);
    let disk_us = totals.disk_us_mean();
    let answering: Vec<f64> = nodes.iter().filter_map(|node| node.rtt_us).collect();
    let remote_us =
        (!answering.is_empty()).then(|| answering.iter().sum::<f64>() / answering.len() as f64);
    let each_us = disk_us.zip(remote_us).map(|(disk, remote)| disk - remote);
    Prediction {
        reads: hits,
        reads_unproved: totals.bypass(Bypass::ObserveUnproved),
        hit_ratio: share(hits, reads),
        disk_us,
        remote_us,
        saved_s: each_us.map(|us| us.max(0.0) * hits as f64 / 1e6),
    }
}

/// The session as `ps` shows it.
pub fn session_info(session: &Session) -> SessionInfo {
    let (state, reason) = session.state();
    let reason = reason.or_else(|| damage(session, &count(session, None)?.0));
    let members = session.members.lock();
    let all = members.iter().map(|member| members.all_of(member.pid));
    let mut processes: Vec<ProcessInfo> = all.filter_map(process_info).collect();
    drop(members);
    processes.sort_by_key(|process| std::cmp::Reverse(process.uptime_s));
    SessionInfo {
        schema: SCHEMA,
        session: session.config.session,
        name: session.config.name.clone(),
        pid: session.tenancy().target_pid,
        server_pid: std::process::id(),
        mode: session.config.mode,
        integrity: session.config.integrity.word().into(),
        state,
        reason,
        uptime_s: session.started.elapsed().as_secs(),
        nodes: nodes(session),
        processes,
        waiting: Vec::new(),
    }
}

/// Writes the last snapshot to the files that `Session::take_writing` has given out.
pub fn write_at_exit(session: &Session, files: Option<Vec<PathBuf>>) {
    let files = files.unwrap_or_default();
    if files.is_empty() {
        return;
    }
    let Some(snapshot) = snapshot(session, None) else {
        return;
    };
    for path in files {
        if let Err(error) = write_whole(&path, &snapshot) {
            tracing::error!(%error, path = %path.display(), "--stats-at-exit: not written");
        }
    }
}

/// Writes a file whole or not at all.
fn write_whole(path: &Path, snapshot: &Snapshot) -> std::io::Result<()> {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&name)?;
        serde_json::to_writer(&mut file, snapshot)?;
        file.write_all(b"\n")?;
        std::fs::rename(&name, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&name);
    })
}

/// Counters, and how many processes they are of that live.
fn count(session: &Session, pid: Option<u32>) -> Option<(Totals, u32)> {
    let mut totals = Totals::default();
    let members = session.members.lock();
    let of_member = |totals: &mut Totals, member: &Member| {
        let records = member.domain.region.processes();
        totals.add_record(&records[usize::from(member.slot)]);
    };
    if let Some(pid) = pid {
        let all = members.all_of(pid);
        all.iter().for_each(|member| of_member(&mut totals, member));
        return (!all.is_empty()).then_some((totals, 1));
    }
    for domain in session.domains() {
        totals.add(&domain.totals.lock());
    }
    members
        .counted()
        .for_each(|member| of_member(&mut totals, member));
    Some((totals, u32::try_from(members.len()).unwrap_or(u32::MAX)))
}

/// A process, by all of its memberships.
fn process_info(all: &[Member]) -> Option<ProcessInfo> {
    let member = all.last()?;
    let records = all
        .iter()
        .map(|member| &member.domain.region.processes()[usize::from(member.slot)]);
    let sum = |counter| {
        let each = records.clone().map(|record| record.counter(counter));
        each.fold(0_u64, u64::saturating_add)
    };
    let hits = [Counter::HitsLocal, Counter::HitsRemote, Counter::ReadsDisk];
    let [hits_local, hits_remote, reads_disk] = hits.map(sum);
    Some(ProcessInfo {
        pid: member.pid,
        command: command_of(member.pid),
        uptime_s: member.since.elapsed().as_secs(),
        reads: hits_local
            .saturating_add(hits_remote)
            .saturating_add(reads_disk),
        hits_local,
        hits_remote,
        reads_disk,
    })
}

/// Name of a process' program; a process may change it at any time.
fn command_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_string()
}

/// Blocks brought to nodes, and blocks lost on the way.
fn pushes(domains: &[std::sync::Arc<Domain>]) -> (u64, u64) {
    domains.iter().fold((0, 0), |(pushed, dropped), domain| {
        let load = |counter: &grid::sync::AtomicU64| counter.load(Ordering::Relaxed);
        (
            pushed + load(&domain.pushed_blocks),
            dropped + load(&domain.dropped_blocks),
        )
    })
}

fn nodes(session: &Session) -> Vec<NodeInfo> {
    let domains = session.domains();
    let shares: Vec<_> = domains.iter().map(|d| d.region.nodes().shares()).collect();
    let info = |node: &super::nodes::Node| {
        let (state, rtt_ns) = node.health();
        let broken = domains
            .iter()
            .any(|d| d.node(node.number).state() == NodeState::Broken);
        let slots = shares.iter().map(|shares| shares[node.number]).max();
        let state = match state {
            control::NodeState::Up if broken => control::NodeState::Slow,
            control::NodeState::Up if node.is_draining() && slots != Some(0) => {
                control::NodeState::Draining
            }
            control::NodeState::Up if node.is_draining() => control::NodeState::Drained,
            state => state,
        };
        let held = domains.iter().map(|domain| {
            let blocks = domain.node(node.number).blocks.load(Ordering::Relaxed);
            (blocks, blocks.saturating_mul(domain.block_bytes_mean()))
        });
        let (blocks, bytes) = held.fold((0_u64, 0_u64), |sum, held| {
            (sum.0.saturating_add(held.0), sum.1.saturating_add(held.1))
        });
        NodeInfo {
            addr: node.shown.clone(),
            state,
            blocks,
            bytes,
            slots: u64::from(slots.unwrap_or(0)),
            rtt_us: (rtt_ns != 0).then_some(rtt_ns as f64 / 1000.0),
        }
    };
    session.pool.nodes().iter().map(|node| info(node)).collect()
}

/// Pages in the local caches, by file.
fn pages_held(domains: &[std::sync::Arc<Domain>]) -> HashMap<(u64, u64, u64), u64> {
    let mut held = HashMap::new();
    for domain in domains {
        domain
            .local_used()
            .visit_held(|ident| *held.entry(key_of(ident)).or_insert(0) += 1);
    }
    held
}

fn key_of(ident: FileIdent) -> (u64, u64, u64) {
    (ident.dev, ident.ino, ident.birth_ns)
}

/// The files with the most reads.
fn files(
    session: &Session,
    domains: &[std::sync::Arc<Domain>],
    held: &HashMap<(u64, u64, u64), u64>,
) -> Vec<FileInfo> {
    let mut files = Vec::new();
    for domain in domains {
        let paths = domain.paths.lock();
        let path_of = |found: RecordRef| {
            let (generation, path) = paths.get(&found.index)?;
            (*generation == found.generation).then(|| path.clone())
        };
        for (found, record) in domain.region.files().live() {
            let info = file_info(domain, record, path_of(found), held);
            files.push((info, record.ident()));
        }
    }
    files.sort_by(|(one, _), (other, _)| {
        other
            .reads
            .cmp(&one.reads)
            .then_with(|| one.path.cmp(&other.path))
    });
    files.truncate(FILES_MAX);
    name_nameless(session, &mut files);
    let sized = files.into_iter().map(|(mut info, ident)| {
        // No stamp is kept of a file that is owned, nor before the first proof.
        if info.size == 0 {
            info.size = look::size_at(&info.path, ident).unwrap_or(0);
        }
        info
    });
    sized.collect()
}

/// Files that nobody has asked to be proved yet have no path: whoever has them open tells it.
fn name_nameless(session: &Session, files: &mut [(FileInfo, FileIdent)]) {
    let is_nameless = |info: &FileInfo| !info.path.starts_with('/');
    if !files.iter().any(|(info, _)| is_nameless(info)) {
        return;
    }
    let pids: Vec<u32> = session
        .members
        .lock()
        .iter()
        .map(|member| member.pid)
        .collect();
    let open = look::open_paths(pids.into_iter().take(PROCESSES_ASKED));
    for (info, ident) in files.iter_mut().filter(|(info, _)| is_nameless(info)) {
        if let Some(path) = open.get(&(ident.dev, ident.ino)) {
            info.path.clone_from(path);
        }
    }
}

fn file_info(
    domain: &Domain,
    record: &FileRecord,
    path: Option<String>,
    held: &HashMap<(u64, u64, u64), u64>,
) -> FileInfo {
    let ident = record.ident();
    let load = |word: &grid::sync::AtomicU64| word.load(Ordering::Relaxed);
    let pages = held.get(&key_of(ident)).copied().unwrap_or(0);
    let block_pages = record
        .block_log2()
        .map_or(1, |log2| 1 << (log2.clamp(12, 16) - 12));
    FileInfo {
        path: path.unwrap_or_else(|| {
            let (major, minor) = (ident.dev >> 32, ident.dev & 0xFFFF_FFFF);
            format!("inode {} on device {major}:{minor}", ident.ino)
        }),
        size: record.stamp().0.size,
        state: file_state(domain, record).into(),
        blocks_local: pages.div_ceil(block_pages),
        blocks_remote: load(&record.blocks_held),
        hits: load(&record.hits_local).saturating_add(load(&record.hits_remote)),
        reads: load(&record.reads),
    }
}

/// `serve`, `kernel`, or why it is bypassed, in the words of the bypass reasons.
fn file_state(domain: &Domain, record: &FileRecord) -> &'static str {
    let header = domain.region.header();
    let epoch = domain
        .region
        .cells()
        .file(record.ident().hash())
        .epoch
        .load(Ordering::Relaxed);
    if !header.is_on(switch::SERVE) {
        "off"
    } else if record.has_policy(EXCLUDED) {
        "excluded"
    } else if header.is_on(switch::JUDGE_NAMES) && !record.has_policy(JUDGED) {
        "unproved"
    } else if grid::cell::is_poisoned(epoch) {
        "write_in_flight"
    } else if record.has_policy(OWNED) {
        "serve"
    } else {
        match record.stamp().1 {
            Trust::Clean | Trust::Chained => "serve",
            Trust::None | Trust::Doubted => "unproved",
        }
    }
}

fn named<'a>(reasons: impl Iterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    reasons
        .map(|(reason, count)| (reason.to_string(), count))
        .collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
