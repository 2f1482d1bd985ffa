//! A connection to a node, from outside: blocking, with a deadline, with the password said.
//!
//! Used by `memnode stat|ping|bench`. Replies are read as far as these need them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio_rustls::rustls;

use super::target::Target;
use super::{ToolFlags, secure};
use crate::failure::Failure;
use crate::settings::read_password;

/// Nothing takes longer.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Largest reply in bytes.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// First byte of what TLS says to whom it does not understand.
const TLS_ALERT: u8 = 0x15;

/// A socket, or TLS over it.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// An open connection.
pub struct Dialled {
    reader: BufReader<Box<dyn Stream>>,
    /// As it was written.
    pub address: String,
}

/// A reply.
#[derive(Debug)]
pub enum Reply {
    /// A line: a status or a number.
    Line(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// No such key.
    Nothing,
}

impl Dialled {
    /// Connects, and says the password if one was given.
    ///
    /// # Errors
    /// Cannot be reached, or refuses.
    pub fn open(flags: &ToolFlags) -> Result<Dialled, Failure> {
        let target = Target::parse(&flags.address)?;
        // As it was written, but for a password in it.
        let address = match flags.address.rsplit_once('@') {
            Some((_, address)) => address.to_string(),
            None => flags.address.clone(),
        };
        let stream = reach(&target, &address)?;
        let stream: Box<dyn Stream> = match target.is_secure {
            true => Box::new(secure::connect(&target.host, stream, flags)?),
            false => Box::new(stream),
        };
        let mut node = Dialled {
            reader: BufReader::with_capacity(256 * 1024, stream),
            address,
        };
        let password = match &flags.password_file {
            Some(path) => Some(read_password(path)?),
            None => target.password,
        };
        if let Some(password) = password {
            node.ask(&[b"AUTH", &password])?;
        }
        Ok(node)
    }

    /// Sends a command and reads its reply.
    ///
    /// # Errors
    /// The connection broke, or the node refused.
    pub fn ask(&mut self, parts: &[&[u8]]) -> Result<Reply, Failure> {
        let mut request = Vec::new();
        append(&mut request, parts);
        self.send(&request)?;
        self.reply()
    }

    /// Sends requests made with [`append`].
    ///
    /// # Errors
    /// The connection broke.
    pub fn send(&mut self, requests: &[u8]) -> Result<(), Failure> {
        let stream = self.reader.get_mut();
        let sent = stream.write_all(requests).and_then(|()| stream.flush());
        sent.map_err(|error| self.failed(&error))
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// The connection broke, or the node refused.
    pub fn reply(&mut self) -> Result<Reply, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(64 * 1024)
            .read_until(b'\n', &mut line);
        read.map_err(|error| self.failed(&error))?;
        if line.starts_with(b"HTTP/") || line.starts_with(b"<") {
            return Err(self.web_server());
        }
        if line.first() == Some(&TLS_ALERT) {
            return Err(self.wants_tls("its answer is one of TLS"));
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let Some(line) = line.strip_suffix("\r\n") else {
            return Err(self.broken("it closed the connection"));
        };
        match line.as_bytes().first() {
            Some(b'+' | b':') => Ok(Reply::Line(line[1..].to_string())),
            Some(b'-') => Err(self.refused(&line[1..])),
            Some(b'$') => match line[1..].parse::<i64>() {
                Ok(-1) => Ok(Reply::Nothing),
                Ok(bytes) if (0..REPLY_BYTES_MAX as i64).contains(&bytes) => {
                    let mut body = vec![0; bytes as usize + 2];
                    let read = self.reader.read_exact(&mut body);
                    read.map_err(|error| self.failed(&error))?;
                    body.truncate(bytes as usize);
                    Ok(Reply::Bytes(body))
                }
                _ => Err(self.broken("its reply makes no sense")),
            },
            _ => Err(self.broken("its reply makes no sense")),
        }
    }

    /// What it answered is not what was asked for.
    pub fn broken(&self, why: &str) -> Failure {
        Failure::own(
            format!("{}: {why}", self.address),
            "it is no memnode, or it has just ended",
            "memnode ping HOST:PORT, and the log of the node",
        )
    }

    /// The connection failed under way.
    fn failed(&self, error: &io::Error) -> Failure {
        let by_tls = error
            .get_ref()
            .is_some_and(|inner| inner.is::<rustls::Error>());
        match by_tls {
            true => secure::explain(&self.address, error),
            false => self.broken(&error.to_string()),
        }
    }

    fn web_server(&self) -> Failure {
        Failure::own(
            format!("{}: it answered as a web server", self.address),
            "it is no memnode, or the --metrics port of one",
            "the port of --listen; for the metrics: curl http://HOST:PORT/metrics",
        )
    }

    fn wants_tls(&self, why: &str) -> Failure {
        let host = self.address.trim_start_matches("redis://");
        Failure::own(
            format!("{}: {why}", self.address),
            "it speaks TLS, and was asked without",
            &format!("rediss://{host}"),
        )
    }

    fn refused(&self, why: &str) -> Failure {
        if why.contains("speaks TLS") {
            return self.wants_tls(why);
        }
        let (means, instead) = match why.split(' ').next() {
            Some("NOAUTH") => ("it wants its password first", "--password-file FILE"),
            Some("WRONGPASS") => (
                "that is not its password",
                "--password-file FILE of that node",
            ),
            _ if why.contains("without any password") => (
                "that node has no password",
                "the same without --password-file, or without the password in ADDR",
            ),
            _ => ("the node did not do it", "the log of the node"),
        };
        Failure::own(format!("{}: {why}", self.address), means, instead)
    }
}

/// A socket to the first address that answers, with a deadline for everything.
fn reach(target: &Target, address: &str) -> Result<TcpStream, Failure> {
    let mut last = None;
    let stream = target.listen.addresses.iter().find_map(|to| {
        TcpStream::connect_timeout(to, TIME_MAX)
            .map_err(|error| last = Some(error))
            .ok()
    });
    let ready = |stream: TcpStream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIME_MAX))?;
        stream.set_write_timeout(Some(TIME_MAX))?;
        Ok(stream)
    };
    let none = || Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
    stream.map_or_else(none, ready).map_err(|error: io::Error| {
        Failure::own(
            format!("cannot reach {address}: {error}"),
            "no node listens there, or something between refuses",
            "on that machine: ss -ltn, and memnode --listen HOST:PORT",
        )
    })
}

/// Appends a command.
pub fn append(request: &mut Vec<u8>, parts: &[&[u8]]) {
    request.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        request.extend_from_slice(part);
        request.extend_from_slice(b"\r\n");
    }
}
