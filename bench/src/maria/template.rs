//! The data directory with sysbench's table, made once per size and kept: runs copy it.
//!
//! Loaded without fsync and with a redo log as large as the load; a slow shutdown then leaves a
//! clean tablespace, so that no side purges or merges while it is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{DATABASE, Server, rows, tool};
use crate::cage::{Cage, Controllers, Limits};
use crate::child;
use crate::error::{Because, Result};
use crate::files;
use crate::run::Lab;
use crate::side::Side;

/// Settings of the load.
const LOAD: [&str; 5] = [
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-buffer-pool-size=1G",
    "--innodb-fast-shutdown=0",
    "--skip-log-bin",
];

/// The directory; makes it if need be.
pub fn ensure(lab: &Lab) -> Result<PathBuf> {
    let rows = rows(lab.args.data);
    let kept = lab.dir.join(format!("maria-{rows}"));
    if kept.join(DATABASE).is_dir() {
        return Ok(kept);
    }
    let begun = Instant::now();
    eprintln!("lab: making a MariaDB table of {rows} rows");
    let partial = lab.run_dir.path().join("template");
    let user = lab.server_user.as_ref();
    let mut install = tool(user, "mariadb-install-db")?;
    install.args(["--no-defaults", "--skip-test-db"]);
    install.arg("--auth-root-authentication-method=normal");
    if user.is_none() && crate::users::is_root() {
        install.arg("--user=root");
    }
    child::run(install.arg(format!("--datadir={}", partial.display())))?;
    load(lab, &partial, rows)?;
    settle(&partial)?;
    fs::rename(&partial, &kept).because(|| kept.display().to_string())?;
    eprintln!("lab: made in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(kept)
}

fn load(lab: &Lab, data: &Path, rows: u64) -> Result<()> {
    // No limits: the load is not part of any measurement.
    let unlimited = Limits {
        memory_bytes: 0,
        read_iops: 0,
    };
    let cage = Cage::new(&Controllers::default(), "load", unlimited)?;
    let server = Server::start(lab, Side::Native, &cage, data, &LOAD)?;
    server.query(&format!("CREATE DATABASE {DATABASE}"))?;
    server.sysbench("oltp_point_select", rows, &["prepare"])?;
    server.stop()
}

/// Everything onto the disk: the load ran without fsync.
fn settle(data: &Path) -> Result<()> {
    let dir = fs::File::open(data).because(|| data.display().to_string())?;
    rustix::fs::syncfs(&dir).because(|| "syncfs")?;
    files::evict(data);
    Ok(())
}
