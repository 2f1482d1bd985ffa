//! Outlet and inlet on real rings, without sockets: any order of sending, receiving, cutting,
//! killing, and what must hold then: each message once, in order, none missing.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use bus::{Address, Bus, Endpoint, Error, Role, Spec, Template, Wait};

use super::super::routes::table::Target;
use super::end::End;
use super::inlet::Inlet;
use super::outlet::{Loss, Outlet};
use super::wire::{self, Frame};

const RING_BYTES: u64 = 4096;
const MESSAGE_BYTES_MAX: u64 = 1000;

/// Two hosts, the relay of each, and what is on its way between them.
struct World {
    base: PathBuf,
    buses: [Bus; 2],
    /// Sender's host, receiver's host.
    ends: [Rc<End>; 2],
    stream: Option<(Outlet, Inlet)>,
    there: Vec<u8>,
    back: Vec<u8>,
    filler: u64,
    losses: Vec<Loss>,
}

fn addresses() -> [Address; 2] {
    ["0.0.1.1", "0.0.2.1"].map(|text| Template::default().address(text).unwrap())
}

fn create(bus: &Bus) {
    let spec = Spec {
        template: Template::default(),
        ends: addresses(),
        ring_bytes: [RING_BYTES; 2],
        message_bytes_max: Some(MESSAGE_BYTES_MAX),
        is_summed: true,
        is_stamped: false,
        priority: 0,
        description: String::new(),
    };
    bus.make().unwrap();
    bus.create(&spec).unwrap();
}

/// Binds the relay's end on the sender's (0) or receiver's (1) host.
fn bind(bus: &Bus, host: usize) -> Rc<End> {
    let path = bus.path_of(Template::default(), addresses());
    let to = Target::parse("tcp://127.0.0.1:1").unwrap();
    Rc::new(End::bind(&path, addresses()[1 - host], &to).unwrap())
}

impl World {
    fn new() -> World {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ramgrid-relay-{}-{nth}", std::process::id());
        let base = std::env::temp_dir().join(name);
        let buses = ["one", "two"].map(|name| {
            let path = base.join(name);
            let bus = Bus::open(path.to_str().unwrap()).unwrap();
            create(&bus);
            bus
        });
        let ends = [bind(&buses[0], 0), bind(&buses[1], 1)];
        World {
            base,
            buses,
            ends,
            stream: None,
            there: Vec::new(),
            back: Vec::new(),
            filler: 0,
            losses: Vec::new(),
        }
    }

    fn program(&self, host: usize) -> Endpoint {
        let role = [Role::Send, Role::Receive][host];
        self.buses[host].bind_as(addresses()[host], role).unwrap()
    }

    fn connect(&mut self) {
        self.cut();
        self.filler += 1;
        let Frame::Open(open) = Outlet::ask(&self.ends[0]) else {
            panic!("asks by another frame");
        };
        let (inlet, opened) = Inlet::grant(&self.ends[1], &open, self.filler).unwrap();
        let (outlet, loss) = Outlet::begin(&self.ends[0], &opened).unwrap();
        self.losses.extend(loss);
        self.stream = Some((outlet, inlet));
    }

    fn cut(&mut self) {
        self.stream = None;
        self.there.clear();
        self.back.clear();
    }

    /// The relay of a host dies, and another takes its place.
    fn kill(&mut self, host: usize) {
        self.cut();
        // The old one lets go before the new one binds.
        let bus = self.buses[host].clone();
        self.ends[host] = Rc::clone(&self.ends[1 - host]);
        self.ends[host] = bind(&bus, host);
    }

    fn fill(&mut self) {
        if let Some((outlet, _)) = &mut self.stream {
            outlet.fill(7, &mut self.there).unwrap();
        }
    }

