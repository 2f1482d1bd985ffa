//! Nodes are added, drained, removed, killed, stopped and started again at random, slots of a
//! cluster move and a master dies at random, while pgbench runs and an oracle repeats every served
//! read. No transaction fails, no order hangs, and the pool is what the orders have made of it.
//!
//! `RAMGRID_POOL_STEPS` makes it longer, `RAMGRID_SEED` other.

use std::collections::BTreeSet;

use harness::bed::Bed;
use harness::cluster::Cluster;
use harness::files::{Dice, seed_or};
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::node::Node;
use harness::postgres::Postgres;
use harness::run::run;
use harness::session::Hooked;
use rustix::process::Signal;
use serde_json::Value;

/// Steps, as many as fit under one load.
const STEPS: usize = 6;

/// The first steps meet everything once, whatever the seed: what is done, and to which node.
const FIRST: [(usize, usize); STEPS] = [(0, 2), (2, 0), (6, 1), (5, 2), (7, 1), (4, 0)];

/// Steps under one load.
const STEPS_AT_A_TIME: usize = 6;

/// Rows that the load writes between two steps.
const ROWS: u64 = 40;

fn steps() -> usize {
    let steps = std::env::var("RAMGRID_POOL_STEPS").ok();
    steps.map_or(STEPS, |text| text.parse().expect("a number of steps"))
}

/// What a node is doing, as a process.
#[derive(Clone, Copy, PartialEq)]
enum Life {
    Runs,
    Stopped,
    Dead,
}

struct Scene<'a> {
    bed: &'a Bed,
    hooked: &'a Hooked<'a>,
    nodes: Vec<(Node, Life)>,
    /// Those that are in the pool, by their numbers here.
    members: BTreeSet<usize>,
    dice: Dice,
}

impl Scene<'_> {
    fn at_random(&mut self, below: usize) -> usize {
        usize::try_from(self.dice.below(below as u64)).expect("small")
    }

    fn step(&mut self, number: usize) {
        let by_chance = (self.at_random(8), self.at_random(self.nodes.len()));
        let (what, nth) = FIRST.get(number).copied().unwrap_or(by_chance);
        match what {
            0 | 1 => self.order("add", nth),
            2 | 3 => self.order("drain", nth),
            4 => self.order("remove", nth),
            5 => self.stop_or_continue(nth),
            6 => self.kill(nth),
            _ => self.revive(nth),
        }
        let listed = self.listed();
        let shown = |nth: &usize| self.nodes[*nth].0.addr.to_string();
        let expected: BTreeSet<String> = self.members.iter().map(shown).collect();
        assert_eq!(listed, expected, "the pool is what was ordered");
    }

    /// Whether it may be carried out depends on what the hook server knows by now; that it is
    /// answered, and that the answer is the truth, does not.
    fn order(&mut self, verb: &str, nth: usize) {
        let addr = self.nodes[nth].0.addr.to_string();
        let words = ["node", verb, addr.as_str(), self.hooked.name.as_str()];
        let outcome = run(&mut self.bed.hooktool(&words));
        println!("{verb} {nth}: {}", outcome.status);
        match (outcome.status.code(), verb) {
            (Some(0), "add") => {
                self.members.insert(nth);
            }
            (Some(0), "remove") => {
                self.members.remove(&nth);
            }
            (Some(0 | 1), _) => {}
            _ => panic!("{}", outcome.story()),
        }
    }

    fn stop_or_continue(&mut self, nth: usize) {
        let (node, life) = &mut self.nodes[nth];
        let (signal, next) = match life {
            Life::Runs => (Signal::STOP, Life::Stopped),
            Life::Stopped => (Signal::CONT, Life::Runs),
            Life::Dead => return,
        };
        println!("{signal:?} {nth}");
        node.signal(signal);
        *life = next;
    }

    fn kill(&mut self, nth: usize) {
        if self.nodes[nth].1 != Life::Dead {
            println!("kill {nth}");
            self.nodes[nth].0.kill();
            self.nodes[nth].1 = Life::Dead;
        }
    }

    fn revive(&mut self, nth: usize) {
        match self.nodes[nth].1 {
            Life::Runs => return,
            Life::Stopped => self.nodes[nth].0.signal(Signal::CONT),
            Life::Dead => self.nodes[nth].0.restart(),
        }
        println!("revive {nth}");
        self.nodes[nth].1 = Life::Runs;
    }

    fn listed(&self) -> BTreeSet<String> {
        let words = ["node", "list", "-j", self.hooked.name.as_str()];
        let text = run(&mut self.bed.hooktool(&words)).must_pass().text();
        let addr = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            line["addr"].as_str().expect("an address").to_string()
        };
        text.lines().map(addr).collect()
    }
}

