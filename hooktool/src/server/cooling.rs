//! Cooling: what was not used lately loses its rank, a little at every tick.
//!
//! `tend` calls it for each domain. The heat of the index falls by one a minute, so that "read
//! twice" means twice within a minute; file records that nobody used for a minute may be recycled;
//! and the entries met on the way correct the numbers of blocks held, which only ever rise in
//! between.

use grid::node::SLOTS;
use grid::sync::Ordering;

use super::domain::Domain;
use super::tend::TICKS_PER_S;

/// Ticks of one round over the index.
const ROUND_TICKS: u64 = 60 * TICKS_PER_S;

/// Ticks between two steps of the file records; a record starts two steps above rest.
const FILES_TICKS: u64 = 30 * TICKS_PER_S;

/// Where the round over one domain's index stands.
#[derive(Default)]
pub struct Cooling {
    ticks: u64,
    at: usize,
    /// Entries met so far in this round.
    held: u64,
}

impl Cooling {
    /// One tick.
    pub fn tick(&mut self, domain: &Domain) {
        self.ticks += 1;
        let index = domain.region.index();
        let slice = index.0.len().div_ceil(ROUND_TICKS as usize);
        let end = (self.at + slice).min(index.0.len());
        self.held += index.cool(self.at..end) as u64;
        self.at = end;
        if end == index.0.len() {
            correct_counts(domain, self.held);
            (self.at, self.held) = (0, 0);
        }
        if self.ticks.is_multiple_of(FILES_TICKS) {
            rest_files(domain);
        }
    }
}

/// Lowers the activity of every file record by one step.
fn rest_files(domain: &Domain) {
    for (_, record) in domain.region.files().live() {
        let active = record.active.load(Ordering::Relaxed);
        if active != 0 {
            let (ok, lost) = (Ordering::Relaxed, Ordering::Relaxed);
            // Lost: the file was used this instant.
            let _ = record.active.compare_exchange(active, active - 1, ok, lost);
        }
    }
}

/// Brings the numbers of blocks held, by node and by file, down to what a whole round has met.
fn correct_counts(domain: &Domain, held: u64) {
    let nodes = domain.region.nodes();
    let mut slots = vec![0_u64; nodes.records.len()];
    for slot in 0..SLOTS {
        if let Some(count) = nodes.node_of(slot).and_then(|node| slots.get_mut(node)) {
            *count += 1;
        }
    }
    for (record, slots) in nodes.records.iter().zip(&slots) {
        record
            .blocks
            .store(held * slots / SLOTS as u64, Ordering::Relaxed);
    }
    let files = domain.region.files();
    let counted = files
        .live()
        .map(|(_, record)| record.blocks_held.load(Ordering::Relaxed));
    let sum = counted.fold(0, u64::saturating_add);
    if sum > held {
        for (_, record) in files.live() {
            let blocks = record.blocks_held.load(Ordering::Relaxed);
            let share = u128::from(blocks) * u128::from(held) / u128::from(sum);
            record
                .blocks_held
                .store(u64::try_from(share).unwrap_or(blocks), Ordering::Relaxed);
        }
    }
}
