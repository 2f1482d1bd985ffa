//! Finds the sessions of this host and talks to them.
//!
//! Nothing is on disk: the names of their control sockets stand in `/proc/net/unix`. Anybody may
//! bind such a name, so the peer's user is checked before a word is believed: only sessions of this
//! user, or for root all. A hook server that does not answer in time is passed over.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::carriers::{self, Carried};
use crate::config::SessionId;
use crate::control::{LINE_BYTES_MAX, Request, Response, ServiceState, SessionInfo};
use crate::failure::Failure;
use crate::orphans;

/// Longest wait for a connection or a piece of an answer.
const LIMIT: Duration = Duration::from_secs(2);

/// The same for a start, which waits for nobody's hook server that is stopped.
const LIMIT_OF_STARTS: Duration = Duration::from_millis(250);

/// Flag of a listening socket in `/proc/net/unix` (`__SO_ACCEPTCON`).
const LISTENING: u32 = 1 << 16;

/// A session that answered.
#[derive(Debug)]
pub struct Found {
    /// What it said about itself.
    pub info: SessionInfo,
    /// The way to ask more.
    pub link: Link,
}

/// The sessions of this host, and how many belong to others.
#[derive(Debug, Default)]
pub struct Sessions {
    /// Those that may be looked at.
    pub found: Vec<Found>,
    /// Those of other users.
    pub foreign: usize,
    /// Those whose hook server does not answer.
    pub silent: Vec<SessionId>,
    /// All of them, by the names of their sockets.
    pub listening: Vec<SessionId>,
}

/// A connection to a hook server.
#[derive(Debug)]
pub struct Link {
    stream: OwnedFd,
    /// Who runs the hook server.
    peer: rustix::process::Uid,
    rest: Vec<u8>,
}

/// Why a socket is passed over.
enum Passed {
    Foreign,
    Silent,
}

/// Lists the sessions, oldest first.
pub fn list() -> Sessions {
    list_within(LIMIT)
}

fn list_within(limit: Duration) -> Sessions {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut sessions = Sessions {
        listening: listening(&table),
        ..Sessions::default()
    };
    for id in sessions.listening.clone() {
        match open(&id, limit) {
            Ok(found) => sessions.found.push(found),
            Err(Passed::Foreign) => sessions.foreign += 1,
            Err(Passed::Silent) => sessions.silent.push(id),
        }
    }
    sessions
        .found
        .sort_by_key(|found| std::cmp::Reverse(found.info.uptime_s));
    sessions
}

/// The process of a session that lives while none has joined: it has opened nothing so far. Its
/// number alone proves nothing (numbers are used again), what it carries does. None: it lingers.
pub fn awaited(info: &SessionInfo) -> Option<u32> {
    if !info.processes.is_empty() {
        return None;
    }
    let carries = |carried: &Carried| carried.session == info.session;
    if carriers::of(info.pid).as_ref().is_some_and(carries) {
        return Some(info.pid);
    }
    let others = carriers::pids().filter(|pid| *pid != info.pid);
    let mut hooked = others.filter(|pid| carriers::of_hooked(*pid).as_ref().is_some_and(carries));
    hooked.next()
}

/// The sessions of a name that this user started, youngest first: those that a start may enter.
pub fn of_name(name: &str) -> Vec<Found> {
    let ours = rustix::process::geteuid();
    let found = list_within(LIMIT_OF_STARTS).found.into_iter().rev();
    found
        .filter(|found| found.info.name == name && found.link.peer == ours)
        .collect()
}

/// The sessions called `name`, or the one with the process `name`, or the only one. `verb` is the
/// command that asks, for what is typed next.
///
/// # Errors
///
/// None, or several and no name.
pub fn select(name: Option<&str>, verb: &str) -> Result<Vec<Found>, Failure> {
    let mut sessions = list();
    let Some(name) = name else {
        return match sessions.found.len() {
            0 => Err(none(&sessions)),
            1 => Ok(sessions.found),
            _ => Err(ambiguous(None, &sessions.found, verb)),
        };
    };
    let all = std::mem::take(&mut sessions.found);
    let (meant, others) = all
        .into_iter()
        .partition::<Vec<_>, _>(|found| belongs(&found.info, name));
    sessions.found = others;
    match meant.is_empty() {
        true => Err(unknown(name, &sessions)),
        false => Ok(meant),
    }
}

