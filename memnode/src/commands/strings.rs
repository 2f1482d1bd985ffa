//! GET, SET, MGET, STRLEN: what blocks travel by.
//!
//! Called through the table of commands. GET copies from the shard straight into the worker's
//! output, under the shard's lock and without allocating.

use super::Context;
use super::options::SetOptions;
use crate::config::REPLY_BYTES_MAX;
use crate::store::SetError;

/// GET key
pub fn get(context: &mut Context<'_>) {
    let Context {
        shared,
        args,
        reply,
        ..
    } = context;
    if shared
        .store
        .get(args.get(1), |value| reply.value(&value))
        .is_none()
    {
        reply.nil();
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
    let before = reply.out.len();
    let most = before + REPLY_BYTES_MAX;
    reply.array(args.len() - 1);
    for key in args.from(1) {
        let fits = shared.store.get(key, |value| {
            let fits = reply.out.len() + value.len() <= most;
            if fits {
                reply.value(&value);
            }
            fits
        });
        match fits {
            Some(true) => {}
            Some(false) => {
                reply.out.truncate(before);
                let text = format!("ERR reply over {REPLY_BYTES_MAX} bytes, ask for fewer keys");
                return reply.error(&text);
            }
            None => reply.nil(),
        }
    }
}

/// STRLEN key
pub fn strlen(context: &mut Context<'_>) {
    let length = context
        .shared
        .store
        .peek(context.args.get(1), |value| value.len());
    context.reply.integer(length.unwrap_or(0) as i64);
}

/// SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]
pub fn set(context: &mut Context<'_>) {
    let options = match SetOptions::parse(context.args) {
        Ok(options) => options,
        Err(error) => return context.reply.error(error),
    };
    let Context {
        shared,
        args,
        reply,
        ..
    } = context;
    let (key, value) = (args.get(1), args.get(2));
    let before = reply.out.len();
    if options.get && shared.store.peek(key, |old| reply.value(&old)).is_none() {
        reply.nil();
    }
    match shared
        .store
        .set(key, value, options.expires_ms, options.mode)
    {
        Ok(_) if options.get => {}
        Ok(true) => reply.simple("OK"),
        Ok(false) => reply.nil(),
        Err(error @ SetError::TooLarge) => {
            reply.out.truncate(before);
            reply.error(&format!("ERR {error}"));
        }
    }
}
