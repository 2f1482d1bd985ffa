//! Clusters with data in them, made once and kept: rounds and runs copy them.
//!
//! Loaded with `wal_level=minimal`, so that the load leaves no gigabyte of WAL behind, and with
//! COPY FREEZE as pgbench does by itself, so that read-only rounds write no hint bits.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::Signal;

use super::{Server, bin, major, tool};
use crate::cage::{Cage, Controllers, Limits};
use crate::child;
use crate::error::{Because, Result};
use crate::files;
use crate::run::Lab;
use crate::side::Side;

/// Settings of the load: fast, and nothing that stays in the data.
const LOAD: [&str; 7] = [
    "fsync=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=4GB",
    "maintenance_work_mem=256MB",
    "autovacuum=off",
    "checkpoint_timeout=1h",
];

/// The directory of pgbench's cluster; makes it if need be.
pub fn ensure(lab: &Lab) -> Result<PathBuf> {
    let scale = lab.args.scale.to_string();
    ensure_filled(lab, &format!("scale{scale}"), &|server: &Server| {
        let pgbench = bin()?.join("pgbench");
        server.client(&pgbench, &["-i", "-q", "-s", &scale])?;
        server.query("CREATE EXTENSION IF NOT EXISTS pg_prewarm")?;
        Ok(())
    })
}

/// The directory of the cluster called `name` that `fill` has put data into; makes it if need be.
pub fn ensure_filled(
    lab: &Lab,
    name: &str,
    fill: &dyn Fn(&Server) -> Result<()>,
) -> Result<PathBuf> {
    let bin = bin()?;
    let version = major(&bin)?;
    let kept = lab.dir.join(format!("pg{version}-{name}"));
    if kept.join("PG_VERSION").is_file() {
        return Ok(kept);
    }
    let begun = Instant::now();
    eprintln!("lab: making a cluster, {name}");
    let partial = lab.run_dir.path().join("template");
    let user = lab.server_user.as_ref();
    let mut initdb = tool(user, &bin.join("initdb"))?;
    initdb.arg("-D").arg(&partial);
    child::run(initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]))?;
    load(lab, &partial, fill)?;
    settle(&partial)?;
    fs::rename(&partial, &kept).because(|| kept.display().to_string())?;
    eprintln!("lab: made in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(kept)
}

fn load(lab: &Lab, data: &Path, fill: &dyn Fn(&Server) -> Result<()>) -> Result<()> {
    // No limits: the load is not part of any measurement.
    let cage = Cage::new(
        &Controllers::default(),
        "load",
        Limits {
            memory_bytes: 0,
            read_iops: 0,
        },
    )?;
    let server = Server::start(lab, Side::Native, &cage, data, &LOAD)?;
    fill(&server)?;
    server.query("VACUUM ANALYZE")?;
    server.query("CHECKPOINT")?;
    server.stop(Signal::INT)
}

/// Everything onto the disk: the load ran without fsync.
fn settle(data: &Path) -> Result<()> {
    let dir = fs::File::open(data).because(|| data.display().to_string())?;
    rustix::fs::syncfs(&dir).because(|| "syncfs")?;
    files::evict(data);
    Ok(())
}
