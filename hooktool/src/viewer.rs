//! The viewers of running sessions: `ps`, `stats`, and the switches `on`, `off`, `flush`.
//!
//! Data on standard output in at most 80 columns, or JSON lines as the hook server sent them.
//! An interrupt ends a viewer with status 0.

use std::io::{IsTerminal, Write};

use crate::cli::{JsonArgs, SelectArgs};
use crate::control::{NodeInfo, NodeState, Request, Response, ServiceState, SessionInfo};
use crate::failure::{self, Failure};
use crate::sessions;
use crate::sizes::show_count;

/// Writes one line and lets it be seen at once.
///
/// # Errors
///
/// Nobody reads any more.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| {
            Failure::command(
                format!("cannot write the output: {error}"),
                "what follows would be lost",
                "look at the device or pipe it goes to",
            )
        })
}

/// A value as one line of JSON.
///
/// # Errors
///
/// As `line`.
pub fn json_line(value: &impl serde::Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string(value).unwrap_or_default())
}

/// `hooktool ps`.
///
/// # Errors
///
/// The output cannot be written.
pub fn ps(arguments: &JsonArgs) -> Result<u8, Failure> {
    let sessions = sessions::list();
    if !arguments.json {
        show_row(
            &["PID", "NAME", "COMMAND", "UPTIME", "READS", "HIT%"],
            "STATE",
            "NODE",
        )?;
    }
    for found in &sessions.found {
        if arguments.json {
            json_line(&found.info)?;
        } else {
            ps_session(&found.info)?;
        }
    }
    for orphan in &sessions::orphans(&sessions) {
        if !arguments.json {
            let pid = orphan.pid.to_string();
            let state = "its hook server is gone or silent: it reads from disk";
            show_row(&[&pid, "-", &orphan.command, "-", "-", "-"], state, "")?;
        }
    }
    if sessions.found.is_empty() || sessions.foreign + sessions.silent > 0 {
        eprintln!("hooktool: sessions: {}", sessions::others(&sessions));
    }
    Ok(0)
}

/// Writes one row: in the width of a screen where one looks, whole where a program reads.
fn show_row(left: &[&str; 6], state: &str, node: &str) -> Result<(), Failure> {
    let row = ps_row(left, state, node);
    match std::io::stdout().is_terminal() {
        true => line(&clip(&row)),
        false => line(&row),
    }
}

/// The part of a row that fits a screen.
fn clip(row: &str) -> String {
    row.chars().take(80).collect()
}

fn ps_row(left: &[&str; 6], state: &str, node: &str) -> String {
    let [pid, name, command, uptime, reads, hit] = left;
    let row = format!(
        "{pid:>7} {name:<11} {command:<11.11} {uptime:>6} {reads:>5} {hit:>5} {state:<8} {node}"
    );
    row.trim_end().to_string()
}

fn ps_session(info: &SessionInfo) -> Result<(), Failure> {
    let state = state_words(info.state, info.reason.as_deref());
    let (state, node) = match info.state {
        ServiceState::Serving | ServiceState::Observing => (state, nodes_words(&info.nodes)),
        // The reason is worth more than the node.
        ServiceState::Off | ServiceState::Bypass => (state, String::new()),
    };
    for process in &info.processes {
        let hits = process.hits_local + process.hits_remote;
        let left = [
            process.pid.to_string(),
            info.name.clone(),
            process.command.clone(),
            uptime_words(process.uptime_s),
            show_count(process.reads as f64),
            percent(hits, process.reads),
        ];
        show_row(&left.each_ref().map(String::as_str), &state, &node)?;
    }
    if info.processes.is_empty() {
        // Nobody has attached: because the target has opened nothing yet, or because all are gone.
        let alive = sessions::is_awaited(info);
        let state = if alive { "no read yet" } else { "lingering" };
        let pid = if alive {
            info.pid.to_string()
        } else {
            "-".into()
        };
        let uptime = uptime_words(info.uptime_s);
        show_row(&[&pid, &info.name, "-", &uptime, "0", "-"], state, &node)?;
    }
    Ok(())
}

/// A state in words: `serving`, `bypass: node unreachable`.
pub fn state_words(state: ServiceState, reason: Option<&str>) -> String {
    let word = match state {
        ServiceState::Serving => "serving",
        ServiceState::Observing => "observing",
        ServiceState::Off => "off",
        ServiceState::Bypass => "bypass",
    };
    match reason {
        Some(reason) => format!("{word}: {reason}"),
        None => word.to_string(),
    }
}

