//! One `recv` that leaves tokio's idea of readiness right.
//!
//! Called by `connection`. A read that fills less than its buffer has emptied the socket, so the
//! next wait should go to sleep (or to the busy wait) at once. tokio's own `try_read` does not note
//! that and pays a second, fruitless `recv` per request; here the note is made inside one `try_io`,
//! so an arrival between the two cannot get lost.

use std::io;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Receives into `buffer`; 0 is the end of the stream.
///
/// # Errors
/// `WouldBlock` if there is nothing, or what the socket says.
pub fn into_slice(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let room = buffer.len();
    once(stream, room, || {
        Ok(recv(stream, &mut *buffer, RecvFlags::empty())?.0)
    })
}

/// Receives into the spare capacity of `buffer`; 0 is the end of the stream.
///
/// # Errors
/// `WouldBlock` if there is nothing, or what the socket says.
pub fn into_spare(stream: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let room = buffer.capacity() - buffer.len();
    once(stream, room, || {
        Ok(recv(stream, spare_capacity(&mut *buffer), RecvFlags::empty())?.0)
    })
}

fn once(
    stream: &TcpStream,
    room: usize,
    mut receive: impl FnMut() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut short = None;
    let whole = stream.try_io(Interest::READABLE, || match receive()? {
        bytes if bytes > 0 && bytes < room => {
            short = Some(bytes);
            Err(io::ErrorKind::WouldBlock.into())
        }
        bytes => Ok(bytes),
    });
    short.map_or(whole, Ok)
}