/// Waits until reads are served by nodes again, some hundreds in a row.
fn serve_again(postgres: &Postgres, hooked: &Hooked<'_>) {
    let before = hooked.stats().map_or(0, |stats| stats.count("hits_remote"));
    hooked.wait_stats("remote reads are served", |stats| {
        postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
        stats.count("hits_remote") > before + 500
    });
}

fn finish(mut postgres: Postgres, hooked: &Hooked<'_>) {
    serve_again(&postgres, hooked);
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery"]);
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}

#[test]
fn nodes_come_and_go_at_random() {
    let bed = Bed::new("shuffle", Mode::Oracle);
    let start = || (Node::start(&bed, "64MiB"), Life::Runs);
    let nodes: Vec<(Node, Life)> = (0..4).map(|_| start()).collect();
    let mut hooked = bed.hooked().flag("--local", "0");
    for (node, _) in &nodes[..2] {
        hooked = hooked.flag("--node", node.addr.to_string());
    }
    let mut postgres = Postgres::init(&bed, true);
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    serve_again(&postgres, &hooked);
    let mut scene = Scene {
        bed: &bed,
        hooked: &hooked,
        nodes,
        members: BTreeSet::from([0, 1]),
        dice: Dice::new(seed_or(7)),
    };
    let numbers: Vec<usize> = (0..steps()).collect();
    for some in numbers.chunks(STEPS_AT_A_TIME) {
        under_load(&postgres, |advance| {
            for number in some {
                scene.step(*number);
                advance(ROWS);
            }
        });
        postgres.must_be_clean();
    }
    for nth in 0..scene.nodes.len() {
        scene.revive(nth);
        scene.order("add", nth);
    }
    finish(postgres, &hooked);
}

#[test]
fn slots_move_and_a_master_dies_at_random() {
    let bed = Bed::new("shuffle-cluster", Mode::Oracle);
    let mut cluster = Cluster::start(&bed, 3, 1, "64mb");
    let hooked = bed.hooked().flag("--node", cluster.address());
    let hooked = hooked.flag("--local", "0");
    let mut postgres = Postgres::init(&bed, true);
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    serve_again(&postgres, &hooked);
    let mut dice = Dice::new(seed_or(7));
    let mut at_random = |below: usize| usize::try_from(dice.below(below as u64)).expect("small");
    let loads = steps().div_ceil(STEPS_AT_A_TIME);
    // Slots move until a master dies, whose replica takes over.
    let dies_in = at_random(loads);
    for load in 0..loads {
        under_load(&postgres, |advance| {
            for _ in 0..if load <= dies_in { 2 } else { 0 } {
                let from = at_random(3);
                let to = (from + 1 + at_random(2)) % 3;
                let slots = 1 + at_random(200);
                println!("{slots} slots from {from} to {to}");
                cluster.reshard(from, to, slots);
                advance(ROWS);
            }
            if load == dies_in {
                println!("kill 0");
                cluster.kill(0);
                advance(ROWS);
                cluster.wait_covered();
            }
        });
        postgres.must_be_clean();
    }
    finish(postgres, &hooked);
}
