//! Bytes changed behind the protocol's back: what is lost is told, what follows still arrives.

use std::os::unix::fs::FileExt;

use bus::channel::{Access, File};
use bus::{Error, Wait};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::support::{Bed, at, payload};

/// Writes over bytes of the ring from 0.0.1.1 to 0.0.2.1.
fn scribble(bed: &Bed, offset: u64, bytes: &[u8]) {
    let path = bed
        .bus
        .path_of(bus::Template::default(), [at("0.0.1.1"), at("0.0.2.1")]);
    let data = File::open(&path, Access::View).unwrap().header().places[0].data;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, data + offset).unwrap();
}

#[test]
fn a_changed_payload_is_told_and_only_that_message_is_lost() {
    let bed = Bed::with_pair(8192);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    for n in 1..=3u8 {
        a.send(at("0.0.2.1"), &[n; 64], Wait::No).unwrap();
    }
    scribble(&bed, 96 + 32 + 5, &[0xAA]);
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [1; 64]);
    let told = b.receive(Wait::No).map(|_| ());
    assert!(
        matches!(
            told,
            Err(Error::Damaged {
                messages: 1,
                bytes: 96,
                after: 1
            })
        ),
        "{told:?}"
    );
    assert_eq!(b.receive(Wait::No).unwrap().payload(), [3; 64]);
    a.send(at("0.0.2.1"), b"on", Wait::No).unwrap();
    assert_eq!(b.receive(Wait::No).unwrap().seq(), 4);
}

#[test]
fn a_changed_head_is_skipped_to_the_next_message() {
    let bed = Bed::with_pair(8192);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    for n in 1..=5u8 {
        a.send(at("0.0.2.1"), &[n; 64], Wait::No).unwrap();
    }
    scribble(&bed, 96, &[0xFF; 100]);
    assert_eq!(b.receive(Wait::No).unwrap().seq(), 1);
    let told = b.receive(Wait::No).map(|_| ());
    assert!(
        matches!(
            told,
            Err(Error::Damaged {
                messages: 2,
                bytes: 192,
                after: 1
            })
        ),
        "{told:?}"
    );
    assert_eq!(b.receive(Wait::No).unwrap().seq(), 4);
    assert_eq!(b.receive(Wait::No).unwrap().seq(), 5);
}

#[test]
fn a_record_inside_a_payload_does_not_pass_for_one() {
    let bed = Bed::with_pair(8192);
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let inner = bus::record::Head {
        len: 0,
        seq: 2,
        ..bus::record::Head::default()
    };
    let inner: Vec<u8> = inner
        .encode()
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    a.send(at("0.0.2.1"), &inner.repeat(4), Wait::No).unwrap();
    a.send(at("0.0.2.1"), b"after", Wait::No).unwrap();
    scribble(&bed, 3, &[1]);
    let told = b.receive(Wait::No).map(|_| ());
    assert!(matches!(told, Err(Error::Damaged { .. })), "{told:?}");
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"after");
}

#[test]
fn numbers_are_not_used_again_after_damage() {
    let bed = Bed::with_pair(8192);
    let mut a = bed.bind("0.0.1.1");
    for n in 1..=3u8 {
        a.send(at("0.0.2.1"), &[n; 64], Wait::No).unwrap();
    }
    scribble(&bed, 192, &[0; 32]);
    drop(a);
    let mut a = bed.bind("0.0.1.1");
    assert_eq!(a.send(at("0.0.2.1"), b"next", Wait::No).unwrap(), 4);
}

