//! `hooktool check PID`: what a running process really has.
//!
//! `/proc/PID/maps` says whether the hook driver is loaded and which objects are, those opened late
//! included; `/proc/PID/fd` which files are open and whether a ring of io_uring exists; the
//! session's hook server what it serves of them; `carriers` in which session a process was started
//! that none knows. A process without the driver is judged as if it were started again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::report::{Report, Verdict};
use super::{files, judge_objects, own};
use crate::carriers::{self, Carried};
use crate::control::{ProcessInfo, Request, Response, ServiceState, SessionInfo, Snapshot};
use crate::failure::Failure;
use crate::libraries::Object;
use crate::shim::{self, Shim};
use crate::{elf, environment, precheck, sessions, viewer};

/// Examines a process.
///
/// # Errors
///
/// There is no such process, or this user may not look at it.
pub fn examine(pid: u32, shim: Option<&Shim>) -> Result<Report, Failure> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let exe = std::fs::read_link(root.join("exe")).map_err(|error| no_process(pid, &error))?;
    let maps =
        std::fs::read_to_string(root.join("maps")).map_err(|error| no_process(pid, &error))?;
    let command = command_of(&root);
    let mut report = Report::new(&exe, command);
    report.pid = Some(pid);
    let mapped_files = mapped(&maps);
    let session = session_of(pid);
    let (known, bypass) = match &session {
        Some(Known { counters, .. }) => (counters.files.as_slice(), counters.bypass.clone()),
        None => Default::default(),
    };
    report.files = files::list(&root, &maps, known);
    report.bypass = bypass.into_iter().filter(|(_, count)| *count > 0).collect();
    let driver = |file: &PathBuf| {
        file.file_name().is_some_and(|name| name == shim::FILE_NAME)
            || shim.is_some_and(|shim| shim.path == *file)
    };
    let hooked = session.is_some() || mapped_files.iter().any(driver);
    let objects: Vec<_> = mapped_files
        .iter()
        .filter_map(|file| load(&root, file))
        .collect();
    report.set_glibc(
        objects
            .iter()
            .filter_map(|object| object.elf.glibc_offered)
            .max(),
    );
    judge_objects(&mut report, &objects, shim);
    if uses_io_uring(&root) {
        let reason = "a ring of io_uring is open: its reads skip the hooks".to_string();
        report.calls.unseen.insert(("io_uring".into(), reason));
    }
    report.own = own::propose(&exe, &report.command);
    if !hooked && let Err((file, obstacle)) = precheck::examine(&exe) {
        report.obstruct(&file, &obstacle);
        return Ok(report);
    }
    report.conclude();
    if hooked {
        in_session(&mut report, pid, session);
    } else {
        report.reason = format!("not hooked now. Started by hooktool: {}", report.reason);
    }
    Ok(report)
}

fn no_process(pid: u32, error: &std::io::Error) -> Failure {
    let denied = error.kind() == std::io::ErrorKind::PermissionDenied;
    Failure::command(
        format!("cannot look at process {pid}: {error}"),
        match (denied, rustix::process::geteuid().is_root()) {
            (true, true) => "the kernel hides it, also from root: a container's rules, or ptrace's",
            (true, false) => "it belongs to another user",
            (false, _) => "there is no such process here",
        },
        match (denied, rustix::process::geteuid().is_root()) {
            (true, true) => "ask where its rules allow it, such as outside of the container".into(),
            (true, false) => format!("sudo hooktool check {pid}"),
            (false, _) => "hooktool ps".into(),
        },
    )
}

