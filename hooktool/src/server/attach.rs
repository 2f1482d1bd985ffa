//! The attach socket: lets processes into the session, one small message each way.
//!
//! One thread runs `run`. A peer that connects and says nothing occupies a seat for two seconds and
//! delays nobody; a peer that wants a connection which is not ready waits a moment in its seat. The
//! answer is sent without blocking: a peer that does not take it is dropped.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use grid::attach::{ATTACH_VERSION, Hello, MESSAGE_BYTES_MAX, NodeRef, Verdict, Want, Welcome};
use grid::header::LAYOUT_VERSION;
use grid::node::NODES_MAX;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::domain::{Credentials, Domain};
use super::hold::Hold;
use super::link::Link;
use super::members::Newcomer;
use super::nodes::Node;
use super::proofs;
use super::session::{self, Session};
use super::{sys, tunnel};
use crate::failure::Failure;

/// Peers that may sit waiting at a time; one more turns out the oldest.
const SEATS_MAX: usize = 128;

/// How long a peer may take to say what it wants.
const HELLO_LIMIT: Duration = Duration::from_secs(2);

/// How long a peer waits for a connection that is not ready; it does not listen much longer.
const SOCKET_LIMIT: Duration = Duration::from_millis(12);

/// Descriptors that no process gets to keep: what is needed to answer the next one.
const RESERVE: u64 = 48;

/// Pause while there is no descriptor to be had.
const BREATH: Duration = Duration::from_millis(5);

/// Between two passes while somebody sits: `tend` waits for them (`door`).
const ROUND: Duration = Duration::from_millis(50);

/// Connections that may wait to be accepted; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// A peer that has connected.
struct Seat {
    socket: OwnedFd,
    peer: sys::Peer,
    /// What it said, once it did.
    hello: Option<Hello>,
    until: Instant,
}

/// A connection to a node.
type Socket = (NodeRef, Link);

/// Binds the attach socket.
///
/// # Errors
///
/// The name is taken (by an impostor: it is random), or the kernel has no such sockets.
pub fn bind(name: &str) -> Result<OwnedFd, Failure> {
    let bind = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::bind(
            &socket,
            &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        )?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    bind().map_err(|error: rustix::io::Errno| {
        Failure::launch(
            format!("cannot listen on the Unix socket @{name}: {error}"),
            "the processes of the session join through it",
            "allow AF_UNIX sockets here (seccomp, RestrictAddressFamilies=AF_UNIX), then try again",
        )
    })
}

/// Answers peers until the session ends.
pub fn run(session: &Session, listener: &OwnedFd) {
    let mut seats: Vec<Seat> = Vec::new();
    while !session.is_ending() {
        let next = seats.iter().map(|seat| seat.until).min();
        let limit = next.map(|until| until.saturating_duration_since(Instant::now()).min(ROUND));
        let mut fds: Vec<BorrowedFd<'_>> = vec![listener.as_fd(), session.sockets.as_fd()];
        // Who has spoken already waits for a connection, not for its own socket.
        let silent = |seat: &&Seat| seat.hello.is_none();
        fds.extend(seats.iter().filter(silent).map(|seat| seat.socket.as_fd()));
        let ready = session::wait_for(&fds, limit);
        session.door.begin_pass();
        let (listens, rang) = (ready[0], ready[1]);
        if rang {
            session.sockets.silence();
        }
        let mut spoke = ready.into_iter().skip(2);
        seats.retain_mut(|seat| {
            let heard = seat.hello.is_none() && spoke.next().unwrap_or(false);
            if heard && !listen_to(seat) {
                turn_out(session, seat);
                return false;
            }
            let over = Instant::now() >= seat.until;
            !answer_if_due(session, seat, over)
        });
        let whole = !listens || accept_all(session, listener, &mut seats);
        session.door.end_pass(seats.len(), whole);
    }
}

/// Takes everybody who waits at the door; false: somebody is left there. Most have spoken already
/// and are answered at once.
fn accept_all(session: &Session, listener: &OwnedFd, seats: &mut Vec<Seat>) -> bool {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let socket = match rustix::net::accept_with(listener, flags) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                // Should not come to that (`RESERVE`). Whoever sits and says nothing makes room.
                let oldest = seats.drain(..seats.len().min(1)).next();
                oldest.inspect(|seat| turn_out(session, seat));
                std::thread::sleep(BREATH);
                return false;
            }
            Err(_) => return true,
        };
        let Ok(peer) = sys::peer(socket.as_fd()) else {
            continue;
        };
        let until = Instant::now() + HELLO_LIMIT;
        let mut seat = Seat {
            socket,
            peer,
            hello: None,
            until,
        };
        if !listen_to(&mut seat) {
            turn_out(session, &seat);
            continue;
        }
        if answer_if_due(session, &mut seat, false) {
            continue;
        }
        if seats.len() >= SEATS_MAX {
            turn_out(session, &seats.remove(0));
        }
        seats.push(seat);
    }
}

