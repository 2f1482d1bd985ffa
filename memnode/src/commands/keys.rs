//! DEL, EXISTS, TOUCH, TYPE, SCAN, KEYS, RANDOMKEY, DBSIZE, FLUSHALL: keys without their values.
//!
//! Called through the table of commands. Walks over all keys go in steps: each looks at a bounded
//! number of places, so that nobody waits long for a shard.

use wire::resp::number::parse_decimal;

use super::{Context, glob};
use crate::config::REPLY_BYTES_MAX;

/// Keys per step of a SCAN unless told otherwise.
const SCAN_COUNT: usize = 10;

/// Most keys per step of a SCAN.
const SCAN_COUNT_MAX: usize = 10_000;

const SYNTAX: &str = "ERR syntax error";
const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// DEL key... and UNLINK key...: here they are one, freeing is cheap.
pub fn del(context: &mut Context<'_>) {
    let store = &context.shared.store;
    let removed = context.args.from(1).filter(|key| store.remove(key)).count();
    context.reply.integer(removed as i64);
}

/// EXISTS key...: a key named twice counts twice.
pub fn exists(context: &mut Context<'_>) {
    let store = &context.shared.store;
    let found = context
        .args
        .from(1)
        .filter(|key| store.peek(key, |_| ()).is_some())
        .count();
    context.reply.integer(found as i64);
}

/// TOUCH key...: as EXISTS, and good news for the keys.
pub fn touch(context: &mut Context<'_>) {
    let store = &context.shared.store;
    let found = context.args.from(1).filter(|key| store.touch(key)).count();
    context.reply.integer(found as i64);
}

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE name]
pub fn scan(context: &mut Context<'_>) {
    let args = context.args;
    let cursor = parse_decimal(args.get(1)).and_then(|cursor| u64::try_from(cursor).ok());
    let Some(cursor) = cursor else {
        return context.reply.error("ERR invalid cursor");
    };
    let (mut pattern, mut count, mut strings) = (&b"*"[..], SCAN_COUNT, true);
    for index in (2..args.len()).step_by(2) {
        if index + 1 == args.len() {
            return context.reply.error(SYNTAX);
        } else if args.is(index, "match") {
            pattern = args.get(index + 1);
        } else if args.is(index, "type") {
            strings = args.is(index + 1, "string");
        } else if args.is(index, "count") {
            match parse_decimal(args.get(index + 1)) {
                Some(number @ 1..) => {
                    count = usize::try_from(number)
                        .unwrap_or(usize::MAX)
                        .min(SCAN_COUNT_MAX);
                }
                Some(_) => return context.reply.error(SYNTAX),
                None => return context.reply.error(NOT_A_NUMBER),
            }
        } else {
            return context.reply.error(SYNTAX);
        }
    }
    let mut keys = Vec::new();
    let next = context.shared.store.scan(cursor, count, |key| {
        if strings && glob::matches(pattern, key) {
            keys.push(key.to_vec());
        }
    });
    context.reply.array(2);
    context.reply.bulk(next.to_string().as_bytes());
    context.reply.array(keys.len());
    keys.iter().for_each(|key| context.reply.bulk(key));
}

/// KEYS pattern: all of them, or a word that they are too many for one reply.
pub fn keys(context: &mut Context<'_>) {
    let pattern = context.args.get(1);
    let (mut keys, mut bytes, mut cursor) = (Vec::new(), 0, 0);
    loop {
        cursor = context.shared.store.scan(cursor, SCAN_COUNT_MAX, |key| {
            if glob::matches(pattern, key) {
                bytes += key.len() + 32;
                keys.push(key.to_vec());
            }
        });
        if bytes > REPLY_BYTES_MAX {
            let text = format!("ERR reply over {REPLY_BYTES_MAX} bytes, use SCAN");
            return context.reply.error(&text);
        }
        if cursor == 0 {
            break;
        }
    }
    context.reply.array(keys.len());
    keys.iter().for_each(|key| context.reply.bulk(key));
}

/// RANDOMKEY
pub fn randomkey(context: &mut Context<'_>) {
    match context.shared.store.random_key() {
        Some(key) => context.reply.bulk(&key),
        None => context.reply.nil(),
    }
}

/// TYPE key
pub fn kind(context: &mut Context<'_>) {
    let found = context
        .shared
        .store
        .peek(context.args.get(1), |_| ())
        .is_some();
    context.reply.simple(if found { "string" } else { "none" });
}

/// DBSIZE
pub fn dbsize(context: &mut Context<'_>) {
    context
        .reply
        .integer(context.shared.store.counters().items as i64);
}

/// FLUSHALL and FLUSHDB [ASYNC|SYNC]: there is one database, and it is gone when OK is said.
pub fn flush(context: &mut Context<'_>) {
    let plain = context.args.len() == 1;
    if !plain
        && !(context.args.len() == 2 && (context.args.is(1, "async") || context.args.is(1, "sync")))
    {
        return context.reply.error("ERR syntax error");
    }
    context.shared.store.clear();
    context.reply.simple("OK");
}
