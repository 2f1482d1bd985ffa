//! The table of commands: name, arity, manners, place of the keys, one sentence.
//!
//! Looked up by `commands` for every request, and told by COMMAND, COMMAND INFO, COMMAND DOCS. What
//! travels on the data path comes first.

use super::{Context, connection, expiry, info, keys, server, strings};

/// One line of the table.
pub struct Command {
    /// In lower case.
    pub name: &'static str,
    /// Number of arguments, name included; negative: at least so many. As Redis counts.
    pub arity: i32,
    /// What it does to the data.
    pub kind: Kind,
    /// First key, last key (negative: from the end), step; zeros for none.
    pub keys: (i64, i64, i64),
    /// What it does.
    pub run: fn(&mut Context<'_>),
    /// For people.
    pub summary: &'static str,
}

impl Command {
    /// May it be called with so many arguments, its name included?
    pub fn takes(&self, given: i64) -> bool {
        let arity = i64::from(self.arity);
        if arity < 0 {
            given >= -arity
        } else {
            given == arity
        }
    }
}

/// What a command does to the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads a value or looks at keys.
    Read,
    /// Changes something.
    Write,
    /// Has to do with the server.
    Admin,
    /// Has to do with the connection.
    Connection,
    /// The same, and allowed before the password was said.
    Open,
}

impl Kind {
    /// Redis' words for it.
    pub fn flags(self) -> &'static [&'static str] {
        match self {
            Kind::Read => &["readonly", "fast"],
            Kind::Write => &["write", "fast"],
            Kind::Admin => &["admin", "loading", "stale"],
            Kind::Connection => &["loading", "stale", "fast"],
            Kind::Open => &["noscript", "loading", "stale", "fast", "no_auth"],
        }
    }

    /// Redis' group in the documents.
    pub fn group(self, keys: bool) -> &'static str {
        match self {
            Kind::Read | Kind::Write if keys => "string",
            Kind::Read | Kind::Write => "generic",
            Kind::Admin => "server",
            Kind::Connection | Kind::Open => "connection",
        }
    }
}

const NONE: (i64, i64, i64) = (0, 0, 0);
const ONE: (i64, i64, i64) = (1, 1, 1);
const ALL: (i64, i64, i64) = (1, -1, 1);
const PAIRS: (i64, i64, i64) = (1, -1, 2);

const fn line(
    name: &'static str,
    arity: i32,
    kind: Kind,
    keys: (i64, i64, i64),
    run: fn(&mut Context<'_>),
    summary: &'static str,
) -> Command {
    Command {
        name,
        arity,
        kind,
        keys,
        run,
        summary,
    }
}

use Kind::{Admin, Connection, Open, Read, Write};

/// All commands.
#[rustfmt::skip]
pub static COMMANDS: &[Command] = &[
    line("get", 2, Read, ONE, strings::get, "The value of a key"),
    line("set", -3, Write, ONE, strings::set, "Stores a value under a key"),
    line("mget", -2, Read, ALL, strings::mget, "The values of several keys"),
    line("del", -2, Write, ALL, keys::del, "Removes keys"),
    line("unlink", -2, Write, ALL, keys::del, "Removes keys"),
    line("exists", -2, Read, ALL, keys::exists, "How many of the keys are there"),
    line("ping", -1, Connection, NONE, connection::ping, "Answers PONG, or what it was told"),
    line("strlen", 2, Read, ONE, strings::strlen, "Length of a value"),
    line("getex", -2, Write, ONE, strings::getex, "A value, and a new time to live"),
    line("getdel", 2, Write, ONE, strings::getdel, "A value, and its key is removed"),
    line("getset", 3, Write, ONE, strings::getset, "The old value of a key that gets a new one"),
    line("mset", -3, Write, PAIRS, strings::mset, "Stores several values"),
    line("setnx", 3, Write, ONE, strings::setnx, "Stores a value where there is none"),
    line("setex", 4, Write, ONE, strings::setex, "Stores a value for some seconds"),
    line("psetex", 4, Write, ONE, strings::psetex, "Stores a value for some milliseconds"),
    line("type", 2, Read, ONE, keys::kind, "The type of a value: string, or none"),
    line("touch", -2, Read, ALL, keys::touch, "How many keys are there; marks them as used"),
    line("ttl", 2, Read, ONE, expiry::ttl, "Time to live in seconds"),
    line("pttl", 2, Read, ONE, expiry::pttl, "Time to live in milliseconds"),
    line("expiretime", 2, Read, ONE, expiry::expiretime, "When a key expires, in seconds"),
    line("pexpiretime", 2, Read, ONE, expiry::pexpiretime, "The same in milliseconds"),
    line("expire", -3, Write, ONE, expiry::expire, "Sets the time to live in seconds"),
    line("pexpire", -3, Write, ONE, expiry::pexpire, "The same in milliseconds"),
    line("expireat", -3, Write, ONE, expiry::expireat, "Sets when a key expires, in seconds"),
    line("pexpireat", -3, Write, ONE, expiry::pexpireat, "The same in milliseconds"),
    line("persist", 2, Write, ONE, expiry::persist, "Takes the time to live away"),
    line("scan", -2, Read, NONE, keys::scan, "Walks over all keys in steps"),
    line("keys", 2, Read, NONE, keys::keys, "All keys that match a pattern"),
    line("randomkey", 1, Read, NONE, keys::randomkey, "Some key"),
    line("dbsize", 1, Read, NONE, keys::dbsize, "How many keys there are"),
    line("flushall", -1, Write, NONE, keys::flush, "Removes everything"),
    line("flushdb", -1, Write, NONE, keys::flush, "Removes everything"),
    line("auth", -2, Open, NONE, connection::auth, "Says the password"),
    line("hello", -1, Open, NONE, connection::hello, "Chooses the protocol"),
    line("quit", -1, Open, NONE, connection::quit, "Ends the connection"),
    line("reset", 1, Open, NONE, connection::reset, "Makes the connection as fresh"),
    line("echo", 2, Connection, NONE, connection::echo, "Answers what it was told"),
    line("select", 2, Connection, NONE, connection::select, "Chooses the database: 0"),
    line("client", -2, Connection, NONE, super::client::client, "Who is connected"),
    line("command", -1, Connection, NONE, server::command, "What commands there are"),
    line("config", -2, Admin, NONE, super::config::config, "Settings"),
    line("info", -1, Admin, NONE, info::info, "Counters"),
    line("memory", -2, Read, NONE, server::memory, "What memory is used for"),
    line("time", 1, Connection, NONE, server::time, "The time of this machine"),
    line("latency", -2, Admin, NONE, server::latency, "Events that took long: none are kept"),
    line("slowlog", -2, Admin, NONE, server::slowlog, "Commands that took long: none are kept"),
    line("acl", -2, Admin, NONE, server::acl, "Who one is: default"),
    line("module", -2, Admin, NONE, server::module, "Loaded modules: there are none"),
    line("shutdown", -1, Admin, NONE, server::shutdown, "Ends the node"),
];

/// The place in the table of a command called so, in any case.
pub fn find(name: &[u8]) -> Option<usize> {
    COMMANDS
        .iter()
        .position(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
}
