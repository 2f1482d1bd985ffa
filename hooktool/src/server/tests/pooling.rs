//! The pool of a running session: nodes come, are drained, leave, and their numbers change hands.

use grid::attach::Want;
use grid::node::{NODES_MAX, NodeState, SLOTS};
use grid::sync::Ordering;
use std::sync::Arc;

use super::super::pool::{Origin, Pool};
use super::super::tunnel::Tunnels;
use super::fake_node::FakeNode;
use super::pushing::{held, leave_block};
use super::stage::{Joined, Stage, converse, eventually};
use crate::config::{NodeAddr, Secret};
use crate::control::{self, NodeInfo, NodeOrder, Request, Response};
use crate::tls::{Papers, Trust};

fn change(stage: &Stage, order: NodeOrder, addr: NodeAddr) -> Response {
    stage.ask(&Request::Node { order, addr })
}

#[track_caller]
fn carried_out(stage: &Stage, order: NodeOrder, addr: NodeAddr) {
    let answer = change(stage, order, addr);
    assert_eq!(answer, Response::Node { trouble: None });
}

#[track_caller]
fn refused(stage: &Stage, order: NodeOrder, addr: NodeAddr, word: &str) {
    match change(stage, order, addr) {
        Response::Refused { what, means, fix } => {
            assert!(what.contains(word), "{what}");
            assert!(!means.is_empty() && fix.contains("hooktool "), "{fix}");
        }
        other => panic!("{other:?}"),
    }
}

fn nodes(stage: &Stage) -> Vec<NodeInfo> {
    match stage.ask(&Request::Session) {
        Response::Session(info) => info.nodes,
        other => panic!("{other:?}"),
    }
}

fn shares(joined: &Joined) -> [u32; NODES_MAX] {
    joined.region.nodes().shares()
}

/// A node at which nobody listens.
fn nobody(port: u16) -> NodeAddr {
    NodeAddr::Memnode {
        host: "127.0.0.1".into(),
        port,
    }
}

#[test]
fn a_node_that_comes_takes_its_share_and_one_that_goes_gives_it_back() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let stage = Stage::with_nodes(vec![first.addr()]);
    let joined = stage.join();
    let all = SLOTS as u32;
    assert_eq!(shares(&joined)[..2], [all, 0]);
    carried_out(&stage, NodeOrder::Add, second.addr());
    eventually("shared", || {
        let shares = shares(&joined);
        shares[0] + shares[1] == all && (7000..9400).contains(&shares[1])
    });
    for block in 0..40 {
        leave_block(&joined, block * 128, 1, false);
    }
    eventually("both hold blocks", || first.len() > 0 && second.len() > 0);
    eventually("all blocks are held", || first.len() + second.len() == 40);
    carried_out(&stage, NodeOrder::Remove, first.addr());
    assert_eq!(shares(&joined)[..2], [0, all]);
    let record = &joined.region.nodes().records[0];
    assert_eq!(record.state(), NodeState::Absent);
    let list = nodes(&stage);
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].slots, list[0].state),
        (16384, control::NodeState::Up)
    );
    let before = second.len();
    for block in 40..60 {
        leave_block(&joined, block * 128, 1, false);
    }
    eventually("the other takes all", || second.len() == before + 20);
}

#[test]
fn what_cannot_be_done_is_refused_with_what_to_type() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let stage = Stage::with_nodes(vec![first.addr()]);
    refused(&stage, NodeOrder::Add, first.addr(), "already");
    refused(&stage, NodeOrder::Remove, second.addr(), "has no node");
    refused(&stage, NodeOrder::Drain, second.addr(), "has no node");
    refused(&stage, NodeOrder::Remove, first.addr(), "last node");
    let name = || crate::nodes::parse("srv://_memnode._tcp.nowhere.invalid").unwrap();
    refused(&stage, NodeOrder::Drain, name(), "stands for several");
    refused(&stage, NodeOrder::Remove, name(), "has no node");
    refused(&stage, NodeOrder::Drain, first.addr(), "no other node");
    carried_out(&stage, NodeOrder::Add, second.addr());
    carried_out(&stage, NodeOrder::Drain, first.addr());
    refused(&stage, NodeOrder::Remove, second.addr(), "last node");
    carried_out(&stage, NodeOrder::Add, first.addr());
    carried_out(&stage, NodeOrder::Remove, second.addr());
    // Nothing listens at these: they are in all the same, and said to be of no use yet.
    for port in 1..=15 {
        match change(&stage, NodeOrder::Add, nobody(port)) {
            Response::Node { trouble } => {
                let trouble = trouble.expect("a word on it");
                assert!(trouble.contains("cannot reach"), "{trouble}");
            }
            other => panic!("{other:?}"),
        }
    }
    refused(&stage, NodeOrder::Add, nobody(16), "16 nodes");
    let list = nodes(&stage);
    assert_eq!(list.len(), NODES_MAX);
    assert_eq!(list[0].slots, 16384, "who does not answer has no share");
}

