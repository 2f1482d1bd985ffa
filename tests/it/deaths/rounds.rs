//! Rounds of kill -9 at random: a process of PostgreSQL, the hook server, the node, while pgbench
//! runs.
//!
//! After each the cluster must be clean, and nothing of the dead left in the region: no slot, no
//! operation, no cell. At the end it must be served again.
//! `RAMGRID_KILL_ROUNDS` makes it longer, `RAMGRID_SEED` other.

use harness::bed::Bed;
use harness::files::{Dice, seed_or};
use harness::load::prepare;
use harness::mode::Mode;
use harness::node::Node;
use harness::postgres::Postgres;
use harness::processes::{children_of, must_end, the_hook_server};
use harness::run::{run, wait_until};
use harness::session::Hooked;
use rustix::process::{Signal, kill_process};

const ROUNDS: usize = 3;

struct Scene<'a> {
    bed: &'a Bed,
    node: Node,
    postgres: Postgres,
    hooked: Hooked<'a>,
    dice: Dice,
    region_bytes: Option<Option<u64>>,
}

fn line<'a>(bed: &'a Bed, node: &Node) -> Hooked<'a> {
    // Without a local cache, which grows and shrinks, the region's memory has one size.
    bed.hooked()
        .flag("--node", node.addr.to_string())
        .flag("--local", "0")
}

#[test]
fn random_kills() {
    let bed = Bed::new("rounds", Mode::Normal);
    let node = Node::start(&bed, "128MiB");
    let mut postgres = Postgres::init(&bed, true);
    let hooked = line(&bed, &node);
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    let dice = Dice::new(seed_or(2));
    let mut scene = Scene {
        bed: &bed,
        node,
        postgres,
        hooked,
        dice,
        region_bytes: None,
    };
    let rounds = std::env::var("RAMGRID_KILL_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("a number of rounds"));
    for round in 0..rounds {
        scene.round(round);
    }
    scene.end();
}

impl Scene<'_> {
    fn round(&mut self, round: usize) {
        // The first rounds meet each victim once, whatever the seed.
        let victim = if round < ROUNDS {
            round as u64
        } else {
            self.dice.below(3)
        };
        let rows = 20 + self.dice.below(400);
        let mix = ["-b", "simple-update@1", "-b", "select-only@4", "postgres"];
        let words = [&["-n", "-c", "4", "-j", "2", "-t", "1200"][..], &mix].concat();
        let mut load = self.postgres.client("pgbench", &words);
        let goal = written(&self.postgres) + rows;
        let outcome = std::thread::scope(|scope| {
            let load = scope.spawn(move || run(&mut load));
            wait_until("the load goes on", || {
                load.is_finished() || written(&self.postgres) >= goal
            });
            self.kill(victim);
            load.join().expect("the load came to its end")
        });
        // Who kills a backend makes PostgreSQL end all others: only then may the load suffer.
        assert!(
            victim == 0 || outcome.status.success(),
            "{}",
            outcome.story()
        );
        match victim {
            0 => self.postgres.wait_ready(),
            1 => self.new_session(),
            _ => self.node.restart(),
        }
        self.postgres.must_be_clean();
        self.nothing_is_left();
    }

    /// What the dead had in the region comes back to it, however they died.
    fn nothing_is_left(&mut self) {
        let family = || children_of(self.postgres.pid()).len() as u64 + 1;
        let stats = self
            .hooked
            .wait_stats("the dead have left nothing", |stats| {
                let region = |key: &str| stats.all["region"][key].as_u64().expect("a number");
                let busy = ["operations", "cells_in_flight", "refreshes"].map(region);
                busy == [0; 3] && region("slots") <= family()
            });
        let bytes = stats.all["region"]["bytes"].as_u64();
        assert_eq!(
            *self.region_bytes.get_or_insert(bytes),
            bytes,
            "the region's memory is constant"
        );
        let poisoned = &stats.all["region"]["cells_poisoned"];
        assert_eq!(poisoned, 0, "nothing is out of service for good");
    }

    fn kill(&mut self, victim: u64) {
        match victim {
            0 => {
                // A backend or a worker of autovacuum may end by itself before it is hit: another.
                wait_until("a process of PostgreSQL is killed", || {
                    let family = children_of(self.postgres.pid());
                    let at = usize::try_from(self.dice.below(family.len() as u64));
                    kill_process(family[at.expect("small")], Signal::KILL).is_ok()
                });
            }
            1 => {
                let server = the_hook_server(self.bed);
                kill_process(server, Signal::KILL).expect("kill the hook server");
                must_end(&[server]);
            }
            _ => self.node.kill(),
        }
    }

    fn new_session(&mut self) {
        assert!(self.postgres.stop().success());
        self.hooked = line(self.bed, &self.node);
        let words = self.postgres.server_words();
        self.postgres
            .start(self.hooked.command(self.bed.path(), &words));
    }

    fn end(mut self) {
        let before = self.hooked.stats().map_or(0, |stats| stats.hits());
        self.hooked.wait_stats("reads are served", |stats| {
            self.postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
            stats.hits() > before + 500
        });
        assert!(self.postgres.stop().success());
        self.hooked.final_stats().must_have_hits();
    }
}

fn written(postgres: &Postgres) -> u64 {
    let rows = postgres.sql("select count(*) from pgbench_history");
    rows.trim().parse().expect("a number")
}
