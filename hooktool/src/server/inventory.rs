//! What the regions of a session hold at this moment: memory, slots, operations and cells that are
//! not at rest. What is not given back after its user's death shows here, and stays.
//!
//! Called by `stats` for each snapshot; read by operators who suspect a leak, and by the test that
//! kills at random. Looks only: releases nothing, and waits for nobody.

use grid::cell::{is_poisoned, is_quiet};
use grid::sync::Ordering;

use super::domain::Domain;
use super::members::OWN_SLOT;
use crate::control::RegionInfo;

/// The sum over all regions.
pub fn of(domains: &[std::sync::Arc<Domain>]) -> RegionInfo {
    domains
        .iter()
        .map(|domain| of_one(domain))
        .fold(RegionInfo::default(), |sum, one| RegionInfo {
            bytes: sum.bytes + one.bytes,
            slots: sum.slots + one.slots,
            operations: sum.operations + one.operations,
            cells_in_flight: sum.cells_in_flight + one.cells_in_flight,
            cells_poisoned: sum.cells_poisoned + one.cells_poisoned,
            refreshes: sum.refreshes + one.refreshes,
        })
}

fn of_one(domain: &Domain) -> RegionInfo {
    let region = &domain.region;
    let (ops, cells) = (region.ops(), region.cells());
    let processes = region.processes().iter().enumerate();
    let taken = processes.filter(|(slot, record)| {
        *slot != usize::from(OWN_SLOT) && record.state.load(Ordering::Acquire) != 0
    });
    let of_files = cells
        .files
        .iter()
        .flat_map(|file| [&file.epoch, &file.writes]);
    let words = cells.blocks.iter().chain(of_files);
    let (mut in_flight, mut poisoned) = (0, 0);
    for word in words.map(|cell| cell.load(Ordering::Relaxed)) {
        in_flight += u64::from(!is_quiet(word) && !is_poisoned(word));
        poisoned += u64::from(is_poisoned(word));
    }
    RegionInfo {
        bytes: memory_of(domain),
        slots: taken.count() as u64,
        operations: (0..ops.len())
            .filter(|slot| ops.owner(*slot).is_some())
            .count() as u64,
        cells_in_flight: in_flight,
        cells_poisoned: poisoned,
        refreshes: region.refresh().in_use() as u64,
    }
}

/// Memory that the kernel has given to the region's file.
fn memory_of(domain: &Domain) -> u64 {
    let stat = rustix::fs::fstat(&domain.memory);
    stat.map_or(0, |stat| {
        u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512)
    })
}
