//! Walks over all keys, a bounded step at a time.
//!
//! Called by SCAN, KEYS and RANDOMKEY. A cursor is a shard (upper half) and a chain of its index
//! (lower half). Items never change their chain, so whoever is there from the first step to the
//! last is seen, and nobody twice.

use std::hash::BuildHasher;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::{Store, unix_ms};

/// Chains looked at in one step at least, so that a nearly empty store is walked in few steps.
const CHAINS_MIN: usize = 4096;

/// A step ends when its keys have so many bytes, whatever was asked for.
const STEP_BYTES_MAX: usize = 256 * 1024;

impl Store {
    /// Shows about `count` keys from `cursor` on (0 is the beginning) and returns where to go on;
    /// 0 is the end.
    pub fn scan(&self, cursor: u64, count: usize, mut found: impl FnMut(&[u8])) -> u64 {
        let (mut shard, mut chain) = ((cursor >> 32) as usize, cursor as u32 as usize);
        let now_ms = unix_ms();
        let (mut keys, mut bytes, mut looked) = (0, 0, 0);
        while let Some(place) = self.shards.get(shard) {
            let place = place.lock();
            let chains = match place.counters().items {
                0 => 0, // nothing to look for
                _ => place.buckets(),
            };
            while chain < chains {
                if keys >= count || bytes >= STEP_BYTES_MAX || looked >= CHAINS_MIN.max(count) {
                    return ((shard as u64) << 32) | chain as u64;
                }
                place.each_key(chain, now_ms, |key| {
                    keys += 1;
                    bytes += key.len();
                    found(key);
                });
                looked += 1;
                chain += 1;
            }
            (shard, chain) = (shard + 1, 0);
        }
        0
    }

    /// Some key; `None` if there is none.
    pub fn random_key(&self) -> Option<Vec<u8>> {
        static TURN: AtomicU64 = AtomicU64::new(0);
        let random = self.hasher.hash_one(TURN.fetch_add(1, Relaxed));
        let shards = self.shards.len() as u64;
        let shard = random % shards;
        let chains = self.shards[shard as usize].lock().buckets() as u64;
        let mut cursor = (shard << 32) | ((random >> 32) % chains);
        let mut some = None;
        // From a random place to the end, then from the beginning: twice past every place.
        let mut ends = 0;
        while some.is_none() && ends < 2 {
            cursor = self.scan(cursor, 1, |key| some = Some(key.to_vec()));
            ends += usize::from(cursor == 0);
        }
        some
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::Relaxed;

    use super::super::{Eviction, HugePages, SetMode, Store};

    #[test]
    fn every_key_is_seen_once_and_some_key_is_found() {
        let store = Store::reserve(64 << 20, Eviction::S3Fifo, HugePages::Off).unwrap();
        assert_eq!(
            (store.scan(0, 10, |_| panic!("no keys")), store.random_key()),
            (0, None)
        );
        for n in 0..5000u32 {
            store
                .set(&n.to_le_bytes(), b"v", Some(0), SetMode::Always)
                .unwrap();
        }
        store.set(b"gone", b"v", Some(1), SetMode::Always).unwrap();
        for count in [1, 10, 100_000] {
            let mut seen = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = store.scan(cursor, count, |key| assert!(seen.insert(key.to_vec())));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(seen.len(), 5000, "steps of {count}");
        }
        let random: BTreeSet<_> = (0..20).map(|_| store.random_key().unwrap()).collect();
        assert!(random.len() > 5, "{random:?}");
        assert_eq!(store.scan(u64::MAX, 10, |_| panic!("behind the end")), 0);
    }

    /// Turns true when dropped, a failed check included.
    struct Ends<'a>(&'a AtomicBool);

    impl Drop for Ends<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn who_is_there_from_the_first_step_to_the_last_is_seen() {
        // Beside a thread that inserts, so that others are evicted, and one that moves items
        // together: whoever was there before, is there after, and was not set again meanwhile.
        for policy in [Eviction::S3Fifo, Eviction::Lru] {
            let store = Store::reserve(32 << 20, policy, HugePages::Off).unwrap();
            let set = |key: u32, bytes: usize| {
                let value = vec![key as u8; bytes];
                let stored = store.set(&key.to_le_bytes(), &value, Some(0), SetMode::Always);
                stored.unwrap();
            };
            (0..20_000).for_each(|n| set(n, n as usize % 3000));
            let end = AtomicBool::new(false);
            let mut checked = 0;
            let going = || !end.load(Relaxed);
            std::thread::scope(|scope| {
                let _ends = Ends(&end);
                scope.spawn(|| {
                    let mut strangers = 1_000_000..;
                    while going() {
                        strangers.by_ref().take(50).for_each(|n| set(n, 2000));
                        std::thread::yield_now();
                    }
                });
                scope.spawn(|| {
                    for mib in [24, 32].iter().cycle().take_while(|_| going()) {
                        store.resize(mib << 20).unwrap();
                    }
                });
                for count in [10, 100, 1000] {
                    let held = |n: &u32| store.peek(&n.to_le_bytes(), |_| ()).is_some();
                    let before: Vec<u32> = (0..20_000).filter(held).collect();
                    let (mut seen, mut cursor) = (BTreeSet::new(), 0);
                    loop {
                        cursor = store.scan(cursor, count, |key| {
                            let key = key.try_into().map(u32::from_le_bytes).unwrap();
                            assert!(seen.insert(key) || key >= 1_000_000, "{key} twice");
                        });
                        if cursor == 0 {
                            break;
                        }
                    }
                    for n in before.iter().filter(|n| held(n)) {
                        assert!(seen.contains(n), "{n} was there and not seen");
                        checked += 1;
                    }
                    (0..20_000).for_each(|n| set(n, n as usize % 3000));
                }
            });
            assert!(checked > 0, "{policy:?}: nobody stayed");
        }
    }
}
