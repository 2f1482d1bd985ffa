//! What a `write` and a `read` on a socket pair or a pipe cost: one message in, the same out, in
//! one thread, so that no other process and no scheduler is part of the figure.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::{Slice, Slices, ns};

/// Bytes of a message.
const MESSAGE: usize = 64;

/// Messages between two looks at the clock.
const BATCH: u64 = 64;

/// Flags of `lab work socket`.
#[derive(Debug, clap::Args)]
pub struct SocketArgs {
    /// A pipe instead of a Unix socket pair
    #[arg(long)]
    pipe: bool,
}

/// Both ends. As `File`s, because the standard library's sockets call `recv` and `send`.
pub struct PingPong {
    from: File,
    to: File,
}

impl PingPong {
    pub fn open(args: &SocketArgs) -> io::Result<Self> {
        let (from, to): (OwnedFd, OwnedFd) = if args.pipe {
            let (reader, writer) = io::pipe()?;
            (reader.into(), writer.into())
        } else {
            let (one, other) = UnixStream::pair()?;
            (one.into(), other.into())
        };
        Ok(Self {
            from: from.into(),
            to: to.into(),
        })
    }
}

impl Slices for PingPong {
    /// An operation is one call: each message is a `write` and a `read`.
    fn slice(&mut self, time: Duration) -> io::Result<Slice> {
        let mut message = [7_u8; MESSAGE];
        let mut ops = 0;
        let begun = Instant::now();
        while begun.elapsed() < time {
            for _ in 0..BATCH {
                self.to.write_all(&message)?;
                self.from.read_exact(&mut message)?;
            }
            ops += 2 * BATCH;
        }
        Ok(Slice {
            ops,
            ns: ns(begun.elapsed()),
            ..Slice::default()
        })
    }
}
