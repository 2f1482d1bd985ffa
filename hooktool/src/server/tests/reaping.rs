//! Death at any instruction: what a process had in flight is released, and its counters are kept.

use grid::cell::is_quiet;
use grid::files::{Stamp, Trust};
use grid::ident::FileIdent;
use grid::names::Counter;
use grid::ops::Span;
use grid::sync::Ordering;
use grid::writes;

use super::fake_node::FakeNode;
use super::stage::{Joined, Stage, as_player, eventually, say_and_wait};
use crate::control::{RegionInfo, Request, Response};

const IDENT: FileIdent = FileIdent {
    dev: 1,
    ino: 2,
    birth_ns: 3,
};
const SPAN: Span = Span::Blocks {
    first: 10,
    count: 3,
};

/// Is everything that a write over `SPAN` enters in service?
fn is_calm(joined: &Joined) -> bool {
    let (cells, hash) = (joined.region.cells(), IDENT.hash());
    let mut calm = is_quiet(cells.file(hash).writes.load(Ordering::SeqCst));
    cells.visit_span(hash, SPAN, |_, cell| {
        calm &= is_quiet(cell.load(Ordering::SeqCst))
    });
    calm
}

fn inventory(stage: &Stage) -> RegionInfo {
    let Response::Snapshot(snapshot) = stage.ask(&Request::Snapshot { pid: None }) else {
        panic!("no snapshot");
    };
    snapshot.region
}

fn begin_write(joined: &Joined) {
    let owner = joined.welcome.process;
    let (cells, ops) = (joined.region.cells(), joined.region.ops());
    writes::begin(cells, ops, owner, IDENT.hash(), SPAN).expect("a record is free");
}

/// Not a test of its own: the process that other tests kill in the middle of everything.
#[test]
fn player_in_the_middle() {
    let Some(joined) = as_player("reaping::player_in_the_middle") else {
        return;
    };
    begin_write(&joined);
    let slots = joined.region.refresh();
    while slots.claim(joined.welcome.process, 0).is_some() {}
    joined.record().add(Counter::HitsRemote, 5);
    say_and_wait("in the middle");
}

#[test]
fn a_process_killed_in_the_middle_of_a_write_blocks_nobody_for_ever() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let files = joined.region.files();
    let found = files
        .find_or_create(IDENT, joined.welcome.process, 1)
        .expect("room");
    let stamp = Stamp {
        size: 1,
        ctime_ns: 2,
    };
    assert!(files.prove(found, stamp, Trust::Clean));
    let mut player = stage.play("reaping::player_in_the_middle");
    player.wait_for("in the middle");
    assert!(!is_calm(&joined));
    assert!(
        joined
            .region
            .refresh()
            .claim(joined.welcome.process, 0)
            .is_none()
    );
    // A cell for each block, and the file's `writes`.
    let held = inventory(&stage);
    assert_eq!((held.operations, held.cells_in_flight), (1, 4));
    assert_eq!(held.slots, 2);
    assert!(held.refreshes > 0);
    player.kill();
    eventually("its cells are thawed", || is_calm(&joined));
    eventually("its refresh slots are free", || {
        joined
            .region
            .refresh()
            .claim(joined.welcome.process, 0)
            .is_some()
    });
    eventually("nothing of it is left", || {
        let held = inventory(&stage);
        // The slot of this test itself, and what it has just claimed.
        (held.slots, held.refreshes) == (1, 1) && (held.operations, held.cells_in_flight) == (0, 0)
    });
    let record = files.record(found);
    eventually("the stamp of its file is distrusted", || {
        record.stamp().1 == Trust::None
    });
    let snapshot = || match stage.ask(&Request::Snapshot { pid: None }) {
        Response::Snapshot(snapshot) => snapshot,
        other => panic!("{other:?}"),
    };
    eventually("it is no member any more", || snapshot().processes == 1);
    assert_eq!(snapshot().hits_remote, 5);
    let gone = stage.ask(&Request::Snapshot {
        pid: Some(player.pid()),
    });
    assert!(matches!(gone, Response::Refused { .. }));
}

#[test]
fn a_process_that_joins_again_has_left_its_old_writes_behind() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    begin_write(&joined);
    joined.record().add(Counter::Writes, 1);
    assert!(!is_calm(&joined));
    let again = stage.join();
    eventually("thawed", || is_calm(&again));
    assert_eq!(again.record().counter(Counter::Writes), 0);
    let Response::Snapshot(snapshot) = stage.ask(&Request::Snapshot { pid: None }) else {
        panic!("no snapshot");
    };
    assert_eq!((snapshot.processes, snapshot.writes), (1, 1));
}

#[test]
fn a_live_writer_keeps_its_block_out_of_service_when_another_dies() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let owner = joined.welcome.process;
    let (cells, ops) = (joined.region.cells(), joined.region.ops());
    let mut player = stage.play("reaping::player_in_the_middle");
    player.wait_for("in the middle");
    let ticket = writes::begin(cells, ops, owner, IDENT.hash(), SPAN).expect("room");
    player.kill();
    let Response::Session(before) = stage.ask(&Request::Session) else {
        panic!("no session")
    };
    assert!(before.processes.len() <= 2);
    eventually(
        "the dead one is released",
        || matches!(stage.ask(&Request::Session), Response::Session(s) if s.processes.len() == 1),
    );
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!is_calm(&joined), "a write is still in flight");
    writes::end(cells, ops, ticket, || ());
    eventually("calm when both are over", || is_calm(&joined));
}

/// Not a test of its own: a process of another user, that tells the first word of its secret.
#[test]
fn player_of_another_user() {
    if let Some(joined) = as_player("reaping::player_of_another_user") {
        let word = joined.region.header().secret[0].load(Ordering::Relaxed);
        say_and_wait(&format!("secret {word}"));
    }
}

#[test]
fn another_user_gets_a_region_of_its_own_from_root_and_none_from_others() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    if super::super::sys::effective_user() != 0 {
        let root = super::super::domain::Credentials::of_process(1).unwrap();
        assert_ne!(root.uid, super::super::sys::effective_user());
        return;
    }
    let mut player = stage.play_as("reaping::player_of_another_user", 65_534);
    let said = player.wait_for("secret");
    let ours = joined.region.header().secret[0].load(Ordering::Relaxed);
    assert!(!said.contains(&ours.to_string()), "{said}");
    let Response::Session(info) = stage.ask(&Request::Session) else {
        panic!("no session")
    };
    assert_eq!(info.processes.len(), 2);
    player.kill();
    eventually(
        "it is reaped from its own region",
        || matches!(stage.ask(&Request::Session), Response::Session(s) if s.processes.len() == 1),
    );
}
