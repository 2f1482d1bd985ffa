//! The floors: a word that each side waits for, by spinning or by a futex.

use std::path::Path;
use std::sync::atomic::Ordering;

use rustix::thread::futex;

use crate::Result;
use crate::link::Link;
use crate::shared::Words;

/// One side of it. The lowest byte of the word is the message.
pub struct Word {
    words: Words,
    is_first: bool,
    is_sleeping: bool,
    sent: u32,
    seen: u32,
}

impl Word {
    /// One side.
    pub fn open(stage: &Path, is_first: bool, is_sleeping: bool) -> Result<Word> {
        Ok(Word {
            words: Words::open(stage)?,
            is_first,
            is_sleeping,
            sent: 0,
            seen: 0,
        })
    }
}

impl Link for Word {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        self.sent = ((self.sent >> 8) + 1) << 8 | u32::from(message[0]);
        let word = self.words.word(self.is_first);
        word.store(self.sent, Ordering::Release);
        if self.is_sleeping {
            futex::wake(word, futex::Flags::empty(), 1)?;
        }
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let word = self.words.word(!self.is_first);
        let mut now = word.load(Ordering::Acquire);
        while now == self.seen {
            if self.is_sleeping {
                // It moved, or a signal came: either way the word says so.
                let _ = futex::wait(word, futex::Flags::empty(), self.seen, None);
            }
            now = word.load(Ordering::Acquire);
        }
        self.seen = now;
        each(&[now as u8]);
        Ok(())
    }
}
