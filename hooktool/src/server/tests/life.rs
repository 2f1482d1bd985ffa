//! When a session begins and when it is over.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::fake_node::FakeNode;
use super::stage::{Stage, as_player, config, eventually, say_and_wait};
use crate::config::{Fill, Mode, ServeConfig};
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

/// A program that does nothing until it is ended.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper::start(&mut Command::new("sleep"))
    }

    /// One that carries the session of `config` in its environment.
    fn carrying(config: &ServeConfig) -> Sleeper {
        let session = config.session.environment(&config.token, &config.name);
        Sleeper::start(Command::new("sleep").env("HOOKTOOL_SESSION", session))
    }

    fn start(command: &mut Command) -> Sleeper {
        Sleeper(command.arg("1000").stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it, and waits until it is gone.
    fn end(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Serves a session of this target.
fn stage_of(target: &Sleeper, change: impl FnOnce(&mut ServeConfig)) -> Stage {
    let node = FakeNode::start();
    let mut config = config(vec![node.addr()]);
    config.target_pid = target.pid();
    change(&mut config);
    Stage::start(config).expect("the session can be made")
}

/// A few ticks of the server, in which would happen what must not.
fn let_it_tick() {
    std::thread::sleep(std::time::Duration::from_millis(500));
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
    let target = Sleeper::new();
    let pid = target.pid();
    let path = stats_path();
    let stage = stage_of(&target, |config| config.stats_at_exit = Some(path.clone()));
    let mut player = stage.play("life::player_at_rest");
    player.wait_for("at rest");
    target.end();
    let_it_tick();
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
    assert_eq!(json["pid"], pid);
}

#[test]
fn a_target_that_never_joins_is_over_when_it_ends() {
    let target = Sleeper::new();
    let stage = stage_of(&target, |_| ());
    assert!(!stage.server.is_finished());
    target.end();
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_child_that_carries_the_session_and_has_not_joined_keeps_it_alive() {
    let target = Sleeper::new();
    let stage = stage_of(&target, |_| ());
    let child = Sleeper::carrying(&stage.config);
    target.end();
    let_it_tick();
    assert!(!stage.server.is_finished());
    child.end();
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_linger_waits_for_the_next_target_and_keeps_the_blocks() {
    let target = Sleeper::new();
    let stage = stage_of(&target, |config| config.linger_ms = 600_000);
    target.end();
    let_it_tick();
    assert!(!stage.server.is_finished());
    let wanted = join(&stage.config);
    let Response::Joined { token, .. } = stage.ask(&wanted) else {
        panic!("not let in")
    };
    assert_eq!(token, stage.config.token);
    stage.join();
    eventually("a member", || match stage.ask(&Request::Session) {
        Response::Session(info) => info.processes.len() == 1,
        other => panic!("{other:?}"),
    });
    assert!(
        matches!(stage.ask(&wanted), Response::Joined { .. }),
        "the same settings mean the same session, whoever is in it"
    );
}

/// This process asks to be let in, with the settings of `config`.
fn join(config: &ServeConfig) -> Request {
    let wanted = ServeConfig {
        target_pid: std::process::id(),
        ..config.clone()
    };
    Request::Join {
        pid: std::process::id(),
        wanted: Box::new(wanted),
    }
}

/// What another start types differently.
type Change = fn(&mut ServeConfig);

/// A session that lingers, after its target has ended.
fn lingering(change: impl Fn(&mut ServeConfig)) -> Stage {
    let node = FakeNode::start();
    let mut target = Command::new("true").spawn().unwrap();
    let mut config = config(vec![node.addr()]);
    (config.target_pid, config.linger_ms) = (target.id(), 600_000);
    change(&mut config);
    let stage = Stage::start(config).expect("the session can be made");
    target.wait().unwrap();
    stage
}

#[test]
fn a_start_that_asks_for_something_else_is_not_let_in_and_may_end_a_linger() {
    let stage = lingering(|_| ());
    let changes: [(&str, Change); 8] = [
        ("--own", |config| config.own.push("/srv/**".into())),
        ("--exclude", |config| config.exclude.push("/srv/**".into())),
        ("--node", |config| config.nodes.clear()),
        ("--index", |config| config.index_bytes = None),
        ("--mode", |config| config.mode = Mode::Observe),
        ("--verify", |config| config.verify_ppm = 7),
        ("--fill", |config| config.fill = Fill::Always),
        ("the hook driver", |config| config.shim = "/other.so".into()),
    ];
    for (setting, change) in changes {
        let mut wanted = stage.config.clone();
        change(&mut wanted);
        let expected = Response::Differs {
            settings: vec![setting.into()],
            is_inhabited: false,
        };
        assert_eq!(stage.ask(&join(&wanted)), expected);
        let wanted = Box::new(wanted);
        assert_eq!(stage.ask(&Request::Compare { wanted }), expected);
    }
    assert_eq!(stage.ask(&Request::End), Response::Done);
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_session_with_processes_is_not_ended_by_a_start() {
    let node = FakeNode::start();
    let stage = Stage::with_nodes(vec![node.addr()]);
    let mut wanted = stage.config.clone();
    wanted.verify_ppm = 7;
    assert_eq!(
        stage.ask(&join(&wanted)),
        Response::Differs {
            settings: vec!["--verify".into()],
            is_inhabited: true,
        }
    );
    assert!(matches!(stage.ask(&Request::End), Response::Refused { .. }));
}

#[test]
fn who_joins_a_linger_brings_its_own_end() {
    let first = stats_path();
    let stage = lingering(|config| config.stats_at_exit = Some(first.clone()));
    let second = stats_path();
    let mut wanted = stage.config.clone();
    (wanted.stats_at_exit, wanted.linger_ms) = (Some(second.clone()), 1);
    assert!(matches!(stage.ask(&join(&wanted)), Response::Joined { .. }));
    eventually("the first turn's counters are written", || first.exists());
    std::fs::remove_file(&first).unwrap();
    let Response::Session(info) = stage.ask(&Request::Session) else {
        panic!("no session")
    };
    assert_eq!(info.pid, std::process::id());
    assert!(!second.exists(), "somebody is announced");
}

#[test]
fn what_was_switched_off_does_not_linger() {
    let stage = lingering(|_| ());
    assert_eq!(stage.ask(&Request::Service { on: false }), Response::Done);
    stage.server.join().unwrap().expect("an orderly end");
}

#[test]
fn a_process_of_another_session_keeps_nobody_alive() {
    let target = Sleeper::new();
    let stage = stage_of(&target, |_| ());
    let neighbour = Sleeper::carrying(&config(Vec::new()));
    assert!(
        matches!(stage.ask(&Request::End), Response::Refused { .. }),
        "its target has yet to join"
    );
    target.end();
    stage.server.join().unwrap().expect("an orderly end");
    neighbour.end();
}
