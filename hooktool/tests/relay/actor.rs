//! The programs at the ends: `relay sender|receiver BUS FROM TO LAST`. A sender sends up to message
//! LAST and goes on where its forerunner stopped; a receiver checks each against what it must be.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bus::{Address, Bus, Endpoint, Error, Role, Template, Wait};

/// Messages between two breaths of a sender, so that the chaos has time to happen.
const BURST: u64 = 50;
const BREATH: Duration = Duration::from_millis(5);

pub fn act(arguments: &[String]) {
    let [role, bus, from, to, last] = arguments else {
        panic!("relay sender|receiver BUS FROM TO LAST");
    };
    let last: u64 = last.parse().expect("a number");
    let end = |text: &str| Template::default().address(text).expect("an address");
    match role.as_str() {
        "sender" => send(bus, end(from), end(to), last),
        _ => receive(bus, end(from), end(to), last),
    }
}

fn bind(bus: &str, address: Address, role: Role) -> Endpoint {
    let bus = Bus::open(bus).expect("a bus");
    // Its forerunner may still be dying.
    loop {
        match bus.bind_as(address, role) {
            Err(Error::Bound { .. }) => std::thread::sleep(Duration::from_millis(1)),
            bound => return bound.expect("the channel"),
        }
    }
}

/// What message `number` must be: its number, then a length and bytes that follow from it.
fn payload(number: u64, bytes: &mut Vec<u8>) {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let more = match mixed % 16 {
        0 => mixed >> 32 & 0xFFF,
        _ => mixed >> 32 & 0x7F,
    };
    bytes.clear();
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend((0..more).map(|nth| (mixed >> (nth % 57)) as u8));
}

fn send(bus: &str, from: Address, to: Address, last: u64) {
    let mut sender = bind(bus, from, Role::Send);
    let mut bytes = Vec::new();
    loop {
        let channel = sender.channel(bus::To::One(to)).expect("the channel");
        let number = channel.producer_mut().expect("bound to send").seq() + 1;
        if number > last {
            return;
        }
        payload(number, &mut bytes);
        loop {
            match sender.send(to, &bytes, Wait::For(Duration::from_millis(500))) {
                Ok(seq) => break assert_eq!(seq, number),
                // What a sender is to see of a far ring that is full, or of a host that is gone.
                Err(Error::Full) => {}
                Err(error) => panic!("sender: {error}"),
            }
        }
        if number.is_multiple_of(BURST) {
            std::thread::sleep(BREATH);
        }
    }
}

/// Where a receiver notes how far it is, over its own death.
pub fn ledger(bus: &str, to: &str) -> String {
    format!("{bus}/{to}.ledger")
}

fn receive(bus: &str, from: Address, to: Address, last: u64) {
    let path = ledger(bus, &Template::default().show(to).to_string());
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let note = options.open(path).expect("a ledger");
    let mut noted = [0; 8];
    let _ = note.read_exact_at(&mut noted, 0);
    let mut before = u64::from_le_bytes(noted);
    let mut receiver = bind(bus, to, Role::Receive);
    let mut expected = Vec::new();
    while before < last {
        let message = match receiver.receive(Wait::Forever) {
            Ok(message) => message,
            Err(error) => panic!("receiver: {error}"),
        };
        assert_eq!(message.source(), from);
        let number = message.seq();
        // A repeat is the one message its forerunner had in its hands.
        let is_due = match message.is_redelivered() {
            true => number == before || number == before + 1,
            false => number == before + 1,
        };
        assert!(is_due, "number {number} came after {before}");
        payload(number, &mut expected);
        assert_eq!(message.payload(), expected, "number {number}");
        before = number;
        note.write_all_at(&before.to_le_bytes(), 0).expect("noted");
    }
    receiver.close();
}
