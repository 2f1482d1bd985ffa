//! Installs PostgreSQL where it is missing: as root, from the distribution's own packages.
//!
//! Debian's package makes and starts a cluster of its own. The demo does not use it: a cluster that
//! was not there before is stopped again and set to manual start; one that was is left alone.

use std::fs;
use std::process::Command;

use crate::child;
use crate::error::{Result, advice};
use crate::{pg, users};

/// Makes sure `pg::bin` finds a server.
pub fn postgresql() -> Result<()> {
    if pg::bin().is_ok_and(|bin| bin.join("pgbench").is_file()) {
        return Ok(());
    }
    let fix = "apt-get install postgresql-15";
    if !users::is_root() {
        return Err(advice(
            "PostgreSQL is not installed and only root can install it",
            fix,
        ));
    }
    eprintln!("lab: installing postgresql-15 (apt-get)");
    let before = clusters();
    let apt = |words: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        child::run(&mut command).map(|_| ())
    };
    apt(&["update", "-q"])?;
    apt(&[
        "install",
        "-q",
        "-y",
        "--no-install-recommends",
        "postgresql-15",
    ])?;
    for cluster in clusters()
        .iter()
        .filter(|cluster| !before.contains(cluster))
    {
        put_to_rest(cluster);
    }
    pg::bin().map(|_| ())
}

/// The distribution's clusters, `(version, name)`.
fn clusters() -> Vec<(String, String)> {
    let listed = child::run(Command::new("pg_lsclusters").arg("--no-header")).unwrap_or_default();
    let of = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_string);
        Some((words.next()?, words.next()?))
    };
    listed.lines().filter_map(of).collect()
}

fn put_to_rest((version, name): &(String, String)) {
    let _ = child::run(Command::new("pg_ctlcluster").args([
        "--skip-systemctl-redirect",
        version,
        name,
        "stop",
    ]));
    let start = format!("/etc/postgresql/{version}/{name}/start.conf");
    if fs::write(&start, "manual\n").is_ok() {
        eprintln!("lab: cluster {version}/{name} came with the package: stopped, start is manual");
    }
}
