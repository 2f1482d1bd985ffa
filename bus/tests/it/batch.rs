//! Messages many at a time: order, acknowledgement, damage in the middle, a waiter beside.

use std::time::Duration;

use bus::{Error, Role, Wait};

use crate::support::{Bed, at, payload};

#[test]
fn a_batch_is_handed_out_in_order_and_acknowledged_by_the_next_call() {
    let bed = Bed::with_pair(1 << 16);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let messages: Vec<Vec<u8>> = (1..=100).map(payload).collect();
    let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
    let sent = a.send_batch(at("0.0.2.1"), &messages, Wait::No).unwrap();
    assert_eq!(sent, 100);
    let mut expected = 1;
    for (most, there) in [(7, 7), (1, 1), (60, 60), (1000, 32)] {
        let got = b
            .receive_batch(most, Wait::No, |message| {
                assert_eq!(message.seq(), expected);
                assert_eq!(message.payload(), payload(expected));
                assert!(!message.is_redelivered());
                expected += 1;
            })
            .unwrap();
        assert_eq!(got, there);
    }
    assert_eq!(expected, 101);
    assert!(matches!(
        b.receive_batch(5, Wait::No, |_| panic!("nothing is there")),
        Err(Error::Empty)
    ));
}

#[test]
fn a_batch_whose_receiver_went_comes_again_and_is_marked() {
    let bed = Bed::with_pair(1 << 16);
    let mut a = bed.bind("0.0.1.1");
    for seq in 1..=10 {
        a.send(at("0.0.2.1"), &payload(seq), Wait::No).unwrap();
    }
    let mut b = bed.bind("0.0.2.1");
    assert_eq!(b.receive_batch(4, Wait::No, |_| ()).unwrap(), 4);
    drop(b);
    let mut b = bed.bind("0.0.2.1");
    let mut seen = Vec::new();
    let note = |message: bus::Message<'_>| seen.push((message.seq(), message.is_redelivered()));
    b.receive_batch(99, Wait::No, note).unwrap();
    let expected: Vec<(u64, bool)> = (1..=10).map(|seq| (seq, seq <= 4)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_batch_with_a_message_too_large_sends_those_before_it() {
    let bed = Bed::with_pair(8192);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let large = [0; 4000];
    let sent = a.send_batch(at("0.0.2.1"), &[b"one", b"two", &large, b"three"], Wait::No);
    assert!(matches!(sent, Err(Error::TooLarge { .. })), "{sent:?}");
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"one");
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"two");
    assert!(matches!(b.receive(Wait::No), Err(Error::Empty)));
}

#[test]
fn a_waiter_is_woken_while_its_endpoint_sends() {
    let bed = Bed::with_pair(1 << 16);
    let mut a = bed.bind_as("0.0.1.1", Role::Both);
    let mut b = bed.bind("0.0.2.1");
    let mut waiter = b.waiter();
    assert!(matches!(b.receive(Wait::No), Err(Error::Empty)));
    b.aim(&mut waiter);
    assert!(!waiter.wait(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| waiter.wait(Duration::from_secs(60)));
        // The endpoint is free meanwhile.
        b.send(at("0.0.1.1"), b"not a word of the waiter", Wait::No)
            .unwrap();
        a.send(at("0.0.2.1"), b"now", Wait::No).unwrap();
        assert!(waiting.join().unwrap());
    });
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"now");
    b.aim(&mut waiter);
    assert!(!waiter.wait(Duration::from_millis(1)), "it was received");
}
