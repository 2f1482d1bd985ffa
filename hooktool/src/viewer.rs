//! The viewers of running sessions: `ps`, `stats`, and the switches `on`, `off`, `flush`.
//!
//! Data on standard output in at most 80 columns, or JSON lines as the hook server sent them.
//! An interrupt ends a viewer with status 0.

use std::io::Write;

use crate::cli::{JsonArgs, SelectArgs};
use crate::control::{NodeInfo, NodeState, Request, Response, ServiceState, SessionInfo};
use crate::failure::Failure;
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
        line(&ps_row(
            &["PID", "COMMAND", "UPTIME", "READS", "HIT%"],
            "STATE",
            "NODE",
        ))?;
    }
    for found in &sessions.found {
        if arguments.json {
            json_line(&found.info)?;
        } else {
            ps_session(&found.info)?;
        }
    }
    if sessions.found.is_empty() || sessions.foreign + sessions.silent > 0 {
        eprintln!("hooktool: sessions: {}", sessions::others(&sessions));
    }
    Ok(0)
}

fn ps_row(left: &[&str; 5], state: &str, node: &str) -> String {
    let [pid, command, uptime, reads, hit] = left;
    let row =
        format!("{pid:>7} {command:<15.15} {uptime:>7} {reads:>6} {hit:>5} {state:<11} {node}");
    row.chars()
        .take(80)
        .collect::<String>()
        .trim_end()
        .to_string()
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
            process.command.clone(),
            uptime_words(process.uptime_s),
            show_count(process.reads as f64),
            percent(hits, process.reads),
        ];
        line(&ps_row(&left.each_ref().map(String::as_str), &state, &node))?;
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
        let name = format!("({})", info.name);
        line(&ps_row(
            &[&pid, &name, &uptime_words(info.uptime_s), "0", "-"],
            state,
            &node,
        ))?;
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

/// `hooktool on`, `off`, `flush`: carries the order out and says so.
///
/// # Errors
///
/// No such session, or it refuses.
pub fn order(arguments: &SelectArgs, request: &Request) -> Result<u8, Failure> {
    let mut found = sessions::select(arguments.name.as_deref())?;
    match found.link.ask(request)? {
        Response::Done => {}
        other => return Err(refused(other)),
    }
    let done = match request {
        Request::Service { on: true } => "is on: hot blocks are served",
        Request::Service { on: false } => "is off: every read goes to the kernel",
        _ => "is flushed: every block is forgotten",
    };
    eprintln!("hooktool: session {} {done}", found.info.name);
    Ok(0)
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
            "a-very-long-command-name",
            "999d23h",
            "48.2k",
            "100.0",
        ];
        let node = "redis://a.very.long.host.name.example.com:7420 unreachable (of 64)";
        let row = ps_row(&left, "bypass: a reason that is long", node);
        assert!(row.len() <= 80, "{row}");
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
