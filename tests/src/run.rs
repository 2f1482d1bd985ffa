//! Runs a command to its end and keeps everything it said; a watchdog ends what hangs.
//!
//! Used by every test. A command runs in a process group of its own, so that the watchdog can end
//! its children too. Before it does, it prints what each of them was doing, taken from /proc: a
//! hang is a finding, and its place is half of the answer. The watchdog's time is generous and
//! never a measure.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long a run may take before it counts as hung.
pub const WATCHDOG: Duration = Duration::from_secs(180);
/// How often a waiting loop looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a finished run left.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Everything on standard output.
    pub stdout: Vec<u8>,
    /// Everything on standard error.
    pub stderr: Vec<u8>,
    /// Exit status or signal.
    pub status: ExitStatus,
}

impl Outcome {
    /// Fails, with all that was said, unless the status is 0.
    #[track_caller]
    pub fn must_pass(self) -> Outcome {
        assert!(self.status.success(), "{}", self.story());
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Exit code, or nothing after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it, if one did.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Everything, for a failure message.
    pub fn story(&self) -> String {
        format!(
            "{}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            clip(&self.text()),
            clip(&self.errors())
        )
    }
}

/// The end of a long text, where the reason usually stands.
fn clip(text: &str) -> String {
    const KEEP: usize = 6000;
    let skip = text.chars().count().saturating_sub(KEEP);
    text.chars().skip(skip).collect()
}

/// Fails unless both runs said and did the same, byte for byte.
#[track_caller]
pub fn assert_same(native: &Outcome, hooked: &Outcome, what: &str) {
    assert!(
        native == hooked,
        "{what}: native and hooked differ\n=== native: {}\n=== hooked: {}",
        native.story(),
        hooked.story()
    );
}

/// The same command behind a prefix such as `sh -c SCRIPT sh` or `unshare ...`, with the same
/// environment and directory.
pub fn wrapped(prefix: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(prefix[0]);
    outer.env_clear();
    outer.envs(
        command
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    outer
        .args(&prefix[1..])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// Runs a command with no standard input.
pub fn run(command: &mut Command) -> Outcome {
    run_with_input(command, b"")
}

/// Runs a command with `input` on its standard input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Outcome {
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // The reader may go away first; a broken pipe is its right.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let status = wait(&mut child, &shown);
    // Whoever inherited the pipes must let go of them too: a left-over helper that holds the output
    // of its target open hangs every pipeline the target was part of.
    wait_until(
        &format!("standard output and error of {shown} are closed"),
        || stdout.is_finished() && stderr.is_finished() && writer.is_finished(),
    );
    let stdout = stdout.join().expect("reader");
    let stderr = stderr.join().expect("reader");
    Outcome {
        stdout,
        stderr,
        status,
    }
}

fn drain<R: Read + Send + 'static>(mut from: R) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).expect("read a pipe");
        all
    })
}

/// Waits for a child that leads its own group; a hang is reported and ended.
#[track_caller]
pub fn wait(child: &mut Child, shown: &str) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return status;
        }
        if started.elapsed() > WATCHDOG {
            let state = end_group(group_of(child), shown);
            let _ = child.wait();
            panic!("hung: {shown}\n{state}");
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Looks until `done` says so; a hang is a failure that names `what`.
#[track_caller]
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(
            started.elapsed() < WATCHDOG,
            "waited {WATCHDOG:?} in vain until {what}"
        );
        thread::sleep(LOOK_EVERY);
    }
}

/// The process group a child leads.
pub fn group_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed()).expect("a child has a pid")
}

/// Prints what every process of a group is doing, then kills the group.
pub fn end_group(group: Pid, shown: &str) -> String {
    let mut state = String::new();
    for pid in pids_of_group(group) {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}"));
        let _ = writeln!(
            state,
            "pid {pid}: {:?}",
            read("comm").unwrap_or_default().trim()
        );
        for name in ["wchan", "syscall", "stack"] {
            let _ = writeln!(state, "  {name}: {}", read(name).unwrap_or_default().trim());
        }
    }
    let _ = writeln!(state, "(group of {shown} killed by the watchdog)");
    let _ = kill_process_group(group, Signal::KILL);
    state
}

fn pids_of_group(group: Pid) -> Vec<i32> {
    all_pids()
        .into_iter()
        .filter(|&pid| stat_field(pid, 2) == Some(group.as_raw_pid()))
        .collect()
}

/// Every process there is.
pub fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Field `index` of /proc/PID/stat, counted from the one after the command's name (the state).
pub fn stat_field(pid: i32, index: usize) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(index)?.parse().ok()
}
