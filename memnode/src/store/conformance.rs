//! What every eviction policy has to keep, whatever it throws away: one suite, run for each.
//!
//! A store may forget anything at any time, but it may never hand out a wrong byte, never exceed
//! its memory, and never lose count.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Eviction, HugePages, SetError, SetMode, Store, VALUE_BYTES_MAX, unix_ms};

const POLICIES: [Eviction; 2] = [Eviction::S3Fifo, Eviction::Lru];
const SMALL_STORE_BYTES: usize = 2 * VALUE_BYTES_MAX;

fn store(eviction: Eviction) -> Store {
    Store::reserve(SMALL_STORE_BYTES, eviction, HugePages::Try).unwrap()
}

fn read(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key, |value| {
        let mut out = Vec::new();
        value.copy_to(&mut out);
        assert_eq!(out.len(), value.len());
        out
    })
}

fn write(store: &Store, key: &[u8], value: &[u8]) {
    assert_eq!(store.set(key, value, Some(0), SetMode::Always), Ok(true));
}

fn check_within_memory(store: &Store) {
    assert!(store.used_bytes() <= store.capacity_bytes() as u64);
    assert!(store.counters().item_bytes <= store.used_bytes());
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, usize),
    Get(u8),
    Remove(u8),
    Clear,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), prop_oneof![0usize..3000, 3000usize..200_000])
            .prop_map(|(key, bytes)| Step::Set(key, bytes)),
        8 => any::<u8>().prop_map(Step::Get),
        2 => any::<u8>().prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_a_wrong_byte_against_a_model(steps in prop::collection::vec(any_step(), 1..200)) {
        for policy in POLICIES {
            let store = store(policy);
            let mut model: HashMap<u8, Vec<u8>> = HashMap::new();
            for (turn, step) in steps.iter().enumerate() {
                match step {
                    Step::Set(key, bytes) => {
                        let value = vec![turn as u8; *bytes];
                        write(&store, &[*key], &value);
                        model.insert(*key, value);
                    }
                    Step::Get(key) => {
                        if let Some(value) = read(&store, &[*key]) {
                            prop_assert_eq!(Some(&value), model.get(key));
                        }
                    }
                    Step::Remove(key) => {
                        let there = store.remove(&[*key]);
                        prop_assert!(!there || model.contains_key(key));
                        model.remove(key);
                        prop_assert!(!store.remove(&[*key]));
                    }
                    Step::Clear => {
                        store.clear();
                        model.clear();
                        prop_assert_eq!((store.counters().items, store.used_bytes()), (0, 0));
                    }
                }
                check_within_memory(&store);
            }
        }
    }
}

#[test]
fn what_fits_is_kept() {
    for policy in POLICIES {
        let store = store(policy);
        (0..400u32).for_each(|n| write(&store, &n.to_le_bytes(), &[n as u8; 4128]));
        for n in 0..400u32 {
            assert_eq!(
                read(&store, &n.to_le_bytes()),
                Some(vec![n as u8; 4128]),
                "{policy:?}"
            );
        }
        assert_eq!(store.counters().evictions, 0, "{policy:?}");
        assert_eq!((store.counters().items, store.counters().hits), (400, 400));
    }
}

#[test]
fn a_full_store_takes_whatever_comes_next_in_any_size() {
    for policy in POLICIES {
        let store = store(policy);
        for (n, bytes) in
            (0..2000u32).zip([4128, 8224, 100, 65_568, 4128, 1_000_000].iter().cycle())
        {
            write(&store, &n.to_le_bytes(), &vec![n as u8; *bytes]);
            assert_eq!(
                read(&store, &n.to_le_bytes()).map(|v| v.len()),
                Some(*bytes)
            );
            check_within_memory(&store);
        }
        assert!(store.counters().evictions > 1000, "{policy:?}");
    }
}

#[test]
fn the_largest_value_is_taken_and_a_larger_one_refused() {
    for policy in POLICIES {
        let store = store(policy);
        write(&store, b"k", &vec![1; VALUE_BYTES_MAX]);
        let over = vec![1; VALUE_BYTES_MAX + 1];
        assert_eq!(
            store.set(b"k", &over, Some(0), SetMode::Always),
            Err(SetError::TooLarge)
        );
        assert_eq!(
            store.set(&[0; 513], b"", Some(0), SetMode::Always),
            Err(SetError::TooLarge)
        );
        assert_eq!(read(&store, b"k").map(|v| v.len()), Some(VALUE_BYTES_MAX));
    }
}

