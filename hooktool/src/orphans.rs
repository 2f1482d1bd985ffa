//! Hooked processes that nobody serves: their hook server is gone, or does not answer.
//!
//! They read from disk until they are started again, and no session lists them, so `ps` looks for
//! them: by the session in their environment and the hook driver in their maps. Reads `/proc` only,
//! as far as this user may.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::{Mode, SessionId};
use crate::control::{ProcessInfo, SCHEMA, ServiceState, SessionInfo};
use crate::sessions::Sessions;
use crate::{environment, shim};

/// The sessions whose hook server is gone or silent and whose processes live, with those.
pub fn find(sessions: &Sessions) -> Vec<SessionInfo> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut orphans: BTreeMap<String, SessionInfo> = BTreeMap::new();
    for (pid, id) in pids.filter_map(|pid| Some((pid, session_of(pid)?))) {
        let state = match sessions.listening.contains(&id) {
            false => ServiceState::Gone,
            true if sessions.silent.contains(&id) => ServiceState::Silent,
            true => continue,
        };
        let session = orphans
            .entry(id.to_string())
            .or_insert_with(|| empty(id, pid, state));
        session.processes.push(process(pid));
    }
    orphans.into_values().collect()
}

/// The session that a hooked process carries.
fn session_of(pid: u32) -> Option<SessionId> {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let start = format!("{}=", environment::SESSION).into_bytes();
    let text = environ
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(&start[..]))?;
    let id = std::str::from_utf8(text.get(..32)?).ok()?;
    let id = SessionId::try_from(id.to_string()).ok()?;
    // A child that cannot be hooked, such as a static one, carries the name all the same.
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.contains(shim::FILE_NAME).then_some(id)
}

/// A session of which only this is known.
fn empty(session: SessionId, pid: u32, state: ServiceState) -> SessionInfo {
    let reason = match state {
        ServiceState::Gone => "until they are started again, its processes read from disk",
        _ => "while it is stopped or stuck, its processes read from disk",
    };
    SessionInfo {
        schema: SCHEMA,
        session,
        name: "-".into(),
        pid,
        server_pid: 0,
        mode: Mode::Serve,
        state,
        reason: Some(reason.into()),
        uptime_s: 0,
        nodes: Vec::new(),
        processes: Vec::new(),
    }
}

fn process(pid: u32) -> ProcessInfo {
    let root = Path::new("/proc").join(pid.to_string());
    let command = std::fs::read_to_string(root.join("comm")).unwrap_or_default();
    ProcessInfo {
        pid,
        command: command.trim_end().to_string(),
        uptime_s: 0,
        reads: 0,
        hits_local: 0,
        hits_remote: 0,
        reads_disk: 0,
    }
}
