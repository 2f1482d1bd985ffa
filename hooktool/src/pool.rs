//! `hooktool node list`, `add`, `drain`, `remove`: the memory nodes of a running session.
//!
//! What is typed is checked here as `--node` is; the hook server carries it out (`server::orders`)
//! and refuses in words of its own. The list goes to standard output, what was done is said on
//! standard error.

use std::io::{BufRead, Read};

use crate::cli::{NodeChangeArgs, NodeCommand, NodeListArgs};
use crate::control::{NodeInfo, NodeOrder, NodeState, Request, Response};
use crate::failure::{self, Failure};
use crate::viewer::{self, json_line, line};
use crate::{sessions, settings, sizes};

/// Longest address that is read from standard input, in bytes.
const ADDRESS_BYTES_MAX: u64 = 4096;

/// Slots over which the files are spread.
const SLOTS: u64 = grid::node::SLOTS as u64;

/// Runs it.
///
/// # Errors
///
/// No such session, an address that is none, or what the hook server refuses.
pub fn node(command: &NodeCommand) -> Result<u8, Failure> {
    match command {
        NodeCommand::List(arguments) => list(arguments),
        NodeCommand::Add(arguments) => change(arguments, NodeOrder::Add),
        NodeCommand::Drain(arguments) => change(arguments, NodeOrder::Drain),
        NodeCommand::Remove(arguments) => change(arguments, NodeOrder::Remove),
    }
}

fn list(arguments: &NodeListArgs) -> Result<u8, Failure> {
    let found = sessions::select_one(arguments.select.name.as_deref(), "node list")?;
    if arguments.json {
        found.info.nodes.iter().try_for_each(json_line)?;
        return Ok(0);
    }
    line(&row([
        "NODE", "STATE", "SHARE%", "BLOCKS", "BYTES", "RTTus",
    ]))?;
    for node in &found.info.nodes {
        let rtt = node
            .rtt_us
            .map_or_else(|| "-".into(), |us| format!("{us:.0}"));
        line(&row([
            &node.addr,
            state_word(node),
            &viewer::percent(node.slots, SLOTS),
            &sizes::show_count(node.blocks as f64),
            &sizes::show_short(node.bytes),
            &rtt,
        ]))?;
    }
    Ok(0)
}

fn row(words: [&str; 6]) -> String {
    let [addr, state, share, blocks, bytes, rtt] = words;
    format!("{addr:<24} {state:<16} {share:>6} {blocks:>6} {bytes:>8} {rtt:>6}")
}

/// The state of a node in a word or two.
pub fn state_word(node: &NodeInfo) -> &'static str {
    match node.state {
        NodeState::Up => "up",
        NodeState::Connecting => "connecting",
        NodeState::Unreachable => "unreachable",
        NodeState::Unauthorized => "wants a password",
        NodeState::Tls => "speaks TLS",
        NodeState::Untrusted => "no trust (TLS)",
        NodeState::Foreign => "is no memory node",
        NodeState::Slow => "too slow",
        NodeState::Draining => "draining",
        NodeState::Drained => "drained",
    }
}

/// An address from standard input: one with a password need not stand in the process list.
fn read_address(verb: &str) -> Result<String, Failure> {
    let mut line = String::new();
    let read = std::io::stdin().lock().take(ADDRESS_BYTES_MAX);
    let read = std::io::BufReader::new(read).read_line(&mut line);
    match read {
        Ok(_) if !line.trim().is_empty() => Ok(line),
        Ok(_) | Err(_) => Err(Failure::usage(
            format!("{verb} -: standard input has no line that could be read"),
            "the address comes from there when a dash stands in its place",
            format!("hooktool {verb} - < FILE   with a line such as redis://:PASSWORD@HOST:7420"),
        )),
    }
}

fn change(arguments: &NodeChangeArgs, order: NodeOrder) -> Result<u8, Failure> {
    let verb = match order {
        NodeOrder::Add => "node add",
        NodeOrder::Drain => "node drain",
        NodeOrder::Remove => "node remove",
    };
    let typed = match arguments.addr.as_str() {
        "-" => read_address(verb)?,
        typed => typed.to_string(),
    };
    let addr = settings::node_of_argument(&typed, verb)?;
    let shown = addr.to_string();
    let whole = format!("{verb} {shown}");
    let mut found = sessions::select_one(arguments.select.name.as_deref(), &whole)?;
    let name = found.info.name.clone();
    let trouble = match found.link.ask(&Request::Node { order, addr })? {
        Response::Node { trouble } => trouble,
        other => return Err(viewer::refused(other)),
    };
    let done = match order {
        NodeOrder::Add => "is in: it has its share of the files as soon as it answers",
        NodeOrder::Drain => {
            "is being drained: its share goes to the others; see:  hooktool node list"
        }
        NodeOrder::Remove => "is out: its share has gone to the others",
    };
    failure::note(&format!("session {name}: node {shown} {done}"));
    if let Some(trouble) = trouble {
        failure::note(&trouble);
    }
    Ok(0)
}