#[test]
fn positions_that_contradict_each_other_are_named_and_cleaned() {
    let bed = Bed::with_pair(4096);
    let mut a = bed.bind("0.0.1.1");
    a.send(at("0.0.2.1"), b"x", Wait::No).unwrap();
    drop(a);
    let path = bed
        .bus
        .path_of(bus::Template::default(), [at("0.0.1.1"), at("0.0.2.1")]);
    let place = File::open(&path, Access::View).unwrap().header().places[0];
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&(1u64 << 40).to_le_bytes(), place.producer)
        .unwrap();
    let refused = bed.bus.bind("0.0.2.1").map(|_| ());
    assert!(
        matches!(refused, Err(Error::Contradiction { .. })),
        "{refused:?}"
    );
    bed.bus.clean(&path, None, false).unwrap();
    let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
    let seq = a.send(at("0.0.2.1"), b"again", Wait::No).unwrap();
    let message = b.receive(Wait::No).unwrap();
    assert_eq!((message.seq(), message.payload()), (seq, &b"again"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]
    /// Whatever is scribbled into the data: what is delivered was sent, in order, and the messages
    /// delivered and those told lost add up.
    #[test]
    fn nothing_that_was_not_sent_is_ever_delivered(
        scribbles in vec((0..4096u64, vec(any::<u8>(), 1..40)), 1..6),
        messages in 1..9u64,
    ) {
        let bed = Bed::with_pair(4096);
        let (mut a, mut b) = (bed.bind("0.0.1.1"), bed.bind("0.0.2.1"));
        for seq in 1..=messages {
            a.send(at("0.0.2.1"), &payload(seq), Wait::No).unwrap();
        }
        for (offset, bytes) in scribbles {
            let room = (4096 - offset).min(bytes.len() as u64) as usize;
            scribble(&bed, offset, &bytes[..room]);
        }
        let (mut last, mut steps) = (0, 0);
        loop {
            steps += 1;
            prop_assert!(steps < 50);
            match b.receive(Wait::No) {
                Ok(message) => {
                    prop_assert!(message.seq() > last);
                    prop_assert_eq!(message.payload(), &payload(message.seq())[..]);
                    last = message.seq();
                }
                Err(Error::Empty) => break,
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
        }
        let seq = a.send(at("0.0.2.1"), b"life goes on", Wait::No).unwrap();
        prop_assert_eq!(seq, messages + 1);
        let message = loop {
            match b.receive(Wait::No) {
                Err(Error::Damaged { .. }) => {}
                other => break other.unwrap(),
            }
        };
        prop_assert_eq!((message.seq(), message.payload()), (seq, &b"life goes on"[..]));
    }

    /// Whatever is scribbled into header and pages, before or while the ends are bound: what is
    /// delivered was sent, in order; everything else is an error, not a crash. (What was sent may
    /// be lost: a head that was moved on over whole records cannot be told from a consumer's.)
    #[test]
    fn header_and_pages_of_nonsense_are_errors(
        scribbles in vec((0..20480u64, vec(any::<u8>(), 1..17), any::<bool>()), 1..12),
        aimed in vec((0..4usize, 0..96u64, any::<u64>(), any::<bool>()), 0..6),
    ) {
        let bed = Bed::with_pair(4096);
        let path = bed
            .bus
            .path_of(bus::Template::default(), [at("0.0.1.1"), at("0.0.2.1")]);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        let mut a = bed.bind("0.0.1.1");
        (1..=5).for_each(|seq| drop(a.send(at("0.0.2.1"), &payload(seq), Wait::No)));
        drop(a);
        let write = |is_early: bool| {
            for (offset, bytes, early) in &scribbles {
                if *early == is_early {
                    file.write_all_at(bytes, *offset).unwrap();
                }
            }
            // Words that are in use, near values that could be.
            for (page, word, value, early) in &aimed {
                if *early == is_early {
                    let offset = 4096 * (1 + *page as u64) + word * 8;
                    file.write_all_at(&(value % 8192).to_le_bytes(), offset).unwrap();
                }
            }
        };
        write(true);
        let ends = ["0.0.1.1", "0.0.2.1"].map(|end| bed.bus.bind(end).ok());
        write(false);
        let [a, b] = ends;
        if let Some(mut a) = a {
            let _ = a.send(at("0.0.2.1"), &payload(6), Wait::No);
        }
        let mut last = 0;
        if let Some(mut b) = b {
            for _ in 0..40 {
                match b.receive(Wait::No) {
                    Ok(message) if !message.is_empty() => {
                        let seq = (1..=6).find(|seq| message.payload() == &payload(*seq)[..]);
                        prop_assert!(seq.is_some_and(|seq| seq > last), "{message:?}");
                        last = seq.unwrap_or_default();
                    }
                    _ => {}
                }
            }
        }
        let _ = bed.bus.clean(&path, None, true);
        bed.bus.remove(&path, true).unwrap();
    }
}