    /// Delivers up to so many frames to the receiver's relay.
    fn deliver(&mut self, frames: usize) {
        let Some((_, inlet)) = &mut self.stream else {
            return;
        };
        for _ in 0..frames {
            let Some((_, frame, bytes)) = wire::decode(&self.there).unwrap() else {
                break;
            };
            let Frame::Data(body) = frame else {
                panic!("{frame:?}")
            };
            inlet.take(body).unwrap();
            self.there.drain(..bytes);
        }
        if let (Some(ack), _) = inlet.news(frames.is_multiple_of(2)).unwrap() {
            Frame::Ack(ack).put(7, &mut self.back);
        }
    }

    fn acknowledge(&mut self) {
        let Some((outlet, _)) = &mut self.stream else {
            return;
        };
        while let Some((_, Frame::Ack(ack), bytes)) = wire::decode(&self.back).unwrap() {
            outlet.acknowledge(&ack).unwrap();
            self.back.drain(..bytes);
        }
    }

    /// Everything that can move without a program does.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.fill();
            self.deliver(100);
            self.acknowledge();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

/// A small random number generator: the seed tells the schedule.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn payload(number: u64, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    let more = match dice.below(4) {
        0 => dice.below(MESSAGE_BYTES_MAX - 8),
        _ => dice.below(64),
    };
    bytes.extend((0..more).map(|nth| (nth ^ number) as u8));
    bytes
}

/// The receiving program: what it took, and what came again.
struct Reader {
    program: Option<Endpoint>,
    last: u64,
    again: u64,
}

