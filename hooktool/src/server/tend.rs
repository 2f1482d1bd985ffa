//! The clock of the hook server: ten ticks a second on its first thread.
//!
//! Every tick writes the heartbeat before anything else: when it is missing, the processes of the
//! session turn to the kernel. Then it hands out tokens, watches the pressure, cools the index, lets
//! the local cache grow or shrink, and asks whether the session is over. Nothing here waits for a
//! disk or a node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::sync::Ordering;

use super::domain::Domain;
use super::life::Life;
use super::region::TOKENS_UNLIMITED;
use super::session::{self, Session};
use super::sys;

/// Between two ticks.
pub const TICK: Duration = Duration::from_millis(100);

/// Ticks in a second.
pub const TICKS_PER_S: u64 = 10;

/// Fill tokens that may pile up while nobody uses them, in ticks.
const FILL_TICKS_MAX: u64 = 5;

/// The clock.
pub struct Clock {
    life: Life,
    /// Domains that have a drain.
    drained: usize,
}

impl Clock {
    /// A clock that begins with the session's first domain.
    pub fn new(session: &Session) -> Clock {
        Clock {
            life: Life::new(&session.config),
            drained: session.domains().len(),
        }
    }

    /// Ticks until the session is over, a thread of the hook server failed, or SIGTERM comes.
    pub fn run(mut self, session: &Arc<Session>) {
        let mut next = Instant::now();
        while !session.is_ending() {
            self.tick(session);
            if self.life.is_over(session) {
                return;
            }
            next = (next + TICK).max(Instant::now());
            if rest_until(next) {
                tracing::info!("told to end");
                return;
            }
        }
    }

    fn tick(&mut self, session: &Arc<Session>) {
        let domains = session.domains();
        let now_ms = session::now_ms();
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
        for domain in &domains {
            grant_fills(session, domain);
        }
    }
}

/// Grants pushes at the rate asked for.
fn grant_fills(session: &Session, domain: &Domain) {
    let tokens = &domain.region.header().fill_tokens;
    let Some(rate) = session.config.fill_rate_bytes_per_s else {
        tokens.store(TOKENS_UNLIMITED, Ordering::Relaxed);
        return;
    };
    let per_tick = (rate / TICKS_PER_S / domain.block_bytes_mean().max(1)).max(1);
    if tokens.load(Ordering::Relaxed) < per_tick * FILL_TICKS_MAX {
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
