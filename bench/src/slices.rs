//! Two workers, native and hooked, that work in turns.
//!
//! Machines are noisy: clock rates, neighbours and interrupts change from one second to the next.
//! Both workers are alive all the time, only one of them works, and turns are short; a ratio of
//! medians of many turns is then worth something where two long runs would not be.

use std::io::{BufRead, BufReader, Write};
use std::process::ChildStdin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::error::{Because, Result, advice, unexpected};
use crate::side::Target;
use crate::stop;
use crate::work::Slice;

/// A worker that says nothing for so long is stuck: a hooked program must never hang.
const STUCK: Duration = Duration::from_secs(600);

/// One worker and its pipes.
pub struct Worker {
    /// The process.
    pub target: Target,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    /// Takes over a program started with pipes.
    pub fn new(mut target: Target) -> Result<Self> {
        let pipes = target.child.pipes();
        let (stdin, stdout) = (pipes.stdin.take(), pipes.stdout.take());
        let no_pipes = || advice("a worker was started without pipes", "report this");
        let (stdin, stdout) = (stdin.ok_or_else(no_pipes)?, stdout.ok_or_else(no_pipes)?);
        let (send, lines) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::io::Result::ok)
            {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            target,
            stdin,
            lines,
        })
    }

    /// Works for `ms` milliseconds.
    pub fn slice(&mut self, ms: u64) -> Result<Slice> {
        self.slice_during(ms, &mut || Ok(()))
    }

    /// The same; `meanwhile` is called as soon as it works.
    pub fn slice_during(
        &mut self,
        ms: u64,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Slice> {
        let order = format!("slice {ms}");
        self.tell(&order)?;
        meanwhile()?;
        self.answer(&order)
    }

    /// Goes over everything once.
    pub fn pass(&mut self) -> Result<Slice> {
        self.order("pass")
    }

    fn order(&mut self, order: &str) -> Result<Slice> {
        self.tell(order)?;
        self.answer(order)
    }

    fn tell(&mut self, order: &str) -> Result<()> {
        let sent = writeln!(self.stdin, "{order}").and_then(|()| self.stdin.flush());
        if sent.is_err() {
            self.target.child.check_alive()?;
            sent.because(|| format!("ordering '{order}'"))?;
        }
        Ok(())
    }

    fn answer(&mut self, order: &str) -> Result<Slice> {
        let line = self.line(order)?;
        serde_json::from_str(&line)
            .map_err(|error| unexpected(format!("answer to '{order}': {error}"), &line))
    }

    /// The next line it writes.
    pub fn line(&mut self, waiting_for: &str) -> Result<String> {
        let line = stop::until(STUCK, || {
            match self.lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => Ok(Some(line)),
                Err(RecvTimeoutError::Timeout) => Ok(None),
                Err(RecvTimeoutError::Disconnected) => {
                    // The pipe closes a moment before the process can be waited for.
                    stop::sleep(Duration::from_millis(100))?;
                    self.target.child.check_alive()?;
                    Err(advice("a worker closed its output", "report this"))
                }
            }
        })?;
        line.ok_or_else(|| {
            let seconds = STUCK.as_secs();
            advice(
                format!("a worker did not answer '{waiting_for}' within {seconds} s: it hangs"),
                "report this with what `hooktool stats` says",
            )
        })
    }
}

/// Lets both work for `count` turns of `ms` each; who goes first changes every turn.
pub fn alternate(
    native: &mut Worker,
    hooked: &mut Worker,
    count: u32,
    ms: u64,
) -> Result<(Vec<Slice>, Vec<Slice>)> {
    let (mut natives, mut hookeds) = (Vec::new(), Vec::new());
    for turn in 0..count {
        if turn % 2 == 0 {
            natives.push(native.slice(ms)?);
            hookeds.push(hooked.slice(ms)?);
        } else {
            hookeds.push(hooked.slice(ms)?);
            natives.push(native.slice(ms)?);
        }
    }
    Ok((natives, hookeds))
}

/// Operations per second of one slice.
pub fn rate(slice: &Slice) -> f64 {
    if slice.ns == 0 {
        0.0
    } else {
        slice.ops as f64 * 1e9 / slice.ns as f64
    }
}

/// Nanoseconds per operation of one slice.
pub fn cost_ns(slice: &Slice) -> f64 {
    if slice.ops == 0 {
        0.0
    } else {
        slice.ns as f64 / slice.ops as f64
    }
}
