//! A PostgreSQL server of one side, in its cage, reached over a Unix socket in the run directory.
//!
//! The distribution's settings, except: no TCP, no autovacuum (its rounds would fall into the
//! measured ones of one side only). `shared_buffers` stays at its default of 128 MB, inside the
//! cage. Data directory and pages belong to the session alone (`hooktool run --own`), which is
//! PostgreSQL's own rule.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{bin, tool};
use crate::cage::Cage;
use crate::child;
use crate::error::{Result, advice};
use crate::run::Lab;
use crate::side::{self, Side, Spec, Target};
use crate::stop;

/// How long a server may take to answer; a capped disk makes it slow.
const START: Duration = Duration::from_secs(60);

/// A running server; fast shutdown when dropped.
pub struct Server {
    /// The postmaster.
    pub target: Target,
    socket_dir: PathBuf,
    port: &'static str,
    log: PathBuf,
    bin: PathBuf,
}

impl Server {
    /// Starts it and waits until it answers.
    pub fn start(
        lab: &Lab,
        side: Side,
        cage: &Cage,
        data: &Path,
        settings: &[&str],
    ) -> Result<Self> {
        let bin = bin()?;
        let socket_dir = lab.run_dir.path().to_path_buf();
        let port = if side == Side::Native { "5433" } else { "5434" };
        let mut command = vec![bin.join("postgres").display().to_string()];
        command.extend([
            "-D".into(),
            data.display().to_string(),
            "-p".into(),
            port.into(),
        ]);
        let sockets = format!("unix_socket_directories={}", socket_dir.display());
        let fixed = [sockets.as_str(), "listen_addresses=", "autovacuum=off"];
        for setting in fixed.iter().chain(settings) {
            command.extend(["-c".into(), (*setting).into()]);
        }
        let log = lab
            .run_dir
            .path()
            .join(format!("postgres-{}.log", side.word()));
        let own = if lab.args.no_own {
            Vec::new()
        } else {
            vec![format!("{}/**", data.display())]
        };
        let spec = Spec {
            command,
            user: lab.server_user.as_ref(),
            own,
            options: Vec::new(),
            log: log.clone(),
            pipes: false,
            end_by: Signal::INT,
            cwd: lab.run_dir.path(),
        };
        let target = side::launch(side, cage, &lab.hooks(), spec)?;
        let mut server = Self {
            target,
            socket_dir,
            port,
            log,
            bin,
        };
        server.wait()?;
        Ok(server)
    }

    fn wait(&mut self) -> Result<()> {
        let reached = stop::until(START, || {
            if let Err(error) = self.target.child.check_alive() {
                eprint!("{}", self.log_tail());
                return Err(error);
            }
            stop::sleep(Duration::from_millis(50))?;
            Ok(self.client(&self.bin.join("pg_isready"), &["-q"]).ok())
        })?;
        reached.map(|_| ()).ok_or_else(|| {
            let seconds = START.as_secs();
            advice(
                format!("PostgreSQL did not answer within {seconds} s"),
                self.log_tail(),
            )
        })
    }

    /// Runs a client program against this server and returns what it printed.
    pub fn client(&self, program: &Path, args: &[&str]) -> Result<String> {
        let mut command = tool(None, program)?;
        command
            .arg("-h")
            .arg(&self.socket_dir)
            .args(["-p", self.port, "-U", "postgres"]);
        let named = program.file_name().is_some_and(|name| name == "pg_isready");
        command.args(args).args((!named).then_some("postgres"));
        child::run(&mut command)
    }

    /// One statement.
    pub fn query(&self, sql: &str) -> Result<String> {
        self.client(&self.bin.join("psql"), &["-X", "-A", "-t", "-q", "-c", sql])
    }

    /// Stops it by `signal` (SIGINT: fast shutdown).
    pub fn stop(mut self, signal: Signal) -> Result<()> {
        self.target.child.end_with(signal)
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        child::tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}