/// A peer that is not listened to any more, or has gone without a word. If it lives it may be a
/// process of the session, which will go on by itself.
fn turn_out(session: &Session, seat: &Seat) {
    if seat.hello.as_ref().is_none_or(may_go_on) && lives(seat) {
        session.disown("a process that came to the door was not let in");
    }
}

/// Whether a process that gets no answer to this may go on and change files, as nobody's member.
fn may_go_on(hello: &Hello) -> bool {
    hello.is_patient && !hello.want.is_of_a_member()
}

/// Whether the peer, or another process under its number, lives.
fn lives(seat: &Seat) -> bool {
    Hold::of(seat.peer.pid).is_ok_and(|hold| !hold.is_over())
}

/// Takes the hello if it is there. False: the peer is gone or speaks something else.
fn listen_to(seat: &mut Seat) -> bool {
    let mut bytes = [0; MESSAGE_BYTES_MAX];
    // Descriptors that somebody sends along are dropped with the (empty) ancillary buffer.
    let received = rustix::net::recvmsg(
        &seat.socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut RecvAncillaryBuffer::default(),
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    );
    match received {
        Err(error) => error == rustix::io::Errno::AGAIN,
        Ok(message) => {
            seat.hello = grid::attach::decode(&bytes[..message.bytes]);
            seat.until = Instant::now() + SOCKET_LIMIT;
            seat.hello.is_some()
        }
    }
}

/// Answers a peer that has spoken, unless a connection it needs is being made and there is time.
/// True: the seat is free.
fn answer_if_due(session: &Session, seat: &mut Seat, over: bool) -> bool {
    let Some(hello) = &seat.hello else {
        if over {
            turn_out(session, seat);
        }
        return over;
    };
    if let Some(refusal) = refuse(session, hello) {
        if refusal != Verdict::Refused {
            session.disown("a process of another release cannot be let in");
        }
        reply(seat, &welcome(session, refusal), None, &[]);
        return true;
    }
    let Some(sockets) = connections(session, hello.want, over) else {
        return false;
    };
    let joined = match hello.want {
        Want::Join | Want::Move | Want::Fork { .. } => join(session, seat, hello),
        Want::Socket { process, .. } | Want::Look { process, .. } => member(session, seat, process),
    };
    let (domain, slot) = match joined {
        Ok(joined) => joined,
        Err(verdict) => {
            if verdict != Verdict::Elsewhere && !hello.want.is_of_a_member() {
                session.disown("a process could not be let in");
            }
            reply(seat, &welcome(session, verdict), None, &[]);
            return true;
        }
    };
    if let Want::Look { fd, record, .. } = hello.want
        && !proofs::look_now(session, &domain, seat.peer.pid, fd, record)
    {
        // It asks no more for a while.
        reply(seat, &welcome(session, Verdict::Refused), None, &[]);
        return true;
    }
    // Without a slot of its own a process still gets the region: what it writes must be marked.
    let (verdict, sockets) = match slot {
        Some(_) => (Verdict::Joined, sockets),
        None => (Verdict::Full, Vec::new()),
    };
    let mut answer = welcome(session, verdict);
    answer.process = slot.unwrap_or(0);
    answer.pid = seat.peer.pid;
    answer.domain = domain.number;
    answer.region_bytes = domain.region.layout().bytes;
    answer.has_region = matches!(hello.want, Want::Join | Want::Move);
    for (place, (node, _)) in answer.sockets.iter_mut().zip(&sockets) {
        *place = *node;
    }
    let is_told = reply(seat, &answer, Some(&domain), &sockets);
    if !is_told && may_go_on(hello) && lives(seat) {
        session.disown("a process has not waited to be let in");
    }
    true
}

/// Why a peer is not let in, by its message alone.
fn refuse(session: &Session, hello: &Hello) -> Option<Verdict> {
    let differs = |sum: u8, (left, right): (&u8, &u8)| sum | (left ^ right);
    let token = hello
        .token
        .iter()
        .zip(&session.config.token.0)
        .fold(0, differs);
    if token != 0 {
        return Some(Verdict::Refused);
    }
    let same = hello.version == ATTACH_VERSION && hello.layout_version == LAYOUT_VERSION;
    (!same).then_some(Verdict::Version)
}

/// A ready connection to every node that a peer should get one to; `None`: one is being made.
fn connections(session: &Session, want: Want, over: bool) -> Option<Vec<Socket>> {
    let wanted = |number: usize| match want {
        Want::Join | Want::Move | Want::Fork { .. } => true,
        Want::Socket { node, .. } => usize::from(node) == number,
        Want::Look { .. } => false,
    };
    let mut sockets = Vec::new();
    let nodes = session.pool.nodes();
    for node in nodes
        .iter()
        .filter(|node| wanted(node.number) && node.is_up())
    {
        match node.take_ready() {
            Some((stream, generation)) => {
                let number = u8::try_from(node.number).ok()?;
                sockets.push((NodeRef::new(number, generation), stream));
            }
            // A process that joins can do without and ask again; one that asks again waits.
            None if over || !matches!(want, Want::Socket { .. }) => {}
            None => return None,
        }
    }
    Some(sockets)
}

