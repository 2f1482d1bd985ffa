//! Joining and pushing: what a process gets, and what becomes of the blocks it leaves.

use std::io::{Read, Write};

use grid::attach::{Verdict, Want};
use grid::files::RecordRef;
use grid::ident::{FileIdent, block_hash};
use grid::index::Held;
use grid::node::{NodeRecord, NodeState, Nodes};
use grid::refresh::Refresh;
use grid::sync::Ordering;
use grid::writes::{look_block, look_file};
use wire::{BlockId, HEADER_BYTES, KEY_BYTES, Keys};

use super::super::sys;
use super::fake_node::FakeNode;
use super::stage::{Joined, Stage, config, converse, eventually};
use crate::config::{NodeAddr, ServeConfig, Token};
use crate::seal::Integrity;

const IDENT: FileIdent = FileIdent {
    dev: 7,
    ino: 8,
    birth_ns: 9,
};

/// Leaves a block of 8 KiB as the hook driver would.
pub fn leave_block(joined: &Joined, block: u64, byte: u8, stale: bool) -> Refresh {
    let (cells, hash) = (joined.region.cells(), IDENT.hash());
    let refresh = Refresh {
        ident: IDENT,
        block,
        log2: 13,
        epoch: look_file(cells, hash, false).expect("quiet").epoch(),
        version: look_block(cells, hash, block).expect("quiet") + u64::from(stale),
        record: RecordRef {
            index: 0,
            generation: 0,
        },
    };
    let slots = joined.region.refresh();
    let mut slot = None;
    eventually("a refresh slot is free", || {
        slot = slots.claim(joined.welcome.process, 0);
        slot.is_some()
    });
    let slot = slot.unwrap();
    sys::write_refresh(&joined.region, slot, &[byte; 8192]);
    slots.submit(slot, refresh);
    joined.ring();
    refresh
}

pub fn held(refresh: &Refresh) -> Held {
    let hash = block_hash(refresh.ident.hash(), refresh.block);
    Held::new(hash, refresh.log2, refresh.epoch, refresh.version)
}

fn id_of(refresh: &Refresh) -> BlockId {
    BlockId {
        dev: refresh.ident.dev,
        ino: refresh.ident.ino,
        birth_ns: refresh.ident.birth_ns,
        block_log2: refresh.log2,
        block: refresh.block,
        epoch: refresh.epoch,
        version: refresh.version,
    }
}

fn key_of(keys: &Keys, refresh: &Refresh) -> [u8; KEY_BYTES] {
    let hash = refresh.ident.hash() ^ keys.salt();
    let slot = Nodes::slot_of(hash, refresh.block, refresh.log2);
    keys.wire_key(&id_of(refresh), slot)
}

#[test]
fn a_process_that_joins_gets_the_region_and_a_connection_that_works() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let mut joined = stage.join();
    assert_eq!(joined.welcome.sockets[0].get(), Some((0, 1)));
    assert_eq!(
        joined.record().pid.load(Ordering::Relaxed),
        u64::from(std::process::id())
    );
    assert_ne!(joined.welcome.process, 0, "slot 0 is the hook server's own");
    let socket = &mut joined.sockets[0];
    socket.write_all(b"*1\r\n$4\r\nPING\r\n").unwrap();
    let mut answer = [0; 7];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n");
    let header = joined.region.header();
    let beat = header.heartbeat_ms.load(Ordering::Relaxed);
    eventually("the heart beats", || {
        header.heartbeat_ms.load(Ordering::Relaxed) > beat
    });
    assert!(header.ticks_per_us.load(Ordering::Relaxed) > 0);
}

#[test]
fn who_asks_again_gets_another_connection() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let want = Want::Socket {
        node: 0,
        process: joined.welcome.process,
    };
    for _ in 0..40 {
        let mut count = 0;
        eventually("a connection is ready", || {
            let (welcome, fds) = converse(&stage.knock(), &stage.config.token, want);
            assert_eq!(welcome.verdict, Verdict::Joined);
            count = fds.len();
            count == 1
        });
    }
}

