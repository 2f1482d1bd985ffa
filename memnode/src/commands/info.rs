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

/// Bytes in a mebibyte.
const MIB: f64 = 1_048_576.0;

/// Clock ticks per second in `/proc/self/stat`: fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

type Section = (&'static str, fn(&Shared, &mut String) -> std::fmt::Result);

const SECTIONS: [Section; 11] = [
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
    // Only where it is asked for, as in Redis.
    ("Commandstats", commandstats),
    ("Latencystats", latencystats),
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
    let all = |word| (1..args.len()).any(|index| args.is(index, word));
    let with_commands = all("all") || all("everything");
    let mut text = String::new();
    for (name, write) in SECTIONS {
        let of_commands = ["Commandstats", "Latencystats"].contains(&name);
        let by_default = everything && (!of_commands || with_commands);
        if by_default || (1..args.len()).any(|index| args.is(index, name)) {
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
    )?;
    // What nobody here can do is counted for the tools that ask: nobody does it.
    write!(text, "blocked_clients:0\r\ntracking_clients:0\r\n")
}

fn memory(shared: &Shared, text: &mut String) -> std::fmt::Result {
    let stats = shared.stats();
    let overhead = stats.used_bytes - shared.store.counters().item_bytes.min(stats.used_bytes);
    write!(text, "used_memory:{}\r\n", stats.used_bytes)?;
    write!(text, "used_memory_rss:{}\r\n", resident_bytes("VmRSS:"))?;
    write!(text, "used_memory_peak:{}\r\n", resident_bytes("VmHWM:"))?;
    let dataset = stats.used_bytes - overhead;
    write!(text, "used_memory_dataset:{dataset}\r\n")?;
    write!(text, "used_memory_overhead:{overhead}\r\n")?;
    write!(
        text,
        "used_memory_buffers:{}\r\n",
        shared.buffered_bytes.load(Relaxed)
    )?;
    write!(text, "maxmemory:{}\r\n", stats.memory_bytes)?;
    write!(text, "memnode_given_back:{}\r\n", stats.given_back_bytes)?;
    write!(
        text,
        "used_memory_human:{:.2}M\r\n",
        stats.used_bytes as f64 / MIB
    )?;
    write!(text, "mem_fragmentation_ratio:1.00\r\n")?;
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
    write!(
        text,
        "total_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\n",
        shared.received_bytes.load(Relaxed),
        shared.sent_bytes.load(Relaxed)
    )?;
    write!(
        text,
        "instantaneous_ops_per_sec:{}\r\n",
        shared.rate.load(Relaxed)
    )?;
    write!(text, "expired_keys:{}\r\n", counters.expirations)?;
    write!(text, "evicted_keys:{}\r\n", counters.evictions)?;
    write!(text, "keyspace_hits:{}\r\n", counters.hits)?;
    write!(text, "keyspace_misses:{}\r\n", counters.misses)
}

fn persistence(_: &Shared, text: &mut String) -> std::fmt::Result {
    write!(text, "loading:0\r\nrdb_changes_since_last_save:0\r\n")?;
    write!(text, "rdb_bgsave_in_progress:0\r\naof_enabled:0\r\n")
}

fn replication(_: &Shared, text: &mut String) -> std::fmt::Result {
    write!(text, "role:master\r\nconnected_slaves:0\r\n")
}

fn cluster(_: &Shared, text: &mut String) -> std::fmt::Result {
    write!(text, "cluster_enabled:0\r\n")
}

fn cpu(_: &Shared, text: &mut String) -> std::fmt::Result {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let seconds = |index: usize| {
        let ticks = fields
            .get(index)
            .and_then(|field| field.parse::<f64>().ok());
        ticks.unwrap_or(0.0) / TICKS_PER_SECOND
    };
    write!(
        text,
        "used_cpu_sys:{:.6}\r\nused_cpu_user:{:.6}\r\n",
        seconds(12),
        seconds(11)
    )
}

fn commandstats(shared: &Shared, text: &mut String) -> std::fmt::Result {
    for (command, timing) in super::COMMANDS.iter().zip(&shared.timings) {
        let (name, calls) = (command.name, timing.calls());
        if calls > 0 {
            let each_us = timing.mean_ns() / 1000.0;
            let us = (each_us * calls as f64).round();
            write!(
                text,
                "cmdstat_{name}:calls={calls},usec={us},usec_per_call={each_us:.2},"
            )?;
            write!(text, "rejected_calls=0,failed_calls=0\r\n")?;
        }
    }
    Ok(())
}

fn latencystats(shared: &Shared, text: &mut String) -> std::fmt::Result {
    for (command, timing) in super::COMMANDS.iter().zip(&shared.timings) {
        let permille = |permille| timing.permille_ns(permille).map(|ns| ns as f64 / 1000.0);
        if let (Some(p50), Some(p99), Some(p999)) = (permille(500), permille(990), permille(999)) {
            let name = command.name;
            write!(text, "latency_percentiles_usec_{name}:")?;
            write!(text, "p50={p50:.3},p99={p99:.3},p99.9={p999:.3}\r\n")?;
        }
    }
    Ok(())
}

fn keyspace(shared: &Shared, text: &mut String) -> std::fmt::Result {
    match shared.store.counters().items {
        0 => Ok(()),
        items => {
            let expiring = shared.store.counters().expiring;
            write!(text, "db0:keys={items},expires={expiring},avg_ttl=0\r\n")
        }
    }
}

/// What this process keeps in memory, as the kernel counts: now (`VmRSS:`) or at most (`VmHWM:`).
fn resident_bytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
