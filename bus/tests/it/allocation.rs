//! After binding, sending, receiving, waiting and finding nothing never allocate: counted, thread
//! by thread, by an allocator that counts.
//!
//! # Safety
//!
//! The allocator hands every call on to the system's and touches nothing but a counter.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bus::{Error, Wait};

use crate::support::{Bed, at};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: the system's allocator keeps the contract; counting needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn counted(deed: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    deed();
    COUNT.get() - before
}

#[test]
fn nothing_is_allocated_once_an_address_is_bound() {
    assert_eq!(counted(|| drop(Box::new(1u64))), 1, "the alarm must work");
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let to = at("0.0.2.1");
    let (payload, mut buffer) = ([5; 300], [0; 300]);
    let batch = [&payload[..]; 3];
    let allocated = counted(|| {
        for _ in 0..200 {
            a.send(to, &payload, Wait::No).unwrap();
            a.send_parts(to, &[&payload[..9], b"parts"], Wait::No)
                .unwrap();
            assert_eq!(a.send_batch(to, &batch, Wait::No).unwrap(), 3);
            a.send_traced(to, b"traced", Wait::No).unwrap();
            while a.send(to, &payload, Wait::No).is_ok() {}
            let full = a.send(to, &payload, Wait::For(Duration::from_micros(50)));
            assert!(matches!(full, Err(Error::Full)));
            let large = a.send(to, &[0; 1025], Wait::No);
            assert!(matches!(large, Err(Error::TooLarge { .. })));
            b.receive(Wait::No).unwrap();
            b.answer(b"answer", Wait::No).unwrap();
            while b.receive_into(&mut buffer, Wait::No).is_ok() {}
            let empty = b.receive(Wait::For(Duration::from_micros(50)));
            assert!(matches!(empty, Err(Error::Empty)));
            assert_eq!(a.receive(Wait::No).unwrap().payload(), b"answer");
            assert_eq!(a.broadcast(b"all").unwrap().sent, 1);
            while b.receive(Wait::No).is_ok() {}
            b.acknowledge();
        }
    });
    assert_eq!(allocated, 0);
}
