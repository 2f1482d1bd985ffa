//! The control socket: answers `hooktool ps`, `stats`, `on`, `off`, `flush`, `node`, `trace`, and a
//! `run --name` that finds a session of this name.
//!
//! One thread accepts, one more per viewer (a few at most) reads JSON lines and answers them in
//! order. Only the hook server's own user and root are listened to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::members::Members;
use super::session::{self, Session};
use super::trace::Recording;
use super::{life, orders, stats, sys};
use crate::config::ServeConfig;
use crate::control::{LINE_BYTES_MAX, Request, Response};
use crate::failure::Failure;

/// Viewers at a time; one more is turned away.
const VIEWERS_MAX: usize = 16;

/// How often a thread that waits looks whether the session ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A request is one line; the longest carries the settings of a start.
const REQUEST_BYTES_MAX: u64 = 1 << 20;

/// Binds the control socket.
///
/// # Errors
///
/// The name is taken, or the kernel has no such sockets.
pub fn bind(name: &str) -> Result<UnixListener, Failure> {
    let listener = SocketAddr::from_abstract_name(name).and_then(|a| UnixListener::bind_addr(&a));
    let listener = listener.and_then(|l| l.set_nonblocking(true).map(|()| l));
    listener.map_err(|error| {
        Failure::launch(
            format!("cannot listen on the Unix socket @{name}: {error}"),
            "`hooktool ps` and `stats` reach the session through it",
            "allow AF_UNIX sockets here (seccomp, RestrictAddressFamilies=AF_UNIX), then try again",
        )
    })
}

/// Accepts viewers until the session ends.
pub fn run(session: &Session, listener: &UnixListener) {
    let viewers = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        while !session.is_ending() {
            session::wait_for(&[listener.as_fd()], Some(PATIENCE));
            while let Ok((viewer, _)) = listener.accept() {
                let Some(peer) = may_view(&viewer) else {
                    continue;
                };
                if viewers.fetch_add(1, Ordering::Relaxed) >= VIEWERS_MAX {
                    viewers.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let viewers = Arc::clone(&viewers);
                scope.spawn(move || {
                    let _ = converse(session, viewer, peer.pid);
                    viewers.fetch_sub(1, Ordering::Relaxed);
                });
            }
        }
    });
}

fn may_view(viewer: &UnixStream) -> Option<sys::Peer> {
    let peer = sys::peer(viewer.as_fd()).ok()?;
    (peer.uid == 0 || peer.uid == sys::effective_user()).then_some(peer)
}

/// Reads requests and answers them until the viewer leaves or the session ends.
fn converse(session: &Session, viewer: UnixStream, viewer_pid: u32) -> std::io::Result<()> {
    viewer.set_nonblocking(false)?;
    viewer.set_write_timeout(Some(PATIENCE))?;
    let mut answers = viewer.try_clone()?;
    let mut requests = BufReader::new(viewer);
    let mut recording = None;
    while !session.is_ending() {
        if requests.buffer().is_empty() {
            let ready = session::wait_for(&[requests.get_ref().as_fd()], Some(PATIENCE));
            if !ready[0] {
                continue;
            }
        }
        requests.get_ref().set_read_timeout(Some(PATIENCE))?;
        let mut line = Vec::new();
        requests
            .by_ref()
            .take(REQUEST_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let response = match serde_json::from_slice(&line) {
            Ok(Request::Trace) => record(session, &mut recording),
            Ok(request) => answer(session, request, viewer_pid),
            Err(error) => refused(
                &format!("not a request of this release: {error}"),
                "viewer and hook server are of different releases",
                "use the hooktool that started the session",
            ),
        };
        let mut text = serde_json::to_vec(&response)?;
        text.push(b'\n');
        if text.len() <= LINE_BYTES_MAX {
            answers.write_all(&text)?;
        }
    }
    Ok(())
}

/// The next part of a recording, which begins with the first and ends with the conversation.
fn record<'a>(session: &'a Session, recording: &mut Option<Recording<'a>>) -> Response {
    let part = match recording {
        Some(recording) => recording.part(),
        None => Recording::begin(session).and_then(|begun| recording.insert(begun).part()),
    };
    match part {
        Ok(part) => Response::Trace(Box::new(part)),
        Err(failure) => refused(&failure.what, &failure.means, &failure.fix),
    }
}

