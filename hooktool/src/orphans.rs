//! Hooked processes that nobody serves: their hook server is gone, or does not answer.
//!
//! They read from disk until they are started again, and no session lists them, so `ps` looks for
//! them: `carriers` knows which session each process was started in. Reads `/proc` only, as far as
//! this user may.

use std::collections::BTreeMap;
use std::path::Path;

use crate::carriers::Carried;
use crate::config::{Mode, SessionId};
use crate::control::{ProcessInfo, SCHEMA, ServiceState, SessionInfo};
use crate::sessions::Sessions;

/// The sessions whose hook server is gone or silent and whose processes live, with those, among the
/// `hooked` processes of this host.
pub fn find(sessions: &Sessions, hooked: &[(u32, Carried)]) -> Vec<SessionInfo> {
    let mut orphans: BTreeMap<String, SessionInfo> = BTreeMap::new();
    for (pid, carried) in hooked {
        let id = carried.session;
        let state = match sessions.listening.contains(&id) {
            false => ServiceState::Gone,
            true if sessions.silent.contains(&id) => ServiceState::Silent,
            true => continue,
        };
        let session = orphans
            .entry(id.to_string())
            .or_insert_with(|| empty(id, &carried.name, *pid, state));
        session.processes.push(process(*pid));
    }
    orphans.into_values().collect()
}

/// A session of which only this is known.
fn empty(session: SessionId, name: &str, pid: u32, state: ServiceState) -> SessionInfo {
    let reason = match state {
        ServiceState::Gone => "until they are started again, its processes read from disk",
        _ => "while it is stopped or stuck, its processes read from disk",
    };
    SessionInfo {
        schema: SCHEMA,
        session,
        name: name.into(),
        pid,
        server_pid: 0,
        mode: Mode::Serve,
        integrity: String::new(),
        state,
        reason: Some(reason.into()),
        uptime_s: 0,
        nodes: Vec::new(),
        processes: Vec::new(),
        waiting: Vec::new(),
    }
}

/// A process of which no hook server tells anything.
pub fn process(pid: u32) -> ProcessInfo {
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
