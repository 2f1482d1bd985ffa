//! MariaDB with its defaults, `O_DIRECT` included, under sysbench's point selects: rows by primary
//! key, drawn evenly over a table larger than the buffer pool. The servers are in the cages,
//! sysbench is not.

use std::path::PathBuf;

use super::valid;
use crate::cage::{Cage, Limits};
use crate::error::{Result, unexpected};
use crate::files;
use crate::maria::{self, SWITCH, Server};
use crate::report::{Goal, Row, Warmth};
use crate::run::rounds::{Measured, Subject, compare, side_dir};
use crate::run::warm::{Cold, warm};
use crate::run::{Lab, Pair};
use crate::side::Side;
use crate::size::{self, MIB};
use crate::stats::Hits;

/// The workload of sysbench's.
const SCRIPT: &str = "oltp_point_select";

/// Reads every page of the table once, by both indexes. Without read-ahead, for that is libaio's:
/// what it reads passes every hook and fills nothing.
const PASS: &str = "SET GLOBAL innodb_read_ahead_threshold = 0; \
                    SELECT SUM(LENGTH(pad)) FROM sb.sbtest1 FORCE INDEX (PRIMARY); \
                    SELECT COUNT(k) FROM sb.sbtest1 FORCE INDEX (k_1); \
                    SET GLOBAL innodb_read_ahead_threshold = DEFAULT";

/// Memory of a cage at least: a server with its buffer pool of 128 MiB does not live in less. The
/// page cache, which the rest would hold, is passed by (`O_DIRECT`).
const MEMORY_MIN: u64 = 512 * MIB;

/// hooked : native.
const GOAL: f64 = 5.0;

/// Device reads per query that the native side must make for the row to mean anything.
const DISK_BOUND: f64 = 0.5;

/// A row for each number of clients.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let mut subject = MariaDb::start(lab)?;
    let mut warmth = subject.warm()?;
    for &clients in &lab.args.clients {
        let bytes = size::show(subject.bytes);
        let variant = format!("{clients} clients, point selects of {bytes}");
        let mut row = Row::new("mariadb", variant, "queries/s");
        row.warm = warmth.take();
        subject.clients = clients;
        let stated = lab.args.iops == 3000 && lab.controllers.memory.is_some();
        let goal = stated.then_some(Goal::AtLeast(GOAL));
        compare(lab, &mut subject, &mut row, goal)?;
        valid::disk_bound(&mut row, DISK_BOUND);
        valid::served_by_node(&mut row);
        row.notes
            .push(format!("hooked with {SWITCH}; natively as it comes"));
        emit(row);
    }
    Ok(())
}

/// A server on each side.
struct MariaDb<'a> {
    lab: &'a Lab,
    /// Dropped before the cages.
    servers: Pair<Server>,
    cages: Pair<Cage>,
    data: Pair<PathBuf>,
    /// Of the table with its indexes.
    bytes: u64,
    clients: u32,
}

impl<'a> MariaDb<'a> {
    fn start(lab: &'a Lab) -> Result<Self> {
        let template = maria::template(lab)?;
        let data = Pair::try_of(|side| {
            let data = side_dir(lab, side)?.join("maria");
            let _ = std::fs::remove_dir_all(&data);
            files::copy(&template, &data, lab.server_user.as_ref())?;
            Ok(data)
        })?;
        let cages = lab.cages(Limits {
            memory_bytes: match lab.args.memory {
                0 => 0,
                bytes => bytes.max(MEMORY_MIN),
            },
            ..lab.limits()
        })?;
        let servers = Pair::try_of(|side| {
            cages.of(side).cap(false)?;
            let server = Server::start(lab, side, cages.of(side), data.of(side), &[])?;
            cages.of(side).cap(true)?;
            Ok(server)
        })?;
        let size = servers.hooked.query(
            "SELECT data_length + index_length FROM information_schema.tables \
             WHERE table_schema = 'sb'",
        )?;
        let bytes = size
            .trim()
            .parse()
            .map_err(|_| unexpected("size of the table", &size))?;
        Ok(Self {
            lab,
            servers,
            cages,
            data,
            bytes,
            clients: 1,
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

    fn select(&self, side: Side, seconds: u32) -> Result<Measured> {
        let order = [
            "--rand-type=uniform".to_string(),
            format!("--threads={}", self.clients),
            format!("--time={seconds}"),
            "--events=0".into(),
            "run".into(),
        ];
        let order: Vec<&str> = order.iter().map(String::as_str).collect();
        let rows = maria::rows(self.lab.args.data);
        let said = self.servers.of(side).sysbench(SCRIPT, rows, &order)?;
        parse(&said).ok_or_else(|| unexpected("sysbench", &said))
    }
}

impl Subject for MariaDb<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.cages.of(side)
    }

    fn data(&self, side: Side) -> PathBuf {
        self.data.of(side).clone()
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        match self.lab.args.settle_seconds {
            0 => Ok(()),
            seconds => self.select(side, seconds).map(|_| ()),
        }
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        self.select(side, self.lab.args.seconds)
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.servers.hooked.target.hits()
    }
}

/// Queries per second and queries; `None` if any failed.
fn parse(said: &str) -> Option<Measured> {
    let line = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name));
    let (ops, rest) = line("queries:")?.trim().split_once(' ')?;
    let rate = rest.trim().strip_prefix('(')?.split(' ').next()?;
    let failed = line("ignored errors:")?.split_whitespace().next()?;
    (failed == "0").then_some(Measured {
        value: rate.parse().ok()?,
        ops: ops.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    const SAID: &str = "SQL statistics:
    queries performed:
        read:                            16000
    transactions:                        16000  (7996.40 per sec.)
    queries:                             16000  (7996.40 per sec.)
    ignored errors:                      0      (0.00 per sec.)
";

    #[test]
    fn sysbench_is_understood_and_failures_are_not_results() {
        let measured = parse(SAID).unwrap();
        assert_eq!((measured.value, measured.ops), (7996.40, 16000));
        let failed = SAID.replace("errors:                      0 ", "errors:    3 ");
        assert!(parse(&failed).is_none());
        assert!(parse("FATAL: no connection").is_none());
    }
}
