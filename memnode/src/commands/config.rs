//! CONFIG: what `redis-benchmark` and exporters ask, and the one setting that can be changed.
//!
//! Called through the table of commands. A node takes its settings when it starts; `timeout`, how
//! long a silent client may stay, can be changed while it runs.

use std::sync::atomic::Ordering::Relaxed;

use wire::resp::number::parse_decimal;

use super::{Context, Family, glob};

const FAMILY: Family = Family {
    name: "CONFIG",
    members: &[
        ("GET", "Settings whose names match, and their values."),
        ("SET", "Changes a setting: timeout."),
        ("RESETSTAT", "Counts anew what was counted."),
        ("REWRITE", "Refused: there is no file to write."),
    ],
};

/// Longest idle time in seconds, as in Redis.
const TIMEOUT_S_MAX: i64 = i32::MAX as i64;

/// CONFIG GET pattern...|SET name value...|RESETSTAT
pub fn config(context: &mut Context<'_>) {
    let word = context.args.get(1).to_ascii_uppercase();
    match (word.as_slice(), context.args.len()) {
        (b"GET", 3..) => get(context),
        (b"SET", 4..) if context.args.len().is_multiple_of(2) => set(context),
        (b"SET", 4..) => context.reply.error("ERR syntax error"),
        (b"RESETSTAT", 2) => {
            context.shared.forget_counts();
            context.reply.simple("OK");
        }
        (b"REWRITE", 2) => {
            let text = "ERR The server is running without a config file";
            context.reply.error(text);
        }
        _ => FAMILY.otherwise(context),
    }
}

fn settings(context: &Context<'_>) -> Vec<(&'static str, String)> {
    let shared = context.shared;
    let policy = shared.config.eviction.name();
    vec![
        ("save", String::new()),
        ("appendonly", "no".to_string()),
        ("databases", "1".to_string()),
        ("maxclients", shared.budget.connections_max.to_string()),
        ("maxmemory", shared.memory_bytes().to_string()),
        ("maxmemory-policy", policy.to_string()),
        (
            "proto-max-bulk-len",
            crate::store::VALUE_BYTES_MAX.to_string(),
        ),
        ("io-threads", shared.config.workers.to_string()),
        ("timeout", shared.idle_s_max.load(Relaxed).to_string()),
        (
            "tcp-keepalive",
            shared.keepalive_s.load(Relaxed).to_string(),
        ),
        ("cluster-enabled", "no".to_string()),
        ("slowlog-log-slower-than", "-1".to_string()),
        ("slowlog-max-len", "0".to_string()),
        ("latency-monitor-threshold", "0".to_string()),
    ]
}

fn get(context: &mut Context<'_>) {
    let args = context.args;
    let mut found = settings(context);
    found.retain(|(name, _)| {
        args.from(2)
            .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    });
    context.reply.map(found.len());
    for (name, value) in found {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
}

fn set(context: &mut Context<'_>) {
    let args = context.args;
    let known = settings(context);
    let (mut idle_s, mut keepalive_s) = (None, None);
    for index in (2..args.len()).step_by(2) {
        let name = String::from_utf8_lossy(&args.get(index)[..args.get(index).len().min(64)]);
        let name = name.to_lowercase();
        let failed = |why: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
        };
        let place = match name.as_str() {
            "timeout" => Some(&mut idle_s),
            "tcp-keepalive" => Some(&mut keepalive_s),
            _ => None,
        };
        if let Some(place) = place {
            match parse_decimal(args.get(index + 1)) {
                Some(seconds @ 0..=TIMEOUT_S_MAX) => *place = Some(seconds as u64),
                Some(_) => {
                    let range = format!("argument must be between 0 and {TIMEOUT_S_MAX} inclusive");
                    return context.reply.error(&failed(&range));
                }
                None => {
                    let text = failed("argument couldn't be parsed into an integer");
                    return context.reply.error(&text);
                }
            }
        } else if known.iter().any(|(known, _)| *known == name) {
            return context.reply.error(&failed("can't set immutable config"));
        } else {
            let text =
                format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return context.reply.error(&text);
        }
    }
    if let Some(seconds) = keepalive_s {
        context.shared.keepalive_s.store(seconds, Relaxed);
    }
    if let Some(seconds) = idle_s {
        context.shared.idle_s_max.store(seconds, Relaxed);
    }
    context.reply.simple("OK");
}