#[test]
fn conditions_and_expiry_are_kept() {
    for policy in POLICIES {
        let store = store(policy);
        assert_eq!(
            store.set(b"k", b"1", Some(0), SetMode::IfPresent),
            Ok(false)
        );
        assert_eq!(store.set(b"k", b"1", Some(0), SetMode::IfAbsent), Ok(true));
        assert_eq!(store.set(b"k", b"2", Some(0), SetMode::IfAbsent), Ok(false));
        assert_eq!(read(&store, b"k"), Some(b"1".to_vec()));
        let later = unix_ms() + 100_000;
        assert_eq!(
            store.set(b"k", b"3", Some(later), SetMode::IfPresent),
            Ok(true)
        );
        assert_eq!(store.set(b"k", &[3; 5000], None, SetMode::Always), Ok(true));
        assert_eq!(store.peek(b"k", |value| value.expires_ms()), Some(later));
        assert_eq!(store.set(b"k", b"4", Some(1), SetMode::Always), Ok(true));
        assert_eq!(read(&store, b"k"), None);
        assert_eq!(
            (store.counters().expirations, store.counters().items),
            (1, 0)
        );
    }
}

/// Hits on a hot set that is read again and again, while a scan ten times the memory goes by.
fn hits_beside_a_scan(policy: Eviction) -> u32 {
    let store = store(policy);
    let mut hits = 0;
    for turn in 0..20_000u32 {
        let hot = (turn % 200).to_le_bytes();
        match read(&store, &hot) {
            Some(_) => hits += 1,
            None => write(&store, &hot, &[0; 4128]),
        }
        for scan in 0..3 {
            write(
                &store,
                &(1_000_000 + turn * 3 + scan).to_le_bytes(),
                &[0; 4128],
            );
        }
    }
    hits
}

#[test]
fn s3fifo_keeps_the_hot_set_through_a_scan_and_lru_does_not() {
    let (s3fifo, lru) = (
        hits_beside_a_scan(Eviction::S3Fifo),
        hits_beside_a_scan(Eviction::Lru),
    );
    assert!(s3fifo > 18_000, "{s3fifo}");
    assert!(lru < 2_000, "{lru}");
}

#[test]
fn several_threads_agree() {
    for policy in POLICIES {
        let store = Store::reserve(64 * VALUE_BYTES_MAX, policy, HugePages::Try).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let store = &store;
                scope.spawn(move || {
                    for turn in 0..5_000u32 {
                        let key = (turn % 500).to_le_bytes();
                        write(store, &key, &[thread; 4128]);
                        if let Some(value) = read(store, &key) {
                            assert!(value.iter().all(|byte| *byte == value[0]));
                        }
                    }
                });
            }
        });
        check_within_memory(&store);
    }
}

#[test]
fn a_store_that_shrinks_keeps_the_hottest_and_gives_its_memory_back() {
    // Down in steps and up again, with other threads at work: no wrong byte, nothing lost count of.
    for policy in POLICIES {
        let store = Store::reserve(64 << 20, policy, HugePages::Off).unwrap();
        let key = |n: u32| n.to_le_bytes();
        let value = |n: u32| vec![n as u8; 1000 + n as usize % 7000];
        (0..20_000).for_each(|n| write(&store, &key(n), &value(n)));
        let hot: Vec<u32> = (19_000..20_000).collect();
        let end = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut n = 0u32;
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    n = (n + 1) % 30_000;
                    match n % 3 {
                        0 => write(&store, &key(n), &value(n)),
                        1 => drop(store.remove(&key(n % 18_000))),
                        _ => {
                            let found = read(&store, &key(n));
                            assert!(found.is_none_or(|bytes| bytes == value(n)), "{n}");
                        }
                    }
                }
            });
            for mib in [48, 64, 33, 40, 64] {
                store.resize(mib << 20).unwrap();
                assert_eq!(store.capacity_bytes(), mib << 20);
            }
            end.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        store.clear();
        (0..10_000).for_each(|n| write(&store, &key(n), &value(n)));
        hot.iter().for_each(|n| write(&store, &key(*n), &value(*n)));
        hot.iter()
            .for_each(|n| assert!(read(&store, &key(*n)).is_some()));
        store.resize(0).unwrap();
        assert_eq!(store.capacity_bytes(), store.resize_bytes_min());
        check_within_memory(&store);
        let kept = hot.iter().filter(|n| read(&store, &key(**n)).is_some());
        assert!(kept.count() > 990, "{policy:?} gave up hot items");
        let mut keys = 0;
        while store.scan(0, usize::MAX, |_| keys += 1) != 0 {}
        assert_eq!(keys, store.counters().items);
        store.clear();
        assert_eq!((store.used_bytes(), store.counters().item_bytes), (0, 0));
    }
}