#[test]
fn who_answers_is_not_given_up_for_one_that_does_not() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let stage = Stage::with_nodes(vec![first.addr(), second.addr()]);
    let joined = stage.join();
    let addr = second.addr();
    let share = shares(&joined)[0];
    assert!(share > 0 && share < SLOTS as u32);
    drop(second);
    eventually("it is known to be away", || {
        nodes(&stage)[1].state == control::NodeState::Unreachable
    });
    refused(&stage, NodeOrder::Drain, first.addr(), "no other node");
    refused(&stage, NodeOrder::Remove, first.addr(), "last node");
    assert!(shares(&joined)[0] >= share, "its own share is its own");
    carried_out(&stage, NodeOrder::Remove, addr);
    assert_eq!(shares(&joined)[0], SLOTS as u32);
}

#[test]
fn a_node_is_its_host_and_port_however_it_is_written() {
    let first = FakeNode::start();
    let stage = Stage::with_nodes(vec![first.addr()]);
    let as_redis = |port: u16| NodeAddr::Redis {
        host: "127.0.0.1".into(),
        port,
        is_tls: false,
        password: Some(Secret("pw".into())),
    };
    refused(&stage, NodeOrder::Add, as_redis(first.port), "already");
    // The same server by another name.
    let host = String::from("localhost");
    let port = first.port;
    match change(&stage, NodeOrder::Add, NodeAddr::Memnode { host, port }) {
        Response::Node { trouble } => {
            let trouble = trouble.expect("a word on it");
            assert!(trouble.contains("same server as 127.0.0.1"), "{trouble}");
        }
        other => panic!("{other:?}"),
    }
    // One that has not answered is given another password.
    let shown = |stage: &Stage| -> Vec<String> {
        let nodes = nodes(stage).into_iter();
        nodes.map(|node| node.addr).skip(2).collect()
    };
    for (addr, expected) in [
        (nobody(1), "127.0.0.1:1"),
        (as_redis(1), "redis://127.0.0.1:1"),
    ] {
        match change(&stage, NodeOrder::Add, addr) {
            Response::Node { trouble } => {
                let trouble = trouble.expect("a word on it");
                assert!(trouble.contains("others have its share"), "{trouble}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(shown(&stage), [expected]);
    }
    carried_out(&stage, NodeOrder::Remove, nobody(1));
    assert_eq!(shown(&stage), [""; 0]);
}

#[test]
fn a_node_that_two_settings_bring_has_one_number() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let brought = |by: &str| (first.addr(), Origin::Named(by.into()));
    let pool = Pool::of(
        &[second.addr()],
        vec![brought("srv://a"), brought("srv://b")],
        Arc::new(Tunnels::new(Trust::new(Papers::default()))),
    );
    let nodes = pool.expect("a pool").nodes();
    let shown: Vec<_> = nodes.iter().map(|node| node.shown.clone()).collect();
    assert_eq!(shown, [second.addr().to_string(), first.addr().to_string()]);
}

#[test]
fn a_number_that_changes_hands_has_another_generation_and_other_connections() {
    let (first, second) = (FakeNode::start(), FakeNode::start());
    let stage = Stage::with_nodes(vec![first.addr(), nobody(1)]);
    let joined = stage.join();
    let records = joined.region.nodes().records;
    let changes = || {
        let header = joined.region.header();
        header.pool_changes.load(Ordering::Relaxed)
    };
    let (generation, before) = (records[1].generation(), changes());
    carried_out(&stage, NodeOrder::Remove, nobody(1));
    assert_ne!(records[1].generation(), generation);
    assert!(changes() > before);
    // Numbers that nobody had yet come first.
    for port in 2..=15 {
        change(&stage, NodeOrder::Add, nobody(port));
    }
    let between = records[1].generation();
    carried_out(&stage, NodeOrder::Add, second.addr());
    assert_eq!(nodes(&stage)[1].addr, second.addr().to_string());
    assert!(![generation, between].contains(&records[1].generation()));
    eventually("up", || records[1].state() == NodeState::Up);
    let process = joined.welcome.process;
    let (welcome, sockets) = converse(
        &stage.knock(),
        &stage.config.token,
        Want::Socket { node: 1, process },
    );
    assert_eq!(welcome.sockets[0].get(), Some((1, records[1].generation())));
    let socket = std::net::TcpStream::from(sockets.into_iter().next().expect("a socket"));
    assert_eq!(socket.peer_addr().unwrap().port(), second.port);
}

#[test]
fn a_lost_node_moves_only_its_share_and_comes_back_to_it() {
    let fakes: Vec<FakeNode> = (0..4).map(|_| FakeNode::start()).collect();
    let stage = Stage::with_nodes(fakes.iter().map(FakeNode::addr).collect());
    let joined = stage.join();
    let map = || -> Vec<_> {
        let nodes = joined.region.nodes();
        (0..SLOTS).map(|slot| nodes.node_of(slot)).collect()
    };
    let before = map();
    let mut fakes = fakes.into_iter();
    let (lost, others) = (fakes.next().unwrap(), fakes.collect::<Vec<_>>());
    let port = lost.port;
    drop(lost);
    eventually("its share is taken over", || shares(&joined)[0] == 0);
    for (slot, node) in map().into_iter().enumerate() {
        assert!(node.is_some() && (before[slot] == Some(0) || before[slot] == node));
    }
    let refresh = leave_block(&joined, 1, 1, false);
    let index = joined.region.index();
    eventually("others take blocks", || {
        index.heat(held(&refresh)).is_some()
    });
    let _back = FakeNode::start_at(port);
    eventually("it has its share again", || map() == before);
    drop(others);
}
