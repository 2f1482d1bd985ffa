//! `lab enter`: puts itself into control groups, becomes another user, executes a command.
//!
//! The lab starts every caged program through this, so that the process number the lab got from
//! its spawn is the program's own, and nothing of the lab's memory is charged to the cage. The
//! change of user is left to `setpriv` (util-linux), which does it completely.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::error::{Because, Error, Result};
use crate::users;

/// Flags of `lab enter`.
#[derive(Debug, clap::Args)]
pub struct EnterArgs {
    /// Directory of a control group to enter (repeatable)
    #[arg(long = "cgroup", value_name = "DIR")]
    pub cgroups: Vec<PathBuf>,
    /// User to become
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The command
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// Returns only if the command could not be executed.
pub fn enter(args: &EnterArgs) -> Result<()> {
    for dir in &args.cgroups {
        let path = dir.join("cgroup.procs");
        fs::write(&path, std::process::id().to_string())
            .because(|| format!("entering {}", dir.display()))?;
    }
    let mut command = match &args.user {
        Some(user) => {
            let user = users::find(user)?;
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", user.uid))
                .arg(format!("--regid={}", user.gid));
            command.args(["--init-groups", "--"]).args(&args.command);
            command
        }
        None => {
            let mut command = Command::new(&args.command[0]);
            command.args(&args.command[1..]);
            command
        }
    };
    let cause = command.exec();
    Err(Error::Io {
        what: format!("executing {}", args.command.join(" ")),
        cause,
    })
}