impl Reader {
    fn read(&mut self, world: &World, most: u64, is_killed: bool) {
        let program = self.program.get_or_insert_with(|| world.program(1));
        for _ in 0..most {
            let message = match program.receive(Wait::No) {
                Ok(message) => message,
                Err(Error::Empty) => break,
                Err(error) => panic!("{error}"),
            };
            let number = u64::from_le_bytes(message.payload()[..8].try_into().unwrap());
            assert_eq!(
                message.seq(),
                number,
                "the far ring numbers as the near one"
            );
            if message.is_redelivered() {
                assert_eq!(number, self.last);
                self.again += 1;
            } else {
                assert_eq!(number, self.last + 1);
            }
            self.last = number;
        }
        if is_killed {
            self.program = None;
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new();
    let mut dice = Dice(seed | 1);
    let mut sender = world.program(0);
    let mut reader = Reader {
        program: None,
        last: 0,
        again: 0,
    };
    let (mut sent, mut full) = (0, 0);
    let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
    for _ in 0..600 {
        match dice.below(24) {
            0..7 => {
                let bytes = waiting
                    .pop_front()
                    .unwrap_or_else(|| payload(sent + 1, &mut dice));
                match sender.send(addresses()[1], &bytes, Wait::No) {
                    Ok(number) => {
                        sent += 1;
                        assert_eq!(number, sent);
                    }
                    Err(Error::Full) => {
                        full += 1;
                        waiting.push_back(bytes);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            7..11 => world.fill(),
            11..15 => world.deliver(dice.below(4) as usize),
            15..18 => world.acknowledge(),
            18..20 => reader.read(&world, 1 + dice.below(12), dice.below(3) == 0),
            20 => world.cut(),
            21 => world.kill(0),
            22 => world.kill(1),
            _ => world.connect(),
        }
    }
    world.connect();
    for _ in 0..100 {
        world.settle();
        reader.read(&world, 1000, false);
    }
    assert_eq!(
        reader.last, sent,
        "seed {seed}: all arrive ({full} times full)"
    );
    assert!(world.losses.is_empty(), "seed {seed}: {:?}", world.losses);
}

#[test]
fn any_order_of_deeds_delivers_each_message_once() {
    let seed = std::env::var("RAMGRID_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let runs = std::env::var("RAMGRID_RELAY_RUNS").ok();
    let runs = runs.and_then(|runs| runs.parse().ok()).unwrap_or(300);
    let first: u64 = seed.unwrap_or(0x9E37_79B9_7F4A_7C15);
    for nth in 0..runs {
        run(first.wrapping_add(nth << 20));
    }
}

#[test]
fn a_full_far_ring_stops_its_stream_and_the_sender_sees_full() {
    let mut world = World::new();
    let mut sender = world.program(0);
    world.connect();
    let mut sent = 0;
    loop {
        match sender.send(addresses()[1], &[7; 500], Wait::No) {
            Ok(_) => sent += 1,
            Err(Error::Full) => break,
            Err(error) => panic!("{error}"),
        }
        world.settle();
    }
    // Both rings are full now: the grants never promised what there was no room for.
    assert!(sent > 8, "{sent}");
    world.settle();
    let mut receiver = world.program(1);
    for number in 1..=sent {
        let message = receiver.receive(Wait::No);
        match message {
            Ok(message) => assert_eq!(message.seq(), number),
            Err(_) => panic!("{number} of {sent} is not there"),
        }
        world.settle();
    }
}

#[test]
fn a_new_far_ring_is_told_from_the_old_and_the_loss_is_counted() {
    let mut world = World::new();
    let mut sender = world.program(0);
    world.connect();
    for number in 1..=5u64 {
        sender
            .send(addresses()[1], &number.to_le_bytes(), Wait::No)
            .unwrap();
    }
    world.settle();
    let mut receiver = world.program(1);
    assert_eq!(receiver.receive(Wait::No).unwrap().seq(), 1);
    assert_eq!(receiver.receive(Wait::No).unwrap().seq(), 2);
    world.deliver(0);
    world.acknowledge();
    drop(receiver);
    // Two more go over, and their acknowledgement gets lost with the host.
    for number in 6..=7u64 {
        sender
            .send(addresses()[1], &number.to_le_bytes(), Wait::No)
            .unwrap();
    }
    world.fill();
    let path = world.buses[1].path_of(Template::default(), addresses());
    world.buses[1].remove(&path, true).unwrap();
    create(&world.buses[1]);
    world.kill(1);
    world.connect();
    assert_eq!(world.losses, [Loss { first: 3, last: 5 }]);
    world.settle();
    let mut receiver = world.program(1);
    for number in 6..=7u64 {
        let message = receiver.receive(Wait::No).unwrap();
        assert_eq!(message.payload(), number.to_le_bytes());
        assert!(
            message.is_redelivered(),
            "it may have been received before the reboot"
        );
    }
    sender.send(addresses()[1], b"next", Wait::No).unwrap();
    world.settle();
    assert!(!receiver.receive(Wait::No).unwrap().is_redelivered());
}

#[test]
fn route_trace_and_flags_go_along() {
    let mut world = World::new();
    let mut sender = world.program(0);
    world.connect();
    let id = sender
        .send_traced(addresses()[1], b"dyed", Wait::No)
        .unwrap();
    sender.send_test(addresses()[1], b"test", Wait::No).unwrap();
    world.settle();
    let mut receiver = world.program(1);
    let message = receiver.receive(Wait::No).unwrap();
    assert_eq!(message.trace().map(|trace| trace.id), Some(id));
    let origin = message.extension().origin.unwrap();
    assert_eq!((origin.seq, message.payload()), (1, &b"dyed"[..]));
    assert!(receiver.receive(Wait::No).unwrap().is_test());
    for (host, bus) in world.buses.iter().enumerate() {
        for file in bus.files(bus::channel::Access::View).unwrap() {
            let [queue, _] = bus::view::queues(&file.unwrap());
            let (sent, received) = queue.passages();
            let marks = [sent, received].map(|marks| marks.iter().filter(|m| m.id == id).count());
            assert_eq!(marks, [1, 1], "host {host}");
        }
    }
}

#[test]
fn a_twin_is_refused_and_larger_messages_are_too() {
    let mut world = World::new();
    world.connect();
    let Frame::Open(mut open) = Outlet::ask(&world.ends[0]) else {
        panic!("asks by another frame");
    };
    open.epoch ^= 1;
    let why = Inlet::grant(&world.ends[1], &open, 99).unwrap_err();
    assert!(why.contains("twin"), "{why}");
    world.cut();
    assert!(Inlet::grant(&world.ends[1], &open, 100).is_ok());
    open.message_bytes_max += 1;
    let why = Inlet::grant(&world.ends[1], &open, 101).unwrap_err();
    assert!(why.contains("message_max"), "{why}");
}
