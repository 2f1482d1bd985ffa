//! nginx over 3000 files of 128 KiB, three times the cage's memory: `sendfile` on and off with
//! files kept open, and on without, as nginx comes. The servers are in the cages, the clients are
//! not.

use std::path::PathBuf;
use std::time::Duration;

use super::valid;
use crate::cage::{Cage, Limits};
use crate::error::Result;
use crate::files;
use crate::report::{Goal, Row};
use crate::run::rounds::{Measured, Subject, compare, side_dir};
use crate::run::warm::{Cold, warm};
use crate::run::{Lab, Pair};
use crate::side::Side;
use crate::size::{self, MIB};
use crate::stats::Hits;
use crate::web::{Load, Server, Way};

/// Files, and bytes of each.
const FILES: u64 = 3000;
const FILE_BYTES: u64 = 128 * 1024;

/// What the goal is stated for; a command line that asks for less gets less.
const MEMORY_MAX: u64 = 128 * MIB;
const IOPS_MAX: u32 = 300;

/// Connections.
const CLIENTS: u32 = 8;

/// hooked : native.
const GOAL: f64 = 15.0;

/// Device reads per request that the native side must make for the row to mean anything.
const DISK_BOUND: f64 = 0.3;

/// A row for each.
const WAYS: [Way; 3] = [
    Way {
        sendfile: true,
        keeps_open: true,
    },
    Way {
        sendfile: false,
        keeps_open: true,
    },
    Way {
        sendfile: true,
        keeps_open: false,
    },
];

/// Three variants.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let docs = Pair::try_of(|side| {
        let docs = side_dir(lab, side)?.join("docs");
        let user = lab.server_user.as_ref();
        files::make_numbered(&docs, files_count(lab), FILE_BYTES as usize, user)?;
        Ok(docs)
    })?;
    for way in WAYS {
        variant(lab, &docs, way, emit)?;
    }
    Ok(())
}

/// `--data` below the goal's makes a small trial.
fn files_count(lab: &Lab) -> u64 {
    FILES.min(lab.args.data / FILE_BYTES).max(1)
}

fn variant(lab: &Lab, docs: &Pair<PathBuf>, way: Way, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let limits = Limits {
        memory_bytes: lab.args.memory.min(MEMORY_MAX),
        read_iops: match lab.args.iops {
            0 => 0,
            iops => iops.min(IOPS_MAX),
        },
    };
    let cages = lab.cages(limits)?;
    let servers =
        Pair::try_of(|side| Server::start(lab, side, cages.of(side), docs.of(side), way))?;
    let mut subject = Nginx {
        lab,
        servers,
        cages,
        docs,
    };
    let count = files_count(lab);
    let mut row = Row::new(
        "nginx",
        format!(
            "{way}, {count} files of 128 KiB in {}, {} reads/s, {CLIENTS} clients",
            size::show(limits.memory_bytes),
            limits.read_iops
        ),
        "requests/s",
    );
    row.warm = subject.warm(count * FILE_BYTES)?;
    let stated = (limits.memory_bytes, limits.read_iops, count) == (MEMORY_MAX, IOPS_MAX, FILES);
    let goal = (stated && lab.controllers.memory.is_some()).then_some(Goal::AtLeast(GOAL));
    compare(lab, &mut subject, &mut row, goal)?;
    valid::disk_bound(&mut row, DISK_BOUND);
    valid::served_by_node(&mut row);
    row.notes
        .push("nginx started as the user of its workers".into());
    emit(row);
    Ok(())
}

/// A server on each side.
struct Nginx<'a> {
    lab: &'a Lab,
    /// Dropped before the cages.
    servers: Pair<Server>,
    cages: Pair<Cage>,
    docs: &'a Pair<PathBuf>,
}

impl Nginx<'_> {
    fn load(&self, side: Side) -> Load {
        Load {
            at: self.servers.of(side).at,
            files: files_count(self.lab),
            bytes: FILE_BYTES,
            clients: CLIENTS,
        }
    }

    fn warm(&self, bytes: u64) -> Result<Option<crate::report::Warmth>> {
        let cold = Cold {
            cage: &self.cages.hooked,
            data: &self.docs.hooked,
            bytes,
        };
        let load = self.load(Side::Hooked);
        let target = &self.servers.hooked.target;
        let mut pass = || load.pass().map(|_| ());
        warm(self.lab.args.warm, &cold, &mut pass, &mut || target.hits())
    }
}

impl Subject for Nginx<'_> {
    fn cage(&self, side: Side) -> &Cage {
        self.cages.of(side)
    }

    fn data(&self, side: Side) -> PathBuf {
        self.docs.of(side).clone()
    }

    fn settle(&mut self, side: Side) -> Result<()> {
        match self.lab.args.settle_seconds {
            0 => Ok(()),
            seconds => self
                .load(side)
                .random(Duration::from_secs(seconds.into()))
                .map(|_| ()),
        }
    }

    fn measure(&mut self, side: Side) -> Result<Measured> {
        let time = Duration::from_secs(self.lab.args.seconds.into());
        let done = self.load(side).random(time)?;
        Ok(Measured {
            value: done.requests as f64 / done.time.as_secs_f64(),
            ops: done.requests,
        })
    }

    fn hits(&self) -> Result<Option<Hits>> {
        self.servers.hooked.target.hits()
    }
}