#[test]
fn a_value_that_is_being_sent_holds_up_who_shrinks_and_nobody_else() {
    let store = Store::reserve(16 << 20, Eviction::S3Fifo, HugePages::Off).unwrap();
    for n in 0..200u32 {
        write(&store, &n.to_le_bytes(), &vec![n as u8; 80_000]);
    }
    let mut out = super::Out::new(0);
    out.lease_up_to(1 << 20);
    let pinned: Vec<u32> = (0..200u32)
        .filter(|n| store.peek(&n.to_le_bytes(), |_| ()).is_some())
        .take(3)
        .chain((190..200).filter(|n| store.peek(&u32::to_le_bytes(*n), |_| ()).is_some()))
        .collect();
    let mut expected = Vec::new();
    for n in &pinned {
        store
            .get(&n.to_le_bytes(), |mut value| out.value(&mut value))
            .unwrap();
        expected.extend(vec![*n as u8; 80_000]);
    }
    std::thread::scope(|scope| {
        let shrinking = scope.spawn(|| store.resize(0));
        std::thread::sleep(std::time::Duration::from_millis(50));
        write(&store, b"k", b"v");
        assert!(
            out.rest(&store, 0) == expected,
            "a reply changed while it was sent"
        );
        out.finish(&store, 0);
        shrinking.join().unwrap().unwrap();
    });
    check_within_memory(&store);
}

/// How many of the values there lie in one piece, and how many there are.
fn in_one_piece(store: &Store, keys: u32) -> (u32, u32) {
    let (mut whole, mut all) = (0, 0);
    for n in 0..keys {
        if let Some(pieces) = store.peek(&n.to_le_bytes(), |value| value.pieces()) {
            all += 1;
            whole += u32::from(pieces == 1);
        }
    }
    (whole, all)
}

#[test]
fn blocks_of_one_size_lie_in_one_piece_whatever_left_before_them() {
    for policy in POLICIES {
        let store = store(policy);
        for n in 0..4000u32 {
            write(&store, &n.to_le_bytes(), &[n as u8; 4128]);
            if n % 7 == 0 {
                let _ = store.remove(&(n / 2).to_le_bytes());
            }
            let _ = read(&store, &(n / 3).to_le_bytes());
        }
        let (whole, all) = in_one_piece(&store, 4000);
        assert!(whole == all && all > 400, "{policy:?}: {whole} of {all}");
    }
}

#[test]
fn most_values_lie_in_one_piece_where_sizes_are_mixed() {
    for policy in POLICIES {
        let store = Store::reserve(8 * SMALL_STORE_BYTES, policy, HugePages::Off).unwrap();
        let mut random = 1u32;
        for turn in 0..60_000u32 {
            random = random.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
            let (key, size) = ((random >> 8) % 6000, (random >> 24) % 16);
            let bytes = [300, 4128, 4128, 8224, 8224, 8224, 16_416, 65_568][size as usize / 2];
            write(&store, &key.to_le_bytes(), &vec![turn as u8; bytes]);
        }
        let (whole, all) = in_one_piece(&store, 6000);
        check_within_memory(&store);
        assert!(store.used_bytes() * 100 > store.capacity_bytes() as u64 * 97);
        assert!(whole * 10 > all * 7, "{policy:?}: {whole} of {all}");
    }
}
