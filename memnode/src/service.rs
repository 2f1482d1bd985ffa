//! What a service manager wants: a socket that it has bound, and word of how things are.
//!
//! Called by `main`. Without a manager everything here is nothing: no socket, no word.
//!
//! # Safety
//! The one unsafe call takes over a descriptor that systemd has passed to this process and that
//! nobody else in it knows of.
#![allow(unsafe_code)]

use std::net::{SocketAddr, TcpListener};
use std::os::fd::FromRawFd;

use sd_notify::NotifyState;

use crate::failure::Failure;

/// The listening socket that systemd has bound (`memnode.socket`), if there is one.
///
/// # Errors
/// More than one, or one that is no TCP socket.
pub fn passed_socket() -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    let Ok(mut passed) = sd_notify::listen_fds() else {
        return Ok(None);
    };
    let Some(descriptor) = passed.next() else {
        return Ok(None);
    };
    let refuse = |what: &str| {
        let means = "a node serves one TCP address; systemd passed something else";
        Failure::own(what, means, "one ListenStream=HOST:PORT in memnode.socket")
    };
    if passed.next().is_some() {
        return Err(refuse("more than one socket was passed"));
    }
    // SAFETY: LISTEN_PID named this process, so the descriptor was opened for it and is owned by
    // nobody else here; `listen_fds` is called once.
    let listener = unsafe { TcpListener::from_raw_fd(descriptor) };
    match listener.local_addr() {
        Ok(address) => Ok(Some((listener, address))),
        Err(error) => Err(refuse(&format!(
            "the socket that was passed is no TCP: {error}"
        ))),
    }
}

/// It serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its settings again; [`ready`] follows.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It ends, within the grace.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
