//! PING, ECHO, AUTH, HELLO, SELECT, QUIT, RESET: the manners of a connection.
//!
//! Called through the table of commands. A password is compared in constant time, and a wrong one
//! costs the client its connection after the answer, so that guessing costs a handshake each.

use std::hint::black_box;

use super::client::{BAD_NAME, valid_name};
use super::{Context, wrong_arguments};

const OK: &str = "OK";
const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the \
    default user. Are you sure your configuration is correct?";

/// PING [message]
pub fn ping(context: &mut Context<'_>) {
    match context.args.len() {
        1 => context.reply.simple("PONG"),
        2 => context.reply.bulk(context.args.get(1)),
        _ => wrong_arguments(context, "ping"),
    }
}

/// ECHO message
pub fn echo(context: &mut Context<'_>) {
    context.reply.bulk(context.args.get(1));
}

/// SELECT 0: there is one database.
pub fn select(context: &mut Context<'_>) {
    match wire::resp::number::parse_decimal(context.args.get(1)) {
        Some(0) => context.reply.simple(OK),
        Some(_) => context.reply.error("ERR DB index is out of range"),
        None => context
            .reply
            .error("ERR value is not an integer or out of range"),
    }
}

/// QUIT
pub fn quit(context: &mut Context<'_>) {
    context.reply.simple(OK);
    context.session.closing = true;
}

/// RESET: as a fresh connection.
pub fn reset(context: &mut Context<'_>) {
    context.session.resp3 = false;
    context.session.authenticated = context.shared.password.read().is_none();
    context.session.client.facts.names.lock().name.clear();
    context.reply.simple("RESET");
}

/// AUTH [user] password: the only user is `default`.
pub fn auth(context: &mut Context<'_>) {
    let args = context.args;
    let (user, password) = match args.len() {
        2 => (&b"default"[..], args.get(1)),
        3 => (args.get(1), args.get(2)),
        _ => return context.reply.error("ERR syntax error"),
    };
    if context.shared.password.read().is_none() && args.len() == 2 {
        return context.reply.error(NO_PASSWORD);
    }
    if log_in(context, user, password) {
        context.reply.simple(OK);
    }
}

/// HELLO [2|3 [AUTH user password] [SETNAME name]]
pub fn hello(context: &mut Context<'_>) {
    let args = context.args;
    let resp3 = match args.get(1) {
        b"" => context.session.resp3,
        b"2" => false,
        b"3" => true,
        word if wire::resp::number::parse_decimal(word).is_none() => {
            let text = "ERR Protocol version is not an integer or out of range";
            return context.reply.error(text);
        }
        _ => return context.reply.error("NOPROTO unsupported protocol version"),
    };
    let mut index = 2;
    while index < args.len() {
        if args.is(index, "auth") && index + 2 < args.len() {
            if !log_in(context, args.get(index + 1), args.get(index + 2)) {
                return;
            }
            index += 3;
        } else if args.is(index, "setname") && index + 1 < args.len() {
            let Some(name) = valid_name(args.get(index + 1)) else {
                return context.reply.error(BAD_NAME);
            };
            context.session.client.facts.names.lock().name = name;
            index += 2;
        } else {
            let word = args.get(index);
            let word = String::from_utf8_lossy(&word[..word.len().min(super::ECHO_BYTES_MAX)]);
            let text = format!("ERR Syntax error in HELLO option '{word}'");
            return context.reply.error(&text);
        }
    }
    if !context.session.authenticated {
        return context.reply.error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        );
    }
    context.session.resp3 = resp3;
    context.reply.resp3 = resp3;
    greet(context);
}

fn greet(context: &mut Context<'_>) {
    let id = context.session.client.facts.id;
    let reply = &mut context.reply;
    let protocol = if reply.resp3 { 3 } else { 2 };
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"memnode");
    reply.bulk(b"version");
    reply.bulk(super::info::REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(protocol);
    reply.bulk(b"id");
    reply.integer(id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    reply.bulk(b"modules");
    reply.array(0);
}

/// Checks a password; a wrong one is answered, and ends the connection.
fn log_in(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let right = match &*context.shared.password.read() {
        Some(expected) => same(expected, password) & (user == b"default"),
        None => user == b"default",
    };
    if right {
        context.session.authenticated = true;
    } else {
        context.reply.error(WRONG_PASSWORD);
        context.session.closing = true;
        tracing::warn!(peer = %context.session.client.facts.peer, "wrong password");
    }
    right
}

/// Compares without telling by its duration where the difference is.
fn same(expected: &[u8], given: &[u8]) -> bool {
    let mut difference = u8::from(expected.len() != given.len());
    for (index, byte) in given.iter().enumerate() {
        let other = expected
            .get(index % expected.len().max(1))
            .copied()
            .unwrap_or(0);
        difference = black_box(difference | (byte ^ other));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn only_the_password_is_the_password() {
        assert!(same(b"secret", b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"secretsecret", b"Secret"] {
            assert!(!same(b"secret", wrong), "{wrong:?}");
        }
        assert!(!same(b"", b"x"));
    }
}
