//! The victims: `crash sender|receiver DIR LAST POINT`. A sender sends up to message LAST, a
//! receiver notes what it sees. POINT is where it kills itself, after a random number of rounds;
//! `none` and `steady`: it waits for its fate (`steady`: and never lets go of its end).

use std::path::Path;
use std::time::Duration;

use bus::extension::Extension;
use bus::ring::{Note, Trouble};
use bus::{Bus, Channel, Error, Role, Template, Wait};

use crate::ledger::{Ledger, Line, payload};

/// Between which steps a sender dies.
pub const SENDER_POINTS: [&str; 5] = ["bound", "half-written", "written", "published", "woken"];
/// Between which steps a receiver dies.
pub const RECEIVER_POINTS: [&str; 6] = ["bound", "found", "copied", "noted", "seen", "freed"];

/// Whether, and where, this process kills itself.
struct Fate {
    point: String,
    rounds: u32,
}

impl Fate {
    fn pass(&self, point: &str, round: u32) {
        if self.point == point && round >= self.rounds {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
        }
    }
}

pub fn act(arguments: &[String]) {
    let [role, directory, last, point] = arguments else {
        panic!("crash sender|receiver DIR LAST POINT");
    };
    let fate = Fate {
        point: point.clone(),
        rounds: (bus::guard::random().expect("random numbers") % 200) as u32,
    };
    let last = last.parse().expect("a number");
    match role.as_str() {
        "sender" => send(directory, last, &fate),
        _ => receive(directory, last, &fate),
    }
}

fn bind(directory: &str, address: &str, role: Role) -> Channel {
    let bus = Bus::open(directory).expect("a name");
    let ends = ["0.0.1.1", "0.0.2.1"].map(|end| Template::default().address(end).expect("one"));
    let path = bus.path_of(Template::default(), ends);
    let address = Template::default().address(address).expect("one");
    // Its forerunner may still be dying.
    loop {
        match Channel::bind(&path, address, role) {
            Err(Error::Bound { .. }) => std::thread::sleep(Duration::from_micros(200)),
            bound => return bound.expect("the channel"),
        }
    }
}

fn send(directory: &str, last: u64, fate: &Fate) {
    let mut channel = bind(directory, "0.0.1.1", Role::Send);
    fate.pass("bound", u32::MAX);
    let mut bytes = Vec::new();
    let mut round = 0;
    loop {
        let producer = channel.producer_mut().expect("bound to send");
        let seq = producer.seq() + 1;
        if seq > last {
            return;
        }
        payload(seq, &mut bytes);
        // Every third through the front door; the others step by step, to die in between.
        if seq.is_multiple_of(3) {
            channel
                .send(&[&bytes], &Note::default(), Wait::Forever)
                .expect("sent");
            continue;
        }
        round += 1;
        let written = match round % 2 {
            0 => producer.write_plain(&[&bytes], 0).map(|count| count == 1),
            _ => producer
                .write(&[&bytes], &Note::default())
                .map(|seq| seq.is_some()),
        };
        if !written.expect("sane") {
            std::thread::yield_now();
            continue;
        }
        fate.pass("written", round);
        if round.is_multiple_of(5) && fate.point != "steady" {
            // A batch of two, given up (or dead) in the middle of it.
            payload(seq + 1, &mut bytes);
            let _ = producer.write(&[&bytes[..bytes.len() / 2]], &Note::default());
            fate.pass("half-written", round);
            drop(channel);
            channel = bind(directory, "0.0.1.1", Role::Send);
            continue;
        }
        producer.publish();
        fate.pass("published", round);
        producer.wake();
        fate.pass("woken", round);
    }
}

fn receive(directory: &str, last: u64, fate: &Fate) {
    let mut channel = bind(directory, "0.0.2.1", Role::Receive);
    let mut ledger = Ledger::open(Path::new(directory));
    fate.pass("bound", u32::MAX);
    let (mut bytes, mut expected) = (Vec::new(), Vec::new());
    let mut round = 0;
    loop {
        let consumer = channel.consumer_mut().expect("bound to receive");
        let found = match consumer.advance() {
            Ok(Some(found)) => found,
            Ok(None) => {
                std::thread::yield_now();
                continue;
            }
            Err(trouble @ (Trouble::Damage { .. } | Trouble::Contradiction(_))) => {
                panic!("{trouble:?}")
            }
        };
        round += 1;
        fate.pass("found", round);
        bytes.resize(found.head.len as usize, 0);
        let mut extension = Extension::default();
        assert!(
            match round % 2 {
                0 => consumer.copy(&found, &mut extension, &mut bytes),
                _ => consumer.copy_plain(&found, &mut bytes),
            },
            "a damaged message"
        );
        fate.pass("copied", round);
        match round % 2 {
            0 => consumer.hand_out(&found, &extension),
            _ => consumer.hand_out_plain(&found),
        }
        fate.pass("noted", round);
        payload(found.head.seq, &mut expected);
        assert_eq!(
            bytes, expected,
            "message {} is not what was sent",
            found.head.seq
        );
        ledger.write(Line {
            seq: found.head.seq,
            is_repeat: found.is_repeat,
        });
        fate.pass("seen", round);
        consumer.free();
        fate.pass("freed", round);
        consumer.wake();
        if found.head.seq == last {
            return;
        }
    }
}
