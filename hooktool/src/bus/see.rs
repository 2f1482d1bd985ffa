//! `hooktool bus see`: both queues of a channel: positions, numbers, owners, what went wrong.

use bus::channel::File;
use bus::owner::Holder;
use bus::view::{Queue, Totals, queues};
use bus::{Bus, Template, proof};
use serde::Serialize;

use super::cli::SeeArgs;
use super::list::short;
use super::{address, channels, told};
use crate::failure::Failure;
use crate::viewer::{json_line, line};

/// A queue as a script reads it.
#[derive(Serialize)]
struct Row {
    from: String,
    to: String,
    messages: u64,
    bytes: Option<u64>,
    head: u64,
    tail: u64,
    ring_bytes: u64,
    first_seq: Option<u64>,
    last_seq: u64,
    sent: u64,
    received: u64,
    full: u64,
    sleeps: u64,
    wakes: u64,
    redelivered: u64,
    damaged_messages: u64,
    damaged_bytes: u64,
    cleaned: u64,
    takeovers: u64,
    sender: Option<Who>,
    receiver: Option<Who>,
}

/// An owner as a script reads it.
#[derive(Serialize)]
pub struct Who {
    pid: u32,
    name: Option<String>,
    since_ns: Option<u64>,
    /// `alive`, `stopped`, `dead` (its end can be bound).
    state: &'static str,
}

/// Runs `see`.
///
/// # Errors
///
/// No such address, or the directory cannot be read.
pub fn see(bus: &Bus, arguments: &SeeArgs) -> Result<u8, Failure> {
    let only = match &arguments.address {
        Some(text) => Some(address(bus, text)?),
        None => None,
    };
    let mut shown = 0;
    for file in channels(bus)? {
        if only.is_some_and(|only| !file.header().ends.contains(&only)) {
            continue;
        }
        shown += 1;
        channel(&file, arguments.json)?;
    }
    match (shown, &arguments.address) {
        (0, Some(text)) => Err(told(bus::Error::NoChannel { what: text.clone() })),
        _ => Ok(0),
    }
}

fn channel(file: &File, json: bool) -> Result<(), Failure> {
    let template = file.header().template;
    for queue in queues(file) {
        let row = row(&queue, template);
        match json {
            true => json_line(&row)?,
            false => table(&row)?,
        }
    }
    Ok(())
}

fn row(queue: &Queue, template: Template) -> Row {
    let (first_seq, messages) = queue.messages();
    let Totals {
        full, takeovers, ..
    } = queue.sent;
    let received = queue.received;
    Row {
        from: template.show(queue.from).to_string(),
        to: template.show(queue.to).to_string(),
        messages,
        bytes: queue.bytes(),
        head: queue.head,
        tail: queue.tail,
        ring_bytes: queue.ring_bytes,
        first_seq,
        last_seq: queue.last_seq,
        sent: queue.sent.messages,
        received: received.messages,
        full,
        sleeps: queue.sent.sleeps + received.sleeps,
        wakes: queue.sent.wakes + received.wakes,
        redelivered: received.redelivered,
        damaged_messages: received.damaged_messages,
        damaged_bytes: received.damaged_bytes,
        cleaned: received.cleaned,
        takeovers: takeovers + received.takeovers,
        sender: queue.sender.as_ref().map(who),
        receiver: queue.receiver.as_ref().map(who),
    }
}

/// An owner, judged.
pub fn who(holder: &Holder) -> Who {
    let me = proof::me(false).map(|me| me.identity).ok();
    let state = match me {
        Some(me) if proof::is_dead(holder, &me, true) => "dead",
        Some(me) if proof::is_stopped(holder, &me) => "stopped",
        _ => "alive",
    };
    Who {
        pid: bus::owner::pid_of(holder.word),
        name: holder.details.as_ref().map(|details| details.name()),
        since_ns: holder.details.as_ref().map(|details| details.since_ns),
        state,
    }
}

/// An owner in a few words.
pub fn in_words(who: &Option<Who>) -> String {
    match who {
        None => "nobody".into(),
        Some(Who {
            pid, name, state, ..
        }) => {
            format!("{} pid {pid}, {state}", name.as_deref().unwrap_or("?"))
        }
    }
}

fn table(row: &Row) -> Result<(), Failure> {
    line(&format!("{} -> {}", row.from, row.to))?;
    let bytes = row
        .bytes
        .map_or("contradictory".into(), |bytes| bytes.to_string());
    let first = row.first_seq.map_or("-".into(), |seq| seq.to_string());
    line(&format!(
        "  queued    {} messages, {bytes} bytes of {}; numbers {first} to {}",
        row.messages,
        short(row.ring_bytes),
        row.last_seq
    ))?;
    line(&format!("  position  head {}, tail {}", row.head, row.tail))?;
    line(&format!(
        "  sender    {}; sent {}, full {}",
        in_words(&row.sender),
        row.sent,
        row.full
    ))?;
    line(&format!(
        "  receiver  {}; received {}, again {}",
        in_words(&row.receiver),
        row.received,
        row.redelivered
    ))?;
    if row.damaged_messages + row.damaged_bytes + row.cleaned + row.takeovers > 0 {
        line(&format!(
            "  events    lost to damage {} ({} bytes), cleaned {}, taken over from the dead {}",
            row.damaged_messages, row.damaged_bytes, row.cleaned, row.takeovers
        ))?;
    }
    Ok(())
}
