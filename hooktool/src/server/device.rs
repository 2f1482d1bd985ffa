//! Block devices: how busy they are, from their own counters.
//!
//! `tend` asks once a second for the devices that files of the session lie on, to decide how many
//! reads may be spent on bringing blocks back into the page cache.

use std::collections::BTreeMap;
use std::time::Instant;

use super::domain::Domain;

/// Devices that are watched at most.
const DEVICES_MAX: usize = 8;

/// A device that was busy less than this share of the time is idle.
const IDLE_SHARE: f64 = 0.10;

/// The devices of a session.
#[derive(Default)]
pub struct Devices {
    /// Milliseconds that a device had been busy at the last look, by number.
    busy_ms: BTreeMap<u64, u64>,
    looked: Option<Instant>,
}

impl Devices {
    /// Whether every device that the files of `domains` lie on has been idle since the last call.
    pub fn are_idle(&mut self, domains: &[std::sync::Arc<Domain>], now: Instant) -> bool {
        let passed = self
            .looked
            .map(|looked| now.duration_since(looked).as_millis());
        self.looked = Some(now);
        let mut idle = true;
        let mut seen = BTreeMap::new();
        for dev in domains.iter().flat_map(|domain| devices_of(domain)) {
            if seen.len() >= DEVICES_MAX || seen.contains_key(&dev) {
                continue;
            }
            let Some(busy_ms) = busy_ms(dev) else {
                // A file system without a device of its own (btrfs): nobody knows.
                idle = false;
                continue;
            };
            let spent = self
                .busy_ms
                .get(&dev)
                .map(|before| busy_ms.saturating_sub(*before));
            idle &= match (spent, passed) {
                (Some(spent), Some(passed)) => (spent as f64) < passed as f64 * IDLE_SHARE,
                _ => false,
            };
            seen.insert(dev, busy_ms);
        }
        self.busy_ms = seen;
        idle && !self.busy_ms.is_empty()
    }
}

fn devices_of(domain: &Domain) -> impl Iterator<Item = u64> + use<> {
    domain
        .region
        .files()
        .live()
        .map(|(_, record)| record.ident().dev)
}

/// Milliseconds that a device has been busy since boot; `dev` as in a file's identity.
fn busy_ms(dev: u64) -> Option<u64> {
    let (major, minor) = (dev >> 32, dev & 0xFFFF_FFFF);
    busy_of(&std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?)
}

/// The tenth field of a device's statistics.
fn busy_of(stat: &str) -> Option<u64> {
    stat.split_whitespace().nth(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_time_is_the_tenth_field() {
        let stat = "   11  12  13  14  15  16  17  18  0  999  20 0 0 0 0 0 0\n";
        assert_eq!(busy_of(stat), Some(999));
        assert_eq!(busy_of(""), None);
    }
}
