//! INFO: the counters in the words of Redis, so that its dashboards work.
//!
//! Called through the table of commands. Numbers come from one look at the store; the names are
//! Redis' and stay, whatever they are called inside.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use super::Context;
use crate::server::Shared;

/// The Redis whose behaviour the commands follow; clients decide by it what they may ask for.
pub const REDIS_VERSION: &str = "7.0.0";

/// Bytes per page in `/proc/self/statm`.
const PAGE_BYTES: u64 = 4096;

type Section = (&'static str, fn(&Shared, &mut String) -> std::fmt::Result);

const SECTIONS: [Section; 5] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Stats", stats),
    ("Keyspace", keyspace),
];

/// INFO [section...]
pub fn info(context: &mut Context<'_>) {
    let args = context.args;
    let everything = args.len() == 1
        || (1..args.len()).any(|index| {
            ["all", "default", "everything"]
                .iter()
                .any(|word| args.is(index, word))
        });
    let mut text = String::new();
    for (name, write) in SECTIONS {
        if everything || (1..args.len()).any(|index| args.is(index, name)) {
            let gap = if text.is_empty() { "" } else { "\r\n" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}# {name}\r\n");
            let _ = write(context.shared, &mut text);
        }
    }
    context.reply.text(&text);
}

fn server(shared: &Shared, text: &mut String) -> std::fmt::Result {
    let up = shared.started.elapsed().as_secs();
    write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\n"
    )?;
    write!(text, "memnode_version:{}\r\n", env!("CARGO_PKG_VERSION"))?;
    write!(
        text,
        "arch_bits:64\r\nprocess_id:{}\r\n",
        std::process::id()
    )?;
    write!(
        text,
        "uptime_in_seconds:{up}\r\nuptime_in_days:{}\r\n",
        up / 86_400
    )
}

fn clients(shared: &Shared, text: &mut String) -> std::fmt::Result {
    let places = shared.budget.connections_max;
    write!(
        text,
        "connected_clients:{}\r\nmaxclients:{places}\r\n",
        shared.clients.len()
    )
}

fn memory(shared: &Shared, text: &mut String) -> std::fmt::Result {
    let stats = shared.stats();
    let overhead = stats.used_bytes - shared.store.counters().item_bytes.min(stats.used_bytes);
    write!(text, "used_memory:{}\r\n", stats.used_bytes)?;
    write!(text, "used_memory_rss:{}\r\n", resident_bytes())?;
    write!(text, "used_memory_overhead:{overhead}\r\n")?;
    write!(
        text,
        "used_memory_buffers:{}\r\n",
        shared.buffered_bytes.load(Relaxed)
    )?;
    write!(text, "maxmemory:{}\r\n", shared.config.memory_bytes)?;
    write!(text, "maxmemory_blocks:{}\r\n", stats.capacity_bytes)?;
    write!(
        text,
        "maxmemory_policy:{}\r\n",
        shared.config.eviction.name()
    )
}

fn stats(shared: &Shared, text: &mut String) -> std::fmt::Result {
    let counters = shared.store.counters();
    write!(
        text,
        "total_connections_received:{}\r\n",
        shared.clients.ever()
    )?;
    write!(
        text,
        "total_commands_processed:{}\r\n",
        shared.commands.load(Relaxed)
    )?;
    write!(
        text,
        "rejected_connections:{}\r\n",
        shared.rejected.load(Relaxed)
    )?;
    write!(text, "expired_keys:{}\r\n", counters.expirations)?;
    write!(text, "evicted_keys:{}\r\n", counters.evictions)?;
    write!(text, "keyspace_hits:{}\r\n", counters.hits)?;
    write!(text, "keyspace_misses:{}\r\n", counters.misses)
}

fn keyspace(shared: &Shared, text: &mut String) -> std::fmt::Result {
    match shared.store.counters().items {
        0 => Ok(()),
        items => write!(text, "db0:keys={items},expires=0,avg_ttl=0\r\n"),
    }
}

/// What this process keeps in memory, as the kernel counts.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
