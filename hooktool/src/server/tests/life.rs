//! When a session begins and when it is over.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::fake_node::FakeNode;
use super::stage::{Stage, as_player, config, eventually, say_and_wait};
use crate::control::{Request, Response};

/// A path for `--stats-at-exit`, its own for every caller.
fn stats_path() -> std::path::PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!(
        "hook-server-life-{}-{nth}.json",
        std::process::id()
    ))
}

/// Not a test of its own: a process that joins and waits.
#[test]
fn player_at_rest() {
    if let Some(joined) = as_player("life::player_at_rest") {
        joined.record().add(grid::names::Counter::Writes, 7);
        say_and_wait("at rest");
    }
}

#[test]
fn a_session_is_over_with_its_last_process_and_leaves_its_statistics() {
    let node = FakeNode::start();
    let mut target = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut config = config(vec![node.addr()]);
    let path = stats_path();
    (config.target_pid, config.stats_at_exit) = (target.id(), Some(path.clone()));
    let stage = Stage::start(config).expect("the session can be made");
    let mut player = stage.play("life::player_at_rest");
    player.wait_for("at rest");
    target.kill().unwrap();
    target.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!path.exists(), "a process is still here");
    player.kill();
    stage.server.join().unwrap().expect("an orderly end");
    let text = std::fs::read_to_string(&path).expect("the statistics are there");
    std::fs::remove_file(&path).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (json["writes"].as_u64(), json["processes"].as_u64()),
        (Some(7), Some(0))
    );
    assert_eq!(json["pid"], target.id());
}

#[test]
fn a_target_that_never_joins_is_over_when_it_ends() {
    let node = FakeNode::start();
    let mut target = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut config = config(vec![node.addr()]);
    config.target_pid = target.id();
    let stage = Stage::start(config).expect("the session can be made");
    assert!(!stage.server.is_finished());
    target.kill().unwrap();
    target.wait().unwrap();
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_child_that_carries_the_session_and_has_not_joined_keeps_it_alive() {
    let node = FakeNode::start();
    let mut target = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut config = config(vec![node.addr()]);
    config.target_pid = target.id();
    let environment = config.session.environment(&config.token);
    let stage = Stage::start(config).expect("the session can be made");
    let mut child = Command::new("sleep")
        .arg("1000")
        .env("HOOKTOOL_SESSION", environment)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    target.kill().unwrap();
    target.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!stage.server.is_finished());
    child.kill().unwrap();
    child.wait().unwrap();
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_linger_waits_for_the_next_target_and_keeps_the_blocks() {
    let node = FakeNode::start();
    let mut first = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut config = config(vec![node.addr()]);
    (config.target_pid, config.linger_ms) = (first.id(), 600_000);
    let stage = Stage::start(config).expect("the session can be made");
    first.kill().unwrap();
    first.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(!stage.server.is_finished());
    let request = Request::Join {
        pid: std::process::id(),
        idle_only: true,
    };
    let Response::Joined { token, .. } = stage.ask(&request) else {
        panic!("not let in")
    };
    assert_eq!(token, stage.config.token);
    let second = Request::Join {
        pid: std::process::id(),
        idle_only: true,
    };
    assert!(matches!(stage.ask(&second), Response::Refused { .. }));
    stage.join();
    eventually("a member", || match stage.ask(&Request::Session) {
        Response::Session(info) => info.processes.len() == 1,
        other => panic!("{other:?}"),
    });
}

#[test]
fn a_process_of_another_session_keeps_nobody_alive() {
    let node = FakeNode::start();
    let mut target = Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut other = config(vec![node.addr()]);
    other.target_pid = target.id();
    let mut neighbour = Command::new("sleep")
        .arg("1000")
        .env(
            "HOOKTOOL_SESSION",
            config(Vec::new()).session.environment(&other.token),
        )
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let stage = Stage::start(other).expect("the session can be made");
    let taken = Request::Join {
        pid: std::process::id(),
        idle_only: true,
    };
    assert!(
        matches!(stage.ask(&taken), Response::Refused { .. }),
        "its target has yet to join"
    );
    target.kill().unwrap();
    target.wait().unwrap();
    stage.server.join().unwrap().expect("an orderly end");
    neighbour.kill().unwrap();
    neighbour.wait().unwrap();
}
