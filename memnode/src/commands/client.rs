//! CLIENT: who is connected, what they call themselves, and the door.
//!
//! Called through the table of commands; never while serving blocks.

use std::net::SocketAddr;

use wire::resp::number::parse_decimal;

use super::{Context, Family};
use crate::server::{Facts, NAME_BYTES_MAX};

const OK: &str = "OK";
const SYNTAX: &str = "ERR syntax error";

/// Redis' words for a name it does not take.
pub const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";

const FAMILY: Family = Family {
    name: "CLIENT",
    members: &[
        ("GETNAME", "The name of this connection."),
        ("ID", "The number of this connection."),
        ("INFO", "What is known of this connection."),
        (
            "KILL",
            "Ends connections: by address, or by ID, ADDR, LADDR, TYPE, USER, SKIPME.",
        ),
        (
            "LIST",
            "What is known of all connections, or by TYPE or ID.",
        ),
        ("NO-EVICT", "Understood; connections are never evicted."),
        ("NO-TOUCH", "Understood; reads always count."),
        ("SETINFO", "Names the library of this connection."),
        ("SETNAME", "Names this connection."),
    ],
};

/// What Redis knows as types of clients; here all are normal.
const TYPES: [&str; 5] = ["normal", "master", "replica", "slave", "pubsub"];

/// CLIENT SETNAME|GETNAME|ID|INFO|LIST|KILL|SETINFO|NO-EVICT|NO-TOUCH
pub fn client(context: &mut Context<'_>) {
    let args = context.args;
    let facts = context.session.client.facts.clone();
    match (args.get(1).to_ascii_uppercase().as_slice(), args.len()) {
        (b"ID", 2) => context.reply.integer(facts.id as i64),
        (b"INFO", 2) => context.reply.text(&facts.line()),
        (b"LIST", _) => list(context),
        (b"KILL", 3..) => kill(context),
        (b"GETNAME", 2) => match facts.names.lock().name.as_str() {
            "" => context.reply.nil(),
            name => context.reply.bulk(name.as_bytes()),
        },
        (b"SETNAME", 3) => match valid_name(args.get(2)) {
            Some(name) => {
                facts.names.lock().name = name;
                context.reply.simple(OK);
            }
            None => context.reply.error(BAD_NAME),
        },
        (b"SETINFO", 4) => set_info(context),
        (b"NO-EVICT" | b"NO-TOUCH", 3) if args.is(2, "on") || args.is(2, "off") => {
            context.reply.simple(OK);
        }
        (b"NO-EVICT" | b"NO-TOUCH", 3) => context.reply.error(SYNTAX),
        _ => FAMILY.otherwise(context),
    }
}

/// A name as Redis allows it, and not longer than anybody needs.
pub fn valid_name(name: &[u8]) -> Option<String> {
    let fine = name.len() <= NAME_BYTES_MAX && name.iter().all(u8::is_ascii_graphic);
    fine.then(|| String::from_utf8_lossy(name).into_owned())
}

fn set_info(context: &mut Context<'_>) {
    let args = context.args;
    let Some(value) = valid_name(args.get(3)) else {
        return context.reply.error(BAD_NAME);
    };
    let facts = context.session.client.facts.clone();
    if args.is(2, "lib-name") {
        facts.names.lock().lib_name = value;
    } else if args.is(2, "lib-ver") {
        facts.names.lock().lib_version = value;
    } else {
        return context.reply.error("ERR Unrecognized option");
    }
    context.reply.simple(OK);
}

/// CLIENT LIST [TYPE normal|master|replica|pubsub] [ID id...]
fn list(context: &mut Context<'_>) {
    let args = context.args;
    let ids: Option<Vec<u64>> = args.from(3).map(number).collect();
    let by_type = args.is(2, "type") && args.len() == 4;
    let by_id = args.is(2, "id") && args.len() >= 4;
    if args.len() > 2 && !by_type && !by_id {
        return context.reply.error(SYNTAX);
    }
    if by_type && !TYPES.iter().any(|name| args.is(3, name)) {
        return unknown_type(context, args.get(3));
    }
    let Some(ids) = ids.or(by_type.then(Vec::new)) else {
        return context.reply.error("ERR Invalid client ID");
    };
    let wanted = |facts: &Facts| match args.len() {
        2 => true,
        _ if by_id => ids.contains(&facts.id),
        _ => args.is(3, "normal"),
    };
    let all = context.shared.clients.list();
    let lines: String = all
        .iter()
        .filter(|facts| wanted(facts))
        .map(|facts| facts.line())
        .collect();
    context.reply.text(&lines);
}

fn unknown_type(context: &mut Context<'_>, name: &[u8]) {
    let name = String::from_utf8_lossy(&name[..name.len().min(NAME_BYTES_MAX)]);
    let text = format!("ERR Unknown client type '{name}'");
    context.reply.error(&text);
}

fn number(text: &[u8]) -> Option<u64> {
    parse_decimal(text).and_then(|number| u64::try_from(number).ok())
}

/// CLIENT KILL addr, or CLIENT KILL [ID id] [ADDR addr] [USER name] [TYPE normal] [SKIPME yes|no]
fn kill(context: &mut Context<'_>) {
    let args = context.args;
    let own = context.session.client.facts.id;
    let address = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.parse::<SocketAddr>().ok()
    };
    let all = context.shared.clients.list();
    if args.len() == 3 {
        let wanted = address(args.get(2));
        let found = all.iter().find(|facts| wanted == Some(facts.peer));
        return match found {
            Some(facts) => {
                end(context, facts);
                context.reply.simple(OK);
            }
            None => context.reply.error("ERR No such client"),
        };
    }
    let mut wanted: Vec<_> = all.iter().collect();
    let mut skip_me = true;
    for index in (2..args.len()).step_by(2) {
        let value = args.get(index + 1);
        match args.get(index).to_ascii_uppercase().as_slice() {
            _ if index + 1 == args.len() => return context.reply.error(SYNTAX),
            b"ID" => match number(value) {
                Some(id @ 1..) => wanted.retain(|facts| facts.id == id),
                _ => {
                    return context
                        .reply
                        .error("ERR client-id should be greater than 0");
                }
            },
            b"ADDR" => wanted.retain(|facts| address(value) == Some(facts.peer)),
            b"USER" if value == b"default" => {}
            b"USER" => {
                let name = String::from_utf8_lossy(&value[..value.len().min(NAME_BYTES_MAX)]);
                let text = format!("ERR No such user '{name}'");
                return context.reply.error(&text);
            }
            b"LADDR" => wanted.retain(|facts| address(value) == facts.local),
            b"TYPE" if value.eq_ignore_ascii_case(b"normal") => {}
            b"TYPE" if TYPES.iter().any(|name| args.is(index + 1, name)) => wanted.clear(),
            b"TYPE" => return unknown_type(context, value),
            b"SKIPME" if value.eq_ignore_ascii_case(b"yes") => skip_me = true,
            b"SKIPME" if value.eq_ignore_ascii_case(b"no") => skip_me = false,
            _ => return context.reply.error(SYNTAX),
        }
    }
    wanted.retain(|facts| !(skip_me && facts.id == own));
    for facts in &wanted {
        end(context, facts);
    }
    context.reply.integer(wanted.len() as i64);
}

/// Ends a connection; one's own after the answer.
fn end(context: &mut Context<'_>, facts: &Facts) {
    if facts.id == context.session.client.facts.id {
        context.session.closing = true;
    } else {
        facts.end();
    }
}
