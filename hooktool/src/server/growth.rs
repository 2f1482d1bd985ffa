//! The local cache grows while it would help and is given back when memory is short.
//!
//! `tend` decides, by what the processes wished for and by the pressure; a thread of its own runs
//! `run` and moves the memory, because allocating and punching may wait. Sets that go into use are
//! allocated first, so that a limit is met here, cleanly, and never in a process of the session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use grid::local::{PAGE_BYTES, WAYS};
use grid::sync::Ordering;
use rustix::fs::FallocateFlags;

use super::domain::Domain;
use super::members::OWN_SLOT;
use super::session::Session;

/// First step in sets: 1 MiB.
const SETS_FIRST: u64 = (1 << 20) / (PAGE_BYTES * WAYS) as u64;

/// Between two steps.
const STEP_PAUSE: Duration = Duration::from_millis(500);

/// Wishes between two steps that are worth a step, per set in use.
const WISHES_PER_SET: u64 = 1;

/// How long nothing grows after memory was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Orders that may wait.
const ORDERS_MAX: usize = 64;

/// Passes over the tags of a shrinking cache: a filler that is at it is waited for.
const PASSES_MAX: usize = 10;

/// What `tend` orders.
enum Order {
    Grow { domain: Arc<Domain>, sets: u64 },
    Shrink { domain: Arc<Domain>, sets: u64 },
}

/// Where `tend` stands with one domain.
#[derive(Clone)]
struct Stand {
    /// Wishes counted at the last step.
    wishes: u64,
    /// Not to grow before.
    rest_until: Instant,
    /// Sets that were closed and whose memory nobody has been told to give back yet.
    closed: u64,
}

/// The deciding side.
pub struct Growth {
    orders: Sender<Order>,
    stands: Vec<Stand>,
}

/// The working side.
pub struct Mover {
    orders: Receiver<Order>,
}

impl Growth {
    /// Both sides.
    pub fn new() -> (Growth, Mover) {
        let (sender, receiver) = crossbeam_channel::bounded(ORDERS_MAX);
        (
            Growth {
                orders: sender,
                stands: Vec::new(),
            },
            Mover { orders: receiver },
        )
    }

    /// Decides for domain `number`, ten times a second.
    pub fn tend(&mut self, number: usize, domain: &Arc<Domain>, memory_is_short: bool) {
        let now = Instant::now();
        let fresh = Stand {
            wishes: 0,
            rest_until: now,
            closed: 0,
        };
        self.stands.resize(self.stands.len().max(number + 1), fresh);
        let header = domain.region.header();
        let sets = header.local_active.load(Ordering::Relaxed);
        let wishes = header.local_wanted.load(Ordering::Relaxed);
        let stand = &mut self.stands[number];
        if memory_is_short && sets != 0 {
            // Nobody finds or fills a page from here on; the memory follows.
            header.local_active.store(0, Ordering::SeqCst);
            stand.closed = stand.closed.max(sets);
        }
        if stand.closed != 0 {
            let order = Order::Shrink {
                domain: Arc::clone(domain),
                sets: stand.closed,
            };
            if self.orders.try_send(order).is_ok() {
                stand.closed = 0;
            }
        }
        let sets_max = domain.region.layout().shape.local_pages / WAYS as u64;
        let wished = wishes.saturating_sub(stand.wishes);
        if memory_is_short || sets >= sets_max || stand.closed != 0 {
            stand.wishes = wishes;
        } else if now >= stand.rest_until && wished >= WISHES_PER_SET.saturating_mul(sets.max(1)) {
            let next = sets.saturating_mul(2).max(SETS_FIRST).min(sets_max);
            let _ = self.orders.try_send(Order::Grow {
                domain: Arc::clone(domain),
                sets: next,
            });
            (stand.wishes, stand.rest_until) = (wishes, now + STEP_PAUSE);
        }
    }
}

impl Mover {
    /// Moves memory until the session ends: then `tend` is gone, who alone gives orders.
    pub fn run(&self, session: &Session) {
        let mut refused_at: Option<Instant> = None;
        while let Ok(order) = self.orders.recv() {
            if session.is_ending() {
                return;
            }
            match order {
                Order::Shrink { domain, sets } => shrink(&domain, sets),
                Order::Grow { domain, sets } => {
                    let resting = refused_at.is_some_and(|at| at.elapsed() < REFUSED_PAUSE);
                    if !resting && !grow(&domain, sets) {
                        refused_at = Some(Instant::now());
                    }
                }
            }
        }
    }
}

