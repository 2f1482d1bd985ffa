//! Sending and receiving between addresses: order, batches, parts, everybody, routes, traces.

use bus::record::BACKWARD;
use bus::{Error, Role, Wait};

use crate::support::{Bed, at, payload, spec};

#[test]
fn messages_go_both_ways_in_order() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    for round in 1..=500u64 {
        assert_eq!(
            a.send(at("0.0.2.1"), &payload(round), Wait::No).unwrap(),
            round
        );
        let message = b.receive(Wait::No).unwrap();
        assert_eq!(
            (message.seq(), message.payload()),
            (round, &payload(round)[..])
        );
        assert_eq!(
            (message.source(), message.destination()),
            (at("0.0.1.1"), at("0.0.2.1"))
        );
        assert!(!message.is_redelivered() && !message.is_test());
        b.answer(b"yes", Wait::No).unwrap();
        let mut buffer = [0; 16];
        let answer = a.receive_into(&mut buffer, Wait::No).unwrap();
        assert_eq!(
            (&buffer[..answer.len()], answer.is_backward()),
            (&b"yes"[..], true)
        );
    }
    assert_eq!(BACKWARD, 64);
}

#[test]
fn a_full_ring_says_so_and_an_empty_one_too() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    assert!(matches!(b.receive(Wait::No), Err(Error::Empty)));
    let mut sent = 0u64;
    while a.send(at("0.0.2.1"), &[7; 100], Wait::No).is_ok() {
        sent += 1;
    }
    assert!(matches!(
        a.send(at("0.0.2.1"), &[7; 100], Wait::No),
        Err(Error::Full)
    ));
    assert!((20..=26).contains(&sent), "{sent} of 160 bytes in 4096");
    for seq in 1..=sent {
        assert_eq!(b.receive(Wait::No).unwrap().seq(), seq);
    }
    assert!(matches!(b.receive(Wait::No), Err(Error::Empty)));
    assert!(a.send(at("0.0.2.1"), &[7; 100], Wait::No).is_ok());
}

#[test]
fn the_largest_message_fits_wherever_the_ring_stands() {
    let bed = Bed::with_pair(8192);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let large = vec![3; 2048];
    for small in 0..200 {
        a.send(at("0.0.2.1"), &vec![1; small * 3], Wait::No)
            .unwrap();
        a.send(at("0.0.2.1"), &large, Wait::No).unwrap();
        assert_eq!(b.receive(Wait::No).unwrap().len(), small * 3);
        assert_eq!(b.receive(Wait::No).unwrap().payload(), &large[..]);
    }
    let refused = a.send(at("0.0.2.1"), &[0; 2049], Wait::No);
    assert!(matches!(
        refused,
        Err(Error::TooLarge {
            bytes: 2049,
            bytes_max: 2048
        })
    ));
}

#[test]
fn a_batch_sends_what_fits_and_parts_become_one_message() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let messages = [&[9u8; 480][..]; 20];
    assert_eq!(a.send_batch(at("0.0.2.1"), &messages, Wait::No).unwrap(), 8);
    assert!(matches!(
        a.send_batch(at("0.0.2.1"), &messages, Wait::No),
        Err(Error::Full)
    ));
    for _ in 0..8 {
        assert_eq!(b.receive(Wait::No).unwrap().payload(), messages[0]);
    }
    assert!(b.receive(Wait::No).is_err());
    a.send_parts(at("0.0.2.1"), &[b"one ", b"", b"message", b"!"], Wait::No)
        .unwrap();
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"one message!");
}

#[test]
fn a_small_buffer_leaves_the_message() {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    a.send(at("0.0.2.1"), b"twelve bytes", Wait::No).unwrap();
    let short = b.receive_into(&mut [0; 11], Wait::No);
    assert!(matches!(
        short,
        Err(Error::BufferTooSmall {
            bytes: 12,
            room: 11
        })
    ));
    let mut buffer = [0; 12];
    let envelope = b.receive_into(&mut buffer, Wait::No).unwrap();
    assert!(!envelope.is_redelivered());
    assert_eq!(&buffer, b"twelve bytes");
}

