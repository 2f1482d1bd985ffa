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

/// The lines of `ps -j` of the sessions of a name.
fn all(name: &str) -> Vec<serde_json::Value> {
    let text = out(&run(&["ps", "-j"]));
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|info| info["name"] == name).collect()
}

/// The first of them.
fn find(name: &str) -> Option<serde_json::Value> {
    all(name).into_iter().next()
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
    sleeper_of(name, &[])
}

fn sleeper_of(name: &str, flags: &[&str]) -> Sleeper {
    let node = nobody();
    let fixed = ["run", "--node", &node, "--name", name, "--linger", "0"];
    let words = [&fixed[..], flags, &["--", "sleep", "600"]].concat();
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
fn a_node_that_is_not_there_is_told_in_one_line() {
    let node = nobody();
    let output = run(&["run", "--node", &node, "--", "echo", "ran"]);
    assert_eq!((status(&output), out(&output).as_str()), (0, "ran\n"));
    let text = err(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with(&format!("hooktool: cannot reach memory node {node}: ")),
        "{text}"
    );
    assert!(text.contains("memnode --listen"), "{text}");
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

/// `hooktool run` of a session that lingers for an hour.
fn start(name: &str, flags: &[&str], target: &[&str]) -> std::process::Output {
    let fixed = [
        "run",
        "--node",
        house::NODE,
        "--name",
        name,
        "--linger",
        "1h",
    ];
    run(&[&fixed[..], flags, &["--"], target].concat())
}

#[test]
fn a_lingering_session_is_found_again_by_its_name() {
    let name = name("linger");
    let output = start(&name, &[], &["true"]);
    assert_eq!((status(&output), err(&output)), (0, String::new()));
    let first = find(&name).unwrap()["session"].clone();
    let output = start(&name, &[], &["true"]);
    assert_eq!((status(&output), err(&output)), (0, String::new()));
    assert_eq!(find(&name).unwrap()["session"], first);
    end(&name);
}

#[test]
fn a_lingering_session_with_other_settings_makes_room() {
    let name = name("other");
    assert_eq!(status(&start(&name, &[], &["true"])), 0);
    let mut last = find(&name).unwrap()["session"].clone();
    for flags in [
        &["--own", "/srv/**"][..],
        &["--exclude", "/srv/**"],
        &["--mode", "observe"],
        &["--local", "1MiB"],
        &["--verify", "1%"],
    ] {
        let would = out(&start(&name, &[flags, &["--dry-run"]].concat(), &["true"]));
        assert!(would.contains("ends session"), "{would}");
        assert!(would.contains(&format!("differs: {}", flags[0])), "{would}");
        assert_eq!(
            find(&name).unwrap()["session"],
            last,
            "a dry run ends nothing"
        );
        let output = start(&name, flags, &["true"]);
        let (status_seen, said) = (status(&output), err(&output));
        assert_eq!((status_seen, said.lines().count()), (0, 1), "{said}");
        assert!(
            said.contains(&format!("other settings ({})", flags[0])),
            "{said}"
        );
        assert_eq!(all(&name).len(), 1, "{flags:?}: the old one is gone");
        let now = find(&name).unwrap()["session"].clone();
        assert_ne!(now, last, "{flags:?}");
        last = now;
        let again = out(&start(&name, &[flags, &["--dry-run"]].concat(), &["true"]));
        assert!(again.contains("joins session"), "{flags:?}: {again}");
        // Undone, so that the next one differs by its own flag alone.
        assert_eq!(status(&start(&name, &[], &["true"])), 0);
        last.clone_from(&find(&name).unwrap()["session"]);
    }
    end(&name);
}

#[test]
fn every_start_gets_its_counters_where_it_asked_for_them() {
    let name = name("files");
    let file = |nth: &str| workshop().join(format!("{name}-{nth}.json"));
    for nth in ["one", "two"] {
        let path = file(nth);
        let flags = ["--stats-at-exit", path.to_str().unwrap()];
        assert_eq!(status(&start(&name, &flags, &["true"])), 0);
        wait_for("the counters", || path.exists().then_some(()));
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(status(&start(&name, &[], &["true"])), 0);
    assert!(
        !file("one").exists(),
        "the first start's file is not written again"
    );
    end(&name);
}

#[test]
fn off_ends_a_session_that_nobody_is_in() {
    let name = name("off-idle");
    assert_eq!(status(&start(&name, &[], &["true"])), 0);
    wait_for("the end of the target", || {
        err(&run(&["off", &name]))
            .contains("is ended")
            .then_some(())
    });
    wait_for("the end of the session", || {
        find(&name).is_none().then_some(())
    });
}

#[test]
fn a_second_start_under_a_name_is_let_in_or_stands_beside() {
    let name = name("twice");
    let first = sleeper(&name);
    let node = find(&name).unwrap()["nodes"][0]["addr"].clone();
    let node = node.as_str().unwrap();
    let second = |flags: &[&str]| {
        let fixed = ["run", "--node", node, "--name", &name, "--linger", "0"];
        run(&[&fixed[..], flags, &["--", "echo", "ran"]].concat())
    };
    let output = second(&[]);
    assert_eq!((status(&output), out(&output).as_str()), (0, "ran\n"));
    assert!(!err(&output).contains("second one"), "{}", err(&output));
    assert_eq!(all(&name).len(), 1);
    let output = second(&["--mode", "observe"]);
    assert_eq!((status(&output), out(&output).as_str()), (0, "ran\n"));
    let told = err(&output);
    let told: Vec<_> = told.lines().filter(|l| l.contains("second one")).collect();
    assert_eq!(told.len(), 1, "{}", err(&output));
    assert!(
        told[0].contains(&format!("(process {})", first.id())),
        "{told:?}"
    );
    assert!(told[0].contains("--mode"), "{told:?}");
    drop(first);
}

#[test]
fn processes_without_a_hook_server_are_still_listed() {
    let name = name("orphan");
    let child = sleeper(&name);
    let info = find(&name).unwrap();
    let server = i32::try_from(info["server_pid"].as_u64().unwrap()).unwrap();
    let server = rustix::process::Pid::from_raw(server).unwrap();
    let id = child.id().to_string();
    let row_of = |id: &str| {
        let text = out(&run(&["ps"]));
        let row = text.lines().find(|l| l.trim_start().starts_with(id));
        row.map(str::to_string)
    };
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    let row = row_of(&id).expect("a row");
    assert!(row.contains("hook server silent"), "{row}");
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    wait_for("the end of the hook server", || {
        row_of(&id)?.contains("hook server gone").then_some(())
    });
    let text = out(&run(&["ps", "-j"]));
    let line = text
        .lines()
        .find(|line| line.contains(&id))
        .expect("a line");
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&value["state"], &value["session"]),
        (&"gone".into(), &info["session"])
    );
    drop(child);
    wait_for("the end of the row", || row_of(&id).is_none().then_some(()));
}

#[test]
fn orders_are_for_every_session_of_the_name() {
    let name = name("both");
    let pair = [sleeper(&name), sleeper_of(&name, &["--mode", "observe"])];
    wait_for("both sessions", || (all(&name).len() == 2).then_some(()));
    let off = run(&["off", &name]);
    assert_eq!(status(&off), 0, "{}", err(&off));
    for child in &pair {
        let line = format!("session {name} (process {}) is off", child.id());
        assert!(err(&off).contains(&line), "{}", err(&off));
    }
    assert!(all(&name).iter().all(|info| info["state"] == "off"));
    let one = pair[0].id().to_string();
    assert_eq!(status(&run(&["on", &one])), 0);
    let states: Vec<_> = all(&name)
        .iter()
        .map(|info| info["state"].clone())
        .collect();
    assert_eq!(
        states.iter().filter(|state| *state == "off").count(),
        1,
        "{states:?}"
    );
    let output = run(&["stats", &name]);
    assert_eq!(status(&output), 2, "{}", err(&output));
    for child in &pair {
        assert!(err(&output).contains(&format!("(process {})", child.id())));
    }
    let lines = out(&run(&["stats", "-j", &name]));
    assert_eq!(lines.lines().count(), 2, "{lines}");
    drop(pair);
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
