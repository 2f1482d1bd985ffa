//! PostgreSQL as the lab uses it: the installed programs, a template cluster, a server per side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child;
use crate::error::{Because, Result, advice};
use crate::users::User;

mod server;
mod template;

pub use server::Server;
pub use template::{ensure as template, ensure_filled as template_filled};

/// Where Debian puts the server's programs, by version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Where `postgres`, `initdb` and `pgbench` are: the newest Debian has, else the one in PATH.
pub fn bin() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .map(|entries| {
            let of = |entry: fs::DirEntry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                let bin = entry.path().join("bin");
                bin.join("postgres").is_file().then_some((version, bin))
            };
            entries.flatten().filter_map(of).collect()
        })
        .unwrap_or_default();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|dir| dir.join("postgres").is_file());
    in_path.ok_or_else(|| {
        advice(
            "PostgreSQL is not installed",
            "apt-get install postgresql-15",
        )
    })
}

/// A command of PostgreSQL's run as `user`, outside any cage.
pub fn tool(user: Option<&User>, program: &Path) -> Result<Command> {
    let lab = std::env::current_exe().because(|| "finding lab itself")?;
    let mut command = Command::new(lab);
    command.arg("enter");
    if let Some(user) = user {
        command.args(["--user", &user.name]);
    }
    command.arg("--").arg(program).current_dir("/");
    Ok(command)
}

/// Version of the server, `15`.
pub fn major(bin: &Path) -> Result<String> {
    let text = child::run(Command::new(bin.join("postgres")).arg("--version"))?;
    let digits = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let digits = digits.unwrap_or("0");
    Ok(digits.split('.').next().unwrap_or(digits).to_string())
}
