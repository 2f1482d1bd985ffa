//! A plain, blocking client of a memory node: connect, authenticate, ask, and send blocks.
//!
//! `nodes` probes with it and makes the sockets that processes receive, `drain` pushes blocks
//! through it. Every call is bounded by the socket's timeouts. It never retries.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::RecvFlags;
use wire::resp::encode_command;
use wire::resp::reply::{self, Head};

use crate::config::Secret;
use crate::probe;

/// Bytes asked for at a time when reading replies.
const READ_BYTES: usize = 16 << 10;

/// Longest bulk reply that is taken (INFO of a server with many databases is below 10 KiB).
const BULK_BYTES_MAX: usize = 1 << 20;

/// Where a node is and what it wants to hear first.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Sent with AUTH.
    pub password: Option<Secret>,
}

impl Target {
    /// All addresses that the name has right now. May take as long as the resolver likes.
    ///
    /// # Errors
    ///
    /// The name has none, or nobody answers for it.
    pub fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        Ok(addresses.collect())
    }

    /// Whether it is known by a name, so that it may be elsewhere one day.
    pub fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }
}

/// Why a node is of no use right now.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No connection, or it broke, or nothing came in time.
    #[error("{}", probe::words(.0))]
    Unreachable(#[from] io::Error),
    /// It wants a password, or another one.
    #[error("{0}")]
    Unauthorized(String),
    /// It speaks TLS, and hooktool does not yet.
    #[error("it speaks TLS")]
    Tls,
    /// It does not speak RESP, or says what no such server would.
    #[error("{0}")]
    Foreign(String),
}

/// A reply, as far as this client needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A short text, usually `OK`.
    Simple(String),
    /// A refusal.
    Refused(String),
    /// A string.
    Bulk(Vec<u8>),
    /// Anything else that is one item.
    Other,
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reply::Simple(text) | Reply::Refused(text) => f.write_str(text),
            Reply::Bulk(bytes) => write!(f, "a string of {} bytes", bytes.len()),
            Reply::Other => f.write_str("a value of another kind"),
        }
    }
}

/// A reply of any shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string, or a short text.
    Text(Vec<u8>),
    /// A number.
    Integer(i64),
    /// Nothing.
    Nil,
    /// A list.
    Array(Vec<Value>),
    /// A refusal.
    Refused(String),
}

/// Lists within lists that are followed, and items of an answer altogether: CLUSTER SLOTS of the
/// most scattered cluster stays below both.
const DEPTH_MAX: usize = 8;
const ITEMS_MAX: usize = 1 << 20;

/// A connection to a node.
pub struct Client {
    stream: TcpStream,
    /// Bytes received and not consumed yet.
    received: Vec<u8>,
}

impl Client {
    /// Connects and authenticates; every later call is bounded by `limit` as well.
    ///
    /// # Errors
    ///
    /// Says what kind of trouble it is, for `ps` and `stats`.
    pub fn connect(target: &Target, limit: Duration) -> Result<Client, NodeError> {
        let mut failure = io::Error::other("the name has no address").into();
        for address in target.look_up()? {
            match Client::connect_at(address, target, limit) {
                Err(NodeError::Unreachable(error)) => failure = error.into(),
                outcome => return outcome,
            }
        }
        Err(failure)
    }

    /// The same at one address of those that the target's name has.
    ///
    /// # Errors
    ///
    /// As `connect`.
    pub fn connect_at(
        address: SocketAddr,
        target: &Target,
        limit: Duration,
    ) -> Result<Client, NodeError> {
        let stream = TcpStream::connect_timeout(&address, limit)?;
        Client::greet(stream, target, limit)
    }