fn answer(session: &Session, request: Request, viewer_pid: u32) -> Response {
    match request {
        Request::Session => Response::Session(stats::session_info(session)),
        Request::Snapshot { pid } => match stats::snapshot(session, pid) {
            Some(snapshot) => Response::Snapshot(Box::new(snapshot)),
            None => refused(
                "no such process in the session",
                "it has ended, or has not opened a file that could be served yet",
                "hooktool ps",
            ),
        },
        Request::Service { on } => {
            session.switch_service(on);
            Response::Done
        }
        Request::Flush => {
            for domain in session.domains() {
                domain.forget_blocks();
            }
            Response::Done
        }
        Request::Node { order, addr } => orders::change(session, order, &addr),
        // In another pid namespace its number would be another process' here.
        Request::Join { pid, .. } if pid != viewer_pid => refused(
            &format!("process {pid} is not who asks"),
            "the hook server must see the process that joins",
            "run both in the same pid namespace",
        ),
        Request::Join { pid, wanted } => admit(session, pid, &wanted),
        Request::Compare { wanted } => compare(session, &wanted),
        Request::End => end(session),
        Request::Trace => refused(
            "no recording",
            "it has a place of its own",
            "hooktool trace",
        ),
    }
}

/// Lets a launcher's process into the session, before it becomes the target. Others may be in it:
/// whoever asks for the same settings under the same name means the same session.
fn admit(session: &Session, pid: u32, wanted: &ServeConfig) -> Response {
    let mut members = session.members.lock();
    let is_inhabited = is_inhabited(session, &mut members);
    let settings = objections(session, &members, wanted);
    if !settings.is_empty() {
        return Response::Differs {
            settings,
            is_inhabited,
        };
    }
    if !is_inhabited {
        // Before the newcomer counts as somebody who was here (rule O3).
        session.lie_down();
    }
    if let Err(error) = members.await_process(pid) {
        return refused(
            &format!("process {pid}: {error}"),
            "the hook server must see the process that joins",
            "run both in the same pid namespace",
        );
    }
    // From here on nobody takes the session for empty.
    drop(members);
    if is_inhabited {
        session.join_tenancy(wanted);
    } else {
        // Where nobody has noticed yet that the last ones are gone, theirs are written first.
        stats::write_at_exit(session, session.take_writing());
        session.begin_tenancy(wanted);
    }
    Response::Joined {
        token: session.config.token,
        shim: session.config.shim.clone(),
        troubles: session.troubles(),
    }
}

/// What would come of `admit`.
fn compare(session: &Session, wanted: &ServeConfig) -> Response {
    let mut members = session.members.lock();
    Response::Differs {
        settings: objections(session, &members, wanted),
        is_inhabited: is_inhabited(session, &mut members),
    }
}

/// What speaks against letting somebody in who asks for `wanted`.
fn objections(session: &Session, members: &Members, wanted: &ServeConfig) -> Vec<String> {
    let mut differences = session.config.differences(wanted);
    if session.is_made_of(&wanted.nodes) {
        differences.retain(|setting| *setting != "--node");
    }
    let mut objections: Vec<String> = differences.into_iter().map(String::from).collect();
    if session.is_out_of_service() {
        objections.push("it is switched off".into());
    } else if members.is_closed() {
        objections.push("it is about to end".into());
    }
    objections
}

/// Whether a process is in the session, or carries it and has not joined yet.
fn is_inhabited(session: &Session, members: &mut Members) -> bool {
    members.has_living() || !life::carriers(&session.config).is_empty()
}

/// Ends a session that lingers.
fn end(session: &Session) -> Response {
    let mut members = session.members.lock();
    if is_inhabited(session, &mut members) {
        return refused(
            &format!("session {} has processes", session.config.name),
            "they would go on without being served",
            "hooktool ps",
        );
    }
    members.close();
    session.end();
    Response::Done
}

pub(super) fn refused(what: &str, means: &str, fix: &str) -> Response {
    Response::Refused {
        what: what.into(),
        means: means.into(),
        fix: fix.into(),
    }
}