#[test]
fn strangers_and_mutes_delay_nobody() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let mutes: Vec<_> = (0..300).map(|_| stage.knock()).collect();
    let (refused, fds) = converse(&stage.knock(), &Token([1; 16]), Want::Join);
    assert_eq!((refused.verdict, fds.len()), (Verdict::Refused, 0));
    assert_eq!(refused.token, [0; 16]);
    stage.join();
    drop(mutes);
    stage.join();
}

#[test]
fn a_block_left_in_a_slot_reaches_the_node_protected_and_the_index() {
    let key: Vec<u8> = (0..32).collect();
    for integrity in [
        Integrity::Tag,
        Integrity::Checksum,
        serde_json::from_value(serde_json::json!({ "sealed": key })).unwrap(),
    ] {
        block_reaches_the_node(integrity);
    }
}

fn block_reaches_the_node(integrity: Integrity) {
    let node = FakeNode::start();
    let of_blocks = integrity.of_blocks();
    let stage = Stage::start(ServeConfig {
        integrity,
        ..config(vec![node.addr()])
    });
    let joined = stage.unwrap().join();
    let refresh = leave_block(&joined, 3, 0xAB, false);
    let index = joined.region.index();
    eventually("the block is in the index", || {
        index.heat(held(&refresh)).is_some()
    });
    let word = joined.region.header().integrity.load(Ordering::Relaxed);
    assert_eq!(wire::Integrity::from_word(word), Some(of_blocks));
    let keys = Keys::derive(&joined.region.header().secret_bytes(), of_blocks);
    let mut value = node
        .get(&key_of(&keys, &refresh))
        .expect("the node holds it");
    let (header, payload) = value.split_at_mut(HEADER_BYTES);
    let is_readable = payload.windows(16).any(|piece| piece == [0xAB; 16]);
    assert_eq!(is_readable, of_blocks != wire::Integrity::Sealed);
    keys.open(&id_of(&refresh), header, payload)
        .expect("it is made for this id");
    assert_eq!(payload, [0xAB; 8192]);
}

#[test]
fn a_block_that_a_node_sends_elsewhere_goes_there_once() {
    let (gone, here) = (FakeNode::start(), FakeNode::start());
    let stage = Stage::with_nodes(vec![gone.addr(), here.addr()]);
    let joined = stage.join();
    gone.refuse(format!("MOVED 77 127.0.0.1:{}", here.port));
    // An extent each, so that both nodes have a share of them.
    let blocks: Vec<Refresh> = (0..24)
        .map(|nth| leave_block(&joined, nth << 7, 1, false))
        .collect();
    let index = joined.region.index();
    eventually("all are in the index", || {
        blocks.iter().all(|block| index.heat(held(block)).is_some())
    });
    assert_eq!((gone.len(), here.len()), (0, blocks.len()));
    let refused = || gone.refused() + here.refused();
    let mut lost = Vec::new();
    // Each sends to the other: given up, not sent back and forth. Nowhere: given up at once.
    let back = format!("MOVED 77 127.0.0.1:{}", gone.port);
    let there = format!("MOVED 77 127.0.0.1:{}", here.port);
    for (words, times) in [
        (back.as_str(), 2),
        ("MOVED 1 192.0.2.1:1", 1),
        ("ASK 1 h:1", 1),
        ("OOM no", 1),
        ("LOADING it", 1),
    ] {
        let other = if times == 2 { &there } else { words };
        gone.refuse(other.into());
        here.refuse(words.into());
        let before = refused();
        lost.push(leave_block(&joined, 7 + lost.len() as u64, 1, false));
        eventually("it is refused", || refused() == before + times);
    }
    // Not blamed for it, none of it.
    let is_up = |record: &NodeRecord| record.state() == NodeState::Up;
    assert!(joined.region.nodes().records[..2].iter().all(is_up));
    assert!(lost.iter().all(|block| index.heat(held(block)).is_none()));
}

#[test]
fn a_block_that_a_writer_overtook_is_not_sent() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let stale = leave_block(&joined, 5, 1, true);
    let fresh = leave_block(&joined, 6, 2, false);
    let index = joined.region.index();
    eventually("the fresh one is held", || {
        index.heat(held(&fresh)).is_some()
    });
    assert_eq!(index.heat(held(&stale)), None);
    assert_eq!(node.len(), 1);
}

