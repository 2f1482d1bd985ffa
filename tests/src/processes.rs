//! Processes seen from outside: hook servers of a bed, children, sockets left behind.
//!
//! Reads /proc only. Used by tests that kill a hook server, and by those that prove that nothing
//! half-started is left.

use std::fs;

use rustix::process::Pid;

use crate::bed::Bed;
use crate::run::{all_pids, stat_field, wait_until};

/// Processes that run the bed's own copy of an artefact.
pub fn running(bed: &Bed, artefact: &str) -> Vec<Pid> {
    let wanted = bed.artefact(artefact);
    let runs = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == wanted);
    all_pids()
        .into_iter()
        .filter(runs)
        .filter_map(Pid::from_raw)
        .collect()
}

/// The bed's hook servers: what runs hooktool and is neither init of a namespace nor a short
/// command. (A hook server has no controlling parent among the tests; commands are children of a
/// test.)
pub fn hook_servers(bed: &Bed) -> Vec<Pid> {
    let me = std::process::id().cast_signed();
    running(bed, "hooktool")
        .into_iter()
        .filter(|&pid| !is_namespace_init(pid) && parent_of(pid) != Some(me))
        .collect()
}

/// The one hook server of a bed with one session.
#[track_caller]
pub fn the_hook_server(bed: &Bed) -> Pid {
    let servers = hook_servers(bed);
    assert_eq!(
        servers.len(),
        1,
        "one session, one hook server: {servers:?}"
    );
    servers[0]
}

fn is_namespace_init(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    line.and_then(|line| line.split_whitespace().last()) == Some("1")
}

fn parent_of(pid: Pid) -> Option<i32> {
    stat_field(pid.as_raw_pid(), 1)
}

/// Children of a process.
pub fn children_of(parent: Pid) -> Vec<Pid> {
    let raw = parent.as_raw_pid();
    let children = all_pids()
        .into_iter()
        .filter(|&pid| stat_field(pid, 1) == Some(raw));
    children.filter_map(Pid::from_raw).collect()
}

/// Waits until none of these processes lives (a zombie does not).
pub fn must_end(pids: &[Pid]) {
    wait_until(&format!("{pids:?} are gone"), || {
        pids.iter().all(|pid| {
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        })
    });
}

/// Fails unless, in a while, no process of the bed's artefacts and none of its sockets is left.
#[track_caller]
pub fn nothing_left(bed: &Bed, sockets_before: usize) {
    wait_until("no half-started process is left", || {
        running(bed, "hooktool").is_empty()
    });
    wait_until("no abstract socket is left", || sockets() <= sockets_before);
}

/// The number of ramgrid's abstract sockets on this machine.
pub fn sockets() -> usize {
    let table = fs::read_to_string("/proc/net/unix").expect("read /proc/net/unix");
    table
        .lines()
        .filter(|line| line.contains("@ramgrid/"))
        .count()
}
