//! MariaDB as the lab uses it: the installed programs, a template with sysbench's table, a server
//! per side in its cage, reached over a Unix socket in the run directory.
//!
//! The distribution's settings, `O_DIRECT` and the buffer pool of 128 MiB included, except: no TCP.
//! A server that writes through io_uring is not served, so the hooked side refuses the ring
//! (`hooktool run --no-io-uring`, as `hooktool check` proposes) and falls back to threads of its
//! own; the native side keeps it. The data directory belongs to the session alone (`--own`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::cage::Cage;
use crate::child;
use crate::error::{Because, Result, advice};
use crate::run::Lab;
use crate::side::{self, Side, Spec, Target};
use crate::stop;
use crate::users::User;

mod template;

pub use template::ensure as template;

/// How the hooked side is told to do without io_uring.
pub const SWITCH: &str = "--no-io-uring";

/// How long a server may take to answer; a capped disk makes it slow.
const START: Duration = Duration::from_secs(90);

/// Database and table of `sysbench oltp_*` with one table.
const DATABASE: &str = "sb";

/// Rows of sysbench's table for so many bytes of data: it takes 215 bytes a row with both indexes.
pub fn rows(data_bytes: u64) -> u64 {
    (data_bytes / 215).max(1000)
}

/// A running server; asked to end when dropped.
pub struct Server {
    /// The process.
    pub target: Target,
    socket: PathBuf,
    log: PathBuf,
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
        let run_dir = lab.run_dir.path();
        let name = |what: &str| run_dir.join(format!("maria-{}.{what}", side.word()));
        let (socket, log) = (name("sock"), name("log"));
        let user = lab.server_user.as_ref();
        let mut command = vec![program("mariadbd")?.display().to_string()];
        command.push("--no-defaults".into());
        if user.is_none() && crate::users::is_root() {
            command.push("--user=root".into());
        }
        command.extend([
            format!("--datadir={}", data.display()),
            format!("--socket={}", socket.display()),
            format!("--pid-file={}", name("pid").display()),
            format!("--tmpdir={}", run_dir.display()),
            "--skip-networking".into(),
        ]);
        command.extend(settings.iter().map(ToString::to_string));
        let own = match lab.args.no_own {
            true => Vec::new(),
            false => vec![format!("{}/**", data.display())],
        };
        let spec = Spec {
            command,
            user,
            own,
            options: vec![SWITCH.into()],
            log: log.clone(),
            pipes: false,
            end_by: Signal::TERM,
            cwd: run_dir,
        };
        let target = side::launch(side, cage, &lab.hooks(), spec)?;
        let mut server = Self {
            target,
            socket,
            log,
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
            Ok(self.query("SELECT 1").ok())
        })?;
        let none = || advice("MariaDB did not answer", self.log_tail());
        reached.map(|_| ()).ok_or_else(none)
    }

    /// One statement.
    pub fn query(&self, sql: &str) -> Result<String> {
        let mut client = Command::new(program("mariadb")?);
        client
            .arg("--no-defaults")
            .arg(format!("--socket={}", self.socket.display()));
        child::run(client.args(["-uroot", "-BNe", sql]))
    }

    /// `sysbench SCRIPT ... ORDER` on a table of `rows` rows; what it printed.
    pub fn sysbench(&self, script: &str, rows: u64, order: &[&str]) -> Result<String> {
        let mut client = Command::new(program("sysbench")?);
        client.args([script, "--db-driver=mysql", "--mysql-user=root"]);
        client
            .arg(format!("--mysql-socket={}", self.socket.display()))
            .arg(format!("--mysql-db={DATABASE}"))
            .args(["--tables=1", &format!("--table-size={rows}")]);
        child::run(client.args(order)).inspect_err(|_| eprint!("{}", self.log_tail()))
    }

    /// Asks it to end and waits.
    pub fn stop(mut self) -> Result<()> {
        self.target.child.end()
    }

    fn log_tail(&self) -> String {
        child::tail(&std::fs::read_to_string(&self.log).unwrap_or_default())
    }
}

/// A program of the packages the workload needs.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        advice(
            format!("{name} is not installed"),
            "apt-get install mariadb-server sysbench",
        )
    })
}

/// A program run as `user`, outside any cage.
fn tool(user: Option<&User>, name: &str) -> Result<Command> {
    let lab = std::env::current_exe().because(|| "finding lab itself")?;
    let mut command = Command::new(lab);
    command.arg("enter");
    if let Some(user) = user {
        command.args(["--user", &user.name]);
    }
    command.arg("--").arg(program(name)?).current_dir("/");
    Ok(command)
}