fn command_of(root: &Path) -> Vec<String> {
    let line = std::fs::read(root.join("cmdline")).unwrap_or_default();
    let words = line
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

/// The files mapped executable, by `/proc/PID/maps`.
fn mapped(maps: &str) -> BTreeSet<PathBuf> {
    let executable = maps.lines().filter_map(|line| {
        let mut fields = line.splitn(6, ' ');
        let rights = fields.nth(1)?;
        let path = fields.nth(3)?.trim_start();
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        (rights.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
    });
    executable.collect()
}

/// Reads a mapped file as the process sees it.
fn load(root: &Path, file: &Path) -> Option<Object> {
    let inside = file.strip_prefix("/").ok()?;
    let seen = root.join("root").join(inside);
    let elf = elf::read(&seen).or_else(|_| elf::read(file)).ok()?;
    Some(Object {
        path: file.to_path_buf(),
        elf,
    })
}

fn uses_io_uring(root: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(root.join("fd")) else {
        return false;
    };
    let links = entries
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .take(1 << 16)
        .any(|link| link == Path::new("anon_inode:[io_uring]"))
}

/// What a session knows of a process.
struct Known {
    session: SessionInfo,
    process: ProcessInfo,
    /// Counters of the process, files of the session.
    counters: Box<Snapshot>,
}

/// Asks the session that a process belongs to.
fn session_of(pid: u32) -> Option<Known> {
    sessions::list().found.into_iter().find_map(|mut found| {
        let mut processes = found.info.processes.iter();
        let process = processes.find(|process| process.pid == pid)?.clone();
        match found.link.ask(&Request::Snapshot { pid: Some(pid) }) {
            Ok(Response::Snapshot(counters)) => Some(Known {
                session: found.info,
                process,
                counters,
            }),
            _ => None,
        }
    })
}

/// Adds what the session's hook server says.
fn in_session(report: &mut Report, pid: u32, session: Option<Known>) {
    let Some(Known {
        session, process, ..
    }) = session
    else {
        report.verdict = Verdict::Partly;
        (report.reason, report.next) = unknown(pid);
        return;
    };
    let hits = viewer::percent(process.hits_local + process.hits_remote, process.reads);
    let state = viewer::state_words(session.state, session.reason.as_deref());
    report.reason = format!(
        "in session {} for {} s, {state}: {} reads of this process, {hits} % hits. {}",
        session.name, process.uptime_s, process.reads, report.reason
    );
    if session.state != ServiceState::Serving && report.verdict == Verdict::Covered {
        report.verdict = Verdict::Partly;
    }
    report.next = format!("hooktool stats {} 1", session.name);
}

/// Why a process that has the driver is known to no session, and what to type.
fn unknown(pid: u32) -> (String, String) {
    let carried = carriers::of_hooked(pid);
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let disabled = carriers::variable(&environ, environment::DISABLED);
    if disabled.is_some_and(|value| value == b"1") {
        let why = "the hook driver is loaded, and HOOKTOOL_DISABLED keeps it inert: it reads from \
                   disk";
        let next = "start it without HOOKTOOL_DISABLED in its environment";
        return (why.into(), next.into());
    }
    let Some(Carried { session, name, .. }) = carried else {
        let why = "the hook driver is loaded, and no session is named to it: it reads from disk";
        return (why.into(), "start it by hooktool run".into());
    };
    let sessions = sessions::list();
    if sessions.found.iter().any(|one| one.info.session == session) {
        let why = format!(
            "of session {name}, and has not joined it: it has read nothing eligible yet, or has \
             changed its user or group since its start"
        );
        return (why, format!("hooktool stats {name} 1"));
    }
    if sessions.silent.contains(&session) {
        let why = format!(
            "of session {name}, whose hook server does not answer: while it is stopped or stuck, \
             the process reads from disk"
        );
        return (why, "hooktool ps".into());
    }
    let why = match sessions.listening.contains(&session) {
        true => format!("of session {name}, which belongs to another user"),
        false => format!(
            "of session {name}, whose hook server is gone: until the process is started again, it \
             reads from disk"
        ),
    };
    (why, "hooktool ps".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_examined() {
        let report = examine(std::process::id(), None).unwrap();
        assert!(
            report.reason.starts_with("not hooked now"),
            "{}",
            report.reason
        );
        assert!(
            report
                .objects
                .iter()
                .any(|path| path.ends_with("libc.so.6"))
        );
        assert!(report.glibc.is_some());
    }

    #[test]
    fn nobody_is_an_error() {
        assert_eq!(examine(u32::MAX, None).unwrap_err().kind.exit_status(), 1);
    }

    #[test]
    fn executable_files_are_found_in_maps() {
        let maps = "\
55d0-55d1 r-xp 00000000 fe:01 131 /usr/bin/my prog
55d1-55d2 r--p 00000000 fe:01 131 /usr/share/data
7f00-7f01 r-xp 00000000 fe:01 132                        /lib/libc.so.6 (deleted)
7f02-7f03 r-xp 00000000 00:00 0                          [vdso]
7f04-7f05 rwxp 00000000 00:00 0 \n";
        let files: Vec<_> = mapped(maps).into_iter().collect();
        assert_eq!(
            files,
            [PathBuf::from("/lib/libc.so.6"), "/usr/bin/my prog".into()]
        );
    }
}
