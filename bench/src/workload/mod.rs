//! The workloads of the lab; each file below is one, and says what it shows.

use clap::ValueEnum;

use crate::error::Result;
use crate::report::Row;
use crate::run::Lab;

mod bitmap_scan;
mod calls;
mod deadline;
mod fast_disk;
mod hog;
mod local_hit;
mod mariadb;
mod nginx;
mod outsider;
mod page_cache;
mod pgbench;
mod pread;
mod remote_read;
mod small_cage;
mod sqlite;
mod valid;
mod workers;

/// Names for `--workload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// PostgreSQL, read only, for each number of clients
    PgbenchSelect,
    /// PostgreSQL, reading and writing (TPC-B)
    PgbenchTpcb,
    /// PostgreSQL, bitmap heap scans: advice before almost every read
    BitmapScan,
    /// MariaDB with its defaults, point selects by sysbench
    Mariadb,
    /// nginx, 3000 files of 128 KiB, sendfile on and off
    Nginx,
    /// SQLite point reads by an unmodified Python
    Sqlite,
    /// Random 4 KiB reads of one file
    Pread,
    /// write and read on a socket pair, cost of one call
    Socket,
    /// The same on a pipe
    Pipe,
    /// Everything in the page cache, alone and beside a file that is served remotely
    PageCache,
    /// A local hit against a page-cache hit
    LocalHit,
    /// A memory hog squeezes the page cache and leaves
    Hog,
    /// A data set that fits the cage, but not beside a fixed 64 MiB
    SmallCage,
    /// A disk as fast as the network: nothing to win
    FastDisk,
    /// Latency of a remote 4 KiB read against a bare TCP ping-pong
    RemoteRead,
    /// The worst read while the node is stopped, against its deadline
    Deadline,
    /// Calls of a program outside, on a file that hooked readers read
    Outsider,
}

impl Name {
    /// All, in the order of the report.
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    /// Runs it; `emit` gets each row as soon as it is there.
    pub fn run(self, lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
        match self {
            Self::PgbenchSelect => pgbench::select(lab, emit),
            Self::PgbenchTpcb => pgbench::tpcb(lab, emit),
            Self::BitmapScan => bitmap_scan::run(lab, emit),
            Self::Mariadb => mariadb::run(lab, emit),
            Self::Nginx => nginx::run(lab, emit),
            Self::Sqlite => sqlite::run(lab, emit),
            Self::Pread => pread::run(lab, emit),
            Self::Socket => calls::run(lab, "socket", &[], emit),
            Self::Pipe => calls::run(lab, "pipe", &["--pipe"], emit),
            Self::PageCache => page_cache::run(lab, emit),
            Self::LocalHit => local_hit::run(lab, emit),
            Self::Hog => hog::run(lab, emit),
            Self::SmallCage => small_cage::run(lab, emit),
            Self::FastDisk => fast_disk::run(lab, emit),
            Self::RemoteRead => remote_read::run(lab, emit),
            Self::Deadline => deadline::run(lab, emit),
            Self::Outsider => outsider::run(lab, emit),
        }
    }
}
