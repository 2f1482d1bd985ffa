//! PostgreSQL under pgbench: the main row of the lab. The server is in the cage, pgbench is not.

use std::path::PathBuf;

use crate::cage::Cage;
use crate::cli::Protocol;
use crate::error::{Result, unexpected};
use crate::files;
use crate::pg::{self, Server};
use crate::report::{Goal, Row};
use crate::run::rounds::{Measured, Subject, compare, side_dir};
use crate::run::warm::{Cold, warm};
use crate::run::{Lab, Pair};
use crate::side::{SIDES, Side};
use crate::size;
use crate::stats::Hits;

/// Reads every block of pgbench's tables and indexes once, through the server.
const PASS: &str = "SELECT sum(pg_prewarm(oid::regclass, 'read')) FROM pg_class \
                    WHERE relname LIKE 'pgbench%' AND relkind IN ('r', 'i')";

/// `pgbench -S`, a row for each number of clients.
pub fn select(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let mut subject = Pgbench::start(lab, &["-S"])?;
    let mut warmth = None;
    for &clients in &lab.args.clients {
        let mut row = Row::new("pgbench-select", variant(lab, clients), "transactions/s");
        if warmth.is_none() {
            warmth = subject.warm()?;
        }
        row.warm = warmth;
        subject.clients = clients;
        compare(lab, &mut subject, &mut row, select_goal(lab, clients))?;
        emit(row);
    }
    Ok(())
}

/// pgbench's default script: five statements, three of them writing.
pub fn tpcb(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let mut subject = Pgbench::start(lab, &[])?;
    let mut row = Row::new("pgbench-tpcb", "", "transactions/s");
    row.warm = subject.warm()?;
    for &clients in &lab.args.clients {
        let mut row = Row {
            variant: variant(lab, clients),
            ..row.clone()
        };
        subject.clients = clients;
        compare(lab, &mut subject, &mut row, Some(Goal::AtLeast(0.97)))?;
        emit(row);
    }
    Ok(())
}

fn variant(lab: &Lab, clients: u32) -> String {
    let (scale, rtt) = (lab.args.scale, lab.args.rtt_us);
    format!("{clients} clients, scale {scale}, +{rtt} us")
}

/// The goals are stated for these settings and no others.
fn select_goal(lab: &Lab, clients: u32) -> Option<Goal> {
    let args = &lab.args;
    if args.scale != 100 || args.memory != 256 * size::MIB || lab.controllers.memory.is_none() {
        return None;
    }
    let ratio = match (args.iops, args.rtt_us, clients) {
        (3000, 0, 1) => 5.0,
        (3000, 0, 8) => 12.0,
        (3000, 100, 1) => 2.0,
        (3000, 100, 8) => 8.0,
        (300, 0, 1) => 25.0,
        (300, 0, 8) => 100.0,
        (0, 0, 8) => 1.5,
        _ => return None,
    };
    Some(Goal::AtLeast(ratio))
}

/// A server on each side and the pgbench flags they are measured with.
struct Pgbench<'a> {
    lab: &'a Lab,
    /// Dropped before the cages.
    servers: Pair<Server>,
    cages: Pair<Cage>,
    data: Pair<PathBuf>,
    script: &'static [&'static str],
    clients: u32,
}

impl<'a> Pgbench<'a> {
    fn start(lab: &'a Lab, script: &'static [&'static str]) -> Result<Self> {
        let template = pg::template(lab)?;
        let data = Pair::try_of(|side| {
            let data = side_dir(lab, side)?.join("pgdata");
            let _ = std::fs::remove_dir_all(&data);
            files::copy(&template, &data, lab.server_user.as_ref())?;
            Ok(data)
        })?;
        let cages = lab.cages(lab.limits())?;
        for side in SIDES {
            cages.of(side).cap(false)?;
        }
        let servers =
            Pair::try_of(|side| Server::start(lab, side, cages.of(side), data.of(side), &[]))?;
        for side in SIDES {
            cages.of(side).cap(true)?;
        }
        Ok(Self {
            lab,
            servers,
            cages,
            data,
            script,
            clients: 1,
        })
    }

    fn warm(&self) -> Result<Option<crate::report::Warmth>> {
        let server = &self.servers.hooked;
        let data = &self.data.hooked;
        let size = server.query(
            "SELECT sum(pg_relation_size(oid)) FROM pg_class \
             WHERE relname LIKE 'pgbench%' AND relkind IN ('r', 'i')",
        )?;
        let bytes = size
            .trim()
            .parse()
            .map_err(|_| unexpected("size of the tables", &size))?;
        let cold = Cold {
            cage: &self.cages.hooked,
            data,
            bytes,
        };
        let mut pass = || server.query(PASS).map(|_| ());
        warm(self.lab.args.warm, &cold, &mut pass, &mut || {
            server.target.hits()
        })
    }

    fn pgbench(&self, side: Side, seconds: u32) -> Result<Measured> {
        let clients = self.clients.to_string();
        let threads = self.clients.min(2).to_string();
        let seconds = seconds.to_string();
        let protocol = match self.lab.args.protocol {
            Protocol::Simple => "simple",
            Protocol::Prepared => "prepared",
        };
        let mut args = self.script.to_vec();
        args.extend([
            "-n", "-M", protocol, "-c", &clients, "-j", &threads, "-T", &seconds,
        ]);
        let server = self.servers.of(side);
        let said = server
            .client(&pg::bin()?.join("pgbench"), &args)
            .inspect_err(|_| {
                eprint!("{}", server.log_tail());
            })?;
        parse(&said).ok_or_else(|| unexpected("pgbench", &said))
    }
}

impl Subject for Pgbench<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.cages.of(side)
    }

    fn data(&self, side: Side) -> PathBuf {
        self.data.of(side).clone()
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        match self.lab.args.settle_seconds {
            0 => Ok(()),
            seconds => self.pgbench(side, seconds).map(|_| ()),
        }
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        self.pgbench(side, self.lab.args.seconds)
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.servers.hooked.target.hits()
    }
}

/// Transactions per second and transactions; `None` if any failed.
pub fn parse(said: &str) -> Option<Measured> {
    let after = |prefix: &str| said.lines().find_map(|line| line.strip_prefix(prefix));
    let failed = after("number of failed transactions: ")?;
    let tps = after("tps = ")?.split(' ').next()?.parse().ok()?;
    let count = after("number of transactions actually processed: ")?;
    let ops = count.split('/').next()?.trim().parse().ok()?;
    failed
        .starts_with("0 ")
        .then_some(Measured { value: tps, ops })
}

#[cfg(test)]
mod tests {
    use super::parse;

    const SAID: &str = "transaction type: <builtin: select only>
number of transactions actually processed: 13543
number of failed transactions: 0 (0.000%)
latency average = 0.590 ms
initial connection time = 3.7 ms
tps = 1693.506678 (without initial connection time)
";

    #[test]
    fn pgbench_is_understood_and_failures_are_not_results() {
        let measured = parse(SAID).unwrap();
        assert_eq!((measured.value, measured.ops), (1693.506678, 13543));
        assert!(parse(&SAID.replace(": 0 (0", ": 3 (0")).is_none());
        assert!(parse("pgbench: error").is_none());
    }
}
