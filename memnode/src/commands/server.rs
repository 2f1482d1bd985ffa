//! COMMAND, MEMORY, TIME, LATENCY, SLOWLOG, ACL, MODULE, SHUTDOWN: what tools ask.
//!
//! Called through the table of commands. What a node does not keep (slow commands, latency events)
//! is answered truthfully: there are none.

use std::time::{SystemTime, UNIX_EPOCH};

use wire::resp::number::parse_decimal;

use super::table::{COMMANDS, Command, find};
use super::{Context, Family, glob};

const MEMORY: Family = Family {
    name: "MEMORY",
    members: &[
        ("DOCTOR", "Whether memory is in trouble: it never is."),
        (
            "MALLOC-STATS",
            "None: blocks do not come from an allocator.",
        ),
        ("PURGE", "Understood; there is nothing to purge."),
        ("STATS", "What memory is used for, in bytes."),
        (
            "USAGE",
            "<key> [SAMPLES <count>]: what a key and its value take, in bytes.",
        ),
    ],
};

const LATENCY: Family = Family {
    name: "LATENCY",
    members: &[
        ("DOCTOR", "Latency events, for people: none are kept."),
        ("GRAPH", "<event>: refused, none are kept."),
        ("HISTOGRAM", "[command...]: none are kept."),
        ("HISTORY", "<event>: none are kept."),
        ("LATEST", "None are kept."),
        ("RESET", "[event...]: how many were forgotten: none."),
    ],
};

const SLOWLOG: Family = Family {
    name: "SLOWLOG",
    members: &[
        ("GET", "[count]: none are kept."),
        ("LEN", "How many are kept: none."),
        ("RESET", "Forgets them."),
    ],
};

const ACL: Family = Family {
    name: "ACL",
    members: &[
        ("CAT", "The categories of commands."),
        (
            "GETUSER",
            "<username>: what a user may: default may everything.",
        ),
        ("LIST", "The users in a line each: default."),
        ("USERS", "There is one: default."),
        ("WHOAMI", "Who one is: default."),
    ],
};

/// Redis' categories of commands.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

const MODULE: Family = Family {
    name: "MODULE",
    members: &[("LIST", "None can be loaded.")],
};

const COMMAND: Family = Family {
    name: "COMMAND",
    members: &[
        ("COUNT", "How many commands there are."),
        ("DOCS", "[name...]: what they do."),
        ("GETKEYS", "<full-command>: which of its words are keys."),
        ("INFO", "[name...]: arity, flags and places of the keys."),
        (
            "LIST",
            "[FILTERBY PATTERN <pattern>|MODULE <name>]: their names.",
        ),
    ],
};

/// TIME: seconds and microseconds.
pub fn time(context: &mut Context<'_>) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let reply = &mut context.reply;
    reply.array(2);
    reply.bulk(now.as_secs().to_string().as_bytes());
    reply.bulk(now.subsec_micros().to_string().as_bytes());
}

/// MEMORY USAGE key [SAMPLES n]|STATS|DOCTOR|PURGE
pub fn memory(context: &mut Context<'_>) {
    let args = context.args;
    match (args.get(1).to_ascii_uppercase().as_slice(), args.len()) {
        (b"USAGE", 4..) if !(args.len() == 5 && args.is(3, "samples") && samples(args.get(4))) => {
            context.reply.error("ERR syntax error");
        }
        (b"USAGE", 3..) => {
            let cost = |value: crate::store::Value<'_>| value.cost_bytes();
            match context.shared.store.peek(args.get(2), cost) {
                Some(bytes) => context.reply.integer(bytes as i64),
                None => context.reply.nil(),
            }
        }
        (b"STATS", 2) => memory_stats(context),
        (b"PURGE", 2) => context.reply.simple("OK"),
        (b"DOCTOR", 2) => context
            .reply
            .text("memnode takes what it was given and no more.\n"),
        (b"MALLOC-STATS", 2) => {
            let text = "Stats not supported for the current allocator";
            context.reply.bulk(text.as_bytes());
        }
        _ => MEMORY.otherwise(context),
    }
}

/// A number of samples as Redis takes it.
fn samples(text: &[u8]) -> bool {
    parse_decimal(text).is_some_and(|count| count >= 0)
}

