//! GET, SET and their kin, MGET, MSET, STRLEN: what blocks travel by.
//!
//! Called through the table of commands. GET pins a large value under the shard's lock and copies
//! nothing: the connection sends it from where it lies. Nothing is allocated on the way.

use super::options::{Expiry, SetOptions, relative_ms};
use super::{Context, wrong_arguments};
use crate::config::REPLY_BYTES_MAX;
use crate::store::{SetError, SetMode, Value, unix_ms};

/// GET key
pub fn get(context: &mut Context<'_>) {
    let Context {
        shared,
        args,
        reply,
        ..
    } = context;
    let found = |mut value: Value<'_>| reply.value(&mut value);
    if shared.store.get(args.get(1), found).is_none() {
        context.reply.nil();
    }
}

/// GETDEL key
pub fn getdel(context: &mut Context<'_>) {
    get(context);
    context.shared.store.remove(context.args.get(1));
}

/// GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]
pub fn getex(context: &mut Context<'_>) {
    let expiry = match Expiry::parse(context.args) {
        Ok(expiry) => expiry,
        Err(error) => return context.reply.error(error),
    };
    get(context);
    let (store, key) = (&context.shared.store, context.args.get(1));
    match expiry {
        Expiry::Keep => {}
        // A time that is over already: gone, as DEL.
        Expiry::At(at) if at != 0 && at <= unix_ms() => drop(store.remove(key)),
        Expiry::At(at) => drop(store.expire(key, |_| Some(at))),
    }
}

/// MGET key...: all values or, if they are more than a reply may be, none.
pub fn mget(context: &mut Context<'_>) {
    let Context {
        shared,
        args,
        reply,
        ..
    } = context;
    let before = reply.out.mark();
    let most = reply.out.len() + REPLY_BYTES_MAX;
    reply.array(args.len() - 1);
    for key in args.from(1) {
        let fits = shared.store.get(key, |mut value| {
            let fits = reply.out.len() + value.len() <= most;
            if fits {
                reply.value(&mut value);
            }
            fits
        });
        match fits {
            Some(true) => {}
            Some(false) => {
                reply.out.rollback(before);
                let text = format!("ERR reply over {REPLY_BYTES_MAX} bytes, ask for fewer keys");
                return reply.error(&text);
            }
            None => reply.nil(),
        }
    }
}

/// MSET key value...: one after the other; a value that cannot be stored stops it.
pub fn mset(context: &mut Context<'_>) {
    let args = context.args;
    if args.len().is_multiple_of(2) {
        return wrong_arguments(context, "mset");
    }
    for index in (1..args.len()).step_by(2) {
        let (key, value) = (args.get(index), args.get(index + 1));
        let stored = context
            .shared
            .store
            .set(key, value, Some(0), SetMode::Always);
        if let Err(error) = stored {
            return context.reply.error(&format!("ERR {error}"));
        }
    }
    context.reply.simple("OK");
}

/// STRLEN key
pub fn strlen(context: &mut Context<'_>) {
    let key = context.args.get(1);
    let length = context.shared.store.peek(key, |value| value.len());
    context.reply.integer(length.unwrap_or(0) as i64);
}

/// SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]
pub fn set(context: &mut Context<'_>) {
    let options = match SetOptions::parse(context.args) {
        Ok(options) => options,
        Err(error) => return context.reply.error(error),
    };
    let value = context.args.get(2);
    store(context, value, options);
}

/// GETSET key value: the old name of SET with GET.
pub fn getset(context: &mut Context<'_>) {
    let options = SetOptions {
        get: true,
        expires_ms: Some(0),
        ..SetOptions::default()
    };
    let value = context.args.get(2);
    store(context, value, options);
}

/// SETNX key value: answers 1 or 0.
pub fn setnx(context: &mut Context<'_>) {
    let (key, value) = (context.args.get(1), context.args.get(2));
    let stored = context
        .shared
        .store
        .set(key, value, Some(0), SetMode::IfAbsent);
    match stored {
        Ok(stored) => context.reply.integer(i64::from(stored)),
        Err(error) => context.reply.error(&format!("ERR {error}")),
    }
}

/// SETEX key seconds value
pub fn setex(context: &mut Context<'_>) {
    set_for(context, "setex", 1000);
}

/// PSETEX key milliseconds value
pub fn psetex(context: &mut Context<'_>) {
    set_for(context, "psetex", 1);
}

fn set_for(context: &mut Context<'_>, name: &str, unit_ms: u64) {
    let at = match relative_ms(context.args.get(2), unit_ms, name) {
        Ok(at) => at,
        Err(error) => return context.reply.error(&error),
    };
    let options = SetOptions {
        expires_ms: Some(at),
        ..SetOptions::default()
    };
    let value = context.args.get(3);
    store(context, value, options);
}

fn store(context: &mut Context<'_>, value: &[u8], options: SetOptions) {
    let Context {
        shared,
        args,
        reply,
        ..
    } = context;
    let key = args.get(1);
    let before = reply.out.mark();
    if options.get {
        let old = |mut old: Value<'_>| reply.value(&mut old);
        if shared.store.peek(key, old).is_none() {
            reply.nil();
        }
    }
    let stored = shared
        .store
        .set(key, value, options.expires_ms, options.mode);
    match stored {
        Ok(_) if options.get => {}
        Ok(true) => reply.simple("OK"),
        Ok(false) => reply.nil(),
        Err(error @ SetError::TooLarge) => {
            reply.out.rollback(before);
            reply.error(&format!("ERR {error}"));
        }
    }
}
