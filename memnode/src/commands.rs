//! What the requests mean: a table of commands, one file per family.
//!
//! Called by a connection for every whole request, on the worker's thread; a command runs to its
//! end and appends exactly one reply. Names, arities and refusals are those of Redis, because
//! its tools and its client libraries are the other side.

mod connection;
mod info;
mod keys;
mod options;
mod server;
mod strings;

use wire::resp::request::Parser;

use crate::reply::Reply;
use crate::server::{Session, Shared};

/// Longest name of an unknown command, and of its arguments, that is echoed in the refusal.
const ECHO_BYTES_MAX: usize = 128;

/// The arguments of a request, its name first.
#[derive(Clone, Copy)]
struct Args<'a> {
    parser: &'a Parser,
    bytes: &'a [u8],
}

impl<'a> Args<'a> {
    fn len(self) -> usize {
        self.parser.args()
    }

    /// Argument `index`; empty if there is none.
    fn get(self, index: usize) -> &'a [u8] {
        self.parser.arg(self.bytes, index)
    }

    fn from(self, first: usize) -> impl Iterator<Item = &'a [u8]> {
        (first..self.len()).map(move |index| self.get(index))
    }

    fn is(self, index: usize, word: &str) -> bool {
        self.get(index).eq_ignore_ascii_case(word.as_bytes())
    }
}

/// What a command gets to work with.
struct Context<'a> {
    shared: &'a Shared,
    session: &'a mut Session,
    args: Args<'a>,
    reply: Reply<'a>,
}

/// One line of the table.
struct Command {
    name: &'static str,
    /// Number of arguments, name included; negative: at least so many. As Redis counts.
    arity: i32,
    /// May be used before the password is said.
    open: bool,
    run: fn(&mut Context<'_>),
}

const fn command(name: &'static str, arity: i32, run: fn(&mut Context<'_>)) -> Command {
    Command {
        name,
        arity,
        open: false,
        run,
    }
}

const fn open(name: &'static str, arity: i32, run: fn(&mut Context<'_>)) -> Command {
    Command {
        name,
        arity,
        open: true,
        run,
    }
}

/// All commands; what travels on the data path comes first.
static COMMANDS: &[Command] = &[
    command("get", 2, strings::get),
    command("set", -3, strings::set),
    command("mget", -2, strings::mget),
    command("del", -2, keys::del),
    command("unlink", -2, keys::del),
    command("exists", -2, keys::exists),
    command("ping", -1, connection::ping),
    command("strlen", 2, strings::strlen),
    command("type", 2, keys::kind),
    command("ttl", 2, keys::ttl),
    command("pttl", 2, keys::pttl),
    command("dbsize", 1, keys::dbsize),
    command("flushall", -1, keys::flush),
    command("flushdb", -1, keys::flush),
    open("auth", -2, connection::auth),
    open("hello", -1, connection::hello),
    open("quit", -1, connection::quit),
    open("reset", 1, connection::reset),
    command("echo", 2, connection::echo),
    command("select", 2, connection::select),
    command("client", -2, connection::client),
    command("command", -1, server::command),
    command("config", -2, server::config),
    command("info", -1, info::info),
    command("time", 1, server::time),
];

/// Runs the request that `parser` has found in `bytes`; an empty line is none.
pub fn run(
    shared: &Shared,
    session: &mut Session,
    parser: &Parser,
    bytes: &[u8],
    out: &mut Vec<u8>,
) {
    let args = Args { parser, bytes };
    if args.len() == 0 {
        return;
    }
    let resp3 = session.resp3;
    dispatch(&mut Context {
        shared,
        session,
        args,
        reply: Reply { out, resp3 },
    });
}

fn dispatch(context: &mut Context<'_>) {
    let name = context.args.get(0);
    let Some(command) = COMMANDS
        .iter()
        .find(|c| name.eq_ignore_ascii_case(c.name.as_bytes()))
    else {
        return unknown(context);
    };
    let given = i32::try_from(context.args.len()).unwrap_or(i32::MAX);
    let fits = if command.arity < 0 {
        given >= -command.arity
    } else {
        given == command.arity
    };
    if !context.session.authenticated && !command.open {
        context.reply.error("NOAUTH Authentication required.");
    } else if !fits {
        wrong_arguments(context, command.name);
    } else {
        (command.run)(context);
    }
}

fn wrong_arguments(context: &mut Context<'_>, name: &str) {
    context.reply.error(&format!(
        "ERR wrong number of arguments for '{name}' command"
    ));
}

fn unknown(context: &mut Context<'_>) {
    // A browser that was talked into sending a form: end it before its body becomes commands.
    if context.args.is(0, "post") || context.args.is(0, "host:") {
        tracing::warn!(peer = %context.session.client.facts.peer, "a web request was refused");
        context.session.closing = true;
        return;
    }
    if !context.session.authenticated {
        return context.reply.error("NOAUTH Authentication required.");
    }
    let shown = |bytes: &[u8]| {
        let end = bytes.len().min(ECHO_BYTES_MAX);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let mut text = format!(
        "ERR unknown command '{}', with args beginning with: ",
        shown(context.args.get(0))
    );
    for arg in context.args.from(1) {
        if text.len() > ECHO_BYTES_MAX {
            break;
        }
        text.push_str(&format!("'{}' ", shown(arg)));
    }
    context.reply.error(&text);
}

/// Refuses a word after a command that has several, as Redis does.
fn unknown_subcommand(context: &mut Context<'_>, command: &str) {
    let word = context.args.get(1);
    let word = String::from_utf8_lossy(&word[..word.len().min(ECHO_BYTES_MAX)]);
    let text = format!("ERR unknown subcommand '{word}'. Try {command} HELP.");
    context.reply.error(&text);
}
