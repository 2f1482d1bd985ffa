//! Waiting for messages and for room: with deadlines, asleep, over many channels.

use std::thread;
use std::time::{Duration, Instant};

use bus::wait::Pace;
use bus::{Error, Wait};

use crate::support::{Bed, at, payload};

#[test]
fn a_deadline_is_kept() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let begun = Instant::now();
    assert!(matches!(
        b.receive(Wait::For(Duration::from_millis(30))),
        Err(Error::Empty)
    ));
    assert!(begun.elapsed() >= Duration::from_millis(30));
    while a.send(at("0.0.2.1"), &[0; 900], Wait::No).is_ok() {}
    let begun = Instant::now();
    let full = a.send(
        at("0.0.2.1"),
        &[0; 900],
        Wait::Until(begun + Duration::from_millis(30)),
    );
    assert!(matches!(full, Err(Error::Full)));
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

/// Ping-pong between two threads that always sleep: a wake that gets lost costs 100 ms of nap, and
/// shows in the count of sleeps that no wake ended.
#[test]
fn sleepers_are_woken() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    for end in [&mut a, &mut b] {
        end.set_pace(Pace::fixed(Duration::ZERO));
    }
    const ROUNDS: u64 = 5000;
    let echo = thread::spawn(move || {
        for _ in 0..ROUNDS {
            b.receive(Wait::Forever).unwrap();
            b.answer(b"pong", Wait::Forever).unwrap();
        }
        b.close();
    });
    for _ in 0..ROUNDS {
        a.send(at("0.0.2.1"), b"ping", Wait::Forever).unwrap();
        a.receive(Wait::Forever).unwrap();
    }
    echo.join().unwrap();
    let path = a.channel(bus::To::First).unwrap().path();
    let file = bus::channel::File::open(&path, bus::channel::Access::View).unwrap();
    let [out, back] = bus::view::queues(&file);
    let sleeps = out.received.sleeps + back.received.sleeps;
    let wakes = out.sent.wakes + back.sent.wakes;
    assert!(sleeps > 100, "nobody slept: {sleeps}");
    assert!(
        wakes + ROUNDS / 50 >= sleeps.min(ROUNDS),
        "{sleeps} sleeps, {wakes} wakes"
    );
}

#[test]
fn a_sender_waits_for_room_and_loses_nothing() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    const MESSAGES: u64 = 20_000;
    let sender = thread::spawn(move || {
        for seq in 1..=MESSAGES {
            a.send(at("0.0.2.1"), &payload(seq), Wait::Forever).unwrap();
        }
    });
    for seq in 1..=MESSAGES {
        let message = b.receive(Wait::Forever).unwrap();
        assert_eq!(message.payload(), payload(seq));
    }
    sender.join().unwrap();
}

#[test]
fn one_sleep_covers_fifty_channels() {
    let bed = Bed::new();
    let peers: Vec<String> = (1..=50).map(|n| format!("0.0.1.{n}")).collect();
    for peer in &peers {
        bed.join(peer, "0.0.9.9", 4096);
    }
    let mut hub = bed.bind("0.0.9.9");
    hub.set_pace(Pace::fixed(Duration::ZERO));
    let mut ends: Vec<_> = peers.iter().map(|peer| bed.bind(peer)).collect();
    let sender = thread::spawn(move || {
        for round in 0..20 {
            for end in &mut ends {
                end.send(at("0.0.9.9"), &[round], Wait::Forever).unwrap();
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    for _ in 0..20 * 50 {
        hub.receive(Wait::Forever).unwrap();
    }
    sender.join().unwrap();
}

#[test]
fn whoever_waits_for_a_removed_channel_is_told() {
    let bed = Bed::with_pair(4096);
    let mut b = bed.bind("0.0.2.1");
    let path = b.channel(bus::To::First).unwrap().path();
    let waiter = thread::spawn(move || b.receive(Wait::Forever).map(|_| ()));
    thread::sleep(Duration::from_millis(20));
    bed.bus.remove(&path, true).unwrap();
    assert!(matches!(waiter.join().unwrap(), Err(Error::Removed)));
}
