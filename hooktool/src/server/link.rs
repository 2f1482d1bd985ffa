//! A connection to a node that can be handed to a process: the node's own TCP socket, or one end of
//! a local pair behind which the hook server speaks TLS (`tunnel`). Whoever holds it cannot tell.
//!
//! Made by `client` and `tunnel`, kept ready by `nodes`, handed out by `attach`. Blocking; each
//! wait is as long as `limit` said last.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags};

/// A connection.
pub struct Link(OwnedFd);

impl Link {
    /// Bounds every wait; `None`: no bound.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub fn limit(&self, limit: Option<Duration>) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Recv, limit)?;
        Ok(set_socket_timeout(&self.0, Timeout::Send, limit)?)
    }

    /// Whether it is alive, after a rest, and has nothing to be read.
    pub fn is_silent(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let read = rustix::net::recv(&self.0, &mut byte, flags);
        read.is_err_and(|error| error == rustix::io::Errno::AGAIN)
    }
}

impl From<TcpStream> for Link {
    fn from(stream: TcpStream) -> Link {
        Link(stream.into())
    }
}

impl From<OwnedFd> for Link {
    fn from(socket: OwnedFd) -> Link {
        Link(socket)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Link {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let (count, _) = rustix::net::recv(&self.0, bytes, RecvFlags::empty())?;
        Ok(count)
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
