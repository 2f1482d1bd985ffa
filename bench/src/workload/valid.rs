//! Whether a row means anything: what must have been true of both sides while it was measured. A
//! row that is not valid says so in its notes and never counts as reached.

use crate::report::Row;

/// A call that several blocks answer counts once in the shim, each block once on the node. A node
/// that was asked more often than this for a call has counted something else.
const BLOCKS_PER_CALL_MAX: f64 = 64.0;

/// Says that the row is not valid, and why.
pub fn refuse(row: &mut Row, why: String) {
    row.reached = row.goal.map(|_| false);
    row.notes.push(format!("{why}: no valid row"));
}

/// The native side must have read the device at least so often per operation.
pub fn disk_bound(row: &mut Row, reads_per_op: f64) {
    let disk = row.native_disk;
    let Some(reads) = disk.cage_reads.or(disk.device_reads) else {
        return;
    };
    let share = reads as f64 / disk.ops.max(1) as f64;
    if share < reads_per_op {
        let why = format!(
            "natively {share:.2} device reads per operation only, not {reads_per_op}: the data fit"
        );
        refuse(row, why);
    }
}

/// The hooked side must have been served by the node, by its own account and by the node's.
pub fn served_by_node(row: &mut Row) {
    let (Some(hits), Some(by_node)) = (&row.hits, row.node_hits) else {
        return;
    };
    let by_shim = hits.hits_remote;
    if by_shim == 0 {
        return refuse(row, "not one read was served by the node".into());
    }
    // A read that was given up after the node had answered counts there alone.
    let given_up: u64 = hits.fallback.values().sum();
    let blocks = by_node as f64 / (by_shim + given_up) as f64;
    row.figures.insert("node_hits_per_remote_read", blocks);
    if by_node < by_shim || blocks > BLOCKS_PER_CALL_MAX {
        refuse(
            row,
            format!("the shim counted {by_shim} remote reads, the node {by_node} hits"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Disk, Goal};
    use crate::stats::Hits;

    fn row(remote: u64, by_node: u64) -> Row {
        let mut row = Row::new("w", "v", "u");
        row.judge(vec![1.0], vec![20.0], Some(Goal::AtLeast(15.0)));
        row.hits = Some(Hits {
            hits_remote: remote,
            ..Hits::default()
        });
        row.node_hits = Some(by_node);
        row
    }

    #[test]
    fn counters_that_disagree_make_a_row_invalid() {
        let judged = |remote, by_node| {
            let mut row = row(remote, by_node);
            served_by_node(&mut row);
            row.reached
        };
        assert_eq!(judged(100, 400), Some(true));
        assert_eq!(judged(100, 90), Some(false));
        assert_eq!(judged(0, 0), Some(false));
        assert_eq!(judged(10, 100_000), Some(false));
    }

    #[test]
    fn data_that_fit_make_a_row_invalid() {
        let mut row = row(100, 100);
        row.native_disk = Disk {
            ops: 100,
            cage_reads: Some(20),
            device_reads: None,
        };
        disk_bound(&mut row, 0.1);
        assert_eq!(row.reached, Some(true));
        disk_bound(&mut row, 0.5);
        assert_eq!(row.reached, Some(false));
        assert!(row.notes[0].ends_with("no valid row"), "{:?}", row.notes);
    }
}