    fn greet(stream: TcpStream, target: &Target, limit: Duration) -> Result<Client, NodeError> {
        stream.set_nodelay(true)?;
        let mut client = Client::of(stream, limit)?;
        if let Some(Secret(password)) = &target.password {
            match client.command(&[b"AUTH", password.as_bytes()])? {
                Reply::Simple(_) => {}
                Reply::Refused(text) if probe::wants_tls(&text) => return Err(NodeError::Tls),
                other => return Err(NodeError::Unauthorized(format!("AUTH: {other}"))),
            }
        }
        match client.command(&[b"PING"])? {
            Reply::Simple(text) if text == "PONG" => Ok(client),
            Reply::Refused(text) if text.starts_with("NOAUTH") => {
                Err(NodeError::Unauthorized(text))
            }
            Reply::Refused(text) if probe::wants_tls(&text) => Err(NodeError::Tls),
            other => Err(NodeError::Foreign(format!("it answers PING with {other}"))),
        }
    }

    /// Takes over a connection that is ready to be used.
    ///
    /// # Errors
    ///
    /// The timeouts cannot be set.
    pub fn of(stream: TcpStream, limit: Duration) -> Result<Client, NodeError> {
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Client {
            stream,
            received: Vec::new(),
        })
    }

    /// The socket, fit to be handed to a process: nothing pending, no timeouts.
    ///
    /// # Errors
    ///
    /// Something is pending, or the timeouts cannot be cleared.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        if !self.received.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        Ok(self.stream)
    }

    /// Whether the connection, after a rest, is still there and has nothing to say.
    pub fn is_fit(&self) -> bool {
        self.received.is_empty() && is_silent(&self.stream)
    }

    /// One command, one reply.
    ///
    /// # Errors
    ///
    /// As `NodeError`; the connection is of no use after any of them.
    pub fn command(&mut self, parts: &[&[u8]]) -> Result<Reply, NodeError> {
        self.request(parts)?;
        self.reply()
    }

    fn request(&mut self, parts: &[&[u8]]) -> Result<(), NodeError> {
        let bytes: usize = parts.iter().map(|part| part.len() + 32).sum();
        let mut request = vec![0; bytes + 32];
        let length = encode_command(&mut request, parts);
        let length = length.ok_or_else(|| io::Error::other("the request does not fit"))?;
        self.send(&request[..length])
    }

    /// Sends requests; their replies are read one by one with `reply`.
    ///
    /// # Errors
    ///
    /// The connection broke, or the node takes nothing any more.
    pub fn send(&mut self, requests: &[u8]) -> Result<(), NodeError> {
        Ok(self.stream.write_all(requests)?)
    }

    /// Reads one reply.
    ///
    /// # Errors
    ///
    /// As `NodeError`.
    pub fn reply(&mut self) -> Result<Reply, NodeError> {
        let (head, head_bytes) = self.head()?;
        let text = || String::from_utf8_lossy(reply::text(&self.received, head_bytes)).into_owned();
        let answer = match head {
            Head::Simple => Reply::Simple(text()),
            Head::Error => Reply::Refused(text()),
            Head::Nil | Head::Integer(_) | Head::Boolean(_) | Head::Number => Reply::Other,
            Head::Bulk(bytes) if bytes <= BULK_BYTES_MAX => {
                return self.bulk(head_bytes, bytes).map(Reply::Bulk);
            }
            _ => return Err(NodeError::Foreign("it sends what nobody asked for".into())),
        };
        self.received.drain(..head_bytes);
        Ok(answer)
    }

    /// The head of the next reply, and how many bytes it takes of those received.
    fn head(&mut self) -> Result<(Head, usize), NodeError> {
        loop {
            if self.received.first() == Some(&probe::TLS_ALERT) {
                return Err(NodeError::Tls);
            }
            match reply::parse_head(&self.received) {
                Ok(Some(parsed)) => return Ok(parsed),
                Ok(None) => self.receive()?,
                Err(error) => return Err(NodeError::Foreign(error.to_string())),
            }
        }
    }

    /// One command, one reply of whatever shape.
    ///
    /// # Errors
    ///
    /// As `NodeError`; the connection is of no use after any of them.
    pub fn value(&mut self, parts: &[&[u8]]) -> Result<Value, NodeError> {
        self.request(parts)?;
        self.item(DEPTH_MAX, &mut 0)
    }

    fn item(&mut self, depth: usize, items: &mut usize) -> Result<Value, NodeError> {
        *items += 1;
        if depth == 0 || *items > ITEMS_MAX {
            return Err(NodeError::Foreign("its answer does not end".into()));
        }
        let (head, head_bytes) = self.head()?;
        let text = reply::text(&self.received, head_bytes).to_vec();
        if let Head::Bulk(bytes) = head {
            if bytes > BULK_BYTES_MAX {
                return Err(NodeError::Foreign("it sends what nobody asked for".into()));
            }
            return self.bulk(head_bytes, bytes).map(Value::Text);
        }
        self.received.drain(..head_bytes);
        match head {
            Head::Simple => Ok(Value::Text(text)),
            Head::Error => Ok(Value::Refused(String::from_utf8_lossy(&text).into_owned())),
            Head::Integer(number) => Ok(Value::Integer(number)),
            Head::Nil => Ok(Value::Nil),
            Head::Array(count) => {
                let items = (0..count).map(|_| self.item(depth - 1, items));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            _ => Err(NodeError::Foreign("it sends what nobody asked for".into())),
        }
    }

    fn bulk(&mut self, head_bytes: usize, bytes: usize) -> Result<Vec<u8>, NodeError> {
        let end = head_bytes + bytes + wire::resp::CRLF.len();
        while self.received.len() < end {
            self.receive()?;
        }
        let content = self.received[head_bytes..head_bytes + bytes].to_vec();
        self.received.drain(..end);
        Ok(content)
    }

    fn receive(&mut self) -> Result<(), NodeError> {
        let old = self.received.len();
        self.received.resize(old + READ_BYTES, 0);
        let read = loop {
            match self.stream.read(&mut self.received[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.received.truncate(old + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a connection that rested is alive and has nothing to be read.
pub fn is_silent(stream: &TcpStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let mut byte = [0_u8; 1];
    let read = rustix::net::recv(stream.as_fd(), &mut byte, flags);
    read.is_err_and(|error| error == rustix::io::Errno::AGAIN)
}

/// What INFO says that the hook server wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Changes when the node is started again.
    pub run_id: Option<String>,
    /// Seconds since its start.
    pub uptime_s: Option<u64>,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes it may use; 0: it does not say.
    pub max_bytes: u64,
}

impl Info {
    /// Reads the text of an INFO reply.
    pub fn parse(text: &str) -> Info {
        let field = |name: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let number = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok());
        Info {
            run_id: field("run_id").map(str::to_string),
            uptime_s: number("uptime_in_seconds"),
            used_bytes: number("used_memory").unwrap_or(0),
            max_bytes: number("maxmemory").unwrap_or(0),
        }
    }

    /// Whether `self`, asked later than `before`, comes from a node that was started anew.
    pub fn is_restart_of(&self, before: &Info) -> bool {
        let other_run = self.run_id.is_some() && self.run_id != before.run_id;
        let younger = self
            .uptime_s
            .zip(before.uptime_s)
            .is_some_and(|(now, then)| now < then);
        other_run || younger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn info_is_read_and_a_restart_is_seen() {
        let text = "# Server\r\nrun_id:abc\r\nuptime_in_seconds:7\r\n\
                    # Memory\r\nused_memory:10\r\nused_memory_rss:99\r\nmaxmemory:20\r\n";
        let info = Info::parse(text);
        assert_eq!((info.used_bytes, info.max_bytes), (10, 20));
        assert!(!info.is_restart_of(&info));
        assert!(
            Info {
                run_id: Some("x".into()),
                ..info.clone()
            }
            .is_restart_of(&info)
        );
        assert!(
            Info {
                uptime_s: Some(3),
                ..info.clone()
            }
            .is_restart_of(&info)
        );
    }
}