/// The one session that is meant, see `select`.
///
/// # Errors
///
/// None, or several.
pub fn select_one(name: Option<&str>, verb: &str) -> Result<Found, Failure> {
    let mut found = select(name, verb)?;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (last, _) => {
            found.extend(last);
            Err(ambiguous(name, &found, verb))
        }
    }
}

/// Whether `name` means this session: its name, its number, or a process of it, joined or not.
pub fn belongs(info: &SessionInfo, name: &str) -> bool {
    match name.parse::<u32>() {
        Ok(pid) => {
            let carries = |carried: Carried| carried.session == info.session;
            info.pid == pid
                || info.processes.iter().any(|process| process.pid == pid)
                || carriers::of_hooked(pid).is_some_and(carries)
        }
        Err(_) => info.name == name || info.session.to_string() == name,
    }
}

fn none(sessions: &Sessions) -> Failure {
    Failure::command(
        "no session is running",
        others(sessions),
        "start one:  hooktool run -- CMD",
    )
}

fn ambiguous(name: Option<&str>, found: &[Found], verb: &str) -> Failure {
    let listed = |found: &Found| format!("{} {}", found.info.name, who(&found.info));
    let listed: Vec<_> = found.iter().map(listed).collect();
    let count = found.len();
    let pid = found.first().map_or(0, |first| pid_of(&first.info));
    Failure::usage(
        match name {
            None => format!("{count} sessions are running, and none was named"),
            Some(name) => format!("{count} sessions are called '{name}'"),
        },
        format!("they are: {}", listed.join(", ")),
        match verb {
            "stats" => format!("name a process:  hooktool stats {pid}   (all: hooktool stats -j)"),
            _ => format!("name one by a process of it:  hooktool {verb} {pid}"),
        },
    )
}

/// A process by which a session can be named: one that lives, or its first.
pub fn pid_of(info: &SessionInfo) -> u32 {
    let lives = info.processes.iter().any(|one| one.pid == info.pid);
    let first = info.processes.first().filter(|_| !lives);
    let first = first.map(|first| first.pid).or_else(|| awaited(info));
    first.unwrap_or(info.pid)
}

/// Which of the sessions of one name this is: `(process 4242)`, `(lingering, was process 4242)`.
pub fn who(info: &SessionInfo) -> String {
    match info.processes.is_empty() && awaited(info).is_none() {
        true => format!("(lingering, was process {})", info.pid),
        false => format!("(process {})", pid_of(info)),
    }
}

fn unknown(name: &str, sessions: &Sessions) -> Failure {
    let orphans = orphans::find(sessions, &carriers::hooked());
    let is_it = |info: &&SessionInfo| {
        info.name == name || info.processes.iter().any(|one| one.pid.to_string() == name)
    };
    if let Some(found) = orphans.iter().find(is_it) {
        return orphaned(found);
    }
    Failure::command(
        format!("no session is called '{name}', and none has such a process"),
        others(sessions),
        "see what there is:  hooktool ps",
    )
}

/// A session that lives in its processes alone: nobody is there to be asked.
fn orphaned(info: &SessionInfo) -> Failure {
    let how = match info.state {
        ServiceState::Gone => "is gone",
        _ => "does not answer",
    };
    Failure::command(
        format!("the hook server of session {} {how}", info.name),
        info.reason.clone().unwrap_or_default(),
        "see which:  hooktool ps",
    )
}

/// What was looked at, in one line.
pub fn others(sessions: &Sessions) -> String {
    let seen = sessions.found.len();
    let mut text = format!("{seen} of this user found");
    if sessions.foreign > 0 {
        text.push_str(&format!(
            "; {} of other users (root sees them)",
            sessions.foreign
        ));
    }
    if !sessions.silent.is_empty() {
        text.push_str(&format!(
            "; {} whose hook server does not answer",
            sessions.silent.len()
        ));
    }
    text
}

/// The sessions whose control sockets listen, by `/proc/net/unix`.
fn listening(table: &str) -> Vec<SessionId> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let mut fields = line.split_whitespace();
        let flags = fields
            .nth(3)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        let name = fields
            .nth(3)
            .and_then(|name| name.strip_prefix("@ramgrid/"));
        let id = name.and_then(|name| name.strip_suffix("/control"));
        if flags.is_some_and(|flags| flags & LISTENING != 0)
            && let Some(Ok(id)) = id.map(|id| SessionId::try_from(id.to_string()))
            && !found.contains(&id)
        {
            found.push(id);
        }
    }
    found
}

