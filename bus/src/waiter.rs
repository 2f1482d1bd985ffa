//! Waiting for messages without holding the endpoint: for bindings in which one thread waits while
//! another sends from the same address.
//!
//! A waiter is made once and aimed, under whatever lock guards the endpoint, after a receive that
//! found nothing; then it waits alone. It takes nothing and acknowledges nothing. At most one
//! thread may receive or wait at a time: an end has one word to sleep under.

use std::time::Duration;

use crate::channel::MappedHalf;
use crate::endpoint::{CHANNELS_MAX, Endpoint};
use crate::layout::Bell;
use crate::ring::Half;
use crate::sync::{AtomicU64, Ordering};
use crate::wait::{self, Pace};

/// What an endpoint would wait for.
#[derive(Debug)]
pub struct Waiter {
    /// The rings it empties, and the position in each up to which it has looked.
    rings: Vec<(MappedHalf, u64)>,
    pace: Pace,
}

impl Endpoint {
    /// A waiter for the channels bound now; to be made anew after `refresh`. Allocates.
    pub fn waiter(&self) -> Waiter {
        let halves = self.receiving();
        Waiter {
            rings: halves.map(|(half, at)| (half.clone(), at)).collect(),
            pace: Pace::default(),
        }
    }

    /// Tells the waiter how far this endpoint has looked.
    pub fn aim(&self, waiter: &mut Waiter) {
        for (ring, (_, at)) in waiter.rings.iter_mut().zip(self.receiving()) {
            ring.1 = at;
        }
    }
}

impl Waiter {
    /// Waits until there is something that the endpoint has not looked at, at most so long.
    pub fn wait(&mut self, time: Duration) -> bool {
        let rings = &self.rings;
        let Some((first, _)) = rings.first() else {
            return false;
        };
        let mut pairs = [bells(first); CHANNELS_MAX];
        for (pair, (half, _)) in pairs.iter_mut().zip(rings) {
            *pair = bells(half);
        }
        let is_ready = |_| {
            let mut rings = rings.iter();
            rings.any(|(half, at)| half.producer().tail.at.load(Ordering::Acquire) != *at)
        };
        let deadline = std::time::Instant::now().checked_add(time);
        wait::until(&pairs[..rings.len()], &mut self.pace, deadline, is_ready)
    }
}

fn bells(half: &MappedHalf) -> (&Bell, &Bell, &AtomicU64) {
    let consumer = half.consumer();
    (
        &consumer.bell,
        &half.producer().bell,
        &consumer.counters.sleeps,
    )
}
