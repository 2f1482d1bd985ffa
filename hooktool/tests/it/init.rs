//! hooktool as process 1 of a pid namespace. Needs root for the namespace.

use std::process::{Command, Output, Stdio};

use crate::house::{self, HOOKTOOL, err, nobody, out, status, wait_for, workshop};

/// `hooktool run` as process 1; `None`, said aloud, where no namespace can be made.
fn command(more: &[&str], words: &[&str]) -> Option<Command> {
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc"];
    let able = Command::new(unshare[0])
        .args(&unshare[1..])
        .arg("true")
        .output();
    if !able.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: no pid namespace can be made here");
        return None;
    }
    let node = nobody();
    let mut command = Command::new(unshare[0]);
    house::clean(&mut command).args(&unshare[1..]).arg(HOOKTOOL);
    command
        .args(["run", "--node", &node])
        .args(more)
        .arg("--")
        .args(words);
    Some(command)
}

fn run(more: &[&str], words: &[&str]) -> Option<Output> {
    Some(command(more, words)?.stdin(Stdio::null()).output().unwrap())
}

#[test]
fn the_target_is_a_child_without_strangers() {
    let script = "ps -o pid= -o ppid= -o comm=; exit 7";
    let Some(output) = run(&[], &["sh", "-c", script]) else {
        return;
    };
    assert_eq!(status(&output), 7, "{}", err(&output));
    let text = out(&output);
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let shell = rows.iter().find(|row| row[2] == "sh").unwrap();
    assert_eq!(shell[1], "1", "{text}");
    assert_ne!(shell[0], "1", "{text}");
    let server = rows
        .iter()
        .find(|row| row[2] == "hooktool" && row[0] != "1");
    assert!(server.is_none_or(|row| row[1] == "1"), "{text}");
}

#[test]
fn statuses_and_signals_come_through() {
    for (script, expected) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
        let Some(output) = run(&[], &["sh", "-c", script]) else {
            return;
        };
        assert_eq!(status(&output), expected, "{script}: {}", err(&output));
    }
    let Some(output) = run(&[], &["no-such-command"]) else {
        return;
    };
    assert_eq!(status(&output), 127);
}

#[test]
fn signals_go_on_to_the_target() {
    let script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let Some(mut command) = command(&[], &["sh", "-c", script]) else {
        return;
    };
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut reader = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    use std::io::BufRead;
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // The init is the only child of unshare.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let init = std::fs::read_to_string(children).unwrap();
    let init = rustix::process::Pid::from_raw(init.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::TERM).unwrap();
    line.clear();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "got\n");
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5; do (true & ) ; done; sleep 0.3; \
                  grep -l '^State:.Z' /proc/[0-9]*/status | wc -l";
    let Some(output) = run(&[], &["sh", "-c", script]) else {
        return;
    };
    assert_eq!(out(&output).trim(), "0", "{}", err(&output));
}

#[test]
fn signal_settings_are_as_they_were() {
    let words = ["grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"];
    let Some(output) = run(&[], &words) else {
        return;
    };
    let native = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert_eq!(out(&output), out(&native));
}

#[test]
fn counters_are_written_before_the_namespace_ends() {
    let pattern = workshop().join("init-stats.%p.json");
    let words = ["sh", "-c", "echo $$"];
    let Some(output) = run(&["--stats-at-exit", pattern.to_str().unwrap()], &words) else {
        return;
    };
    assert_eq!(status(&output), 0, "{}", err(&output));
    let file = workshop().join(format!("init-stats.{}.json", out(&output).trim()));
    let text = wait_for("the counters", || std::fs::read_to_string(&file).ok());
    assert!(
        serde_json::from_str::<serde_json::Value>(&text).is_ok(),
        "{text}"
    );
}
