//! A Redis Cluster is the pool: slots move, a master dies and its replica takes over, another dies
//! and nobody does, all under PostgreSQL. No transaction fails, and reads go on being served.

use harness::bed::Bed;
use harness::both_modes;
use harness::cluster::Cluster;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::postgres::Postgres;
use harness::run::{run, wait_until};
use harness::session::Hooked;
use serde_json::Value;

both_modes!(slots_move_and_masters_die);

/// Slots that are moved by hand.
const MOVED: usize = 300;

/// State and slots of a member, as the session has it; `None`: it is no node of the session.
fn node(bed: &Bed, hooked: &Hooked<'_>, shown: &str) -> Option<(String, u64)> {
    let listed = run(&mut bed.hooktool(&["node", "list", "-j", hooked.name.as_str()]));
    let text = listed.must_pass().text();
    let mut lines = text.lines().map(serde_json::from_str::<Value>);
    lines.find_map(|line| {
        let line = line.expect("a line of JSON");
        let state = line["state"].as_str()?.to_string();
        (line["addr"] == shown).then(|| (state, line["slots"].as_u64().expect("a number")))
    })
}

/// Waits until reads are served by nodes again, some hundreds in a row.
fn serve_again(postgres: &Postgres, hooked: &Hooked<'_>) {
    let before = hooked.stats().map_or(0, |stats| stats.count("hits_remote"));
    hooked.wait_stats("remote reads are served", |stats| {
        postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
        stats.count("hits_remote") > before + 500
    });
}

/// What `hooktool doctor` says of the cluster, in one text.
fn examined(bed: &Bed, cluster: &Cluster) -> String {
    let addr = cluster.address();
    run(&mut bed.hooktool(&["doctor", "--node", addr.as_str()])).text()
}

fn slots_move_and_masters_die(mode: Mode) {
    let bed = Bed::new("cluster", mode);
    let mut cluster = Cluster::start(&bed, 3, 1, "64mb");
    let told = examined(&bed, &cluster);
    let well = "ok   cluster      3 masters have 16384 of 16384 slots; Redis ";
    assert!(told.contains(well), "{told}");
    assert!(!told.contains("note cluster"), "{told}");
    let mut postgres = Postgres::init(&bed, true);
    let hooked = bed.hooked().flag("--node", cluster.address());
    let hooked = hooked.flag("--local", "0");
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    serve_again(&postgres, &hooked);
    let is = |cluster: &Cluster, nth: usize, asked: usize| {
        let slots = cluster.slots_of(nth, asked) as u64;
        node(&bed, &hooked, &cluster.shown(nth)) == Some(("up".into(), slots))
    };
    for nth in 0..3 {
        assert!(is(&cluster, nth, 1), "master {nth}: {:?}", hooked.stats());
    }
    assert_eq!(node(&bed, &hooked, &cluster.shown(3)), None, "a replica");
    under_load(&postgres, |advance| {
        cluster.reshard(1, 2, MOVED);
        advance(50);
        assert!(cluster.slots_of(2, 0) > cluster.slots_of(0, 0));
        wait_until("the session has the new map", || {
            (1..3).all(|nth| is(&cluster, nth, 0))
        });
        advance(50);
        // Its replica takes over.
        cluster.kill(0);
        wait_until("the replica is promoted, and a node", || is(&cluster, 3, 2));
        assert_eq!(
            node(&bed, &hooked, &cluster.shown(0)),
            None,
            "it has no slots"
        );
        advance(50);
        // Nobody takes over.
        cluster.kill(1);
        advance(50);
    });
    let state = |nth| node(&bed, &hooked, &cluster.shown(nth)).map(|(state, _)| state);
    wait_until("the lost master is known to be lost", || {
        state(1).as_deref() == Some("unreachable")
    });
    serve_again(&postgres, &hooked);
    let stats = hooked.stats().expect("the session lives");
    assert_eq!(stats.all["fallback"]["protocol"].as_u64().unwrap_or(0), 0);
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery"]);
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}
