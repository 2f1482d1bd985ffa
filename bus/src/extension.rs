//! What may stand between a record's head and its payload: route, trace, origin, in this order.
//!
//! ```text
//!   ROUTED   32 bytes   count u8, 3 unused, then 7 addresses u32: where the message came through
//!   TRACED   16 bytes   trace number u64, first sent (ns since 1970) u64
//!   RELAYED  16 bytes   epoch of the ring it left u64, number it had there u64
//! ```
//!
//! Which blocks there are is told by the flags of the head. Plain numbers in and out; never looks
//! at shared memory.

use crate::address::Address;
use crate::record::{RELAYED, ROUTED, TRACED};

/// Most stations of a route.
pub const STATIONS_MAX: usize = 7;
/// Most bytes of an extension.
pub const EXTENSION_BYTES_MAX: usize = 64;

/// The addresses a forwarded message passed, oldest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Route {
    count: u8,
    stations: [u32; STATIONS_MAX],
}

impl Route {
    /// The stations, oldest first.
    pub fn stations(&self) -> impl Iterator<Item = Address> + '_ {
        self.stations[..usize::from(self.count)]
            .iter()
            .map(|word| Address(*word))
    }

    /// Adds a station; `false` if the route is full.
    #[must_use]
    pub fn push(&mut self, station: Address) -> bool {
        let Some(place) = self.stations.get_mut(usize::from(self.count)) else {
            return false;
        };
        *place = station.0;
        self.count += 1;
        true
    }

    /// Takes the youngest station off.
    pub fn pop(&mut self) -> Option<Address> {
        self.count = self.count.checked_sub(1)?;
        Some(Address(self.stations[usize::from(self.count)]))
    }
}

/// A trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its number, never 0.
    pub id: u64,
    /// When the message was first sent, in nanoseconds since 1970.
    pub begun_ns: u64,
}

/// Where a relayed message comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The epoch of the channel it left.
    pub epoch: u64,
    /// The number it had there.
    pub seq: u64,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extension {
    /// Stations, for forwarded messages.
    pub route: Option<Route>,
    /// For traced messages.
    pub trace: Option<Trace>,
    /// For relayed messages.
    pub origin: Option<Origin>,
}

impl Extension {
    /// Its bytes (zeros behind them), how many they are, and the flags that announce them.
    pub fn encode(&self) -> ([u8; EXTENSION_BYTES_MAX], usize, u16) {
        let mut bytes = [0; EXTENSION_BYTES_MAX];
        let (mut at, mut flags) = (0, 0);
        let mut put = |piece: &[u8]| {
            bytes[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        };
        if let Some(route) = &self.route {
            flags |= ROUTED;
            put(&[route.count, 0, 0, 0]);
            route
                .stations
                .iter()
                .for_each(|word| put(&word.to_le_bytes()));
        }
        if let Some(trace) = &self.trace {
            flags |= TRACED;
            put(&trace.id.to_le_bytes());
            put(&trace.begun_ns.to_le_bytes());
        }
        if let Some(origin) = &self.origin {
            flags |= RELAYED;
            put(&origin.epoch.to_le_bytes());
            put(&origin.seq.to_le_bytes());
        }
        (bytes, at, flags)
    }

    /// From the bytes of an extension; `None` if they are not what the flags announce.
    pub fn decode(flags: u16, mut bytes: &[u8]) -> Option<Extension> {
        let mut extension = Extension::default();
        if flags & ROUTED != 0 {
            let (head, rest) = bytes.split_first_chunk::<4>()?;
            let mut route = Route {
                count: head[0],
                ..Route::default()
            };
            bytes = rest;
            for station in &mut route.stations {
                let (word, rest) = bytes.split_first_chunk::<4>()?;
                *station = u32::from_le_bytes(*word);
                bytes = rest;
            }
            if usize::from(route.count) > STATIONS_MAX {
                return None;
            }
            extension.route = Some(route);
        }
        if flags & TRACED != 0 {
            let ([id, begun_ns], rest) = two_words(bytes)?;
            extension.trace = Some(Trace { id, begun_ns });
            bytes = rest;
        }
        if flags & RELAYED != 0 {
            let ([epoch, seq], rest) = two_words(bytes)?;
            extension.origin = Some(Origin { epoch, seq });
            bytes = rest;
        }
        bytes.is_empty().then_some(extension)
    }
}

fn two_words(bytes: &[u8]) -> Option<([u64; 2], &[u8])> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (second, rest) = rest.split_first_chunk::<8>()?;
    Some((
        [u64::from_le_bytes(*first), u64::from_le_bytes(*second)],
        rest,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_route_is_a_stack_of_seven() {
        let mut route = Route::default();
        assert!((1..=7).all(|n| route.push(Address(n))));
        assert!(!route.push(Address(8)));
        assert_eq!(route.pop(), Some(Address(7)));
        assert_eq!(route.stations().count(), 6);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            stations in proptest::option::of(proptest::collection::vec(1u32.., 0..=7)),
            trace: Option<(u64, u64)>,
            origin: Option<(u64, u64)>,
        ) {
            let route = stations.map(|stations| {
                let mut route = Route::default();
                stations.iter().for_each(|word| assert!(route.push(Address(*word))));
                route
            });
            let extension = Extension {
                route,
                trace: trace.map(|(id, begun_ns)| Trace { id, begun_ns }),
                origin: origin.map(|(epoch, seq)| Origin { epoch, seq }),
            };
            let (bytes, length, flags) = extension.encode();
            prop_assert_eq!(Extension::decode(flags, &bytes[..length]), Some(extension));
        }

        #[test]
        fn nonsense_never_panics(
            flags: u16,
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = Extension::decode(flags, &bytes);
        }
    }
}