#[test]
fn what_was_not_acknowledged_comes_again_marked_and_what_was_does_not() {
    let bed = Bed::with_pair(4096);
    let mut a = bed.bind("0.0.1.1");
    for n in 1..=6u8 {
        a.send(at("0.0.2.1"), &[n], Wait::No).unwrap();
    }
    let mut b = bed.bind("0.0.2.1");
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [1]);
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [2]);
    drop(b);
    let mut b = bed.bind("0.0.2.1");
    let again = b.receive(Wait::No).unwrap();
    assert_eq!((again.payload(), again.is_redelivered()), (&[2][..], true));
    let next = b.receive(Wait::No).unwrap();
    assert_eq!((next.payload(), next.is_redelivered()), (&[3][..], false));
    b.close();
    let mut b = bed.bind("0.0.2.1");
    b.set_manual(true);
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [4]);
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [5]);
    drop(b);
    let mut b = bed.bind("0.0.2.1");
    assert!(b.receive(Wait::No).unwrap().is_redelivered());
    assert!(b.receive(Wait::No).unwrap().is_redelivered());
    let last = b.receive(Wait::No).unwrap();
    assert_eq!((last.payload(), last.is_redelivered()), (&[6][..], false));
}

#[test]
fn an_address_receives_from_all_its_channels_fairly() {
    let bed = Bed::new();
    for peer in ["0.0.1.1", "0.0.1.2", "0.0.1.3"] {
        bed.join(peer, "0.0.9.9", 16384);
    }
    let mut senders = ["0.0.1.1", "0.0.1.2", "0.0.1.3"].map(|peer| bed.bind(peer));
    for _ in 0..30 {
        for sender in &mut senders {
            sender.send(at("0.0.9.9"), b"x", Wait::No).unwrap();
        }
    }
    let mut hub = bed.bind("0.0.9.9");
    assert_eq!(hub.peers().count(), 3);
    let sources: Vec<_> = (0..90)
        .map(|_| hub.receive(Wait::No).unwrap().source())
        .collect();
    assert!(matches!(hub.receive(Wait::No), Err(Error::Empty)));
    for (nth, turn) in sources.chunks(10).enumerate() {
        let expected = at(["0.0.1.1", "0.0.1.2", "0.0.1.3"][nth % 3]);
        assert!(
            turn.iter().all(|source| *source == expected),
            "ten in a row, in turn"
        );
    }
    let done = hub.broadcast(b"to everybody").unwrap();
    assert_eq!((done.sent, done.full), (3, 0));
    for sender in &mut senders {
        assert_eq!(sender.receive(Wait::No).unwrap().payload(), b"to everybody");
    }
}

#[test]
fn a_forwarded_message_finds_its_way_back() {
    let bed = Bed::new();
    for (a, b) in [
        ("0.0.1.1", "0.0.2.1"),
        ("0.0.2.1", "0.0.3.1"),
        ("0.0.3.1", "0.0.4.1"),
    ] {
        bed.join(a, b, 4096);
    }
    let [mut a, mut b, mut c, mut d] =
        ["0.0.1.1", "0.0.2.1", "0.0.3.1", "0.0.4.1"].map(|address| bed.bind(address));
    a.send(at("0.0.2.1"), b"question", Wait::No).unwrap();
    b.receive(Wait::No).unwrap();
    b.forward(at("0.0.3.1"), Wait::No).unwrap();
    c.receive(Wait::No).unwrap();
    c.forward(at("0.0.4.1"), Wait::No).unwrap();
    let asked = d.receive(Wait::No).unwrap();
    assert_eq!(asked.payload(), b"question");
    assert_eq!(
        asked.route().stations().collect::<Vec<_>>(),
        [at("0.0.1.1"), at("0.0.2.1")]
    );
    d.answer(b"answer", Wait::No).unwrap();
    assert!(c.receive(Wait::No).unwrap().is_backward());
    c.backward(Wait::No).unwrap();
    b.receive(Wait::No).unwrap();
    b.backward(Wait::No).unwrap();
    let answer = a.receive(Wait::No).unwrap();
    assert_eq!(
        (answer.payload(), answer.route().stations().count()),
        (&b"answer"[..], 0)
    );
    assert!(matches!(a.backward(Wait::No), Err(Error::NoRoute)));
}

