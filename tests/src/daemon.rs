//! A server of the test's own, started by any command, hooked or not, and ended with its family.
//!
//! Used for servers whose whole handling is start, signals and end; PostgreSQL has a harness of its
//! own. What it says goes to a file in its bed, which is shown when the test fails.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Signal, kill_process, kill_process_group};

use crate::bed::Bed;
use crate::run::{self, group_of, wait_until};

/// A running server.
pub struct Daemon {
    child: Option<Child>,
    shown: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` in a process group of its own and waits until `ready` says so.
    pub fn start(bed: &Bed, mut command: Command, mut ready: impl FnMut() -> bool) -> Daemon {
        let log = bed.join("daemon.log");
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("open the log");
        command.process_group(0).stdin(Stdio::null());
        command.stdout(out.try_clone().expect("dup")).stderr(out);
        let shown = format!("{command:?}");
        let child = Some(command.spawn().expect("start the server"));
        let mut daemon = Daemon { child, shown, log };
        wait_until("the server answers", || {
            let child = daemon.child.as_mut().expect("started");
            if let Some(status) = child.try_wait().expect("wait") {
                panic!(
                    "it ended early: {status}\n{}\n{}",
                    daemon.shown,
                    daemon.log_text()
                );
            }
            ready()
        });
        daemon
    }

    /// Everything it said so far, in all its lives in this bed.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("started");
        kill_process(group_of(child), signal).expect("signal the server");
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        let mut child = self.child.take().expect("started");
        run::wait(&mut child, &self.shown)
    }

    /// Kills it and its whole group, as a crash would.
    pub fn crash(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = kill_process_group(group_of(&child), Signal::KILL);
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server said\n{}", self.log_text());
        }
        self.end();
    }
}
