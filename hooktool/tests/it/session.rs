//! Sessions seen by the viewers: ps, stats, switches, linger and its end, counters at exit.

use std::ops::{Deref, DerefMut};
use std::process::{Child, Stdio};

use crate::house::{self, err, nobody, out, run, status, wait_for, workshop};

/// Ends a lingering session by its hook server, and waits until it is gone.
pub fn end(name: &str) {
    let Some(info) = find(name) else { return };
    let pid = i32::try_from(info["server_pid"].as_u64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_for("the end of the hook server", || {
        find(name).is_none().then_some(())
    });
}

/// The session's line of `ps -j`.
fn find(name: &str) -> Option<serde_json::Value> {
    let text = out(&run(&["ps", "-j"]));
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.into_iter().find(|info| info["name"] == name)
}

fn name(test: &str) -> String {
    format!("it-{test}-{}", std::process::id())
}

/// A target that is killed when the test ends, well or not.
struct Sleeper(Child);

impl Deref for Sleeper {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Sleeper {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sleeper(name: &str) -> Sleeper {
    let node = nobody();
    let words = [
        "run", "--node", &node, "--name", name, "--linger", "0", "--", "sleep", "600",
    ];
    let mut command = house::hooktool(&words);
    let child = Sleeper(command.stdin(Stdio::null()).spawn().unwrap());
    wait_for("the session", || find(name));
    child
}

#[test]
fn a_session_is_seen_switched_and_gone() {
    let name = name("seen");
    let child = sleeper(&name);
    let info = find(&name).unwrap();
    assert_eq!(info["schema"], 1);
    assert_eq!(info["pid"], child.id());
    assert_eq!(
        info["nodes"][0]["state"], "unreachable",
        "fails open and says so: {info}"
    );
    assert!(out(&run(&["ps"])).contains(&name) || out(&run(&["ps"])).contains("sleep"));
    let off = run(&["off", &name]);
    assert_eq!(status(&off), 0, "{}", err(&off));
    assert_eq!(find(&name).unwrap()["state"], "off");
    assert_eq!(status(&run(&["on", &name])), 0);
    assert_ne!(find(&name).unwrap()["state"], "off");
    assert_eq!(status(&run(&["flush", &name])), 0);
    drop(child);
    wait_for("the end of the session", || {
        find(&name).is_none().then_some(())
    });
}

#[test]
fn statistics_come_as_lines_and_as_json() {
    let name = name("stats");
    let child = sleeper(&name);
    let text = out(&run(&["stats", &name, "0.05", "22"]));
    let heads = text.lines().filter(|line| line.contains("READS/s")).count();
    assert_eq!(heads, 2, "a head every 20 rows: {text}");
    assert_eq!(text.lines().count(), 24, "{text}");
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let text = out(&run(&["stats", "-j", &name, "0.05", "3"]));
    assert_eq!(text.lines().count(), 3, "{text}");
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["schema"], 1);
        assert_eq!(value["name"], name);
        let sum =
            ["hits_local", "hits_remote", "reads_disk"].map(|key| value[key].as_u64().unwrap());
        assert_eq!(value["reads"].as_u64().unwrap(), sum.iter().sum::<u64>());
    }
    drop(child);
}

#[test]
fn an_interrupt_ends_a_viewer_well() {
    let name = name("interrupt");
    let child = sleeper(&name);
    let mut command = house::hooktool(&["stats", &name, "0.05"]);
    let mut viewer = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0_u8; 1];
    use std::io::Read;
    viewer
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let pid = rustix::process::Pid::from_child(&viewer);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(viewer.wait().unwrap().code(), Some(0));
    drop(child);
}

#[test]
fn a_lingering_session_is_found_again_by_its_name() {
    let name = name("linger");
    let node = nobody();
    let words = [
        "run", "--node", &node, "--name", &name, "--linger", "1h", "--", "true",
    ];
    assert_eq!(status(&run(&words)), 0);
    let first = find(&name).unwrap()["session"].clone();
    let output = run(&words);
    assert_eq!(status(&output), 0, "{}", err(&output));
    assert_eq!(find(&name).unwrap()["session"], first);
    end(&name);
}

#[test]
fn a_name_in_use_is_refused() {
    let name = name("twice");
    let child = sleeper(&name);
    let node = nobody();
    let output = run(&["run", "--node", &node, "--name", &name, "--", "true"]);
    assert_eq!(status(&output), 125, "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 3, "{}", err(&output));
    drop(child);
}

#[test]
fn counters_are_written_at_the_end() {
    let node = nobody();
    let pattern = workshop().join("stats.%p.json");
    let pattern = pattern.to_str().unwrap();
    let words = [
        "run",
        "--node",
        &node,
        "--stats-at-exit",
        pattern,
        "--",
        "true",
    ];
    let mut child = house::hooktool(&words).spawn().unwrap();
    let file = workshop().join(format!("stats.{}.json", child.id()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let value = wait_for("the counters", || {
        let text = std::fs::read_to_string(&file).ok()?;
        serde_json::from_str::<serde_json::Value>(&text).ok()
    });
    assert_eq!(value["schema"], 1);
    assert_eq!(value["name"], "true");
}

#[test]
fn no_session_is_told_and_unknown_names_too() {
    let output = run(&["stats", "no-such-session"]);
    assert_eq!(status(&output), 1);
    assert_eq!(err(&output).lines().count(), 3, "{}", err(&output));
    assert_eq!(status(&run(&["off", "no-such-session"])), 1);
}
