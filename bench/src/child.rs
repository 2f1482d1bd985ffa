//! Child processes that cannot outlive the lab by accident.
//!
//! Each `Child` leads a process group of its own and takes the group with it when dropped:
//! SIGTERM first where the program wants to close files (PostgreSQL gets SIGINT, its fast
//! shutdown), SIGKILL after a grace. `run` is for helpers that end by themselves.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::error::{Because, Error, Result};
use crate::stop;

/// How long a child may take to end when asked.
const GRACE: Duration = Duration::from_secs(15);

/// A running child and its process group.
pub struct Child {
    inner: std::process::Child,
    end_by: Signal,
    /// For messages.
    name: String,
}

impl Child {
    /// Starts `command` in a new process group; `end_by` is what asks it to end.
    pub fn spawn(command: &mut Command, end_by: Signal) -> Result<Self> {
        let name = show(command);
        let inner = command
            .process_group(0)
            .spawn()
            .because(|| format!("starting {name}"))?;
        Ok(Self {
            inner,
            end_by,
            name,
        })
    }

    /// The pipes, where the command asked for them.
    pub fn pipes(&mut self) -> &mut std::process::Child {
        &mut self.inner
    }

    /// Fails with the child's name if it ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.inner.try_wait().because(|| self.name.clone())? {
            None => Ok(()),
            Some(status) => Err(failed(
                &self.name,
                status,
                "it ended before it was asked to",
            )),
        }
    }

    /// Stops it for now, as a host that swaps or a debugger does.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        rustix::process::kill_process(Pid::from_child(&self.inner), signal)
            .because(|| format!("{signal:?} to {}", self.name))
    }

    /// Asks the child to end and waits for it.
    pub fn end(&mut self) -> Result<()> {
        self.finish();
        Ok(())
    }

    /// Asks the child to end by another signal and waits for it.
    pub fn end_with(&mut self, signal: Signal) -> Result<()> {
        self.end_by = signal;
        self.end()
    }

    /// No `stop::until` here: cleaning up goes on after a signal.
    fn finish(&mut self) {
        if matches!(self.inner.try_wait(), Ok(Some(_))) {
            return self.kill_group();
        }
        let leader = Pid::from_child(&self.inner);
        let _ = rustix::process::kill_process(leader, self.end_by);
        let steps = GRACE.as_millis() / 10;
        for _ in 0..steps {
            if matches!(self.inner.try_wait(), Ok(Some(_))) {
                return self.kill_group();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill_group();
        let _ = self.inner.wait();
    }

    fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.inner), Signal::KILL);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Runs a helper to its end and returns its standard output; a signal to the lab kills it.
pub fn run(command: &mut Command) -> Result<String> {
    let name = show(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .process_group(0)
        .spawn()
        .because(|| format!("starting {name}"))?;
    let pid = Pid::from_child(&child);
    let waiter = std::thread::spawn(move || child.wait_with_output());
    loop {
        if waiter.is_finished() {
            break;
        }
        if let Err(stopped) = stop::sleep(Duration::from_millis(5)) {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = waiter.join();
            return Err(stopped);
        }
    }
    let output = waiter
        .join()
        .map_err(|_| failed_text(&name, "its waiter panicked"))?;
    collect(&name, output.because(|| name.clone())?)
}

fn collect(name: &str, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(failed(name, output.status, &tail(&text)))
}

/// The last lines of a text, indented for a message.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(12);
    lines[from..]
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect()
}

fn failed(name: &str, status: ExitStatus, tail: &str) -> Error {
    Error::Command {
        command: name.into(),
        status: status.to_string(),
        tail: tail.into(),
    }
}

fn failed_text(name: &str, text: &str) -> Error {
    Error::Command {
        command: name.into(),
        status: text.into(),
        tail: String::new(),
    }
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(OsStr::to_string_lossy).map(Into::into).collect();
    let mut text = words.join(" ");
    if text.len() > 160 {
        text = text.chars().take(157).collect::<String>() + "...";
    }
    text
}