fn nodes_words(nodes: &[NodeInfo]) -> String {
    let Some(first) = nodes.first() else {
        return String::new();
    };
    let trouble = nodes.iter().find(|node| node.state != NodeState::Up);
    let shown = trouble.unwrap_or(first);
    let state = match shown.state {
        NodeState::Up => "",
        NodeState::Connecting => " connecting",
        NodeState::Unreachable => " unreachable",
        NodeState::Unauthorized => " wants a password",
        NodeState::Foreign => " is no memory node",
        NodeState::Slow => " too slow",
    };
    let more = if nodes.len() > 1 {
        format!(" (of {})", nodes.len())
    } else {
        String::new()
    };
    format!("{}{state}{more}", shown.addr)
}

/// A share in percent, one digit; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".into(),
        _ => format!("{:.1}", part as f64 * 100.0 / whole as f64),
    }
}

/// An age in at most six characters: `41s`, `12m05`, `3h02`, `3d02h`.
fn uptime_words(uptime_s: u64) -> String {
    let (minutes, hours, days) = (uptime_s / 60, uptime_s / 3600, uptime_s / 86_400);
    match uptime_s {
        0..60 => format!("{uptime_s}s"),
        60..3600 => format!("{minutes}m{:02}", uptime_s % 60),
        3600..86_400 => format!("{hours}h{:02}", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `hooktool on`, `off`, `flush`: carries the order out in every session that is meant, and says
/// so.
///
/// # Errors
///
/// No such session, or one of them refuses.
pub fn order(arguments: &SelectArgs, request: &Request) -> Result<u8, Failure> {
    let mut outcome = Ok(0);
    for mut found in sessions::select(arguments.name.as_deref(), verb(request))? {
        let who = sessions::who(&found.info);
        match found.link.ask(request).and_then(done) {
            Ok(()) => failure::note(&format!(
                "session {} {who} {}",
                found.info.name,
                done_words(request, &found.info)
            )),
            Err(failure) => outcome = outcome.and(Err(failure)),
        }
    }
    outcome
}

fn done(answer: Response) -> Result<(), Failure> {
    match answer {
        Response::Done => Ok(()),
        other => Err(refused(other)),
    }
}

fn done_words(request: &Request, info: &SessionInfo) -> &'static str {
    let lingers = info.processes.is_empty() && !sessions::is_awaited(info);
    match request {
        Request::Service { on: true } => "is on: hot blocks are served",
        Request::Service { on: false } if lingers => "is ended: nobody was in it",
        Request::Service { on: false } => "is off: every read goes to the kernel",
        _ => "is flushed: no block held so far is read again; nodes evict them in time",
    }
}

/// The command that makes an order.
fn verb(request: &Request) -> &'static str {
    match request {
        Request::Service { on: true } => "on",
        Request::Service { on: false } => "off",
        _ => "flush",
    }
}

/// An answer that was not the one hoped for.
pub fn refused(answer: Response) -> Failure {
    match answer {
        Response::Refused { what, means, fix } => Failure::command(what, means, fix),
        _ => Failure::command(
            "the hook server gave an answer to another question",
            "it was started by another version of hooktool",
            "use that version to look at it, or start its program again",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (61, "1m01"),
            (3600, "1h00"),
            (266_400, "3d02h"),
        ];
        for (uptime_s, words) in table {
            assert_eq!(uptime_words(uptime_s), words);
        }
    }

    #[test]
    fn rows_fit_eighty_columns() {
        let left = [
            "4194304",
            "a-long-name-of-a-session",
            "a-very-long-command-name",
            "999d23h",
            "48.2k",
            "100.0",
        ];
        let node = "redis://a.very.long.host.name.example.com:7420 unreachable (of 16)";
        let row = ps_row(&left, "bypass: a reason that is long", node);
        assert_eq!(clip(&row).chars().count(), 80, "{row}");
        assert!(row.contains("a-long-name-of-a-session") && row.ends_with("(of 16)"));
        let left = ["7", "pg", "postgres", "12m05", "48.2k", "100.0"];
        let row = ps_row(&left, "serving", "10.0.0.7:7420");
        assert_eq!(row, clip(&row), "an ordinary row is whole on a screen");
    }

    #[test]
    fn the_node_in_trouble_is_shown() {
        let node = |addr: &str, state| NodeInfo {
            addr: addr.into(),
            state,
            blocks: 0,
            bytes: 0,
            rtt_us: None,
        };
        let nodes = [
            node("a:1", NodeState::Up),
            node("b:1", NodeState::Unreachable),
        ];
        assert_eq!(nodes_words(&nodes), "b:1 unreachable (of 2)");
        assert_eq!(nodes_words(&nodes[..1]), "a:1");
    }
}
