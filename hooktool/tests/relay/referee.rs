//! Who makes the trouble, and says at the end whether it was all right.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::actor::ledger;
use crate::hosts::{Hosts, Plan, signal};
use crate::number;

/// Nothing has moved for so long after the last trouble: it hangs. A watchdog, not a measurement.
const STUCK: Duration = Duration::from_secs(90);

/// Two hosts and a channel between them.
const PLAN: Plan = Plan {
    homes: &[&["0.0.1.1"], &["0.0.2.1"]],
    channels: &[["0.0.1.1", "0.0.2.1"]],
    certificates: &[],
};

/// A process, and how to start it again.
pub struct Part<'a> {
    child: Child,
    start: Box<dyn Fn() -> Child + 'a>,
}

impl<'a> Part<'a> {
    /// Starts it.
    pub fn new(start: impl Fn() -> Child + 'a) -> Part<'a> {
        Part {
            child: start(),
            start: Box::new(start),
        }
    }

    /// Kills it and starts it again; one that ended by itself must have ended well.
    pub fn restart(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            assert!(status.success(), "a part failed: {status}");
        }
        self.end();
        self.child = (self.start)();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn check(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child") {
            assert!(status.success(), "a part failed: {status}");
        }
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// How far a receiver is.
fn reached(hosts: &Hosts, host: usize, to: &str) -> u64 {
    let bytes = std::fs::read(ledger(&hosts.bus(host), to)).unwrap_or_default();
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn random(limit: u64) -> u64 {
    bus::guard::random().expect("random numbers") % limit
}

/// Runs it all.
pub fn all() {
    let last = number("RAMGRID_RELAY_MESSAGES", 60_000);
    let outage = Duration::from_secs(number("RAMGRID_RELAY_OUTAGE_S", 2));
    let begun = Instant::now();
    let hosts = Hosts::new(PLAN);
    let (there, back) = (["0.0.1.1", "0.0.2.1"], ["0.0.2.1", "0.0.1.1"]);
    let mut relays = [0, 1].map(|host| Part::new(move_relay(&hosts, host)));
    let mut programs = [
        Part::new(|| hosts.program(0, "sender", there, last)),
        Part::new(|| hosts.program(1, "receiver", there, last)),
        Part::new(|| hosts.program(1, "sender", back, last)),
        Part::new(|| hosts.program(0, "receiver", back, last)),
    ];
    let far = || (reached(&hosts, 1, "0.0.2.1"), reached(&hosts, 0, "0.0.1.1"));
    let mut counts = [0u64; 4];
    let (mut moved, mut before) = (Instant::now(), (0, 0));
    while far() != (last, last) {
        std::thread::sleep(Duration::from_millis(50 + random(400)));
        programs.iter_mut().for_each(Part::check);
        relays.iter_mut().for_each(Part::check);
        if far() != before {
            (moved, before) = (Instant::now(), far());
        }
        assert!(moved.elapsed() < STUCK, "stuck at {before:?} of {last}");
        match random(10) {
            0..4 => {
                counts[0] += 1;
                relays[random(2) as usize].restart();
            }
            4..8 => {
                counts[1] += 1;
                programs[random(4) as usize].restart();
            }
            8 => {
                counts[2] += 1;
                cut(&hosts, &relays, one(outage, counts[2]));
                moved = Instant::now();
            }
            _ => {
                counts[3] += 1;
                // Until both rings on the way are full, and the sender sees it.
                let receiver = &programs[1].child;
                signal(receiver, Signal::STOP);
                std::thread::sleep(one(outage, counts[3]));
                signal(receiver, Signal::CONT);
                moved = Instant::now();
            }
        }
    }
    programs.iter_mut().for_each(Part::check);
    let [relay_kills, program_kills, cuts, stops] = counts;
    println!(
        "relay: 2 x {last} messages, each once and in order, in {} s: {relay_kills} relays and \
         {program_kills} programs killed, {} {cuts} times, a receiver stopped {stops} times",
        begun.elapsed().as_secs(),
        match hosts.has_link() {
            true => "the link cut",
            false => "a relay stopped",
        }
    );
}

fn move_relay(hosts: &Hosts, host: usize) -> impl Fn() -> Child + '_ {
    move || hosts.relay(host)
}

/// The first outage is a long one, the others short.
fn one(outage: Duration, count: u64) -> Duration {
    match count {
        1 => outage,
        _ => Duration::from_millis(200 + random(2500)),
    }
}

/// Cuts the link for a while; where there is none, stops a relay.
fn cut(hosts: &Hosts, relays: &[Part<'_>; 2], time: Duration) {
    let relay = &relays[random(2) as usize].child;
    match hosts.has_link() {
        true => hosts.set_link(false),
        false => signal(relay, Signal::STOP),
    }
    std::thread::sleep(time);
    match hosts.has_link() {
        true => hosts.set_link(true),
        false => signal(relay, Signal::CONT),
    }
}
