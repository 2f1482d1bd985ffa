//! A connection to a node, from outside: blocking, with a deadline, with the password said.
//!
//! Used by `memnode stat|ping|bench`. Replies are read as far as these need them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::ToolFlags;
use crate::failure::Failure;
use crate::listen::Listen;
use crate::settings::read_password;

/// Nothing takes longer.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Largest reply in bytes.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// An open connection.
pub struct Dialled {
    reader: BufReader<TcpStream>,
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
        let address = flags.address.clone();
        let wanted = Listen::parse(&address)?;
        let mut last = None;
        let stream = wanted.addresses.iter().find_map(|to| {
            TcpStream::connect_timeout(to, TIME_MAX)
                .map_err(|error| last = Some(error))
                .ok()
        });
        let Some(stream) = stream else {
            let why = last.map_or(String::new(), |error| error.to_string());
            return Err(Failure::own(
                format!("cannot reach {address}: {why}"),
                "no node listens there, or something between refuses",
                "on that machine: ss -ltn, and memnode --listen HOST:PORT",
            ));
        };
        let ready = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(TIME_MAX)))
            .and_then(|()| stream.set_write_timeout(Some(TIME_MAX)));
        let mut node = Dialled {
            reader: BufReader::with_capacity(256 * 1024, stream),
            address,
        };
        ready.map_err(|error| node.broken(&error.to_string()))?;
        if let Some(path) = &flags.password_file {
            let password = read_password(path)?;
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
        let sent = self.reader.get_mut().write_all(requests);
        sent.map_err(|error| self.broken(&error.to_string()))
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
        read.map_err(|error| self.broken(&error.to_string()))?;
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
                    read.map_err(|error| self.broken(&error.to_string()))?;
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

    fn refused(&self, why: &str) -> Failure {
        let (means, instead) = match why.split(' ').next() {
            Some("NOAUTH") => ("it wants its password first", "--password-file FILE"),
            Some("WRONGPASS") => (
                "that is not its password",
                "--password-file FILE of that node",
            ),
            _ => ("the node did not do it", "the log of the node"),
        };
        Failure::own(format!("{}: {why}", self.address), means, instead)
    }
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