fn memory_stats(context: &mut Context<'_>) {
    let stats = context.shared.stats();
    let items = context.shared.store.counters();
    let buffers = context
        .shared
        .buffered_bytes
        .load(std::sync::atomic::Ordering::Relaxed);
    let numbers = [
        ("total.allocated", stats.used_bytes),
        ("startup.allocated", 0),
        ("clients.normal", buffers as u64),
        (
            "overhead.total",
            stats.used_bytes.saturating_sub(items.item_bytes),
        ),
        ("keys.count", stats.items),
        ("keys.bytes-per-key", stats.used_bytes / stats.items.max(1)),
        ("dataset.bytes", items.item_bytes),
        ("memnode.capacity", stats.capacity_bytes),
    ];
    context.reply.map(numbers.len());
    for (name, number) in numbers {
        context.reply.bulk(name.as_bytes());
        context
            .reply
            .integer(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

/// LATENCY LATEST|HISTORY event|RESET|GRAPH event|HISTOGRAM|DOCTOR
pub fn latency(context: &mut Context<'_>) {
    let args = context.args;
    match (args.get(1).to_ascii_uppercase().as_slice(), args.len()) {
        (b"LATEST", 2) | (b"HISTORY", 3) => context.reply.array(0),
        (b"RESET", _) => context.reply.integer(0),
        (b"HISTOGRAM", _) => context.reply.map(0),
        (b"DOCTOR", 2) => context.reply.text("memnode keeps no latency events.\n"),
        (b"GRAPH", 3) => {
            let event = args.get(2);
            let event = String::from_utf8_lossy(&event[..event.len().min(super::ECHO_BYTES_MAX)]);
            let text = format!("ERR No samples available for event '{event}'");
            context.reply.error(&text);
        }
        _ => LATENCY.otherwise(context),
    }
}

/// SLOWLOG GET [n]|LEN|RESET
pub fn slowlog(context: &mut Context<'_>) {
    let args = context.args;
    match (args.get(1).to_ascii_uppercase().as_slice(), args.len()) {
        (b"GET", 3) if parse_decimal(args.get(2)).is_none_or(|count| count < -1) => {
            let text = "ERR count should be greater than or equal to -1";
            context.reply.error(text);
        }
        (b"GET", 2 | 3) => context.reply.array(0),
        (b"LEN", 2) => context.reply.integer(0),
        (b"RESET", 2) => context.reply.simple("OK"),
        _ => SLOWLOG.otherwise(context),
    }
}

/// ACL WHOAMI|USERS|LIST|GETUSER name|CAT: there is one user, who may do everything.
pub fn acl(context: &mut Context<'_>) {
    match (
        context.args.get(1).to_ascii_uppercase().as_slice(),
        context.args.len(),
    ) {
        (b"WHOAMI", 2) => context.reply.bulk(b"default"),
        (b"USERS", 2) => {
            context.reply.array(1);
            context.reply.bulk(b"default");
        }
        (b"LIST", 2) => {
            let free = if needs_password(context) {
                ""
            } else {
                "nopass "
            };
            let user = format!("user default on {free}~* &* +@all");
            context.reply.array(1);
            context.reply.bulk(user.as_bytes());
        }
        (b"GETUSER", 3) if context.args.get(2) == b"default" => default_user(context),
        (b"GETUSER", 3) => context.reply.nil(),
        (b"CAT", 2) => {
            context.reply.array(CATEGORIES.len());
            for category in CATEGORIES {
                context.reply.bulk(category.as_bytes());
            }
        }
        _ => ACL.otherwise(context),
    }
}

fn needs_password(context: &Context<'_>) -> bool {
    context.shared.password.read().is_some()
}

/// What the only user may. Its password is not told, not even as a hash.
fn default_user(context: &mut Context<'_>) {
    let flags: &[&str] = match needs_password(context) {
        true => &["on"],
        false => &["on", "nopass"],
    };
    let reply = &mut context.reply;
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(0);
    for (name, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name.as_bytes());
        reply.bulk(rule.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
}

/// MODULE LIST: there are none.
pub fn module(context: &mut Context<'_>) {
    let args = context.args;
    match (args.is(1, "list"), args.len()) {
        (true, 2) => context.reply.array(0),
        _ => MODULE.otherwise(context),
    }
}

/// SHUTDOWN [NOSAVE|SAVE|NOW|FORCE]: no answer, as in Redis; an embedded node refuses.
pub fn shutdown(context: &mut Context<'_>) {
    let known = ["nosave", "save", "now", "force"];
    let args = context.args;
    if args.len() == 2 && args.is(1, "abort") {
        return context.reply.error("ERR No shutdown in progress.");
    }
    let understood = (1..args.len()).all(|index| known.iter().any(|word| args.is(index, word)));
    if !understood {
        return context.reply.error("ERR syntax error");
    }
    if !context.shared.config.shutdown_allowed {
        let text = "ERR Errors trying to SHUTDOWN. Check logs.";
        return context.reply.error(text);
    }
    tracing::info!(peer = %context.session.client.facts.peer, "told to end by SHUTDOWN");
    context.session.closing = true;
    context.shared.end.notify_one();
}

/// COMMAND [COUNT|DOCS|LIST|INFO [name...]|GETKEYS command...]
pub fn command(context: &mut Context<'_>) {
    let args = context.args;
    match (args.get(1).to_ascii_uppercase().as_slice(), args.len()) {
        (_, 1) => describe_all(context),
        (b"INFO", 2) => describe_all(context),
        (b"COUNT", 2) => context.reply.integer(COMMANDS.len() as i64),
        (b"DOCS", _) => docs(context),
        (b"LIST", 2) => list(context, b"*"),
        (b"LIST", 5) if args.is(2, "filterby") && args.is(3, "pattern") => {
            list(context, &args.get(4).to_ascii_lowercase());
        }
        (b"LIST", 5) if args.is(2, "filterby") && args.is(3, "module") => context.reply.array(0),
        (b"LIST", _) => context.reply.error("ERR syntax error"),
        (b"INFO", _) => {
            context.reply.array(args.len() - 2);
            for name in args.from(2) {
                match find(name) {
                    Some(index) => describe(context, &COMMANDS[index]),
                    None => context.reply.nil(),
                }
            }
        }
        (b"GETKEYS", 4..) => get_keys(context),
        _ => COMMAND.otherwise(context),
    }
}

fn list(context: &mut Context<'_>, pattern: &[u8]) {
    let names = COMMANDS.iter().map(|command| command.name.as_bytes());
    let found: Vec<&[u8]> = names.filter(|name| glob::matches(pattern, name)).collect();
    context.reply.array(found.len());
    found.iter().for_each(|name| context.reply.bulk(name));
}

fn describe_all(context: &mut Context<'_>) {
    context.reply.array(COMMANDS.len());
    COMMANDS
        .iter()
        .for_each(|command| describe(context, command));
}

/// Name, arity, flags, first key, last key, step, and what Redis 7 adds (nothing to add here).
fn describe(context: &mut Context<'_>, command: &Command) {
    let reply = &mut context.reply;
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    let flags = command.kind.flags();
    reply.array(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    let (first, last, step) = command.keys;
    [first, last, step]
        .into_iter()
        .for_each(|number| reply.integer(number));
    (0..4).for_each(|_| reply.array(0));
}

fn docs(context: &mut Context<'_>) {
    let args = context.args;
    let wanted: Vec<&Command> = match args.len() {
        2 => COMMANDS.iter().collect(),
        _ => args
            .from(2)
            .filter_map(find)
            .map(|index| &COMMANDS[index])
            .collect(),
    };
    let reply = &mut context.reply;
    reply.map(wanted.len());
    for command in wanted {
        reply.bulk(command.name.as_bytes());
        reply.map(3);
        let group = command.kind.group(command.keys.0 > 0);
        for (name, text) in [
            ("summary", command.summary),
            ("since", "1.0.0"),
            ("group", group),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
    }
}

fn get_keys(context: &mut Context<'_>) {
    let args = context.args;
    let Some(command) = find(args.get(2)).map(|index| &COMMANDS[index]) else {
        return context.reply.error("ERR Invalid command specified");
    };
    let (first, last, step) = command.keys;
    if first == 0 {
        return context.reply.error("ERR The command has no key arguments");
    }
    let given = args.len() as i64 - 2;
    if !command.takes(given) {
        let text = "ERR Invalid number of arguments specified for command";
        return context.reply.error(text);
    }
    let last = if last < 0 { given + last } else { last };
    let places: Vec<i64> = (first..=last).step_by(step as usize).collect();
    context.reply.array(places.len());
    for place in places {
        context.reply.bulk(args.get(place as usize + 2));
    }
}
