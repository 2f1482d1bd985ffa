//! Named pipes, one each way; messages of one size need no frames.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::Result;
use crate::link::Link;

/// One end.
pub struct Pipe {
    out: File,
    back: File,
    bytes: usize,
    buffer: Vec<u8>,
    joined: Vec<u8>,
    /// Bytes of the buffer that were not handed over: the beginning of a message.
    kept: usize,
}

/// Bytes of one read of many messages.
const READ_BYTES: usize = 64 << 10;

impl Pipe {
    /// Opens both pipes of a stage, making what is not there.
    pub fn open(stage: &Path, is_first: bool, bytes: usize) -> Result<Pipe> {
        let [there, back] = ["there", "back"].map(|name| stage.join(name));
        for path in [&there, &back] {
            match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let write = |path| File::options().write(true).open(path);
        // Opening waits for the other side, so both go in the same order.
        let (out, back) = match is_first {
            true => (write(there)?, File::open(back)?),
            false => {
                let back_of_it = File::open(there)?;
                (write(back)?, back_of_it)
            }
        };
        Ok(Pipe {
            out,
            back,
            bytes,
            buffer: vec![0; READ_BYTES.max(bytes)],
            joined: Vec::new(),
            kept: 0,
        })
    }
}

impl Link for Pipe {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(self.out.write_all(message)?)
    }

    fn send_batch(&mut self, messages: &[&[u8]]) -> Result<()> {
        self.joined.clear();
        messages
            .iter()
            .for_each(|message| self.joined.extend_from_slice(message));
        Ok(self.out.write_all(&self.joined)?)
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let buffer = &mut self.buffer[..self.bytes];
        self.back.read_exact(buffer)?;
        each(buffer);
        Ok(())
    }

    fn receive_batch(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        while self.kept < self.bytes {
            match self.back.read(&mut self.buffer[self.kept..])? {
                0 => return Err("the other end of the pipe was closed".into()),
                length => self.kept += length,
            }
        }
        let whole = self.kept - self.kept % self.bytes;
        self.buffer[..whole].chunks(self.bytes).for_each(&mut each);
        self.buffer.copy_within(whole..self.kept, 0);
        self.kept -= whole;
        Ok(())
    }
}
