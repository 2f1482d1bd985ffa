//! PostgreSQL's bitmap heap scans: an index in another order than the table names some hundred
//! pages all over it, and the server advises (`posix_fadvise`) so many of them ahead as
//! `effective_io_concurrency` says. With 0 it reads one after the other; 1 is its default.

use std::fs;
use std::path::PathBuf;

use super::{pgbench, valid};
use crate::cage::Cage;
use crate::error::{Because, Result, unexpected};
use crate::files;
use crate::pg::{self, Server};
use crate::report::{Row, Warmth};
use crate::run::rounds::{Measured, Subject, compare, side_dir};
use crate::run::warm::{Cold, warm};
use crate::run::{Lab, Pair};
use crate::side::Side;
use crate::size;
use crate::stats::Hits;

/// Rows of a scan, nearly each on a page of its own.
const SCANNED: u64 = 200;

/// Bytes of table per row: seven rows to a page.
const PER_ROW: u64 = 1170;

/// Rows that follow each other by key lie so many rows apart (a prime).
const STRIDE: u64 = 7919;

/// Pages advised ahead, a row of the report for each.
const CONCURRENCY: [u32; 3] = [0, 1, 32];

/// Reads every page of table and index once, through the server.
const PASS: &str = "SELECT pg_prewarm('scattered', 'read') + pg_prewarm('scattered_key', 'read')";

/// Device reads per query that the native side must make for the row to mean anything.
const DISK_BOUND: f64 = 20.0;

/// A row for each of `CONCURRENCY`.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let mut subject = Scans::start(lab)?;
    let mut warmth = subject.warm()?;
    for concurrency in CONCURRENCY {
        let bytes = size::show(subject.bytes);
        let variant = format!(
            "{SCANNED} rows of {bytes}, effective_io_concurrency {concurrency}, +{} us",
            lab.args.rtt_us
        );
        let mut row = Row::new("bitmap-scan", variant, "queries/s");
        row.warm = warmth.take();
        subject.concurrency = concurrency;
        compare(lab, &mut subject, &mut row, None)?;
        valid::disk_bound(&mut row, DISK_BOUND);
        valid::served_by_node(&mut row);
        emit(row);
    }
    Ok(())
}

/// A server on each side and what they are asked.
struct Scans<'a> {
    lab: &'a Lab,
    /// Dropped before the cages.
    servers: Pair<Server>,
    cages: Pair<Cage>,
    data: Pair<PathBuf>,
    script: PathBuf,
    /// Of table and index.
    bytes: u64,
    concurrency: u32,
}

impl<'a> Scans<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        let rows = rows(lab.args.data);
        let name = format!("scattered{rows}");
        let template = pg::template_filled(lab, &name, &|server: &Server| fill(server, rows))?;
        let data = Pair::try_of(|side| {
            let data = side_dir(lab, side)?.join("pgdata");
            let _ = fs::remove_dir_all(&data);
            files::copy(&template, &data, lab.server_user.as_ref())?;
            Ok(data)
        })?;
        let script = lab.run_dir.path().join("bitmap.sql");
        let last = rows - SCANNED;
        let text = format!(
            "\\set from random(0, {last})\n\
             SELECT sum(length(body)) FROM scattered \
             WHERE key >= :from AND key < :from + {SCANNED};\n"
        );
        fs::write(&script, text).because(|| script.display().to_string())?;
        let cages = lab.cages(lab.limits())?;
        let settings = ["enable_indexscan=off", "enable_seqscan=off"];
        let servers = Pair::try_of(|side| {
            cages.of(side).cap(false)?;
            let server = Server::start(lab, side, cages.of(side), data.of(side), &settings)?;
            cages.of(side).cap(true)?;
            Ok(server)
        })?;
        let size = servers
            .hooked
            .query("SELECT pg_relation_size('scattered') + pg_relation_size('scattered_key')")?;
        let bytes = size
            .trim()
            .parse()
            .map_err(|_| unexpected("size of the table", &size))?;
        Ok(Self {
            lab,
            servers,
            cages,
            data,
            script,
            bytes,
            concurrency: 1,
        })
    }

    fn warm(&self) -> Result<Option<Warmth>> {
        let server = &self.servers.hooked;
        let cold = Cold {
            cage: &self.cages.hooked,
            data: &self.data.hooked,
            bytes: self.bytes,
        };
        let mut pass = || server.query(PASS).map(|_| ());
        warm(self.lab.args.warm, &cold, &mut pass, &mut || {
            server.target.hits()
        })
    }

    fn scan(&self, side: Side, seconds: u32) -> Result<Measured> {
        let server = self.servers.of(side);
        let role = format!(
            "ALTER ROLE postgres SET effective_io_concurrency = {}",
            self.concurrency
        );
        server.query(&role)?;
        let (script, seconds) = (self.script.display().to_string(), seconds.to_string());
        let args = ["-n", "-M", "prepared", "-f", &script, "-T", &seconds];
        let said = server.client(&pg::bin()?.join("pgbench"), &args)?;
        pgbench::parse(&said).ok_or_else(|| unexpected("pgbench", &said))
    }
}

impl Subject for Scans<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.cages.of(side)
    }

    fn data(&self, side: Side) -> PathBuf {
        self.data.of(side).clone()
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        match self.lab.args.settle_seconds {
            0 => Ok(()),
            seconds => self.scan(side, seconds).map(|_| ()),
        }
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        self.scan(side, self.lab.args.seconds)
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.servers.hooked.target.hits()
    }
}

/// Rows of so many bytes; `STRIDE` must not divide them, or keys would repeat.
fn rows(data_bytes: u64) -> u64 {
    let rows = (data_bytes / PER_ROW).max(STRIDE + 1);
    rows + u64::from(rows.is_multiple_of(STRIDE))
}

/// The table, in the order of its rows, and an index in another.
fn fill(server: &Server, rows: u64) -> Result<()> {
    server.query("CREATE EXTENSION pg_prewarm")?;
    server.query(&format!(
        "CREATE TABLE scattered AS SELECT (n * {STRIDE} % {rows})::int AS key, \
         repeat(md5(n::text), 34) AS body FROM generate_series(0, {rows} - 1::bigint) AS n"
    ))?;
    server.query("CREATE INDEX scattered_key ON scattered (key)")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_of_its_own() {
        for bytes in [0, STRIDE * 2 * PER_ROW, 64 << 20] {
            let rows = rows(bytes);
            let keys: std::collections::BTreeSet<u64> =
                (0..rows).map(|n| n * STRIDE % rows).collect();
            assert_eq!(keys.len() as u64, rows);
        }
    }
}
