//! What the fuzz target does with its bytes: the properties of the store that no input may break.
//!
//! Shared by the libFuzzer target (`make fuzz`, unbounded) and by `tests/mutations.rs` (stable, in
//! every test run). A body panics when a property is broken.

use std::collections::HashMap;

use memnode::Eviction;
use memnode::store::{HugePages, Out, STORE_BYTES_MIN, SetMode, Store};

/// Replies that are being sent at a time.
const SENDING_MAX: usize = 3;

/// A store under a sequence of operations of four bytes each (what, which key, how many bytes),
/// made smaller and larger in between: never a wrong byte, never more memory, nothing lost count
/// of, and a reply that is being sent is what was there when it was asked for.
pub fn store(data: &[u8]) {
    for policy in [Eviction::S3Fifo, Eviction::Lru] {
        let store = Store::reserve(4 * STORE_BYTES_MIN, policy, HugePages::Off).unwrap();
        let mut model: HashMap<u8, Vec<u8>> = HashMap::new();
        let mut sending: Vec<(Out, Vec<u8>)> = Vec::new();
        for (turn, step) in data.chunks_exact(4).enumerate() {
            let (key, bytes) = (
                step[1],
                usize::from(u16::from_le_bytes([step[2], step[3]])) * 3,
            );
            match step[0] % 8 {
                0..3 => set(&store, &mut model, key, vec![turn as u8; bytes]),
                3..5 => {
                    let read = store.get(&[key], |value| {
                        let mut copy = Vec::new();
                        value.copy_to(&mut copy);
                        copy
                    });
                    assert!(read.is_none() || read.as_ref() == model.get(&key));
                }
                5 => {
                    let there = store.remove(&[key]);
                    assert!(!there || model.contains_key(&key));
                    model.remove(&key);
                }
                6 => {
                    let mut out = Out::new(0);
                    out.lease_up_to(store.lease_bytes_max(SENDING_MAX));
                    let found = store
                        .get(&[key], |mut value| out.value(&mut value))
                        .is_some();
                    let expected = if found {
                        model[&key].clone()
                    } else {
                        Vec::new()
                    };
                    sending.push((out, expected));
                    if sending.len() > SENDING_MAX {
                        sent(&store, sending.remove(0));
                    }
                }
                _ if key == 0 => {
                    // Whoever shrinks waits for what is being sent.
                    sending.drain(..).for_each(|reply| sent(&store, reply));
                    store.resize(bytes * 60).unwrap();
                }
                _ if bytes == 0 => {
                    store.clear();
                    model.clear();
                }
                _ => {
                    let mut keys = 0;
                    while store.scan(0, usize::MAX, |_| keys += 1) != 0 {}
                    assert_eq!(keys, store.counters().items);
                }
            }
            assert!(store.used_bytes() <= store.capacity_bytes() as u64);
            assert!(store.counters().items as usize <= model.len());
        }
        sending.into_iter().for_each(|reply| sent(&store, reply));
        store.clear();
        assert_eq!((store.used_bytes(), store.counters().item_bytes), (0, 0));
    }
}

fn set(store: &Store, model: &mut HashMap<u8, Vec<u8>>, key: u8, value: Vec<u8>) {
    assert_eq!(
        store.set(&[key], &value, Some(0), SetMode::Always),
        Ok(true)
    );
    model.insert(key, value);
}

fn sent(store: &Store, (mut out, expected): (Out, Vec<u8>)) {
    assert!(
        out.rest(store, 0) == expected,
        "a reply changed while it was sent"
    );
    out.finish(store, 0);
}
