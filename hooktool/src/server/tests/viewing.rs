//! What viewers are told.

use grid::header::switch;
use grid::names::{Bypass, Counter, Fallback};

use super::fake_node::FakeNode;
use super::stage::{Stage, eventually};
use crate::config::NodeAddr;
use crate::control::{NodeState, Request, Response, ServiceState};

/// The keys that scripts depend on (section "command line" of the documents).
const PINNED: [&str; 22] = [
    "schema",
    "name",
    "pid",
    "processes",
    "reads",
    "read_bytes",
    "hits_local",
    "hits_remote",
    "reads_disk",
    "hit_ratio",
    "writes",
    "invalidations",
    "pushed_blocks",
    "push_dropped",
    "bypass",
    "fallback",
    "remote_latency_us",
    "disk_latency_us",
    "local_bytes",
    "remote_bytes",
    "nodes",
    "files",
];

#[test]
fn a_snapshot_has_every_pinned_key_and_adds_up() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let record = joined.record();
    record.add(Counter::HitsLocal, 1);
    record.add(Counter::HitsRemote, 2);
    record.add(Counter::ReadsDisk, 5);
    record.bypassed(Bypass::NotHeld, 4);
    record.fell_back(Fallback::Missing);
    record.remote_latency.record(30_000);
    let json = stage.ask_json(&Request::Snapshot {
        pid: Some(std::process::id()),
    });
    for key in PINNED {
        assert!(json.get(key).is_some(), "{key} is missing in {json}");
    }
    assert_eq!(json["reads"], 8);
    assert_eq!(json["hit_ratio"], 0.375);
    assert_eq!(json["bypass"]["not_held"], 4);
    assert_eq!(json["fallback"]["missing"], 1);
    assert!(json["remote_latency_us"]["p50"].as_f64().unwrap() >= 30.0);
    assert!(json["disk_latency_us"]["p50"].is_null());
    for key in ["addr", "state", "blocks", "bytes", "rtt_us"] {
        assert!(json["nodes"][0].get(key).is_some(), "{key}");
    }
}

#[test]
fn a_session_that_observes_predicts() {
    let node = FakeNode::start();
    let mut config = super::stage::config(vec![node.addr()]);
    config.mode = crate::config::Mode::Observe;
    let stage = Stage::start(config).expect("the session can be made");
    let joined = stage.join();
    let record = joined.record();
    record.add(Counter::ReadsDisk, 1000);
    record.bypassed(Bypass::Observe, 250);
    record.bypassed(Bypass::ObserveUnproved, 70);
    (0..250).for_each(|_| record.disk_latency.record(2_000_000_000));
    let json = stage.ask_json(&Request::Snapshot { pid: None });
    let prediction = &json["prediction"];
    assert_eq!(prediction["reads"], 250);
    assert_eq!(prediction["hit_ratio"], 0.25);
    assert_eq!(prediction["reads_unproved"], 70);
    let saved_s = prediction["saved_s"].as_f64().unwrap();
    assert!((250.0..600.0).contains(&saved_s), "{prediction}");
    let serving = Stage::with_nodes(vec![node.addr()]);
    let json = serving.ask_json(&Request::Snapshot { pid: None });
    assert!(json.get("prediction").is_none(), "{json}");
}

#[test]
fn off_takes_the_session_out_of_service_and_on_brings_it_back() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let joined = stage.join();
    let header = joined.region.header();
    assert_eq!(stage.ask(&Request::Service { on: false }), Response::Done);
    assert!(!header.is_on(switch::SERVE));
    let state = || match stage.ask(&Request::Session) {
        Response::Session(info) => info.state,
        other => panic!("{other:?}"),
    };
    assert_eq!(state(), ServiceState::Off);
    assert_eq!(stage.ask(&Request::Service { on: true }), Response::Done);
    assert!(header.is_on(switch::SERVE));
    assert_eq!(state(), ServiceState::Serving);
    header.set_switch(switch::SERVE, false);
    assert_eq!(state(), ServiceState::Bypass);
}

#[test]
fn a_node_that_is_not_there_is_named_and_with_require_nothing_starts() {
    let gone = FakeNode::start();
    let addr = gone.addr();
    drop(gone);
    let stage = Stage::with_nodes(vec![addr.clone()]);
    let [trouble] = &stage.troubles[..] else {
        panic!("one line: {:?}", stage.troubles)
    };
    for part in ["cannot reach", &addr.to_string(), "memnode --listen"] {
        assert!(trouble.contains(part), "{trouble}");
    }
    let Response::Session(info) = stage.ask(&Request::Session) else {
        panic!("no session")
    };
    assert_eq!(info.state, ServiceState::Bypass);
    assert_eq!(info.nodes[0].state, NodeState::Unreachable);
    assert!(info.reason.unwrap().contains(&addr.to_string()));
    let mut config = super::stage::config(vec![addr.clone()]);
    config.require = true;
    let failure = Stage::start(config).err().expect("refused");
    assert!(failure.what.contains(&addr.to_string()), "{failure}");
    assert_eq!(failure.kind.exit_status(), 125);
}

#[test]
fn a_node_that_says_nothing_is_named_and_keeps_nobody_waiting() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let addr = NodeAddr::Memnode {
        host: "127.0.0.1".into(),
        port,
    };
    let stage = Stage::with_nodes(vec![addr.clone()]);
    assert_eq!(stage.troubles.len(), 1, "{:?}", stage.troubles);
    assert!(stage.troubles[0].contains(&addr.to_string()));
    let well = FakeNode::start();
    assert!(Stage::with_nodes(vec![well.addr()]).troubles.is_empty());
}

#[test]
fn something_that_speaks_another_language_is_foreign() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = std::io::Write::write_all(&mut &stream, b"HTTP/1.0 400 Bad Request\r\n\r\n");
            let _ = std::io::Read::read(&mut &stream, &mut [0; 64]);
        }
    });
    let addr = NodeAddr::Memnode {
        host: "127.0.0.1".into(),
        port,
    };
    let stage = Stage::with_nodes(vec![addr]);
    eventually("named", || match stage.ask(&Request::Session) {
        Response::Session(info) => info.nodes[0].state == NodeState::Foreign,
        other => panic!("{other:?}"),
    });
}
