//! Random 4 KiB reads of one file larger than the cage, by one process with some threads: the
//! cleanest view of what a remote read gains over a disk read.

use super::workers::{Rounds, Start, Workers, work_command};
use crate::error::Result;
use crate::report::Row;
use crate::run::rounds::compare;
use crate::run::{Lab, rounds};

/// Runs one variant for each number of clients.
pub fn run(lab: &Lab, emit: &mut dyn FnMut(Row)) -> Result<()> {
    for &threads in &lab.args.clients {
        let files = [("data", lab.args.data)];
        let start = Start {
            limits: lab.limits(),
            node: &lab.node,
            options: &[],
            files: &files,
        };
        let count = threads.to_string();
        let pair = Workers::start(lab, &start, |dir| {
            let file = dir.join("data").display().to_string();
            work_command(&[
                "pread",
                "--file",
                &file,
                "--size",
                "4096",
                "--threads",
                &count,
            ])
        })?;
        let mut row = Row::new("pread", format!("{threads} threads, 4 KiB"), "reads/s");
        let mut subject = Rounds { pair, lab };
        subject.pair.warm(lab, lab.args.data, &mut row)?;
        compare(lab, &mut subject, &mut row, None)?;
        for side in crate::side::SIDES {
            rounds::empty(subject.pair.cages.of(side), subject.pair.data.of(side));
        }
        emit(row);
    }
    Ok(())
}