fn open(id: &SessionId, limit: Duration) -> Result<Found, Passed> {
    let mut link = Link::connect(id, limit)?;
    match link.ask(&Request::Session) {
        Ok(Response::Session(info)) if info.session == *id => Ok(Found { info, link }),
        _ => Err(Passed::Silent),
    }
}

impl Link {
    fn connect(id: &SessionId, limit: Duration) -> Result<Self, Passed> {
        let silent = |_| Passed::Silent;
        let flags = SocketFlags::CLOEXEC;
        let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let stream = stream.map_err(silent)?;
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&stream, which, Some(limit)).map_err(silent)?;
        }
        let name = id.control_socket();
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(silent)?;
        rustix::net::connect(&stream, &address).map_err(silent)?;
        let peer = socket_peercred(&stream).map_err(silent)?;
        let ours = rustix::process::geteuid();
        if !ours.is_root() && peer.uid != ours {
            return Err(Passed::Foreign);
        }
        Ok(Self {
            stream,
            peer: peer.uid,
            rest: Vec::new(),
        })
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    ///
    /// The hook server is gone, silent, or says something that cannot be read.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        let line = self.exchange(request).map_err(|error| {
            Failure::command(
                format!("the hook server does not answer: {error}"),
                "it has ended, or is stopped; its processes read from disk",
                "see what there is:  hooktool ps",
            )
        })?;
        serde_json::from_slice(&line).map_err(|error| {
            Failure::command(
                format!("the hook server's answer cannot be read: {error}"),
                "it was started by another version of hooktool",
                "use that version to look at it, or start its program again",
            )
        })
    }

    /// Waits until the hook server, which was told to end, is gone: at most as long as for an
    /// answer.
    pub fn wait_for_end(&mut self) {
        let mut piece = [0_u8; 512];
        while matches!(rustix::io::read(&self.stream, &mut piece), Ok(got) if got > 0) {}
    }

    fn exchange(&mut self, request: &Request) -> std::io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let mut sent = 0;
        while sent < line.len() {
            // No SIGPIPE: the hook server may be gone.
            sent += rustix::net::send(self.stream.as_fd(), &line[sent..], SendFlags::NOSIGNAL)?;
        }
        let mut piece = [0_u8; 8192];
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
            if self.rest.len() > LINE_BYTES_MAX {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            match std::fs::File::from(self.stream.try_clone()?).read(&mut piece)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                got => self.rest.extend_from_slice(&piece[..got]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::control::{SCHEMA, ServiceState};

    #[test]
    fn sessions_of_one_name_are_told_apart_by_their_processes() {
        let found = |pid| {
            let info = SessionInfo {
                schema: SCHEMA,
                session: SessionId([0; 16]),
                name: "postgres".into(),
                pid,
                server_pid: 1,
                mode: Mode::Serve,
                integrity: String::new(),
                state: ServiceState::Serving,
                reason: None,
                uptime_s: 1,
                nodes: Vec::new(),
                processes: Vec::new(),
                waiting: Vec::new(),
            };
            let link = Link {
                stream: std::fs::File::open("/dev/null").unwrap().into(),
                peer: rustix::process::geteuid(),
                rest: Vec::new(),
            };
            Found { info, link }
        };
        // Numbers that no process has: these sessions linger.
        let (one, two) = (u32::MAX - 1, u32::MAX);
        let text = ambiguous(Some("postgres"), &[found(one), found(two)], "stats").to_string();
        assert!(text.contains("2 sessions are called 'postgres'"), "{text}");
        assert!(
            text.contains(&format!("(lingering, was process {one}), postgres")),
            "{text}"
        );
        assert!(text.contains(&format!("hooktool stats {one} ")), "{text}");
    }

    #[test]
    fn only_listening_control_sockets_count() {
        let id = "000102030405060708090a0b0c0d0e0f";
        let row = |flags: &str, name: &str| {
            format!("ffff0000: 00000002 00000000 {flags} 0001 01 12345 {name}\n")
        };
        let table = [
            "Num RefCount Protocol Flags Type St Inode Path\n".to_string(),
            row("00010000", &format!("@ramgrid/{id}/control")),
            row("00010000", &format!("@ramgrid/{id}/control")),
            row("00000000", &format!("@ramgrid/{id}/control")),
            row("00010000", &format!("@ramgrid/{id}/attach")),
            row("00010000", "@ramgrid/zz/control"),
            row("00010000", "/run/some.sock"),
            "ffff0000: 00000002 00000000 00010000 0001 01 12345\n".to_string(),
        ];
        let found = listening(&table.concat());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), id);
    }
}
