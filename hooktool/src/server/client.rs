//! A plain, blocking client of a memory node: connect, authenticate, ask, and send blocks.
//!
//! `nodes` probes with it and makes the sockets that processes receive, `drain` pushes blocks
//! through it. Every call is bounded, however slowly the node says a byte after the other, and
//! whatever it claims is still to come. It never retries.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::resp::encode_command;
use wire::resp::reply::{self, Head};

use super::link::Link;
use super::tunnel::Tunnels;
use crate::config::Secret;
use crate::probe;
use crate::tls::{self, Refused, Secure};

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
    /// What carries its connections, if it speaks TLS.
    pub tunnels: Option<Arc<Tunnels>>,
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
    Unreachable(io::Error),
    /// It wants a password, or another one.
    #[error("{0}")]
    Unauthorized(String),
    /// It speaks TLS, and was addressed without.
    #[error("it speaks TLS")]
    Tls,
    /// It is to speak TLS, and is not believed, or does not believe us.
    #[error("{0}")]
    Untrusted(Refused),
    /// It does not speak RESP, or says what no such server would.
    #[error("{0}")]
    Foreign(String),
}

impl From<io::Error> for NodeError {
    fn from(error: io::Error) -> NodeError {
        match tls::refusal_of(&error) {
            Some(refused) => NodeError::Untrusted(refused),
            None => NodeError::Unreachable(error),
        }
    }
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

/// Bytes of all strings of such an answer: a few hundred for each of 16384 ranges.
const VALUE_BYTES_MAX: usize = 8 << 20;

/// Longest way of a request to a node that takes a little of it now and then.
const SEND_LIMIT: Duration = Duration::from_secs(3);

/// What an answer of any shape may still take.
struct Budget {
    items: usize,
    bytes: usize,
    until: Instant,
}

/// A connection to a node, in the making or made.
enum Stream {
    Link(Link),
    /// Until the node has answered: then it is carried by a tunnel.
    Secure(Box<Secure>),
}

impl Stream {
    fn either(&mut self) -> &mut dyn Both {
        match self {
            Stream::Link(link) => link,
            Stream::Secure(secure) => secure,
        }
    }
}

/// What can be read and written.
trait Both: Read + Write {}

impl<S: Read + Write> Both for S {}

/// A connection to a node.
pub struct Client {
    stream: Stream,
    /// Longest wait for a reply.
    limit: Duration,
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
        let mut failure = NodeError::from(io::Error::other("the name has no address"));
        for address in target.look_up()? {
            match Client::connect_at(address, target, limit) {
                Err(error @ NodeError::Unreachable(_)) => failure = error,
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
        let Some(tunnels) = &target.tunnels else {
            stream.set_nodelay(true)?;
            let mut client = Client::of(stream.into(), limit)?;
            client.greet(target)?;
            return Ok(client);
        };
        let secure = tunnels.trust().shake(&target.host, stream, limit)?;
        let mut client = Client {
            stream: Stream::Secure(Box::new(secure)),
            limit,
            received: Vec::new(),
        };
        client.greet(target)?;
        match (client.stream, client.received.is_empty()) {
            (Stream::Secure(secure), true) => Client::of(tunnels.carry(*secure)?, limit),
            _ => Err(NodeError::Foreign("it sends what nobody asked for".into())),
        }
    }

    fn greet(&mut self, target: &Target) -> Result<(), NodeError> {
        if let Some(Secret(password)) = &target.password {
            match self.command(&[b"AUTH", password.as_bytes()])? {
                Reply::Simple(_) => {}
                Reply::Refused(text) if probe::wants_tls(&text) => return Err(NodeError::Tls),
                other => return Err(NodeError::Unauthorized(format!("AUTH: {other}"))),
            }
        }
        match self.command(&[b"PING"])? {
            Reply::Simple(text) if text == "PONG" => Ok(()),
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
    pub fn of(link: Link, limit: Duration) -> Result<Client, NodeError> {
        link.limit(Some(limit))?;
        Ok(Client {
            stream: Stream::Link(link),
            limit,
            received: Vec::new(),
        })
    }

    /// The socket, fit to be handed to a process: nothing pending, no timeouts.
    ///
    /// # Errors
    ///
    /// Something is pending, or the timeouts cannot be cleared.
    pub fn into_link(self) -> io::Result<Link> {
        match self.stream {
            Stream::Link(link) if self.received.is_empty() => {
                link.limit(None)?;
                Ok(link)
            }
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Whether the connection, after a rest, is still there and has nothing to say.
    pub fn is_fit(&self) -> bool {
        let is_silent = match &self.stream {
            Stream::Link(link) => link.is_silent(),
            Stream::Secure(_) => false,
        };
        self.received.is_empty() && is_silent
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
        let until = Instant::now() + SEND_LIMIT.max(self.limit);
        let mut rest = requests;
        while !rest.is_empty() {
            match self.stream.either().write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(sent) => rest = &rest[sent..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
            if !rest.is_empty() && Instant::now() >= until {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
        }
        Ok(())
    }

    /// Reads one reply.
    ///
    /// # Errors
    ///
    /// As `NodeError`.
    pub fn reply(&mut self) -> Result<Reply, NodeError> {
        let until = Instant::now() + self.limit;
        let (head, head_bytes) = self.head(until)?;
        let text = || words_of(reply::text(&self.received, head_bytes));
        let answer = match head {
            Head::Simple => Reply::Simple(text()),
            Head::Error => Reply::Refused(text()),
            Head::Nil | Head::Integer(_) | Head::Boolean(_) | Head::Number => Reply::Other,
            Head::Bulk(bytes) if bytes <= BULK_BYTES_MAX => {
                return self.bulk(head_bytes, bytes, until).map(Reply::Bulk);
            }
            _ => return Err(NodeError::Foreign("it sends what nobody asked for".into())),
        };
        self.received.drain(..head_bytes);
        Ok(answer)
    }

    /// The head of the next reply, and how many bytes it takes of those received.
    fn head(&mut self, until: Instant) -> Result<(Head, usize), NodeError> {
        loop {
            if self.received.first() == Some(&probe::TLS_ALERT) {
                return Err(NodeError::Tls);
            }
            match reply::parse_head(&self.received) {
                Ok(Some(parsed)) => return Ok(parsed),
                Ok(None) => self.receive(until)?,
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
        let mut budget = Budget {
            items: ITEMS_MAX,
            bytes: VALUE_BYTES_MAX,
            until: Instant::now() + self.limit,
        };
        self.item(DEPTH_MAX, &mut budget)
    }

    fn item(&mut self, depth: usize, budget: &mut Budget) -> Result<Value, NodeError> {
        let endless = || NodeError::Foreign("its answer does not end".into());
        budget.items = budget.items.checked_sub(1).ok_or_else(endless)?;
        let (head, head_bytes) = self.head(budget.until)?;
        if let Head::Bulk(bytes) = head {
            budget.bytes = budget.bytes.checked_sub(bytes).ok_or_else(endless)?;
            let content = self.bulk(head_bytes, bytes, budget.until);
            return content.map(Value::Text);
        }
        let text = reply::text(&self.received, head_bytes).to_vec();
        budget.bytes = budget.bytes.checked_sub(text.len()).ok_or_else(endless)?;
        self.received.drain(..head_bytes);
        match head {
            Head::Simple => Ok(Value::Text(text)),
            Head::Error => Ok(Value::Refused(words_of(&text))),
            Head::Integer(number) => Ok(Value::Integer(number)),
            Head::Nil => Ok(Value::Nil),
            Head::Array(count) if depth > 0 => {
                let items = (0..count).map(|_| self.item(depth - 1, budget));
                items.collect::<Result<_, _>>().map(Value::Array)
            }
            Head::Array(_) => Err(endless()),
            _ => Err(NodeError::Foreign("it sends what nobody asked for".into())),
        }
    }

    fn bulk(
        &mut self,
        head_bytes: usize,
        bytes: usize,
        until: Instant,
    ) -> Result<Vec<u8>, NodeError> {
        let end = head_bytes + bytes + wire::resp::CRLF.len();
        while self.received.len() < end {
            self.receive(until)?;
        }
        let content = self.received[head_bytes..head_bytes + bytes].to_vec();
        self.received.drain(..end);
        Ok(content)
    }

    /// Takes what comes next. The socket's timeout bounds one wait, `until` those for a reply whose
    /// bytes trickle in.
    fn receive(&mut self, until: Instant) -> Result<(), NodeError> {
        if Instant::now() >= until {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        let old = self.received.len();
        self.received.resize(old + READ_BYTES, 0);
        let read = loop {
            match self.stream.either().read(&mut self.received[old..]) {
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

/// What a node says, as one line fit for a terminal.
fn words_of(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.replace(char::is_control, " ")
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
    /// It is one of a Redis Cluster.
    pub is_member: bool,
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
            is_member: number("cluster_enabled") == Some(1),
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
                    # Memory\r\nused_memory:10\r\nused_memory_rss:99\r\nmaxmemory:20\r\n\
                    # Cluster\r\ncluster_enabled:1\r\n";
        let info = Info::parse(text);
        assert_eq!((info.used_bytes, info.max_bytes), (10, 20));
        assert!(info.is_member);
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

    /// What a client makes of a server that says what `talk` writes.
    fn listening_to(talk: impl FnOnce(TcpStream) + Send + 'static, limit_ms: u64) -> Client {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (served, _) = server.accept().unwrap();
        std::thread::spawn(move || talk(served));
        Client::of(stream.into(), Duration::from_millis(limit_ms)).unwrap()
    }

    #[test]
    fn who_says_a_byte_now_and_then_is_given_up() {
        let trickle = |mut stream: TcpStream| {
            for byte in std::iter::once(b'+').chain(std::iter::repeat_n(b'x', 4000)) {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        // A line without an end is refused, too: but only when it has grown long.
        for ask in [
            |client: &mut Client| client.reply().map(|_| ()),
            |client: &mut Client| client.value(&[b"CLUSTER", b"SLOTS"]).map(|_| ()),
        ] {
            let outcome = ask(&mut listening_to(trickle, 200));
            assert!(
                matches!(outcome, Err(NodeError::Unreachable(_))),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn an_answer_of_many_long_strings_is_not_taken() {
        let flood = |mut stream: TcpStream| {
            let string = [&b"$1000000\r\n"[..], &[b'x'; 1_000_000], b"\r\n"].concat();
            let _ = stream.write_all(b"*1000\r\n");
            for _ in 0..1000 {
                if stream.write_all(&string).is_err() {
                    return;
                }
            }
        };
        let outcome = listening_to(flood, 600_000).value(&[b"CLUSTER", b"SLOTS"]);
        assert!(
            matches!(outcome, Err(NodeError::Foreign(_))),
            "its memory is ours: {:?}",
            outcome.map(|_| ())
        );
    }

    #[test]
    fn what_a_node_says_is_fit_for_a_terminal() {
        let talk = |mut stream: TcpStream| {
            let _ = stream.write_all(b"-ERR \x1b[2J\x07\n\xc2\x9b no\r\n");
            let _ = stream.read(&mut [0]);
        };
        let said = listening_to(talk, 60_000).reply().unwrap();
        assert_eq!(said, Reply::Refused("ERR  [2J    no".into()));
    }
}
