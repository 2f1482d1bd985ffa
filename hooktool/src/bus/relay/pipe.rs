//! A connection between two relays: bytes to send, bytes received, and the one place that waits.
//!
//! Reading and writing go on at the same time, so that two relays that both have much to say never
//! wait for each other. Knows frames by their length only.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Notify;

use super::tls::Link;
use super::wire::{self, Frame, Hello, VERSION};

/// Bytes waiting to be sent from which on nothing is added.
const OUT_BYTES_MAX: usize = 256 << 10;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Without anything else to say, so often is said that one is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// A connection.
#[derive(Debug)]
pub struct Pipe {
    reader: ReadHalf<Link>,
    writer: WriteHalf<Link>,
    input: Vec<u8>,
    /// Bytes of `input` that were taken.
    taken: usize,
    output: Vec<u8>,
    /// Bytes of `output` that were sent.
    sent: usize,
    is_flushed: bool,
    heard: Instant,
    spoke: Instant,
    dead_after: Duration,
    bell: Arc<Notify>,
}

impl Pipe {
    /// Takes a connection over. `bell` ends waiting.
    pub fn new(link: Link, bell: Arc<Notify>, dead_after: Duration) -> Pipe {
        let (reader, writer) = tokio::io::split(link);
        Pipe {
            reader,
            writer,
            input: Vec::with_capacity(READ_BYTES),
            taken: 0,
            output: Vec::with_capacity(OUT_BYTES_MAX * 2),
            sent: 0,
            is_flushed: true,
            heard: Instant::now(),
            spoke: Instant::now(),
            dead_after,
            bell,
        }
    }

    /// Says hello and hears it.
    ///
    /// # Errors
    ///
    /// No answer, no relay, another version, other addresses.
    pub async fn greet(&mut self, template: [u8; 4]) -> Result<(), String> {
        let version = VERSION;
        self.say(0, &Frame::Hello(Hello { version, template }));
        let theirs = loop {
            if let Some((_, frame)) = self.next()? {
                match frame {
                    Frame::Hello(hello) => break hello,
                    other => return Err(format!("{other:?} came instead of a greeting")),
                }
            }
            self.wait(self.dead_after).await?;
        };
        if theirs.version != VERSION {
            return Err(format!(
                "it speaks version {}, this relay {VERSION}: upgrade the older one",
                theirs.version
            ));
        }
        match theirs.template == template {
            true => Ok(()),
            false => Err(format!(
                "its addresses are written by {:?}, ours by {template:?}: use one template",
                theirs.template
            )),
        }
    }

    /// Puts a frame into the output.
    pub fn say(&mut self, stream: u32, frame: &Frame<'_>) {
        frame.put(stream, &mut self.output);
    }

    /// The output, if there is room for more messages in it.
    pub fn room(&mut self) -> Option<&mut Vec<u8>> {
        (self.output.len() - self.sent < OUT_BYTES_MAX).then_some(&mut self.output)
    }

    /// The next frame that has come, if there is a whole one.
    ///
    /// # Errors
    ///
    /// What came is none.
    pub fn next(&mut self) -> Result<Option<(u32, Frame<'_>)>, String> {
        let decoded = wire::decode(&self.input[self.taken..]);
        match decoded.map_err(|flaw| flaw.to_string())? {
            None => Ok(None),
            Some((stream, frame, bytes)) => {
                self.taken += bytes;
                Ok(Some((stream, frame)))
            }
        }
    }

    /// Waits until something was received or sent, the bell rang, or so long.
    ///
    /// # Errors
    ///
    /// The connection is over, or silent for too long.
    pub async fn wait(&mut self, most: Duration) -> Result<(), String> {
        let silent = self.heard.elapsed();
        if silent >= self.dead_after {
            return Err(format!("nothing was heard for {} s", silent.as_secs()));
        }
        if self.spoke.elapsed() >= PING_EVERY && self.sent == self.output.len() {
            self.say(0, &Frame::Ping);
        }
        self.make_room();
        let left = (self.dead_after - silent).min(PING_EVERY).min(most);
        let (input, output) = (&mut self.input, &self.output[self.sent..]);
        let sends = !output.is_empty() || !self.is_flushed;
        tokio::select! {
            read = self.reader.read_buf(input) => match read {
                Ok(0) => return Err("the other side closed the connection".into()),
                Ok(_) => self.heard = Instant::now(),
                Err(error) => return Err(error.to_string()),
            },
            sent = send(&mut self.writer, output), if sends => {
                let sent = sent.map_err(|error| error.to_string())?;
                self.is_flushed = sent == 0;
                self.sent += sent;
                self.spoke = Instant::now();
                if self.sent == self.output.len() {
                    self.output.clear();
                    self.sent = 0;
                }
            }
            () = self.bell.notified() => {}
            () = tokio::time::sleep(left) => {}
        }
        Ok(())
    }

    /// Moves what is left of the input to its beginning, with room for the rest of a long frame.
    fn make_room(&mut self) {
        if self.taken > 0 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        let expected = wire::expected(&self.input).unwrap_or(0);
        let wanted = expected.max(self.input.len()) + READ_BYTES / 2;
        if self.input.capacity() < wanted {
            self.input.reserve(wanted - self.input.len());
        } else if self.input.is_empty() && self.input.capacity() > READ_BYTES * 4 {
            // A long message has passed: its memory is not kept for ever.
            self.input.shrink_to(READ_BYTES);
        }
        if self.output.is_empty() && self.output.capacity() > OUT_BYTES_MAX * 8 {
            self.output.shrink_to(OUT_BYTES_MAX * 2);
        }
    }

    /// Sends what is left of the output, as far as that takes no longer than this.
    pub async fn finish(&mut self, most: Duration) {
        let rest = &self.output[self.sent..];
        let all = async {
            self.writer.write_all(rest).await?;
            self.writer.shutdown().await
        };
        // Whoever ends does not care whether the other side heard it.
        let _ = tokio::time::timeout(most, all).await;
    }
}

/// Sends some of these bytes, or, where there are none, what TLS still holds back. Dropped before
/// it is done, it has done nothing.
async fn send(writer: &mut WriteHalf<Link>, bytes: &[u8]) -> std::io::Result<usize> {
    match bytes.is_empty() {
        true => writer.flush().await.map(|()| 0),
        false => writer.write(bytes).await,
    }
}
