//! ZeroMQ: one PAIR socket at each end, over its ipc transport.

use std::path::Path;

use crate::Result;
use crate::link::Link;

/// One end.
pub struct Zmq {
    socket: zmq::Socket,
    buffer: zmq::Message,
    // Dropped after the socket: it waits until everything is sent.
    _context: zmq::Context,
}

impl Zmq {
    /// The first end listens, the other connects.
    pub fn open(stage: &Path, is_first: bool) -> Result<Zmq> {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::PAIR)?;
        let place = format!("ipc://{}/zmq", stage.display());
        match is_first {
            true => socket.bind(&place)?,
            false => socket.connect(&place)?,
        }
        Ok(Zmq {
            socket,
            buffer: zmq::Message::new(),
            _context: context,
        })
    }
}

impl Link for Zmq {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.socket.send(message, 0)?)
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.socket.recv(&mut self.buffer, 0)?;
        each(&self.buffer);
        Ok(())
    }
}
