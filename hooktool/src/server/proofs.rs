//! Proofs: judges files by name (`--include`, `--exclude`, `--own`) and proves stamps, so that what
//! is read from now on may be kept ("clean at stamp S").
//!
//! One thread runs `run`. A process of the session leaves in a file's record who asks and under
//! which descriptor; the file is opened from here, so that nothing a process says has to be
//! believed. Who has closed the file before it is looked at waits for the look the next time
//! (`look_now`, called by `attach`): from then on its path is known. A stamp must have stood for a
//! second. Then a read lease, granted only while nobody has the file open or mapped for writing,
//! is taken and dropped at once: every later change moves the stamp. Where no lease is to be had,
//! ten seconds of quiet must do (`docs/semantics.md` says what that cannot catch). No descriptor
//! and no lease is ever held between two looks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::files::{EXCLUDED, FileRecord, JUDGED, OWNED, RecordRef, SOUGHT, Stamp, Trust};
use grid::sync::{AtomicU64, Ordering};

use super::domain::Domain;
use super::look::{self, Look};
use super::session::Session;
use crate::control::ProofInfo;

/// Between two rounds while something is to be proved.
const ROUND: Duration = Duration::from_millis(100);

/// Between two rounds while nothing is; a doorbell ends it earlier.
const REST: Duration = Duration::from_secs(5);

/// Between two looks for new wishes at least: a look takes a tenth of a millisecond.
const BREATH: Duration = Duration::from_millis(10);

/// How long a stamp must have stood before a lease proves it.
const QUIET_WITH_LEASE: Duration = Duration::from_secs(1);

/// How long a stamp must have stood where there is no lease.
const QUIET_ALONE: Duration = Duration::from_secs(10);

/// How long one wish is looked after; whoever still wants it asks again.
const WISH_LIMIT: Duration = Duration::from_secs(30);

/// Wishes looked after at a time.
const WISHES_MAX: usize = 4096;

/// A file whose stamp is to be proved.
struct Wish {
    domain: Arc<Domain>,
    found: RecordRef,
    /// Who asked last, and under which descriptor.
    pid: u32,
    fd: u32,
    /// Where the file was then.
    path: String,
    /// The stamp seen last, and since when it stands.
    stamp: Stamp,
    since: Instant,
    asked: Instant,
    /// Not to be looked at before.
    due: Instant,
}

/// Where a process had a file open when it asked.
pub struct Sighting {
    domain: Arc<Domain>,
    found: RecordRef,
    pid: u32,
    fd: u32,
    path: String,
}

/// What came of the looks so far, for `stats`.
#[derive(Default)]
pub struct Proofs {
    under_way: AtomicU64,
    proved: AtomicU64,
    changed: AtomicU64,
    changed_by_others: AtomicU64,
}

impl Proofs {
    /// As viewers get it.
    pub fn info(&self) -> ProofInfo {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ProofInfo {
            under_way: read(&self.under_way),
            proved: read(&self.proved),
            changed: read(&self.changed),
            changed_by_others: read(&self.changed_by_others),
        }
    }

    /// A look found the file changed. One that the session has never written, others have.
    fn note_changed(&self, record: &FileRecord) {
        match record.writes.load(Ordering::Relaxed) {
            0 => &self.changed_by_others,
            _ => &self.changed,
        }
        .fetch_add(1, Ordering::Relaxed);
    }
}

/// By domain and index of the record.
type Wishes = HashMap<(u32, u32), Wish>;

/// What came of a look at a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing more to do.
    Done,
    /// Look again then.
    Later(Instant),
}

/// Looks after wishes until the session ends.
pub fn run(session: &Session) {
    session.set_prover(std::thread::current());
    let mut wishes = Wishes::new();
    let mut rung: Vec<u32> = Vec::new();
    while !session.is_ending() {
        std::thread::park_timeout(if wishes.is_empty() { REST } else { ROUND });
        for sighting in std::mem::take(&mut *session.sightings.lock()) {
            consider(session, sighting, &mut wishes);
        }
        for (number, domain) in session.domains().iter().enumerate() {
            rung.resize(rung.len().max(number + 1), 0);
            let now = domain.region.header().doorbell.load(Ordering::SeqCst);
            if std::mem::replace(&mut rung[number], now) != now {
                collect(session, domain, &mut wishes);
            }
        }
        std::thread::sleep(BREATH);
        let now = Instant::now();
        wishes.retain(|_, wish| {
            if now < wish.due {
                return true;
            }
            match look_at(&session.proofs, wish, now) {
                Outcome::Later(due) if now < wish.asked + WISH_LIMIT => {
                    wish.due = due;
                    true
                }
                Outcome::Later(_) | Outcome::Done => false,
            }
        });
        let under_way = wishes.len() as u64;
        session.proofs.under_way.store(under_way, Ordering::Relaxed);
    }
}

