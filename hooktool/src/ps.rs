//! `hooktool ps`: the hooked processes of this host, a row each, or JSON lines a session each.
//!
//! A row is cut to the width of the screen where one looks, and whole where a program reads. A
//! process whose hook server is gone has its row too: nothing else would tell.

use std::io::IsTerminal;

use crate::carriers::{self, Carried};
use crate::cli::JsonArgs;
use crate::control::{NodeInfo, NodeState, ProcessInfo, ServiceState, SessionInfo};
use crate::failure::{self, Failure};
use crate::sizes::show_count;
use crate::viewer::{json_line, line, percent, state_words};
use crate::{orphans, sessions};

/// Narrowest screen that is believed, in columns.
const COLUMNS_MIN: usize = 80;

/// The columns left of the state.
type Left<'a> = [&'a str; 6];

/// Runs it.
///
/// # Errors
///
/// The output cannot be written.
pub fn ps(arguments: &JsonArgs) -> Result<u8, Failure> {
    let mut sessions = sessions::list();
    let hooked = carriers::hooked();
    let orphans = orphans::find(&sessions, &hooked);
    for found in &mut sessions.found {
        found.info.waiting = waiting(&found.info, &hooked);
    }
    let infos = sessions.found.iter().map(|found| &found.info);
    let infos: Vec<_> = infos.chain(&orphans).collect();
    if arguments.json {
        for info in &infos {
            json_line(info)?;
        }
    } else {
        let head = ["PID", "NAME", "COMMAND", "UPTIME", "READS", "HIT%"];
        let mut rows = vec![row(&head, "STATE", "NODE")];
        infos.iter().for_each(|info| rows.extend(rows_of(info)));
        let columns = columns();
        for row in rows {
            line(&row.chars().take(columns).collect::<String>())?;
        }
    }
    if infos.is_empty() || sessions.foreign + sessions.silent.len() > 0 {
        failure::note(&format!("sessions: {}", sessions::others(&sessions)));
    }
    Ok(0)
}

/// The processes of a session that have not joined.
fn waiting(info: &SessionInfo, hooked: &[(u32, Carried)]) -> Vec<ProcessInfo> {
    let joined = |pid: &u32| info.processes.iter().any(|process| process.pid == *pid);
    let carries = hooked
        .iter()
        .filter(|(_, carried)| carried.session == info.session);
    let pids = carries.map(|(pid, _)| *pid).filter(|pid| !joined(pid));
    pids.map(orphans::process).collect()
}

/// Columns of the screen; where a program reads there is no end.
fn columns() -> usize {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return usize::MAX;
    }
    let size = rustix::termios::tcgetwinsize(&out);
    size.map_or(0, |size| usize::from(size.ws_col))
        .max(COLUMNS_MIN)
}

fn row(left: &Left<'_>, state: &str, node: &str) -> String {
    let [pid, name, command, uptime, reads, hit] = left;
    let row = format!(
        "{pid:>7} {name:<11} {command:<11.11} {uptime:>6} {reads:>5} {hit:>5} {state:<9} {node}"
    );
    row.trim_end().to_string()
}

fn rows_of(info: &SessionInfo) -> Vec<String> {
    let state = state_words(info.state, info.reason.as_deref());
    let node = nodes_words(&info.nodes) + integrity_words(info);
    // The node has a column of its own.
    let state = match info.nodes.first() {
        Some(first) => state.replace(&format!("node {}: ", first.addr), ""),
        None => state,
    };
    let is_orphan = matches!(info.state, ServiceState::Gone | ServiceState::Silent);
    let known = |text: String| if is_orphan { "-".into() } else { text };
    let rows = info.processes.iter().map(|process| {
        let hits = process.hits_local + process.hits_remote;
        let left = [
            process.pid.to_string(),
            info.name.clone(),
            process.command.clone(),
            known(uptime_words(process.uptime_s)),
            known(show_count(process.reads as f64)),
            percent(hits, process.reads),
        ];
        row(&left.each_ref().map(String::as_str), &state, &node)
    });
    let mut rows: Vec<_> = rows.collect();
    let uptime = uptime_words(info.uptime_s);
    let idle = |pid: &str, command: &str, uptime: &str, state: &str| {
        row(&[pid, &info.name, command, uptime, "0", "-"], state, &node)
    };
    for process in &info.waiting {
        let state = format!("{state}, no read yet");
        let pid = process.pid.to_string();
        rows.push(idle(&pid, &process.command, "-", &state));
    }
    if rows.is_empty() {
        // Nobody has attached: because the target is not hooked yet, or because all are gone.
        rows.push(match sessions::awaited(info) {
            Some(pid) => {
                let state = format!("{state}, no read yet");
                idle(&pid.to_string(), "-", &uptime, &state)
            }
            None => idle("-", "-", &uptime, "lingering"),
        });
    }
    rows
}

