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

use crate::config::SessionId;
use crate::control::{LINE_BYTES_MAX, Request, Response, SessionInfo};
use crate::failure::Failure;

/// Longest wait for a connection or a piece of an answer.
const LIMIT: Duration = Duration::from_secs(2);

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
    pub silent: usize,
}

/// A connection to a hook server.
#[derive(Debug)]
pub struct Link {
    stream: OwnedFd,
    rest: Vec<u8>,
}

/// Why a socket is passed over.
enum Passed {
    Foreign,
    Silent,
}

/// Lists the sessions, oldest first.
pub fn list() -> Sessions {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let mut sessions = Sessions::default();
    for id in listening(&table) {
        match open(&id) {
            Ok(found) => sessions.found.push(found),
            Err(Passed::Foreign) => sessions.foreign += 1,
            Err(Passed::Silent) => sessions.silent += 1,
        }
    }
    sessions
        .found
        .sort_by_key(|found| std::cmp::Reverse(found.info.uptime_s));
    sessions
}

/// Whether the session's first process lives and has not joined yet: it has opened nothing so far.
/// Its number alone proves nothing (numbers are used again), its environment does.
pub fn is_awaited(info: &SessionInfo) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", info.pid)).unwrap_or_default();
    let session = info.session.to_string();
    let lives = environment
        .windows(session.len())
        .any(|part| part == session.as_bytes());
    lives && info.processes.is_empty()
}

/// The session of a name, if there is exactly such a one.
pub fn by_name(name: &str) -> Option<Found> {
    list()
        .found
        .into_iter()
        .find(|found| found.info.name == name)
}

/// The session called `name`, or with the process `name`, or the only one.
///
/// # Errors
///
/// None, or several and no name.
pub fn select(name: Option<&str>) -> Result<Found, Failure> {
    let mut sessions = list();
    let Some(name) = name else {
        return match sessions.found.len() {
            1 => Ok(sessions.found.remove(0)),
            0 => Err(none(&sessions)),
            _ => Err(several(&sessions)),
        };
    };
    let found = sessions
        .found
        .iter()
        .position(|found| belongs(&found.info, name));
    match found {
        Some(at) => Ok(sessions.found.swap_remove(at)),
        None => Err(unknown(name, &sessions)),
    }
}

fn belongs(info: &SessionInfo, name: &str) -> bool {
    match name.parse::<u32>() {
        Ok(pid) => info.pid == pid || info.processes.iter().any(|process| process.pid == pid),
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

fn several(sessions: &Sessions) -> Failure {
    let names: Vec<_> = sessions
        .found
        .iter()
        .map(|found| found.info.name.as_str())
        .collect();
    Failure::usage(
        format!("{} sessions are running, and none was named", names.len()),
        format!("they are: {}", names.join(" ")),
        format!(
            "name one:  hooktool stats {}   (or a process: hooktool ps)",
            names[0]
        ),
    )
}

fn unknown(name: &str, sessions: &Sessions) -> Failure {
    Failure::command(
        format!("no session is called '{name}', and none has such a process"),
        others(sessions),
        "see what there is:  hooktool ps",
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
    if sessions.silent > 0 {
        text.push_str(&format!(
            "; {} whose hook server does not answer",
            sessions.silent
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

fn open(id: &SessionId) -> Result<Found, Passed> {
    let mut link = Link::connect(id)?;
    match link.ask(&Request::Session) {
        Ok(Response::Session(info)) if info.session == *id => Ok(Found { info, link }),
        _ => Err(Passed::Silent),
    }
}

impl Link {
    fn connect(id: &SessionId) -> Result<Self, Passed> {
        let silent = |_| Passed::Silent;
        let flags = SocketFlags::CLOEXEC;
        let stream = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        let stream = stream.map_err(silent)?;
        for which in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&stream, which, Some(LIMIT)).map_err(silent)?;
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
