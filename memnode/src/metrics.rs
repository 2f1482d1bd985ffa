//! The counters as Prometheus reads them. Names are stable; units are in the names.
//!
//! Called by the `/metrics` endpoint of the program. Every line comes from one look at [`Stats`].

use std::fmt::Write;

use crate::Stats;

/// Name, type, help, value.
type Metric = (&'static str, &'static str, &'static str, fn(&Stats) -> u64);

/// All of them. What is only counted up ends in `_total`.
const METRICS: [Metric; 15] = [
    ("memnode_items", "gauge", "Blocks held now.", |s| s.items),
    (
        "memnode_used_bytes",
        "gauge",
        "Memory of blocks and their index.",
        |s| s.used_bytes,
    ),
    (
        "memnode_capacity_bytes",
        "gauge",
        "Memory that blocks may take.",
        |s| s.capacity_bytes,
    ),
    (
        "memnode_memory_limit_bytes",
        "gauge",
        "All it may take now.",
        |s| s.memory_bytes,
    ),
    (
        "memnode_given_back_bytes_total",
        "counter",
        "Blocks given back to a host in need.",
        |s| s.given_back_bytes,
    ),
    (
        "memnode_buffered_bytes",
        "gauge",
        "Unfinished requests and replies.",
        |s| s.buffered_bytes,
    ),
    (
        "memnode_connections",
        "gauge",
        "Connections open now.",
        |s| s.connections,
    ),
    (
        "memnode_hits_total",
        "counter",
        "Reads that found their key.",
        |s| s.hits,
    ),
    (
        "memnode_misses_total",
        "counter",
        "Reads that did not.",
        |s| s.misses,
    ),
    ("memnode_sets_total", "counter", "Values stored.", |s| {
        s.sets
    }),
    (
        "memnode_evictions_total",
        "counter",
        "Blocks given up for room.",
        |s| s.evictions,
    ),
    (
        "memnode_expirations_total",
        "counter",
        "Blocks whose time had come.",
        |s| s.expirations,
    ),
    (
        "memnode_commands_total",
        "counter",
        "Requests answered.",
        |s| s.commands,
    ),
    (
        "memnode_connections_rejected_total",
        "counter",
        "Turned away: no place.",
        |s| s.rejected,
    ),
    (
        "memnode_tls_handshakes_failed_total",
        "counter",
        "Ended in their TLS handshake.",
        |s| s.handshakes_failed,
    ),
];

/// The exposition text, version 0.0.4.
#[must_use]
pub fn text(stats: &Stats) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in METRICS {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let _ = writeln!(text, "{name} {}", value(stats));
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        text,
        "# HELP memnode_build_info The version.\n# TYPE memnode_build_info gauge\n"
    );
    let _ = writeln!(text, "memnode_build_info{{version=\"{version}\"}} 1");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_help_type_or_a_number() {
        let stats = Stats {
            hits: 42,
            ..Stats::default()
        };
        let text = text(&stats);
        assert!(text.contains("\nmemnode_hits_total 42\n"));
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(
                name.starts_with("memnode_") && value.parse::<u64>().is_ok(),
                "{line}"
            );
        }
        for (name, kind, ..) in METRICS {
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        }
    }
}