#[test]
fn a_trace_is_left_where_the_message_passed() {
    let bed = Bed::new();
    let first = bed.join("0.0.1.1", "0.0.2.1", 4096);
    bed.join("0.0.2.1", "0.0.3.1", 4096);
    let [mut a, mut b, mut c] = ["0.0.1.1", "0.0.2.1", "0.0.3.1"].map(|address| bed.bind(address));
    let id = a.send_traced(at("0.0.2.1"), b"dyed", Wait::No).unwrap();
    b.receive(Wait::No).unwrap();
    b.forward(at("0.0.3.1"), Wait::No).unwrap();
    let message = c.receive(Wait::No).unwrap();
    assert_eq!(message.trace().map(|trace| trace.id), Some(id));
    let file = bus::channel::File::open(&first, bus::channel::Access::View).unwrap();
    let [out, back] = bus::view::queues(&file);
    let (sent, received) = out.passages();
    assert_eq!((sent[0].id, received[0].id, sent[0].bytes), (id, id, 4));
    assert!(received[0].at_ns >= sent[0].at_ns);
    assert!(back.passages().0.is_empty());
}

#[test]
fn two_processes_may_share_an_address_one_sends_one_receives() {
    let bed = Bed::with_pair(4096);
    let mut sends = bed.bind_as("0.0.1.1", Role::Send);
    let mut receives = bed.bind_as("0.0.1.1", Role::Receive);
    let mut peer = bed.bind("0.0.2.1");
    sends.send(at("0.0.2.1"), b"out", Wait::No).unwrap();
    peer.receive(Wait::No).unwrap();
    peer.answer(b"back", Wait::No).unwrap();
    assert_eq!(receives.receive(Wait::No).unwrap().payload(), b"back");
    assert!(matches!(
        receives.send(at("0.0.2.1"), b"", Wait::No),
        Err(Error::NoChannel { .. })
    ));
    assert!(matches!(sends.receive(Wait::No), Err(Error::Empty)));
    let twice = bed.bus.bind("0.0.1.1").unwrap_err();
    assert!(
        twice
            .to_string()
            .contains(&format!("pid {}", std::process::id())),
        "{twice}"
    );
}

#[test]
fn channels_made_later_are_found_and_removed_ones_let_go() {
    let bed = Bed::with_pair(4096);
    let mut a = bed.bind("0.0.1.1");
    assert!(matches!(
        a.send(at("0.0.3.1"), b"", Wait::No),
        Err(Error::NoChannel { .. })
    ));
    let path = bed.join("0.0.1.1", "0.0.3.1", 4096);
    a.refresh().unwrap();
    a.send(at("0.0.3.1"), b"", Wait::No).unwrap();
    assert!(matches!(
        bed.bus.remove(&path, false),
        Err(Error::Bound { .. })
    ));
    bed.bus.remove(&path, true).unwrap();
    assert!(matches!(a.receive(Wait::No), Err(Error::Removed)));
    a.refresh().unwrap();
    assert_eq!(a.peers().collect::<Vec<_>>(), [at("0.0.2.1")]);
}

#[test]
fn stamps_and_unsummed_channels() {
    let bed = Bed::new();
    let mut wanted = spec("0.0.1.1", "0.0.2.1", 4096);
    (wanted.is_summed, wanted.is_stamped) = (false, true);
    bed.bus.create(&wanted).unwrap();
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    a.send(at("0.0.2.1"), b"when?", Wait::No).unwrap();
    let message = b.receive(Wait::No).unwrap();
    let age_ns = bus::sys::wall_clock_ns() - message.sent_ns().unwrap();
    assert!(age_ns < 3_600_000_000_000, "{age_ns}");
    assert_eq!(message.payload(), b"when?");
}
