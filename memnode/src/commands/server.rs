//! CONFIG, COMMAND, TIME: what tools ask before they start.
//!
//! Called through the table of commands. `redis-benchmark` wants `save` and `appendonly` from
//! CONFIG GET, `redis-cli` wants COMMAND DOCS; both are answered truthfully.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{COMMANDS, Command, Context, unknown_subcommand};

/// TIME: seconds and microseconds.
pub fn time(context: &mut Context<'_>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    context.reply.array(2);
    context.reply.bulk(now.as_secs().to_string().as_bytes());
    context
        .reply
        .bulk(now.subsec_micros().to_string().as_bytes());
}

/// CONFIG GET pattern...|RESETSTAT|SET
pub fn config(context: &mut Context<'_>) {
    match (
        context.args.get(1).to_ascii_uppercase().as_slice(),
        context.args.len(),
    ) {
        (b"GET", 3..) => config_get(context),
        (b"SET", _) => context
            .reply
            .error("ERR memnode takes its settings when it starts"),
        _ => unknown_subcommand(context, "CONFIG"),
    }
}

fn config_get(context: &mut Context<'_>) {
    let shared = context.shared;
    let settings = [
        ("save", String::new()),
        ("appendonly", "no".to_string()),
        ("databases", "1".to_string()),
        ("maxclients", shared.budget.connections_max.to_string()),
        ("maxmemory", shared.config.memory_bytes.to_string()),
        (
            "maxmemory-policy",
            shared.config.eviction.name().to_string(),
        ),
        (
            "proto-max-bulk-len",
            crate::store::VALUE_BYTES_MAX.to_string(),
        ),
        ("io-threads", shared.config.workers.to_string()),
    ];
    let asked = |name: &str| {
        context
            .args
            .from(2)
            .any(|pattern| matches(pattern, name.as_bytes()))
    };
    let found: Vec<_> = settings.iter().filter(|(name, _)| asked(name)).collect();
    context.reply.map(found.len());
    for (name, value) in found {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
}

/// Does `name` match a pattern with `*` and `?`?
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on if the latest star has to swallow one byte more.
    let (mut p, mut n, mut retry) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    (p, n) = (star + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// COMMAND [COUNT|DOCS|LIST|INFO name...]
pub fn command(context: &mut Context<'_>) {
    match context.args.get(1).to_ascii_uppercase().as_slice() {
        b"" => {
            context.reply.array(COMMANDS.len());
            COMMANDS
                .iter()
                .for_each(|command| describe(context, command));
        }
        b"COUNT" => context.reply.integer(COMMANDS.len() as i64),
        b"DOCS" => context.reply.map(0),
        b"LIST" => {
            context.reply.array(COMMANDS.len());
            COMMANDS
                .iter()
                .for_each(|command| context.reply.bulk(command.name.as_bytes()));
        }
        b"INFO" => {
            context.reply.array(context.args.len() - 2);
            for name in context.args.from(2) {
                match COMMANDS
                    .iter()
                    .find(|c| name.eq_ignore_ascii_case(c.name.as_bytes()))
                {
                    Some(command) => describe(context, command),
                    None => context.reply.nil(),
                }
            }
        }
        _ => unknown_subcommand(context, "COMMAND"),
    }
}

/// Name, arity, flags, first key, last key, step: what a cluster-aware client looks for.
fn describe(context: &mut Context<'_>, command: &Command) {
    let (last, step) = match command.name {
        "get" | "set" | "strlen" | "type" | "ttl" | "pttl" => (1, 1),
        "mget" | "del" | "unlink" | "exists" => (-1, 1),
        _ => (0, 0),
    };
    let reply = &mut context.reply;
    reply.array(6);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    reply.array(0);
    reply.integer(step);
    reply.integer(last);
    reply.integer(step);
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, name) in [
            ("save", "save"),
            ("*", ""),
            ("*", "x"),
            ("max*", "maxmemory"),
            ("*y*y", "xyzy"),
            ("s?ve", "SAVE"),
        ] {
            assert!(
                matches(pattern.as_bytes(), name.to_lowercase().as_bytes()),
                "{pattern} {name}"
            );
        }
        for (pattern, name) in [
            ("save", "saves"),
            ("", "x"),
            ("max*y", "maxmemor"),
            ("?", ""),
        ] {
            assert!(
                !matches(pattern.as_bytes(), name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_hostile_pattern_does_not_take_for_ever() {
        let pattern = "*a".repeat(500);
        assert!(!matches(pattern.as_bytes(), "a".repeat(499).as_bytes()));
    }
}
