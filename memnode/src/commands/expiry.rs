//! TTL, EXPIRE and their kin, PERSIST: how long a key may stay.
//!
//! Called through the table of commands. Times are kept in milliseconds of Unix time.

use wire::resp::number::parse_decimal;

use super::Context;
use crate::store::unix_ms;

/// TTL key: seconds, -1 for never, -2 for no such key.
pub fn ttl(context: &mut Context<'_>) {
    let now = unix_ms();
    show(context, |at| (at.saturating_sub(now) + 500) / 1000);
}

/// PTTL key: the same in milliseconds.
pub fn pttl(context: &mut Context<'_>) {
    let now = unix_ms();
    show(context, |at| at.saturating_sub(now));
}

/// EXPIRETIME key: Unix time in seconds.
pub fn expiretime(context: &mut Context<'_>) {
    show(context, |at| at / 1000);
}

/// PEXPIRETIME key: Unix time in milliseconds.
pub fn pexpiretime(context: &mut Context<'_>) {
    show(context, |at| at);
}

fn show(context: &mut Context<'_>, number: impl FnOnce(u64) -> u64) {
    let key = context.args.get(1);
    let answer = match context.shared.store.peek(key, |value| value.expires_ms()) {
        None => -2,
        Some(0) => -1,
        Some(at) => i64::try_from(number(at)).unwrap_or(i64::MAX),
    };
    context.reply.integer(answer);
}

/// PERSIST key
pub fn persist(context: &mut Context<'_>) {
    let key = context.args.get(1);
    let changed = context
        .shared
        .store
        .expire(key, |at| (at != 0).then_some(0));
    context.reply.integer(i64::from(changed == Some(true)));
}

/// EXPIRE key seconds [NX|XX|GT|LT]
pub fn expire(context: &mut Context<'_>) {
    change(context, "expire", 1000, unix_ms());
}

/// PEXPIRE key milliseconds [NX|XX|GT|LT]
pub fn pexpire(context: &mut Context<'_>) {
    change(context, "pexpire", 1, unix_ms());
}

/// EXPIREAT key unix-seconds [NX|XX|GT|LT]
pub fn expireat(context: &mut Context<'_>) {
    change(context, "expireat", 1000, 0);
}

/// PEXPIREAT key unix-milliseconds [NX|XX|GT|LT]
pub fn pexpireat(context: &mut Context<'_>) {
    change(context, "pexpireat", 1, 0);
}

/// The conditions of the EXPIRE family.
#[derive(Clone, Copy, Default)]
struct When {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl When {
    fn parse(context: &Context<'_>) -> Result<When, String> {
        let mut when = When::default();
        for word in context.args.from(3) {
            match word.to_ascii_uppercase().as_slice() {
                b"NX" => when.nx = true,
                b"XX" => when.xx = true,
                b"GT" => when.gt = true,
                b"LT" => when.lt = true,
                _ => {
                    let word = String::from_utf8_lossy(&word[..word.len().min(64)]).into_owned();
                    return Err(format!("ERR Unsupported option {word}"));
                }
            }
        }
        if when.nx && (when.xx || when.gt || when.lt) {
            let text = "ERR NX and XX, GT or LT options at the same time are not compatible";
            return Err(text.to_string());
        }
        if when.gt && when.lt {
            return Err("ERR GT and LT options at the same time are not compatible".to_string());
        }
        Ok(when)
    }

    /// May `was` (0: never) become `at`?
    fn allows(self, was: u64, at: u64) -> bool {
        let never = was == 0;
        !(self.nx && !never
            || self.xx && never
            || self.gt && (never || at <= was)
            || self.lt && !never && at >= was)
    }
}

fn change(context: &mut Context<'_>, name: &str, unit_ms: i64, base_ms: u64) {
    let Some(number) = parse_decimal(context.args.get(2)) else {
        let text = "ERR value is not an integer or out of range";
        return context.reply.error(text);
    };
    let when = match When::parse(context) {
        Ok(when) => when,
        Err(error) => return context.reply.error(&error),
    };
    let base = i64::try_from(base_ms).unwrap_or(i64::MAX);
    let at = number
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base));
    let Some(at) = at else {
        let text = format!("ERR invalid expire time in '{name}' command");
        return context.reply.error(&text);
    };
    let at = u64::try_from(at).unwrap_or(0);
    let (store, key) = (&context.shared.store, context.args.get(1));
    let over = at <= unix_ms();
    // 0 would mean for ever; a time that is over is a removal anyway.
    let changed = store.expire(key, |was| when.allows(was, at).then_some(at.max(1)));
    if changed == Some(true) && over {
        store.remove(key);
    }
    context.reply.integer(i64::from(changed == Some(true)));
}

#[cfg(test)]
mod tests {
    use super::When;

    #[test]
    fn conditions_mean_what_redis_says() {
        let when = |text: &str| When {
            nx: text == "nx",
            xx: text == "xx",
            gt: text == "gt",
            lt: text == "lt",
        };
        // For a key that never expires, then for one that does: to a later and to an earlier time.
        for (text, never, later, earlier) in [
            ("", true, true, true),
            ("nx", true, false, false),
            ("xx", false, true, true),
            ("gt", false, true, false),
            ("lt", true, false, true),
        ] {
            assert_eq!(when(text).allows(0, 5), never, "{text}");
            assert_eq!(when(text).allows(10, 20), later, "{text}");
            assert_eq!(when(text).allows(10, 5), earlier, "{text}");
        }
    }
}
