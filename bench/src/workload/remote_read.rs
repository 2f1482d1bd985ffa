//! Latency of a remote 4 KiB read against a bare TCP ping-pong of the same size through the same
//! network, both sides in turns: what the protocol, the envelope and the index add.
//!
//! The "native" side of this row is the ping-pong; the hooked side reads a file that lies on the
//! node, with the local cache switched off, in a cage so small that the page cache holds next to
//! nothing of it (a read that the page cache answers would flatter the row).

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::workers::{Start, Workers, judge, work_command};
use crate::cage::Limits;
use crate::child::Child;
use crate::error::{Because, Result};
use crate::node;
use crate::report::{Goal, Row, median};
use crate::run::Lab;
use crate::size::MIB;
use crate::slices;
use crate::work::Slice;

/// Bytes of a GET reply that holds a 4 KiB block: payload, envelope header, RESP framing.
const REPLY: usize = 4096 + 32 + 9;

/// Turns of each side.
const TURNS: u32 = 60;

/// Length of a turn, in milliseconds.
const TURN_MS: u64 = 100;

/// Microseconds a remote read may add to the ping-pong's median.
const ADDS_US: f64 = 10.0;

/// p99 may be this many times p50.
const TAIL: f64 = 2.0;

/// The data is this many times the cage's memory.
const DATA_TO_MEMORY: u64 = 12;

/// Index of the hooked side: the share of memory that it gets by itself would be too small for the
/// data in such a cage.
const INDEX: &str = "8MiB";

/// Share of reads that must be remote for the row to mean anything.
const REMOTE: f64 = 0.90;

/// One thread.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    let echo = Echo::start(lab)?;
    let files = [("data", lab.args.data)];
    let limits = Limits {
        read_iops: lab.args.iops,
        memory_bytes: (lab.args.data / DATA_TO_MEMORY).max(32 * MIB),
    };
    let start = Start {
        limits,
        node: &lab.node,
        options: &["--local", "0", "--index", INDEX],
        files: &files,
    };
    let mut first = true;
    let mut pair = Workers::start(lab, &start, |dir| {
        let file = dir.join("data").display().to_string();
        if std::mem::take(&mut first) {
            let (to, reply) = (echo.at.to_string(), REPLY.to_string());
            return work_command(&["ping", "--to", &to, "--reply", &reply]);
        }
        work_command(&["pread", "--file", &file, "--size", "4096", "--latency"])
    })?;
    let mut row = Row::new(
        "remote-read",
        "4 KiB against a bare TCP ping-pong",
        "us, p50",
    );
    pair.warm(lab, lab.args.data, &mut row)?;
    let (ping, read) = pair.both();
    slices::alternate(ping, read, 20, TURN_MS)?;
    let turns = pair.turns(lab, TURNS, TURN_MS, &mut row)?;
    judge(
        &mut row,
        &turns,
        |it| it.p50_ns as f64 / 1e3,
        Some(Goal::AddsAtMost(ADDS_US)),
    );
    tails(&mut row, &turns);
    emit(row);
    Ok(())
}

fn tails(row: &mut Row, turns: &(Vec<Slice>, Vec<Slice>)) {
    let p99 = |slices: &[Slice]| {
        median(
            &slices
                .iter()
                .map(|it| it.p99_ns as f64 / 1e3)
                .collect::<Vec<_>>(),
        )
    };
    let hooked = p99(&turns.1);
    row.figures.insert("ping_p99_us", p99(&turns.0));
    row.figures.insert("remote_p99_us", hooked);
    row.figures.insert(
        "remote_p99_to_p50",
        hooked / row.hooked.median.max(f64::MIN_POSITIVE),
    );
    if hooked > TAIL * row.hooked.median {
        row.reached = Some(false);
        row.notes.push(format!("p99 is over {TAIL} x p50"));
    }
    if let Some(hits) = &row.hits {
        let share = hits.hits_remote as f64 / hits.reads.max(1) as f64;
        row.figures.insert("remote_share", share);
        if share < REMOTE {
            row.reached = Some(false);
            row.notes.push(format!(
                "only {:.0} % were remote: no valid row",
                share * 100.0
            ));
        }
    }
}

/// The bare server, outside the cages, behind the same delay as the node.
struct Echo {
    at: SocketAddr,
    /// Dropped in this order.
    _proxy: Option<Child>,
    _server: Child,
}

impl Echo {
    fn start(lab: &Lab) -> Result<Self> {
        let at = node::free_address()?;
        let itself = std::env::current_exe().because(|| "finding lab itself")?;
        let mut command = Command::new(itself);
        command.args(["work", "echo", "--listen", &at.to_string()]);
        command
            .args(["--reply", &REPLY.to_string()])
            .stdin(Stdio::null());
        let mut server = Child::spawn(&mut command, Signal::TERM)?;
        node::wait_for(at, &mut server)?;
        if lab.args.rtt_us == 0 {
            return Ok(Self {
                at,
                _proxy: None,
                _server: server,
            });
        }
        let (front, proxy) = node::start_proxy(at, lab.args.rtt_us)?;
        Ok(Self {
            at: front,
            _proxy: Some(proxy),
            _server: server,
        })
    }
}