/// Allocates and opens sets up to `sets`. False: there is no memory.
pub fn grow(domain: &Domain, sets: u64) -> bool {
    let header = domain.region.header();
    let old = header.local_active.load(Ordering::Relaxed).min(sets);
    let set_bytes = (PAGE_BYTES * WAYS) as u64;
    let start = domain.region.layout().local_content + old * set_bytes;
    let bytes = sets.saturating_sub(old) * set_bytes;
    let allocated =
        rustix::fs::fallocate(&domain.memory, FallocateFlags::empty(), start, bytes.max(1));
    if let Err(error) = allocated {
        tracing::debug!(%error, sets, "the local cache grows no further");
        return false;
    }
    domain.local_sets_max.fetch_max(sets, Ordering::Relaxed);
    let opened =
        header
            .local_active
            .compare_exchange(old, sets, Ordering::SeqCst, Ordering::Relaxed);
    if opened.is_err() {
        // Closed under pressure meanwhile: what was just allocated is given back as well.
        shrink(domain, sets);
    }
    opened.is_ok()
}

/// Gives the content of the first `sets` sets, now out of use, back to the kernel. Each page is
/// punched while its tag is claimed: a tag never stands over content that is gone.
pub fn shrink(domain: &Domain, sets: u64) {
    let local = domain.region.local();
    let content = domain.region.layout().local_content;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let give_back = |slot: usize| {
        let at = content + (slot * PAGE_BYTES) as u64;
        let _ = rustix::fs::fallocate(&domain.memory, punch, at, PAGE_BYTES as u64);
    };
    let slots = usize::try_from(sets).unwrap_or(0).saturating_mul(WAYS);
    let mut left: Vec<usize> = (0..slots.min(local.tags.len())).collect();
    for _ in 0..PASSES_MAX {
        left.retain(|slot| !local.evict(*slot, OWN_SLOT, give_back));
        if left.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use grid::ident::FileIdent;
    use grid::local::{PageKey, Why};

    use super::super::domain::Credentials;
    use super::super::region::{self, Plan};
    use super::super::tests::bare_config;
    use super::*;

    fn domain() -> Arc<Domain> {
        let config = bare_config();
        let mapped = region::make(&config, Plan::of(&config, 1 << 30, Some(1 << 20))).unwrap();
        let credentials = Credentials {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            root: (0, 0),
        };
        Arc::new(Domain::new(0, credentials, mapped))
    }

    fn bytes_in_memory(domain: &Domain) -> u64 {
        rustix::fs::fstat(&domain.memory)
            .unwrap()
            .st_blocks
            .cast_unsigned()
            * 512
    }

    #[test]
    fn memory_comes_with_the_sets_and_goes_with_them() {
        let domain = domain();
        let before = bytes_in_memory(&domain);
        assert!(grow(&domain, 128));
        assert_eq!(bytes_in_memory(&domain), before + (2 << 20));
        let ident = FileIdent {
            dev: 1,
            ino: 2,
            birth_ns: 3,
        };
        let local = domain.region.local();
        let key = |page| PageKey {
            ident,
            page,
            epoch: 1,
            version: 1,
        };
        let filled =
            (0..10_000).filter(|page| local.fill(ident.hash(), key(*page), 1, Why::Wanted, |_| ()));
        assert!(filled.count() > 0);
        domain
            .region
            .header()
            .local_active
            .store(0, Ordering::SeqCst);
        shrink(&domain, 128);
        assert_eq!(bytes_in_memory(&domain), before);
        assert!(grow(&domain, 128));
        let found = (0..10_000).filter(|page| local.find(ident.hash(), key(*page)).is_some());
        assert_eq!(
            found.count(),
            0,
            "no tag may stand over content that is gone"
        );
    }

    #[test]
    fn it_grows_while_it_is_wished_for_and_shrinks_under_pressure() {
        let domain = domain();
        let header = domain.region.header();
        let (mut growth, mover) = Growth::new();
        let obey = || match mover.orders.try_recv() {
            Ok(Order::Grow { domain, sets }) => assert!(grow(&domain, sets)),
            Ok(Order::Shrink { domain, sets }) => shrink(&domain, sets),
            Err(_) => {}
        };
        growth.tend(0, &domain, false);
        obey();
        assert_eq!(
            header.local_active.load(Ordering::Relaxed),
            0,
            "nobody wished for it"
        );
        let mut sets = 0;
        for _ in 0..3 {
            header.local_wanted.fetch_add(10_000, Ordering::Relaxed);
            growth.stands[0].rest_until = Instant::now();
            growth.tend(0, &domain, false);
            obey();
            let grown = header.local_active.load(Ordering::Relaxed);
            assert!(grown > sets, "{grown}");
            sets = grown;
        }
        growth.tend(0, &domain, true);
        assert_eq!(header.local_active.load(Ordering::Relaxed), 0, "at once");
        obey();
        header.local_wanted.fetch_add(10_000, Ordering::Relaxed);
        growth.tend(0, &domain, true);
        obey();
        assert_eq!(header.local_active.load(Ordering::Relaxed), 0);
    }
}