/// Notes where a process has a file open that it will close as soon as it is answered; false: that
/// cannot be seen from here.
pub fn look_now(
    session: &Session,
    domain: &Arc<Domain>,
    pid: u32,
    fd: u32,
    record: (u32, u32),
) -> bool {
    let (index, generation) = record;
    let found = RecordRef { index, generation };
    let Some(path) = look::path_of(pid, fd) else {
        return false;
    };
    let mut sightings = session.sightings.lock();
    if sightings.len() < WISHES_MAX {
        sightings.push(Sighting {
            domain: Arc::clone(domain),
            found,
            pid,
            fd,
            path,
        });
    }
    drop(sightings);
    session.wake_prover();
    true
}

/// Takes the wishes that the processes of a domain have left.
fn collect(session: &Session, domain: &Arc<Domain>, wishes: &mut Wishes) {
    for (found, record) in domain.region.files().live() {
        if record.want.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let want = record.want.swap(0, Ordering::Relaxed);
        let (pid, fd) = ((want >> 32) as u32, (want as u32).wrapping_sub(1));
        let seen = look::path_of(pid, fd).is_some_and(|path| {
            let sighting = Sighting {
                domain: Arc::clone(domain),
                found,
                pid,
                fd,
                path,
            };
            consider(session, sighting, wishes)
        });
        if !seen && !is_wished(wishes, domain, found) {
            record.set_policy(SOUGHT);
        }
    }
}

/// Looks at what a process had open, and takes up the wish; false: that is not there any more.
fn consider(session: &Session, sighting: Sighting, wishes: &mut Wishes) -> bool {
    let Sighting {
        domain,
        found,
        pid,
        fd,
        path,
    } = sighting;
    let Some(found) = domain
        .region
        .files()
        .at(found.index)
        .filter(|at| *at == found)
    else {
        return false;
    };
    let record = domain.region.files().record(found);
    let Some(seen) = look::at(pid, fd, &path, record.ident()) else {
        return false;
    };
    remember_path(&domain, found, &path);
    if !record.has_policy(JUDGED) {
        session.judge(&domain, found, &path);
    }
    let (stamp, trust) = record.stamp();
    let proved = stamp == seen.stamp && matches!(trust, Trust::Clean | Trust::Chained);
    if proved || record.has_policy(OWNED) || record.has_policy(EXCLUDED) {
        return true;
    }
    let now = Instant::now();
    if trust != Trust::None && !is_wished(wishes, &domain, found) {
        // It was proved, or written by the session, and stands otherwise now.
        session.proofs.note_changed(record);
    }
    let key = (domain.number, found.index);
    let known = wishes.get_mut(&key).filter(|wish| wish.found == found);
    if let Some(wish) = known {
        (wish.pid, wish.fd, wish.path) = (pid, fd, path);
    } else if wishes.len() < WISHES_MAX {
        let wish = Wish {
            domain,
            found,
            pid,
            fd,
            path,
            stamp: seen.stamp,
            since: now,
            asked: now,
            due: now + QUIET_WITH_LEASE,
        };
        wishes.insert(key, wish);
    }
    true
}

/// Has the stamp stood long enough, and does nobody have the file open for writing?
fn look_at(proofs: &Proofs, wish: &mut Wish, now: Instant) -> Outcome {
    let files = wish.domain.region.files();
    let record = files.record(wish.found);
    if !files.is_current(wish.found) {
        return Outcome::Done;
    }
    let Some(seen) = look::at(wish.pid, wish.fd, &wish.path, record.ident()) else {
        return Outcome::Done;
    };
    let (stamp, trust) = record.stamp();
    if stamp == seen.stamp && matches!(trust, Trust::Clean | Trust::Chained) {
        return Outcome::Done;
    }
    if seen.stamp != wish.stamp {
        proofs.note_changed(record);
        (wish.stamp, wish.since) = (seen.stamp, now);
        return Outcome::Later(now + QUIET_WITH_LEASE);
    }
    if !is_proved(&seen, wish, now) {
        return Outcome::Later((wish.since + QUIET_ALONE).min(now + QUIET_WITH_LEASE));
    }
    match files.prove(wish.found, wish.stamp, Trust::Clean) {
        true => {
            proofs.proved.fetch_add(1, Ordering::Relaxed);
            Outcome::Done
        }
        false => Outcome::Later(now + ROUND),
    }
}

fn is_wished(wishes: &Wishes, domain: &Domain, found: RecordRef) -> bool {
    wishes.contains_key(&(domain.number, found.index))
}

fn is_proved(seen: &Look, wish: &Wish, now: Instant) -> bool {
    let quiet = now.duration_since(wish.since);
    quiet >= QUIET_WITH_LEASE && (quiet >= QUIET_ALONE || seen.is_clean_at(wish.stamp))
}

fn remember_path(domain: &Domain, found: RecordRef, path: &str) {
    let mut paths = domain.paths.lock();
    let known = paths
        .get(&found.index)
        .is_some_and(|(generation, _)| *generation == found.generation);
    if !known {
        paths.insert(found.index, (found.generation, path.to_string()));
    }
}
