//! DEL, UNLINK, EXISTS, TYPE, TTL, PTTL, DBSIZE, FLUSHALL, FLUSHDB: keys without their values.
//!
//! Called through the table of commands.

use super::Context;
use crate::store::unix_ms;

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

/// TYPE key
pub fn kind(context: &mut Context<'_>) {
    let found = context
        .shared
        .store
        .peek(context.args.get(1), |_| ())
        .is_some();
    context.reply.simple(if found { "string" } else { "none" });
}

/// TTL key: seconds, -1 for never, -2 for no such key.
pub fn ttl(context: &mut Context<'_>) {
    time_to_live(context, 1000);
}

/// PTTL key: the same in milliseconds.
pub fn pttl(context: &mut Context<'_>) {
    time_to_live(context, 1);
}

fn time_to_live(context: &mut Context<'_>, unit_ms: u64) {
    let left = match context
        .shared
        .store
        .peek(context.args.get(1), |value| value.expires_ms())
    {
        None => -2,
        Some(0) => -1,
        Some(at) => (at.saturating_sub(unix_ms()).saturating_add(unit_ms / 2) / unit_ms) as i64,
    };
    context.reply.integer(left);
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
