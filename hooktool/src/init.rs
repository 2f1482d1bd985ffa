//! hooktool as process 1 of a container: stays, starts hook server and target, forwards, reaps.
//!
//! Executing in place would make the target adopt every orphan, the hook server among them, and a
//! PostgreSQL restarts when an adopted stranger dies by a signal. So the target becomes a child
//! with the same group, terminal and signal settings; signals go on to it; its status is ours.

use std::ffi::CString;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::failure::Failure;
use crate::sys::{self, Fork, SignalMask};

/// How long the hook server may take to write the last counters before it is told to end, and
/// again after it was told.
const GRACE: Duration = Duration::from_secs(1);

/// A target that waits for its environment.
pub struct Held {
    /// Its process.
    pub pid: i32,
    release: std::fs::File,
    mask: SignalMask,
}

/// Forks the target and holds it until `release`, so that the hook server can know its number.
///
/// In the child this returns only to execute: `execute` gets the environment and must not return
/// unless it failed; its failure's status ends the child.
///
/// # Errors
///
/// No pipe or no process to be had.
pub fn hold(execute: impl FnOnce(Vec<CString>) -> Failure) -> Result<Held, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::launch(
            format!("cannot start the target: {error}"),
            "nothing was started",
            "look at the process limit:  ulimit -u; cat /sys/fs/cgroup/pids.max",
        )
    };
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| cannot(error.into()))?;
    let mask = sys::block_signals();
    match sys::fork().map_err(cannot)? {
        Fork::Parent(pid) => Ok(Held {
            pid,
            release: writer.into(),
            mask,
        }),
        Fork::Child => {
            drop(writer);
            let mut text = Vec::new();
            let read = std::fs::File::from(reader).read_to_end(&mut text);
            if read.is_err() || text.is_empty() {
                sys::exit_now(125);
            }
            sys::restore_signals(&mask);
            let failure = execute(unpack(&text));
            eprintln!("{failure}");
            sys::exit_now(failure.kind.exit_status());
        }
    }
}

impl Held {
    /// Gives the target its environment: it executes now.
    pub fn release(&mut self, environment: &[CString]) {
        let text: Vec<u8> = environment
            .iter()
            .flat_map(|entry| entry.as_bytes_with_nul())
            .copied()
            .collect();
        // A target that was killed while it waited is reaped like any other.
        let _ = self.release.write_all(&text);
        let null = std::fs::File::open("/dev/null");
        if let Ok(null) = null {
            self.release = null;
        }
    }

    /// Ends a target that must not run after all.
    pub fn abandon(self) {
        drop(self.release);
        sys::wait_for(self.pid);
        sys::restore_signals(&self.mask);
    }
}

fn unpack(text: &[u8]) -> Vec<CString> {
    text.split_inclusive(|byte| *byte == 0)
        .filter_map(|entry| CString::from_vec_with_nul(entry.to_vec()).ok())
        .collect()
}

/// Forwards signals and reaps until the target ends; then lets the hook server finish.
///
/// Returns the target's exit status, 128 + n for signal n.
pub fn supervise(target: i32, server: Option<i32>, stats_at_exit: Option<&Path>) -> u8 {
    let mut server = server;
    let status = loop {
        match reap(target, &mut server) {
            Some(status) => break status,
            None => forward(target),
        }
    };
    if let (Some(server_pid), Some(_)) = (server, stats_at_exit) {
        wait_server(&mut server);
        if server.is_some() {
            sys::send_signal(server_pid, libc::SIGTERM);
            wait_server(&mut server);
        }
    }
    status
}

/// Reaps whatever ended; the status of the target when it is among them.
fn reap(target: i32, server: &mut Option<i32>) -> Option<u8> {
    let mut status = None;
    while let Some(reaped) = sys::reap() {
        if reaped.pid == target {
            status = Some(reaped.status);
        }
        if Some(reaped.pid) == *server {
            *server = None;
        }
    }
    status
}

/// Waits for one signal and passes it on. One that the terminal sent went to the target as well.
fn forward(target: i32) {
    let Some(arrived) = sys::next_signal(None) else {
        return;
    };
    if arrived.signal != libc::SIGCHLD && !arrived.from_kernel {
        sys::send_signal(target, arrived.signal);
    }
}

fn wait_server(server: &mut Option<i32>) {
    let end = Instant::now() + GRACE;
    while server.is_some() && Instant::now() < end {
        let _ = sys::next_signal(Some(end.saturating_duration_since(Instant::now())));
        reap(-1, server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_survives_the_pipe() {
        let entries = ["A=1", "B=", "broken"].map(|text| CString::new(text).unwrap());
        let text: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.as_bytes_with_nul())
            .copied()
            .collect();
        assert_eq!(unpack(&text), entries);
    }
}
