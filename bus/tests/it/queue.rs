//! The channel against a queue in plain memory: whatever is done in whatever order, both agree.

use std::collections::VecDeque;

use bus::{Error, Wait};
use proptest::prelude::*;

use crate::support::{Bed, at};

#[derive(Clone, Debug)]
enum Deed {
    Send(usize),
    SendParts(usize, usize),
    SendBatch(usize, usize),
    Receive,
    ReceiveInto(usize),
    /// The receiver ends without acknowledging, and binds anew.
    ReceiverDies,
    SenderDies,
    Acknowledge,
    Clean,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let length = 0..1024usize;
    let deed = prop_oneof![
        6 => length.clone().prop_map(Deed::Send),
        2 => (0..500usize, 0..500usize).prop_map(|(a, b)| Deed::SendParts(a, b)),
        2 => (length, 1..6usize).prop_map(|(length, count)| Deed::SendBatch(length, count)),
        8 => Just(Deed::Receive),
        3 => (0..1200usize).prop_map(Deed::ReceiveInto),
        1 => Just(Deed::ReceiverDies),
        1 => Just(Deed::SenderDies),
        1 => Just(Deed::Acknowledge),
        1 => Just(Deed::Clean),
    ];
    proptest::collection::vec(deed, 1..120)
}

fn bytes(length: usize, salt: u64) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u64 * 31).wrapping_add(salt.wrapping_mul(7)) as u8)
        .collect()
}

/// What the queue in plain memory holds.
#[derive(Default)]
struct Model {
    queued: VecDeque<(u64, Vec<u8>)>,
    /// The message handed out and not acknowledged.
    open: Option<(u64, Vec<u8>)>,
    sent: u64,
    /// Handed out to a receiver that died.
    again: Option<u64>,
}

impl Model {
    fn send(&mut self, payload: Vec<u8>) {
        self.sent += 1;
        self.queued.push_back((self.sent, payload));
    }

    fn die(&mut self) {
        if let Some(open) = self.open.take() {
            self.again = Some(open.0);
            self.queued.push_front(open);
        }
    }
}

fn check(model: &mut Model, got: bus::Result<(u64, Vec<u8>, bool)>) {
    model.open = None;
    let Some((seq, payload)) = model.queued.pop_front() else {
        assert!(matches!(got, Err(Error::Empty)), "{got:?}");
        return;
    };
    let is_repeat = model.again.is_some_and(|again| seq <= again);
    assert_eq!(got.unwrap(), (seq, payload.clone(), is_repeat));
    model.open = Some((seq, payload));
}

fn send(a: &mut bus::Endpoint, model: &mut Model, payload: Vec<u8>) {
    match a.send(at("0.0.2.1"), &payload, Wait::No) {
        Ok(seq) => {
            model.send(payload);
            assert_eq!(seq, model.sent);
        }
        Err(error) => assert!(matches!(error, Error::Full), "{error}"),
    }
}

fn play(deeds: Vec<Deed>) {
    let bed = Bed::with_pair(4096);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let (to, mut model) = (at("0.0.2.1"), Model::default());
    for (salt, deed) in deeds.into_iter().enumerate() {
        let salt = salt as u64;
        match deed {
            Deed::Send(length) => send(&mut a, &mut model, bytes(length, salt)),
            Deed::SendParts(first, second) => {
                let (first, second) = (bytes(first, salt), bytes(second, !salt));
                if a.send_parts(to, &[&first, &second], Wait::No).is_ok() {
                    model.send([first, second].concat());
                }
            }
            Deed::SendBatch(length, count) => {
                let payload = bytes(length, salt);
                let batch = vec![&payload[..]; count];
                let sent = a.send_batch(to, &batch, Wait::No).unwrap_or(0);
                (0..sent).for_each(|_| model.send(payload.clone()));
            }
            Deed::Receive => {
                let got = b.receive(Wait::No);
                let got = got.map(|m| (m.seq(), m.payload().to_vec(), m.is_redelivered()));
                check(&mut model, got);
            }
            Deed::ReceiveInto(room) => {
                let mut buffer = vec![0; room];
                match b.receive_into(&mut buffer, Wait::No) {
                    Err(Error::BufferTooSmall { bytes, .. }) => {
                        assert_eq!(model.queued[0].1.len() as u64, bytes);
                        model.open = None;
                    }
                    got => check(
                        &mut model,
                        got.map(|e| (e.seq(), buffer[..e.len()].to_vec(), e.is_redelivered())),
                    ),
                }
            }
            Deed::ReceiverDies => {
                drop(b);
                model.die();
                b = bed.bind("0.0.2.1");
            }
            Deed::SenderDies => {
                drop(a);
                a = bed.bind("0.0.1.1");
            }
            Deed::Acknowledge => {
                b.acknowledge();
                model.open = None;
            }
            Deed::Clean => {
                b.close();
                let path = a.channel(bus::To::First).unwrap().path();
                let cleaned = bed.bus.clean(&path, Some(at("0.0.1.1")), false).unwrap();
                assert_eq!(cleaned, model.queued.len() as u64);
                (model.open, model.again) = (None, None);
                model.queued.clear();
                b = bed.bind("0.0.2.1");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_order_of_deeds_agrees_with_a_plain_queue(deeds in deeds()) {
        play(deeds);
    }
}