/// The domain and the slot of a process; no slot if all are taken.
type Place = (Arc<Domain>, Option<u16>);

/// Registers a process under the credentials it has now.
fn join(session: &Session, seat: &Seat, hello: &Hello) -> Result<Place, Verdict> {
    let sys::Peer { pid, uid, gid } = seat.peer;
    let ours = sys::effective_user();
    if pid == 0 || (uid != ours && ours != 0) {
        return Err(Verdict::Refused);
    }
    // As they were when it connected, all three; the hook driver joins under one set of them.
    let groups = sys::peer_groups(seat.socket.as_fd()).map_err(|_| Verdict::Refused)?;
    let root = super::domain::root_of(pid);
    let credentials = Credentials {
        uid,
        gid,
        groups,
        root,
    };
    let domain = match session.domain(&credentials) {
        Some(domain) => domain,
        None => session.add_domain(credentials).map_err(|error| {
            tracing::warn!(%error, pid, "no region for further credentials");
            Verdict::Full
        })?,
    };
    // Its slot would be one of another region than the one it has mapped.
    if matches!(hello.want, Want::Fork { domain: mapped } if mapped != domain.number) {
        return Err(Verdict::Elsewhere);
    }
    let mut members = session.members.lock();
    let newcomer = Newcomer {
        pid,
        hold: Hold::of_peer(seat.socket.as_fd(), pid)
            .ok()
            .filter(|hold| !is_reserved(session, members.len(), hold)),
        domain: Arc::clone(&domain),
        is_fresh: hello.want == Want::Join,
    };
    let slot = members.register(newcomer);
    let is_alone = members.are_all_in(&domain) && !session.owns_outside(&domain);
    drop(members);
    if session.rests() {
        // Nobody has announced it: one that carried the session, and was not seen.
        session.rise();
    }
    if !is_alone {
        session.disown("processes of several users or groups are in the session");
    }
    session.joined.ring();
    tracing::debug!(pid, slot, "process joined");
    Ok((domain, slot))
}

/// Whether a descriptor is one of the last that there are: not to be kept for long. Each of the
/// `members` has one here, its connection to an embedded node another, and one by TLS two.
fn is_reserved(session: &Session, members: usize, hold: &Hold) -> bool {
    let limit = sys::descriptors_limit();
    let number = u64::try_from(hold.number()).unwrap_or(0);
    let nodes = session.pool.nodes();
    let of_node = |node: &Arc<Node>| match (node.is_embedded(), node.addr.is_tls()) {
        (true, _) => 1,
        (false, true) => tunnel::DESCRIPTORS_EACH,
        (false, false) => 0,
    };
    let each = 1 + nodes.iter().map(of_node).sum::<u64>();
    let needed = (members as u64 + 1).saturating_mul(each);
    number + RESERVE.min(limit / 4) >= limit || needed + RESERVE.min(limit / 2) > limit
}

/// The membership a process claims to have already.
fn member(session: &Session, seat: &Seat, slot: u16) -> Result<Place, Verdict> {
    let members = session.members.lock();
    let member = members.get(seat.peer.pid).ok_or(Verdict::Refused)?;
    if member.slot != slot || member.domain.credentials.uid != seat.peer.uid {
        return Err(Verdict::Refused);
    }
    Ok((Arc::clone(&member.domain), Some(slot)))
}

fn welcome(session: &Session, verdict: Verdict) -> Welcome {
    Welcome {
        version: ATTACH_VERSION,
        verdict,
        token: session.config.token.0,
        process: 0,
        pid: 0,
        domain: 0,
        region_bytes: 0,
        has_region: false,
        sockets: [NodeRef::default(); NODES_MAX],
    }
}

/// Sends the answer with its descriptors; false: the peer has not waited for it. A peer without the
/// token is not told it either.
fn reply(seat: &Seat, answer: &Welcome, domain: Option<&Domain>, sockets: &[Socket]) -> bool {
    let mut answer = answer.clone();
    if answer.verdict == Verdict::Refused {
        answer.token = [0; 16];
    }
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    let Some(bytes) = grid::attach::encode(&answer, &mut buffer) else {
        return false;
    };
    let memory = domain
        .filter(|_| answer.has_region)
        .map(|domain| domain.memory.as_fd());
    let streams = sockets.iter().map(|(_, stream)| stream.as_fd());
    let fds: Vec<BorrowedFd<'_>> = memory.into_iter().chain(streams).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(NODES_MAX + 1))];
    let mut rights = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        rights.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let sent = rustix::net::sendmsg(&seat.socket, &[IoSlice::new(bytes)], &mut rights, flags);
    if let Err(error) = &sent {
        tracing::debug!(%error, pid = seat.peer.pid, "a process left before its answer");
    }
    sent.is_ok()
}
