//! POSIX message queues, one each way.

use std::path::Path;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send};
use nix::sys::stat::Mode;

use crate::Result;
use crate::link::Link;
use crate::stage;

/// Messages a queue holds: what every user may ask for.
const DEPTH: i64 = 10;

/// One end.
pub struct Mq {
    out: MqdT,
    back: MqdT,
    buffer: Vec<u8>,
}

impl Mq {
    /// Opens both queues of a stage, making what is not there. The stage removes them.
    pub fn open(stage: &Path, is_first: bool, bytes: usize) -> Result<Mq> {
        let [there, back] = stage::queue_names(stage);
        let open = |name: &str, flag| {
            let size = MqAttr::new(0, DEPTH, bytes as i64, 0);
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            mq_open(name, MQ_OFlag::O_CREAT | flag, mode, Some(&size))
        };
        let (out, back) = if is_first {
            (there, back)
        } else {
            (back, there)
        };
        Ok(Mq {
            out: open(&out, MQ_OFlag::O_WRONLY)?,
            back: open(&back, MQ_OFlag::O_RDONLY)?,
            buffer: vec![0; bytes],
        })
    }
}

impl Link for Mq {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        Ok(mq_send(&self.out, message, 0)?)
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let length = mq_receive(&self.back, &mut self.buffer, &mut 0)?;
        each(&self.buffer[..length]);
        Ok(())
    }
}
