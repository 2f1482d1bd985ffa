//! The two sides of a comparison, and how a program is started on each.
//!
//! Both sides run the same command in the same kind of cage, as the same user. The hooked side
//! has `hooktool run ... --` before the command and nothing else. With `--calibrate` it has not
//! even that, which shows what the lab itself cannot tell apart.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::binaries::Binaries;
use crate::cage::Cage;
use crate::child::{self, Child};
use crate::error::{Because, Result, unexpected};
use crate::node::Node;
use crate::stats::{self, Hits};
use crate::stop;
use crate::users::User;

/// Which side a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As its owner would run it.
    Native,
    /// Under `hooktool run`.
    Hooked,
}

/// Both, native first.
pub const SIDES: [Side; 2] = [Side::Native, Side::Hooked];

impl Side {
    /// Word in file names and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Hooked => "hooked",
        }
    }
}

/// What to start.
pub struct Spec<'a> {
    /// The unmodified command.
    pub command: Vec<String>,
    /// Who runs it; `None`: the lab's user.
    pub user: Option<&'a User>,
    /// Globs of files the session alone writes.
    pub own: Vec<String>,
    /// Further options of `hooktool run`.
    pub options: Vec<String>,
    /// Receives what it writes; with `pipes`, its standard error only.
    pub log: PathBuf,
    /// Standard input and output become pipes to the lab.
    pub pipes: bool,
    /// The signal that asks it to end.
    pub end_by: Signal,
    /// Working directory.
    pub cwd: &'a Path,
}

/// How the hooked side reaches its node.
pub struct Hooks<'a> {
    /// Where the binaries are.
    pub binaries: &'a Binaries,
    /// The memory node.
    pub node: &'a Node,
    /// Options from the command line of `lab`.
    pub options: &'a [String],
    /// No hooks at all.
    pub calibrate: bool,
}

/// A started program.
pub struct Target {
    /// The process, which is the program itself.
    pub child: Child,
    /// Its session, on the hooked side.
    session: Option<String>,
    hooktool: PathBuf,
}

/// How long a session may take to answer.
const SESSION: Duration = Duration::from_secs(15);

/// Makes session names differ within one lab.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// Starts a program on one side.
pub fn launch(side: Side, cage: &Cage, hooks: &Hooks, spec: Spec) -> Result<Target> {
    let lab = std::env::current_exe().because(|| "finding lab itself")?;
    let mut command = Command::new(lab);
    command.arg("enter");
    for dir in cage.dirs() {
        command.arg("--cgroup").arg(dir);
    }
    if let Some(user) = spec.user {
        command.args(["--user", &user.name]);
    }
    command.arg("--");
    let hooked = side == Side::Hooked && !hooks.calibrate;
    let session = hooked.then(|| {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        format!("lab-{}-{number}", std::process::id())
    });
    if let Some(name) = &session {
        command
            .arg(&hooks.binaries.hooktool)
            .args(["run", "--name", name, "--linger", "0"]);
        command.args(["--node", &hooks.node.address]);
        command.args(spec.own.iter().flat_map(|glob| ["--own", glob]));
        command.args(&spec.options).args(hooks.options).arg("--");
    }
    command.args(&spec.command).current_dir(spec.cwd);
    let log = File::create(&spec.log).because(|| spec.log.display().to_string())?;
    let again = log.try_clone().because(|| spec.log.display().to_string())?;
    command.stderr(log);
    if spec.pipes {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
    } else {
        command.stdin(Stdio::null()).stdout(again);
    }
    let child = Child::spawn(&mut command, spec.end_by)?;
    let mut target = Target {
        child,
        session,
        hooktool: hooks.binaries.hooktool.clone(),
    };
    target.wait_for_session(&spec.log)?;
    Ok(target)
}

impl Target {
    /// `hooktool run` makes the session before it executes the command, but not at once.
    fn wait_for_session(&mut self, log: &Path) -> Result<()> {
        let answered = stop::until(SESSION, || {
            if let Err(error) = self.child.check_alive() {
                eprint!(
                    "{}",
                    child::tail(&std::fs::read_to_string(log).unwrap_or_default())
                );
                return Err(error);
            }
            stop::sleep(Duration::from_millis(20))?;
            Ok(self.hits().ok())
        })?;
        match answered {
            Some(_) => Ok(()),
            // The last answer says why.
            None => self.hits().map(|_| ()),
        }
    }

    /// The session's hook server.
    pub fn server(&self) -> Result<Pid> {
        let name = self.session.as_deref().unwrap_or_default();
        let answer = child::run(Command::new(&self.hooktool).args(["ps", "-j"]))?;
        let is_it = |entry: &serde_json::Value| entry["name"] == name;
        let entries = answer
            .lines()
            .map(serde_json::from_str::<serde_json::Value>);
        let number = entries
            .flatten()
            .find(is_it)
            .and_then(|entry| entry["server_pid"].as_i64());
        let pid = number.and_then(|number| Pid::from_raw(i32::try_from(number).ok()?));
        pid.ok_or_else(|| unexpected(format!("hooktool ps -j, session {name}"), &answer))
    }

    /// The session's counters; `None` on the native side.
    pub fn hits(&self) -> Result<Option<Hits>> {
        let Some(name) = &self.session else {
            return Ok(None);
        };
        stats::ask(&mut Command::new(&self.hooktool), name).map(Some)
    }
}
