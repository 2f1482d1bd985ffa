//! Plain TCP over loopback, acknowledged as the relay does: the receiver answers with the number of
//! the last message it has taken, and the sender leaves at most so many bytes unanswered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::link::Link;

/// Bytes that may be on their way: the ring of the relay's channel.
const WINDOW_BYTES: u64 = 1 << 20;
/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;
/// Bytes of an answer: the number of the last message.
const ANSWER_BYTES: usize = 8;
/// A peer that does not come is given up after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// One end: a connection each way, as between two relays.
pub struct Tcp {
    out: TcpStream,
    back: TcpStream,
    bytes: usize,
    joined: Vec<u8>,
    buffer: Vec<u8>,
    kept: usize,
    sent: u64,
    answered: u64,
    taken: u64,
    answer: Vec<u8>,
}

impl Tcp {
    /// The first end listens at a port of the kernel's choosing and leaves it in the stage.
    pub fn open(stage: &Path, is_first: bool, bytes: usize) -> Result<Tcp> {
        let note = stage.join("port");
        let (out, back) = match is_first {
            true => {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                let fresh = stage.join("port.new");
                std::fs::write(&fresh, listener.local_addr()?.to_string())?;
                std::fs::rename(fresh, note)?;
                (listener.accept()?.0, listener.accept()?.0)
            }
            false => {
                let begun = Instant::now();
                let place = loop {
                    match std::fs::read_to_string(&note) {
                        Ok(place) => break place,
                        Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
                        Err(_) => std::thread::sleep(Duration::from_millis(1)),
                    }
                };
                let back = TcpStream::connect(&place)?;
                (TcpStream::connect(&place)?, back)
            }
        };
        for stream in [&out, &back] {
            stream.set_nodelay(true)?;
        }
        Ok(Tcp {
            out,
            back,
            bytes,
            joined: Vec::new(),
            buffer: vec![0; READ_BYTES.max(2 * bytes)],
            kept: 0,
            sent: 0,
            answered: 0,
            taken: 0,
            answer: Vec::new(),
        })
    }

    /// Reads answers: those that are there, or, with too much on its way, waits for one.
    fn settle(&mut self) -> Result<()> {
        loop {
            let is_full = (self.sent - self.answered) * self.bytes as u64 >= WINDOW_BYTES;
            self.out.set_nonblocking(!is_full)?;
            let mut bytes = [0; 512];
            match self.out.read(&mut bytes) {
                Ok(0) => return Err("the other end was closed".into()),
                Ok(length) => self.answer.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
            let (answers, rest) = self.answer.as_chunks::<ANSWER_BYTES>();
            if let Some(last) = answers.last() {
                self.answered = u64::from_le_bytes(*last);
            }
            self.answer = rest.to_vec();
        }
        Ok(self.out.set_nonblocking(false)?)
    }
}

impl Link for Tcp {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.send_batch(&[message])
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<()> {
        // As often as the relay is answered.
        if self.sent % 32 < messages.len() as u64 {
            self.settle()?;
        }
        self.joined.clear();
        messages
            .iter()
            .for_each(|message| self.joined.extend_from_slice(message));
        self.sent += messages.len() as u64;
        Ok(self.out.write_all(&self.joined)?)
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        while self.kept < self.bytes {
            match self.back.read(&mut self.buffer[self.kept..])? {
                0 => return Err("the other end was closed".into()),
                length => self.kept += length,
            }
        }
        let whole = self.kept - self.kept % self.bytes;
        self.buffer[..whole].chunks(self.bytes).for_each(&mut each);
        self.buffer.copy_within(whole..self.kept, 0);
        self.kept -= whole;
        self.taken += (whole / self.bytes) as u64;
        Ok(self.back.write_all(&self.taken.to_le_bytes())?)
    }

    /// Reads until the other end closes, too: bytes left unread would cut off what is on its way.
    fn close(&mut self) -> Result<()> {
        let streams = [&mut self.out, &mut self.back];
        streams
            .iter()
            .try_for_each(|stream| stream.shutdown(Shutdown::Write))?;
        for stream in streams {
            std::io::copy(stream, &mut std::io::sink())?;
        }
        Ok(())
    }
}