#[test]
fn a_node_that_dies_and_comes_back_empty_is_noticed_both_times() {
    let node = FakeNode::start();
    let (port, stage) = (node.port, Stage::with_nodes(vec![node.addr()]));
    let joined = stage.join();
    let refresh = leave_block(&joined, 1, 1, false);
    let (index, record) = (joined.region.index(), &joined.region.nodes().records[0]);
    eventually("held", || index.heat(held(&refresh)).is_some());
    drop(node);
    eventually("down", || record.state() == NodeState::Down);
    leave_block(&joined, 2, 2, false);
    let node = FakeNode::start_at(port);
    eventually("up again", || record.state() == NodeState::Up);
    eventually("its old blocks are forgotten", || {
        index.heat(held(&refresh)).is_none()
    });
    let again = leave_block(&joined, 3, 3, false);
    eventually("filled again", || index.heat(held(&again)).is_some());
    assert!(node.len() >= 1);
}

#[test]
fn an_open_breaker_closes_after_good_probes_and_a_mute_node_opens_it() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let record = &joined.region.nodes().records[0];
    eventually("up", || record.state() == NodeState::Up);
    record.failed(true, 0, 0);
    assert_eq!(record.state(), NodeState::Broken);
    eventually("closed by probes", || record.state() == NodeState::Up);
    node.mute(true);
    leave_block(&joined, 1, 1, false);
    eventually("out of service", || record.state() != NodeState::Up);
    node.mute(false);
    eventually("back in service", || record.state() == NodeState::Up);
}

#[test]
fn the_embedded_node_takes_blocks_and_wants_its_password() {
    let stage = Stage::with_nodes(vec![NodeAddr::Embedded { bytes: 32 << 20 }]);
    let mut joined = stage.join();
    let refresh = leave_block(&joined, 3, 0xCD, false);
    let index = joined.region.index();
    eventually("the block is in the index", || {
        index.heat(held(&refresh)).is_some()
    });
    let secret = joined.region.header().secret_bytes();
    let keys = Keys::derive(&secret, wire::Integrity::Tag);
    let mut request = [0; 64];
    let key = key_of(&keys, &refresh);
    let length = wire::resp::encode_get(&mut request, &key).unwrap();
    let socket = &mut joined.sockets[0];
    socket.write_all(&request[..length]).unwrap();
    let head = format!("${}\r\n", HEADER_BYTES + 8192);
    let mut answer = vec![0; head.len() + HEADER_BYTES + 8192 + 2];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer[..head.len()], head.as_bytes());
    let (header, rest) = answer[head.len()..].split_at_mut(HEADER_BYTES);
    keys.open(&id_of(&refresh), header, &mut rest[..8192])
        .expect("sealed for this id");
    let port = socket.peer_addr().unwrap();
    let mut stranger = std::net::TcpStream::connect(port).unwrap();
    stranger.write_all(&request[..length]).unwrap();
    let mut answer = [0; 7];
    stranger.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
}

#[test]
fn a_process_that_scribbles_over_its_region_breaks_only_its_own_blocks() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let nodes = joined.region.nodes();
    nodes.records[15].set_state(NodeState::Up);
    nodes
        .slot_map
        .iter()
        .for_each(|word| word.store(0x1010_1010, Ordering::Relaxed));
    joined
        .record()
        .add(grid::names::Counter::HitsLocal, u64::MAX);
    joined
        .record()
        .add(grid::names::Counter::PushDropped, u64::MAX / 2);
    joined
        .region
        .header()
        .disk_ns
        .store(u64::MAX, Ordering::Relaxed);
    joined
        .region
        .header()
        .local_active
        .store(u64::MAX, Ordering::Relaxed);
    leave_block(&joined, 1, 1, false);
    let ask = || match stage.ask(&crate::control::Request::Snapshot { pid: None }) {
        crate::control::Response::Snapshot(snapshot) => snapshot,
        other => panic!("{other:?}"),
    };
    eventually("the block is dropped and counted", || {
        ask().push_dropped > u64::MAX / 2
    });
    let beat = joined.region.header().heartbeat_ms.load(Ordering::Relaxed);
    let later = || joined.region.header().heartbeat_ms.load(Ordering::Relaxed);
    eventually("the heart still beats", || later() > beat);
}
