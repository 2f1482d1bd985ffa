//! Joining: one message to the hook server's socket, one back, with the region's descriptor and a
//! connected socket per memory node; then the connection is closed. No password, no name lookup and
//! no TLS ever enters the target.

use grid::attach::{
    ATTACH_VERSION, Hello, MESSAGE_BYTES_MAX, Verdict, Want, Welcome, decode, encode,
};
use grid::header::{HEARTBEAT_MAX_MS, LAYOUT_VERSION};

use crate::rooms::{self, Joined};
use crate::session::Config;
use crate::sys::socket::{self, DESCRIPTORS_MAX};
use crate::sys::{self, Errno};

/// Longest wait for the hook server of a process that is about to change a file, in milliseconds,
/// per direction. Longer than its heartbeat counts: who waited in vain may go on, for nobody is
/// served any more (rule O4).
const JOIN_LIMIT_MS: u64 = HEARTBEAT_MAX_MS + 100;
/// ... of a process that reads: it changes nothing, and asks again.
pub const JOIN_TO_READ_LIMIT_MS: u64 = 100;
/// Signals that may interrupt the wait.
const INTERRUPTIONS_MAX: u32 = 16;
/// Longest wait when only another socket or a look at a file is wanted: a read is waiting for it.
const SOCKET_LIMIT_MS: u64 = 20;

/// The hook server's answer with the descriptors that came along, already moved out of the target's
/// low numbers.
pub struct Answer {
    /// The message.
    pub welcome: Welcome,
    /// The region, if it came.
    pub region_fd: Option<i32>,
    /// The sockets to the nodes that the message names, in its order; -1: none.
    pub sockets: [i32; grid::node::NODES_MAX],
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// None came in time: the hook server is stopped, or very busy.
    Late,
    /// It is not there, refused, or is not who it should be.
    Refused,
}

/// Asks the hook server; `is_patient`: as long as rule O4 asks.
pub fn ask(config: &Config, want: Want, is_patient: bool) -> Result<Answer, Unanswered> {
    let limit_ms = match want {
        Want::Socket { .. } | Want::Look { .. } => SOCKET_LIMIT_MS,
        _ if is_patient => JOIN_LIMIT_MS,
        _ => JOIN_TO_READ_LIMIT_MS,
    };
    let name = config.socket.get(..config.socket_len);
    let name = name.ok_or(Unanswered::Refused)?;
    let fd = socket::connect_abstract(name, limit_ms).map_err(|error| match error {
        Errno(libc::EAGAIN | libc::EINTR) => Unanswered::Late,
        _ => Unanswered::Refused,
    })?;
    let answer = converse(fd, config, want, is_patient);
    socket::close(fd);
    answer
}

fn converse(fd: i32, config: &Config, want: Want, is_patient: bool) -> Result<Answer, Unanswered> {
    let server_uid = socket::peer_uid(fd).ok_or(Unanswered::Refused)?;
    if server_uid != 0 && server_uid != sys::geteuid() {
        return Err(Unanswered::Refused);
    }
    let hello = Hello {
        version: ATTACH_VERSION,
        layout_version: LAYOUT_VERSION,
        token: config.token,
        want,
        is_patient,
        comm: [0; 16],
    };
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let hello = encode(&hello, &mut buffer).ok_or(Unanswered::Refused)?;
    socket::send(fd, hello).map_err(|_| Unanswered::Refused)?;
    let mut descriptors = [-1; DESCRIPTORS_MAX];
    let received = receive(fd, &mut buffer, &mut descriptors);
    // Of a side that was closed nothing is received: no bytes.
    let (len, count) = received
        .filter(|(len, _)| *len > 0)
        .ok_or(Unanswered::Late)?;
    let descriptors = descriptors.get(..count).unwrap_or(&[]);
    let welcome = buffer
        .get(..len)
        .and_then(decode::<Welcome>)
        .filter(|welcome| welcome.token == config.token && welcome.version == ATTACH_VERSION)
        .filter(|welcome| !matches!(welcome.verdict, Verdict::Refused | Verdict::Version));
    let Some(welcome) = welcome else {
        descriptors.iter().for_each(|fd| socket::close(*fd));
        return Err(Unanswered::Refused);
    };
    Ok(sort_descriptors(welcome, descriptors))
}

/// The answer, waited for. After this returns without one, the hook server cannot send one any
/// more, and knows that none was had.
fn receive(
    fd: i32,
    buffer: &mut [u8],
    descriptors: &mut [i32; DESCRIPTORS_MAX],
) -> Option<(usize, usize)> {
    for _ in 0..INTERRUPTIONS_MAX {
        match socket::receive_descriptors(fd, buffer, descriptors) {
            Ok((len, count)) => return Some((len, count)),
            Err(Errno(libc::EINTR)) => {}
            Err(_) => break,
        }
    }
    socket::shut_reading(fd);
    socket::receive_descriptors(fd, buffer, descriptors).ok()
}

fn sort_descriptors(welcome: Welcome, descriptors: &[i32]) -> Answer {
    let mut rest = descriptors.iter().copied();
    let region_fd = if welcome.has_region {
        rest.next()
    } else {
        None
    };
    let mut sockets = [-1; grid::node::NODES_MAX];
    for (place, fd) in sockets.iter_mut().zip(&mut rest) {
        *place = socket::move_high(fd).unwrap_or(-1);
    }
    rest.for_each(socket::close);
    Answer {
        welcome,
        region_fd,
        sockets,
    }
}

/// Maps the region that came with an answer, for a process that was at `place` when it asked.
pub fn open_region(answer: &Answer, place: u64) -> Option<&'static Joined> {
    let fd = answer.region_fd?;
    let welcome = &answer.welcome;
    let joined = rooms::furnish(fd, welcome.region_bytes, welcome.domain, place);
    socket::close(fd);
    joined
}
