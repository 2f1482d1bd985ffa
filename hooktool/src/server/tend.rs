//! The clock of the hook server: ten ticks a second on its first thread.
//!
//! Every tick writes the heartbeat before anything else: when it is missing, the processes of the
//! session turn to the kernel. Then it hands out tokens, watches the pressure, cools the index,
//! lets the local cache grow or shrink, and asks whether the session is over. Nothing here waits
//! for a disk or a node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::header::{Header, switch};
use grid::sync::Ordering;

use super::cooling::Cooling;
use super::device::Devices;
use super::domain::Domain;
use super::growth::Growth;
use super::life::Life;
use super::pressure::{Felt, Pressure};
use super::promotion::Pace;
use super::region::{DEADLINE_US_FIRST, TOKENS_UNLIMITED};
use super::session::{self, Session};
use super::{cluster, stats, sys};

/// Between two ticks.
const TICK: Duration = Duration::from_millis(100);

/// Ticks in a second.
pub const TICKS_PER_S: u64 = 10;

/// Fill tokens that may pile up while nobody uses them, in ticks.
const FILL_TICKS_MAX: u64 = 5;

/// Share of the device's read rate that promotion may take, while others use it and while it idles.
const PROMOTE_SHARE: f64 = 0.05;
const PROMOTE_SHARE_IDLE: f64 = 0.20;

/// A wait for a node is worth at most as many reads from the device.
const DEADLINE_DISK_READS: u64 = 4;

/// Bounds of the deadline in microseconds.
const DEADLINE_US_MIN: u64 = 5_000;
const DEADLINE_US_MAX: u64 = 50_000;

/// The clock.
pub struct Clock {
    life: Life,
    pressure: Pressure,
    devices: Devices,
    devices_idle: bool,
    growth: Growth,
    cooling: Vec<Cooling>,
    /// How fast each domain may promote.
    promotions: Vec<Pace>,
    /// Domains that have a drain.
    drained: usize,
    ticks: u64,
}

impl Clock {
    /// A clock that begins with the session's first domain.
    pub fn new(session: &Session, growth: Growth) -> Clock {
        Clock {
            life: Life::new(&session.config),
            pressure: Pressure::new(),
            devices: Devices::default(),
            devices_idle: false,
            growth,
            cooling: Vec::new(),
            promotions: Vec::new(),
            drained: session.domains().len(),
            ticks: 0,
        }
    }

    /// Ticks until the session is over, a thread of the hook server failed, or SIGTERM comes.
    pub fn run(mut self, session: &Arc<Session>) {
        self.tick_until_the_end(session);
        // Once in a session's life, however it ends; nothing to do where `life` has done it.
        stats::write_at_exit(session, session.take_writing());
    }

    fn tick_until_the_end(&mut self, session: &Arc<Session>) {
        let mut next = Instant::now();
        while !session.is_ending() {
            self.tick(session);
            if self.life.is_over(session) {
                return;
            }
            next = (next + TICK).max(Instant::now());
            if rest_until(next) {
                tracing::info!("told to end");
                break;
            }
        }
    }

    fn tick(&mut self, session: &Arc<Session>) {
        let domains = session.domains();
        // Taken before the look at the door: a process that comes after it waits longer than this
        // heartbeat counts.
        let now_ms = session::now_ms();
        if !is_attended(session) {
            return;
        }
        for domain in &domains {
            domain
                .region
                .header()
                .heartbeat_ms
                .store(now_ms, Ordering::Relaxed);
        }
        if domains.len() > self.drained {
            self.drained = super::start_drains(session, self.drained).unwrap_or(self.drained);
        }
        if self.ticks.is_multiple_of(TICKS_PER_S) {
            self.devices_idle = self.devices.are_idle(&domains, Instant::now());
            session.place_where_needed();
        }
        self.ticks += 1;
        cluster::heed(session);
        let nodes = session.pool.nodes();
        for node in nodes.iter().filter(|node| session.is_broken(node.number)) {
            node.wake();
        }
        if super::start_keepers(session).is_err() {
            tracing::warn!("no thread for a node: tried again");
        }
        let felt = self.pressure.feel(Instant::now());
        self.cooling.resize_with(domains.len(), Cooling::default);
        self.promotions.resize_with(domains.len(), Pace::default);
        for (number, domain) in domains.iter().enumerate() {
            let header = domain.region.header();
            show(header, felt);
            adapt_deadline(header);
            grant_fills(session, domain);
            self.grant_promotions(domain, number, felt);
            self.cooling[number].tick(domain);
            if !session.plan.local_is_fixed {
                self.growth.tend(number, domain, felt.memory_is_short);
            }
        }
    }

