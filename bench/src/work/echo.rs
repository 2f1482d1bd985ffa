//! A bare TCP ping-pong with the sizes of a remote 4 KiB read: the floor a remote read is compared
//! with. No protocol, no lookup: a short request, a long reply, one blocking socket each side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{Slice, Slices, histogram, ns};

/// Bytes of a request: a RESP GET with a 16-byte key.
const REQUEST: usize = 38;

/// Flags of `lab work echo`.
#[derive(Debug, clap::Args)]
pub struct EchoArgs {
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Bytes of a reply
    #[arg(long)]
    reply: usize,
}

/// Flags of `lab work ping`.
#[derive(Debug, clap::Args)]
pub struct PingArgs {
    /// Address of `lab work echo`
    #[arg(long)]
    to: SocketAddr,
    /// Bytes of a reply
    #[arg(long)]
    reply: usize,
}

/// Answers every connection until killed.
pub fn serve(args: &EchoArgs) -> io::Result<()> {
    let listener = TcpListener::bind(args.listen)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        let reply = vec![7_u8; args.reply];
        thread::spawn(move || {
            let mut request = [0_u8; REQUEST];
            while stream.read_exact(&mut request).is_ok() && stream.write_all(&reply).is_ok() {}
        });
    }
    Ok(())
}

/// The asking side.
pub struct Ping {
    stream: TcpStream,
    reply: Vec<u8>,
}

impl Ping {
    pub fn connect(args: &PingArgs) -> io::Result<Self> {
        let stream = TcpStream::connect(args.to)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reply: vec![0; args.reply],
        })
    }
}

impl Slices for Ping {
    fn slice(&mut self, time: Duration) -> io::Result<Slice> {
        let mut latency = histogram()?;
        let begun = Instant::now();
        let mut before = begun;
        while before - begun < time {
            self.stream.write_all(&[7; REQUEST])?;
            self.stream.read_exact(&mut self.reply)?;
            let after = Instant::now();
            latency.saturating_record(ns(after - before));
            before = after;
        }
        Ok(Slice {
            ops: latency.len(),
            ns: ns(before - begun),
            p50_ns: latency.value_at_quantile(0.5),
            p99_ns: latency.value_at_quantile(0.99),
            ..Slice::default()
        })
    }
}
