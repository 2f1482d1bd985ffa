//! `memnode stat`: what a node holds and how often it helped, from its own INFO.
//!
//! Called by `tool`. A node that is a Redis shows what it has of these.

use std::fmt::Write;

use memnode::size;

use super::dial::{Dialled, Reply};
use crate::failure::Failure;

/// INFO's name, the name in JSON, the name for people, whether it is an amount of memory.
const ROWS: [(&str, &str, &str, bool); 12] = [
    ("uptime_in_seconds", "uptime_s", "up for seconds", false),
    ("connected_clients", "connections", "connections", false),
    ("db0:keys", "items", "blocks", false),
    ("used_memory", "used_bytes", "memory of blocks", true),
    (
        "maxmemory_blocks",
        "capacity_bytes",
        "memory for blocks",
        true,
    ),
    ("used_memory_rss", "resident_bytes", "resident memory", true),
    ("maxmemory", "memory_bytes", "allowed", true),
    ("keyspace_hits", "hits", "hits", false),
    ("keyspace_misses", "misses", "misses", false),
    ("evicted_keys", "evictions", "evictions", false),
    ("total_commands_processed", "commands", "requests", false),
    (
        "instantaneous_ops_per_sec",
        "commands_per_s",
        "requests/s",
        false,
    ),
];

/// Asks once and shows.
///
/// # Errors
/// The node cannot be asked.
pub fn stat(node: &mut Dialled, json: bool) -> Result<String, Failure> {
    let Reply::Bytes(info) = node.ask(&[b"INFO"])? else {
        return Err(node.broken("its INFO makes no sense"));
    };
    let info = String::from_utf8_lossy(&info).into_owned();
    let value = |name: &str| {
        let (name, mark) = match name {
            "db0:keys" => (name, '='),
            name => (name, ':'),
        };
        let rest = info
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(mark));
        let number = rest.and_then(|rest| rest.split(',').next()?.trim().parse::<u64>().ok());
        number.unwrap_or(0)
    };
    let mut text = String::new();
    if json {
        let fields: Vec<String> = ROWS
            .iter()
            .map(|(name, key, ..)| format!("\"{key}\":{}", value(name)))
            .collect();
        let _ = writeln!(text, "{{\"schema\":1,{}}}", fields.join(","));
        return Ok(text);
    }
    for (name, _, title, is_memory) in ROWS {
        let number = value(name);
        let shown = match is_memory {
            true => size::format(number),
            false => number.to_string(),
        };
        let _ = writeln!(text, "{title:<18} {shown}");
    }
    let reads = value("keyspace_hits") + value("keyspace_misses");
    let ratio = value("keyspace_hits") as f64 * 100.0 / reads.max(1) as f64;
    let _ = writeln!(text, "{:<18} {ratio:.1} %", "hit ratio");
    Ok(text)
}
