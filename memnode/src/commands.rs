//! What the requests mean: a table of commands, one file per family.
//!
//! Called by a connection for every whole request, on the worker's thread; a command runs to its
//! end and appends exactly one reply. Names, arities and refusals are those of Redis, because
//! its tools and its client libraries are the other side.

mod client;
mod config;
mod connection;
mod expiry;
mod glob;
mod info;
mod keys;
mod options;
mod server;
mod strings;
mod table;

use wire::resp::request::Parser;

pub(crate) use table::COMMANDS;
use table::Kind;

use crate::reply::Reply;
use crate::server::{Session, Shared};
use crate::store::Out;

/// Longest name of an unknown command, and of its arguments, that is echoed in the refusal.
const ECHO_BYTES_MAX: usize = 128;

/// The arguments of a request, its name first.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a> {
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
pub(crate) struct Context<'a> {
    shared: &'a Shared,
    session: &'a mut Session,
    args: Args<'a>,
    reply: Reply<'a>,
}

/// Runs the request that `parser` has found in `bytes`; an empty line is none.
pub fn run(shared: &Shared, session: &mut Session, parser: &Parser, bytes: &[u8], out: &mut Out) {
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
    let Some(index) = table::find(context.args.get(0)) else {
        return unknown(context);
    };
    let command = &COMMANDS[index];
    if !context.session.authenticated && command.kind != Kind::Open {
        context.reply.error("NOAUTH Authentication required.");
    } else if !command.takes(context.args.len() as i64) {
        wrong_arguments(context, command.name);
    } else {
        let timing = &context.shared.timings[index];
        let began = timing.begin();
        (command.run)(context);
        if let Some(began) = began {
            timing.end(began);
        }
    }
}

fn wrong_arguments(context: &mut Context<'_>, name: &str) {
    context.reply.error(&format!(
        "ERR wrong number of arguments for '{name}' command"
    ));
}

fn unknown(context: &mut Context<'_>) {
    // A browser that was talked into sending a form: end it before its body becomes commands.
    // A browser or a scraper at the wrong port learns which one it is at.
    if context.args.is(0, "post") || context.args.is(0, "host:") {
        let text = "ERR this port speaks the Redis protocol, not HTTP: redis-cli; \
                    for /metrics start memnode with --metrics ADDR";
        context.reply.error(text);
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

/// A command that has several under it: their names and what they do.
pub(crate) struct Family {
    /// In upper case.
    pub name: &'static str,
    /// Each in upper case, and a line for people.
    pub members: &'static [(&'static str, &'static str)],
}

impl Family {
    /// Answers HELP; refuses one with the wrong number of arguments, and one that is not known, in
    /// Redis' words.
    fn otherwise(&self, context: &mut Context<'_>) {
        let args = context.args;
        if args.is(1, "help") && args.len() == 2 {
            return self.help(context);
        }
        let known = self.members.iter().find(|(name, _)| args.is(1, name));
        if let Some((member, _)) = known {
            let name = format!("{}|{member}", self.name).to_lowercase();
            return wrong_arguments(context, &name);
        }
        let word = args.get(1);
        let word = String::from_utf8_lossy(&word[..word.len().min(ECHO_BYTES_MAX)]);
        let text = format!("ERR unknown subcommand '{word}'. Try {} HELP.", self.name);
        context.reply.error(&text);
    }

    fn help(&self, context: &mut Context<'_>) {
        let reply = &mut context.reply;
        reply.array(1 + 2 * self.members.len() + 2);
        let name = self.name;
        reply.simple(&format!(
            "{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
        ));
        for (member, text) in self.members {
            reply.simple(member);
            reply.simple(&format!("    {text}"));
        }
        reply.simple("HELP");
        reply.simple("    Print this help.");
    }
}
