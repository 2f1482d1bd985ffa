//! The memory node is killed, stopped, continued and started again under PostgreSQL.

use harness::bed::Bed;
use harness::both_modes;
use harness::load::{prepare, under_load};
use harness::mode::Mode;
use harness::node::Node;
use harness::postgres::Postgres;
use harness::session::Hooked;
use rustix::process::Signal;

both_modes!(node_killed, node_stopped);

/// A server served by a node of the test's own, from afar only.
fn scene<'a>(bed: &'a Bed, node: &Node) -> (Postgres, Hooked<'a>) {
    let mut postgres = Postgres::init(bed, true);
    let hooked = bed
        .hooked()
        .flag("--node", node.addr.to_string())
        .flag("--local", "0");
    postgres.start(hooked.command(bed.path(), &postgres.server_words()));
    prepare(&postgres);
    serve_again(&postgres, &hooked);
    (postgres, hooked)
}

/// Reads until remote hits grow again.
fn serve_again(postgres: &Postgres, hooked: &Hooked<'_>) {
    let before = hooked.stats().map_or(0, |stats| stats.count("hits_remote"));
    hooked.wait_stats("remote reads are served", |stats| {
        postgres.pgbench(&["-n", "-S", "-c", "2", "-t", "500"]);
        stats.count("hits_remote") > before + 500 && stats.node_state(0) == "up"
    });
}

fn finish(mut postgres: Postgres, hooked: &Hooked<'_>) {
    postgres.must_be_clean();
    postgres.log_must_lack(&["recovery"]);
    assert!(postgres.stop().success());
    hooked.final_stats().must_have_hits();
}

fn node_killed(mode: Mode) {
    let bed = Bed::new("node-killed", mode);
    let mut node = Node::start(&bed, "128MiB");
    let (postgres, hooked) = scene(&bed, &node);
    under_load(&postgres, |advance| {
        node.kill();
        advance(300);
        node.restart();
        advance(300);
        node.kill();
    });
    under_load(&postgres, |advance| advance(100));
    node.restart();
    serve_again(&postgres, &hooked);
    finish(postgres, &hooked);
}

fn node_stopped(mode: Mode) {
    let bed = Bed::new("node-stopped", mode);
    let node = Node::start(&bed, "128MiB");
    let (postgres, hooked) = scene(&bed, &node);
    under_load(&postgres, |advance| {
        for _ in 0..3 {
            node.signal(Signal::STOP);
            advance(150);
            node.signal(Signal::CONT);
            advance(150);
        }
        node.signal(Signal::STOP);
    });
    under_load(&postgres, |advance| advance(100));
    node.signal(Signal::CONT);
    serve_again(&postgres, &hooked);
    finish(postgres, &hooked);
}
