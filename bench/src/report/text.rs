//! Rows as people read them.

use std::fmt::Write;

use super::{Disk, Goal, Row, Sample};
use crate::size;
use crate::stats::Hits;

/// What is true of the whole run, before the first row.
pub fn head(lines: &[(&str, String)], left_out: &[String]) -> String {
    let mut text =
        String::from("slow-disk lab: the same workload native and hooked, alternating\n");
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<12} {value}");
    }
    for line in left_out {
        let _ = writeln!(text, "  left out     {line}");
    }
    text
}

/// One row.
pub fn row(row: &Row) -> String {
    let mut text = format!("\n{}, {}\n", row.workload, row.variant);
    let _ = writeln!(
        text,
        "  {:<22} native {:>10}   hooked {:>10}   ratio {:.2}x   {}",
        row.unit,
        number(row.native.median),
        number(row.hooked.median),
        row.ratio,
        goal(row)
    );
    let rounds = |sample: &Sample| -> String {
        let shown = sample.rounds.iter().take(9).map(|value| number(*value));
        let more = if sample.rounds.len() > 9 { " ..." } else { "" };
        shown.collect::<Vec<_>>().join(" ") + more
    };
    let both = format!(
        "native {} | hooked {}",
        rounds(&row.native),
        rounds(&row.hooked)
    );
    let _ = writeln!(text, "  {:<22} {both}", "rounds");
    disk_line(&mut text, row);
    if let Some(reads) = row.remote_reads_per_op {
        let _ = writeln!(text, "  {:<22} {reads:.2}", "remote reads per op");
    }
    if let Some(hits) = &row.hits {
        hit_table(&mut text, hits, row.node_hits);
    }
    if let Some(warm) = &row.warm {
        let cap = if warm.capped {
            "under the read cap"
        } else {
            "read cap lifted meanwhile"
        };
        let _ = writeln!(
            text,
            "  {:<22} {:.1} s, {} passes, {cap}; {} of {} on the node",
            "warm-up",
            warm.seconds,
            warm.passes,
            size::show(warm.remote_bytes),
            size::show(warm.data_bytes)
        );
    }
    for (name, value) in &row.figures {
        let _ = writeln!(text, "  {name:<22} {}", number(*value));
    }
    for note in &row.notes {
        let _ = writeln!(text, "  {:<22} {note}", "note");
    }
    text
}

fn goal(row: &Row) -> String {
    let wanted = match row.goal {
        None => return String::new(),
        Some(Goal::AtLeast(ratio)) => format!("goal >= {ratio}x"),
        Some(Goal::AtMost(ratio)) => format!("goal <= {ratio}x"),
        Some(Goal::AddsAtMost(more)) => format!("goal <= native + {more}"),
    };
    let verdict = if row.reached == Some(true) {
        "reached"
    } else {
        "MISSED"
    };
    format!("{wanted}: {verdict}")
}

fn disk_line(text: &mut String, row: &Row) {
    let side = |disk: &Disk| {
        let per_op = |reads: Option<u64>| match reads {
            Some(reads) if disk.ops > 0 => format!("{:.4}", reads as f64 / disk.ops as f64),
            _ => "-".into(),
        };
        format!(
            "{} ({} of the whole device)",
            per_op(disk.cage_reads),
            per_op(disk.device_reads)
        )
    };
    if row.native_disk.ops > 0 || row.hooked_disk.ops > 0 {
        let both = format!(
            "native {}, hooked {}",
            side(&row.native_disk),
            side(&row.hooked_disk)
        );
        let _ = writeln!(text, "  {:<22} {both}", "disk reads per op");
    }
}

fn hit_table(text: &mut String, hits: &Hits, node_hits: Option<u64>) {
    let share = |part: u64| 100.0 * part as f64 / hits.reads.max(1) as f64;
    let _ = writeln!(
        text,
        "  {:<22} local {} ({:.1} %), remote {} ({:.1} %), disk {} ({:.1} %)",
        format!("reads {}", hits.reads),
        hits.hits_local,
        share(hits.hits_local),
        hits.hits_remote,
        share(hits.hits_remote),
        hits.reads_disk,
        share(hits.reads_disk)
    );
    if let Some(node) = node_hits {
        let _ = writeln!(text, "  {:<22} {node} hits by its own counter", "node");
    }
    for (name, reasons) in [("bypass", &hits.bypass), ("fallback", &hits.fallback)] {
        if !reasons.is_empty() {
            let list: Vec<String> = reasons
                .iter()
                .map(|(why, n)| format!("{why} {n}"))
                .collect();
            let _ = writeln!(text, "  {name:<22} {}", list.join(", "));
        }
    }
    let _ = writeln!(
        text,
        "  {:<22} pushed {}, dropped {}; invalidations {} by {} writes; local {}, remote {}",
        "blocks",
        hits.pushed_blocks,
        hits.push_dropped,
        hits.invalidations,
        hits.writes,
        size::show(hits.local_bytes),
        size::show(hits.remote_bytes)
    );
}

/// Three or four digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_both_sides_the_ratio_and_the_verdict() {
        let mut subject = Row::new("pgbench-select", "8 clients", "transactions/s");
        subject.judge(vec![1855.0], vec![24115.0], Some(Goal::AtLeast(12.0)));
        subject.native_disk = Disk {
            ops: 100,
            cage_reads: Some(163),
            device_reads: None,
        };
        let text = row(&subject);
        assert!(
            text.contains("ratio 13.00x   goal >= 12x: reached"),
            "{text}"
        );
        assert!(
            text.contains("native 1.6300 (- of the whole device)"),
            "{text}"
        );
        subject.judge(vec![1855.0], vec![1855.0], Some(Goal::AtLeast(12.0)));
        assert!(row(&subject).contains("MISSED"));
    }
}
