//! What a connection's bytes travel through: the socket as it is, or TLS over it.
//!
//! Called by `connection`. The plain way adds nothing to the socket. The other one takes whole
//! reads of ciphertext into a buffer of the worker, and leaves no plaintext behind in a connection
//! that waits: what a turn received, it has.

use std::io::{self, BufRead, IoSlice, Write};

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConnection;

use super::receive;

/// Ciphertext of one receive, in bytes: room in the buffer of a worker.
pub const CIPHER_BYTES: usize = 64 * 1024;

/// What one record of TLS may hold, and what it weighs beside that, rounded up. In bytes.
const RECORD_BYTES_MAX: usize = 17 * 1024;

/// Least room of a receive: what may have waited for the end of its record, and as much again.
pub const ROOM_BYTES_MIN: usize = 2 * RECORD_BYTES_MAX;

/// What TLS may hold of replies that the socket did not take, in bytes.
const HELD_BYTES_MAX: usize = 64 * 1024;

/// First byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Said to a client that does not speak TLS, in its own language.
const SPEAK_TLS: &[u8] = b"-ERR this port speaks TLS: rediss:// or redis-cli --tls\r\n";

/// A connection's way to its peer.
pub enum Transport {
    /// The socket itself.
    Plain(TcpStream),
    /// TLS over it.
    Secure(Box<Secure>),
}

/// A socket whose handshake is done.
pub struct Secure {
    socket: TcpStream,
    tls: ServerConnection,
    /// Has the peer said that it is done?
    ended: bool,
}

impl Transport {
    /// Shakes hands. Takes as long as the peer does: give it a limit.
    ///
    /// # Errors
    /// The peer does not speak TLS, or has no certificate that is believed.
    pub async fn secure(socket: TcpStream, acceptor: TlsAcceptor) -> io::Result<Transport> {
        let mut first = [0];
        if socket.peek(&mut first).await? > 0 && first[0] != HANDSHAKE {
            let _ = socket.try_write(SPEAK_TLS);
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it does not speak TLS",
            ));
        }
        let (socket, mut tls) = acceptor.accept(socket).await?.into_inner();
        tls.set_buffer_limit(Some(HELD_BYTES_MAX));
        Ok(Transport::Secure(Box::new(Secure {
            socket,
            tls,
            ended: false,
        })))
    }

    /// Is there something between us and the socket?
    pub fn is_secure(&self) -> bool {
        matches!(self, Transport::Secure(_))
    }

    /// Has the peer said that nothing more will come? Then there is nothing to wait for.
    pub fn has_ended(&self) -> bool {
        matches!(self, Transport::Secure(secure) if secure.ended)
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Secure(secure) => &secure.socket,
        }
    }

    /// Receives into `buffer`; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing, or what the peer did wrong.
    pub fn receive(&mut self, buffer: &mut [u8], cipher: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => receive::into_slice(socket, buffer),
            Transport::Secure(secure) => {
                let mut filled = 0;
                secure.receive(buffer.len(), cipher, |bytes| {
                    buffer[filled..filled + bytes.len()].copy_from_slice(bytes);
                    filled += bytes.len();
                })
            }
        }
    }

    /// Receives behind what is in `buffer`, as far as it has room; 0 is the end of the stream.
    ///
    /// # Errors
    /// As [`Transport::receive`].
    pub fn receive_more(
        &mut self,
        buffer: &mut Vec<u8>,
        cipher: &mut Vec<u8>,
    ) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => receive::into_spare(socket, buffer),
            Transport::Secure(secure) => {
                let room = buffer.capacity() - buffer.len();
                secure.receive(room, cipher, |bytes| buffer.extend_from_slice(bytes))
            }
        }
    }

    /// Sends as much as the socket takes, or TLS may hold.
    ///
    /// # Errors
    /// `WouldBlock` if that is nothing, or what the socket says.
    pub fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.try_write_vectored(slices),
            Transport::Secure(secure) => secure.send(slices),
        }
    }

    /// How many bytes TLS may hold that were sent and are not on their way yet.
    pub fn held_bytes(&self) -> usize {
        match self {
            Transport::Secure(secure) if secure.tls.wants_write() => HELD_BYTES_MAX,
            _ => 0,
        }
    }

    /// Sends what TLS holds.
    ///
    /// # Errors
    /// `WouldBlock` if the socket does not take all of it, or what it says.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(_) => Ok(()),
            Transport::Secure(secure) => secure.flush(),
        }
    }

    /// Says that this is the end. A wish: the peer may have gone.
    pub fn farewell(&mut self) {
        if let Transport::Secure(secure) = self {
            secure.tls.send_close_notify();
            let _ = secure.flush();
        }
    }
}

impl Secure {
    fn receive(
        &mut self,
        room: usize,
        cipher: &mut Vec<u8>,
        mut put: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        debug_assert!(room >= ROOM_BYTES_MIN);
        // What came with the last words of the handshake; later, nothing.
        let mut got = self.take(&mut put)?;
        if got > 0 {
            return Ok(got);
        }
        cipher.resize(CIPHER_BYTES, 0);
        // Plaintext is shorter than its ciphertext, and at most one record was waiting: all fits.
        let most = CIPHER_BYTES.min(room.saturating_sub(RECORD_BYTES_MAX));
        let received = receive::into_slice(&self.socket, &mut cipher[..most])?;
        if received == 0 {
            return Ok(0);
        }
        let mut bytes = &cipher[..received];
        while !bytes.is_empty() && !self.ended {
            self.ended = self.tls.read_tls(&mut bytes)? == 0;
            let state = self.tls.process_new_packets().map_err(|error| {
                let _ = self.flush(); // tells the peer what it did wrong
                io::Error::new(io::ErrorKind::InvalidData, error)
            })?;
            self.ended |= state.peer_has_closed();
            got += self.take(&mut put)?;
        }
        let _ = self.flush(); // new keys, if the peer wanted some; what blocks goes with the reply
        match got {
            0 if !self.ended => Err(io::ErrorKind::WouldBlock.into()),
            got => Ok(got),
        }
    }

    /// Takes all plaintext there is.
    fn take(&mut self, mut put: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut reader = self.tls.reader();
        let mut taken = 0;
        loop {
            let bytes = match reader.fill_buf() {
                Ok(bytes) if !bytes.is_empty() => bytes,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => return Ok(taken),
            };
            put(bytes);
            let length = bytes.len();
            reader.consume(length);
            taken += length;
        }
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.tls.writer().write_vectored(slices)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if taken == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Socket(&self.socket))?;
        }
        Ok(())
    }
}

/// A socket that does not block, as rustls wants it.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