    /// Grants reads that bring blocks back into the page cache: a share of what the device can do.
    fn grant_promotions(&mut self, domain: &Domain, number: usize, felt: Felt) {
        let share = match self.devices_idle {
            true => PROMOTE_SHARE_IDLE,
            false => PROMOTE_SHARE,
        };
        match felt.memory_is_short {
            true => self.promotions[number].forbid(domain),
            false => self.promotions[number].grant(domain, share),
        }
    }
}

/// Whether everybody who stood at the door of a session that owns files has been answered. If not,
/// no heartbeat: who has waited in vain goes on by itself, so what `attach` makes of that must
/// come first (rule O2).
fn is_attended(session: &Session) -> bool {
    if session.config.own.is_empty() || !session.door.is_waited_at() {
        return true;
    }
    let before = session.door.passes();
    for _ in 0..TICK.as_millis() {
        session.sockets.ring();
        // The pass under way may have looked at the queue before.
        if session.door.passes() >= before + 2 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

/// Tells the processes what the pressure allows.
fn show(header: &Header, felt: Felt) {
    let table = [
        (switch::SPIN, felt.cpu_is_idle),
        (switch::PRESSURE, felt.memory_is_short),
        (switch::PROMOTE, !felt.memory_is_short),
    ];
    for (bit, on) in table {
        if header.is_on(bit) != on {
            header.set_switch(bit, on);
        }
    }
}

/// A node may take as long as a few reads from the device: beyond that the device is the better
/// bet.
fn adapt_deadline(header: &Header) {
    let disk_us = header.disk_ns.load(Ordering::Relaxed) / 1000;
    let deadline_us = match disk_us {
        0 => DEADLINE_US_FIRST,
        disk_us => disk_us
            .saturating_mul(DEADLINE_DISK_READS)
            .clamp(DEADLINE_US_MIN, DEADLINE_US_MAX),
    };
    header.deadline_us.store(deadline_us, Ordering::Relaxed);
}

/// Grants pushes at the rate asked for.
fn grant_fills(session: &Session, domain: &Domain) {
    let tokens = &domain.region.header().fill_tokens;
    let Some(rate) = session.config.fill_rate_bytes_per_s else {
        tokens.store(TOKENS_UNLIMITED, Ordering::Relaxed);
        return;
    };
    let per_tick = (rate / TICKS_PER_S / domain.block_bytes_mean().max(1)).max(1);
    let left = tokens.load(Ordering::Relaxed);
    if left >= TOKENS_UNLIMITED / 2 {
        // The region starts without a limit, so that the first tick decides.
        tokens.store(per_tick, Ordering::Relaxed);
    } else if left < per_tick * FILL_TICKS_MAX {
        tokens.fetch_add(per_tick, Ordering::Relaxed);
    }
}

/// Sleeps; true: SIGTERM came. Other signals (a terminal's, a broken lease's) mean nothing here.
fn rest_until(next: Instant) -> bool {
    loop {
        let left = next.saturating_duration_since(Instant::now());
        match sys::next_signal(left) {
            Some(libc::SIGTERM) => return true,
            _ if Instant::now() >= next => return false,
            _ => {}
        }
    }
}