fn nodes_words(nodes: &[NodeInfo]) -> String {
    let Some(first) = nodes.first() else {
        return String::new();
    };
    let trouble = nodes.iter().find(|node| node.state != NodeState::Up);
    let shown = trouble.unwrap_or(first);
    let state = match shown.state {
        NodeState::Up => String::new(),
        _ => format!(" {}", crate::pool::state_word(shown)),
    };
    let more = if nodes.len() > 1 {
        format!(" (of {})", nodes.len())
    } else {
        String::new()
    };
    format!("{}{state}{more}", shown.addr)
}

/// How the blocks are protected there, where it is not as usual.
fn integrity_words(info: &SessionInfo) -> &'static str {
    match info.integrity.as_str() {
        "sealed" => ", sealed",
        "checksum" => ", checksum only",
        _ => "",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Mode, SessionId};
    use crate::control::SCHEMA;

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

    fn node(addr: &str, state: NodeState) -> NodeInfo {
        NodeInfo {
            addr: addr.into(),
            state,
            blocks: 0,
            bytes: 0,
            slots: 0,
            rtt_us: None,
        }
    }

    #[test]
    fn an_ordinary_row_fits_a_screen_and_a_long_one_is_whole() {
        let left = ["7", "pg", "postgres", "12m05", "48.2k", "100.0"];
        let text = row(&left, "serving", "10.0.0.7:7420");
        assert!(text.chars().count() <= COLUMNS_MIN, "{text}");
        let left = ["7", "a-long-name-of-a-session", "x", "1s", "0", "-"];
        let text = row(&left, "off", "redis://a.very.long.name.example.com:7420");
        assert!(text.contains("a-long-name-of-a-session") && text.ends_with(":7420"));
    }

    #[test]
    fn the_reason_comes_before_the_node() {
        let info = SessionInfo {
            schema: SCHEMA,
            session: SessionId([0; 16]),
            name: "pg".into(),
            pid: 7,
            server_pid: 1,
            mode: Mode::Serve,
            integrity: String::new(),
            state: ServiceState::Bypass,
            reason: Some("node 10.0.0.7:7420: connection refused".into()),
            uptime_s: 1,
            nodes: vec![node("10.0.0.7:7420", NodeState::Unreachable)],
            processes: vec![ProcessInfo {
                pid: 7,
                command: "postgres".into(),
                uptime_s: 1,
                reads: 0,
                hits_local: 0,
                hits_remote: 0,
                reads_disk: 0,
            }],
            waiting: Vec::new(),
        };
        let [text] = &rows_of(&info)[..] else {
            panic!("one process")
        };
        let end = "bypass: connection refused 10.0.0.7:7420 unreachable";
        assert!(text.ends_with(end), "{text}");
        let sealed = SessionInfo {
            integrity: "sealed".into(),
            ..info.clone()
        };
        assert!(rows_of(&sealed)[0].ends_with(&format!("{end}, sealed")));
        assert!(text.starts_with("      7 pg          postgres "), "{text}");
    }

    #[test]
    fn the_node_in_trouble_is_shown() {
        let nodes = [
            node("a:1", NodeState::Up),
            node("b:1", NodeState::Unreachable),
        ];
        assert_eq!(nodes_words(&nodes), "b:1 unreachable (of 2)");
        assert_eq!(nodes_words(&nodes[..1]), "a:1");
    }
}
