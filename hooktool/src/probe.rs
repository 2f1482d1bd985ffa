//! Asks a memory node whether it is there: connect, shake hands where it speaks TLS, AUTH where a
//! password is given, PING.
//!
//! Used by `--require` and `doctor`, and free for the hook server. Tells apart nobody there, a
//! wrong password, and something else on that port. Blocks for at most a few seconds.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::config::{NodeAddr, Secret};
use crate::failure::Failure;
use crate::tls::{self, Refused, Trust};
use crate::{nodes, srv};

/// Longest wait for a connection, and again for each answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Longest answer to INFO.
const INFO_BYTES_MAX: usize = 64 << 10;

/// Longest answer to AUTH or PING.
const LINE_BYTES_MAX: usize = 512;

/// First byte of what TLS says to whom it does not understand: an alert.
pub const TLS_ALERT: u8 = 0x15;

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its name has no address.
    NoAddress(String),
    /// No connection: why.
    Unreachable(String),
    /// Connected, and no answer came in time.
    Mute,
    /// It wants a password, and none was given.
    NeedsPassword,
    /// It wants another password.
    WrongPassword,
    /// It speaks TLS, and was addressed without.
    Tls,
    /// It is to speak TLS, and is not believed, or does not believe us.
    Untrusted(Refused),
    /// Connected, and what came is not RESP.
    Foreign,
    /// It speaks RESP and refuses to serve: its words.
    Refuses(String),
}

/// Reaches a node; the round trip of a PING in microseconds, none for an embedded node.
///
/// # Errors
///
/// What is wrong with it.
pub fn node(addr: &NodeAddr, trust: &Trust) -> Result<Option<f64>, Trouble> {
    if let NodeAddr::Embedded { .. } = addr {
        return Ok(None);
    }
    let mut trouble = Trouble::NoAddress("it stands for no server".into());
    for server in servers(addr)? {
        match reach(&server, trust) {
            Ok(rtt_us) => return Ok(Some(rtt_us)),
            Err(error) => trouble = error,
        }
    }
    Err(trouble)
}

/// A server that an address stands for.
struct Server {
    host: String,
    port: u16,
    password: Option<Secret>,
    is_tls: bool,
}

/// All of them; one that answers is enough.
fn servers(addr: &NodeAddr) -> Result<Vec<Server>, Trouble> {
    let (places, password) = match addr {
        NodeAddr::Embedded { .. } => (Vec::new(), None),
        NodeAddr::Memnode { host, port } => (vec![(host.clone(), *port)], None),
        NodeAddr::Redis {
            host,
            port,
            password,
            ..
        } => (vec![(host.clone(), *port)], password.clone()),
        NodeAddr::Cluster {
            seeds, password, ..
        } => (seeds.clone(), password.clone()),
        NodeAddr::Srv { name, password } => {
            let found = srv::look_up(name, LIMIT);
            let found = found.map_err(|error| Trouble::NoAddress(error.to_string()))?;
            (found.targets, password.clone())
        }
    };
    let server = |(host, port)| Server {
        host,
        port,
        password: password.clone(),
        is_tls: addr.is_tls(),
    };
    Ok(places.into_iter().map(server).collect())
}

/// Whether a node that answers would keep every block for ever, and grow: a Redis server without a
/// limit of memory. `None`: it does not say.
pub fn is_unbounded(addr: &NodeAddr, trust: &Trust) -> Option<bool> {
    match addr {
        NodeAddr::Embedded { .. } => return Some(false),
        NodeAddr::Srv { .. } => return None,
        NodeAddr::Memnode { .. } | NodeAddr::Redis { .. } | NodeAddr::Cluster { .. } => {}
    }
    let server = servers(addr).ok()?.into_iter().next()?;
    let mut stream = connect(&server, trust).ok()?;
    if let Some(Secret(password)) = &server.password {
        ask(&mut *stream, &["AUTH", password]).ok()?;
    }
    stream
        .write_all(b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n")
        .ok()?;
    let (mut text, mut piece) = (Vec::new(), [0_u8; 4096]);
    while text.len() < INFO_BYTES_MAX {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&piece[..read]);
        let seen = String::from_utf8_lossy(&text);
        let lines = seen
            .split_inclusive("\r\n")
            .filter(|line| line.ends_with("\r\n"));
        for line in lines {
            if let Some(bytes) = line.trim_end().strip_prefix("maxmemory:") {
                return bytes.parse::<u64>().ok().map(|bytes| bytes == 0);
            }
        }
    }
    None
}

/// A connection, as either speaks.
trait Wire: Read + Write {}

impl<S: Read + Write> Wire for S {}

/// A connection to a server, by TLS if it is to be; each wait on it is bounded.
fn connect(server: &Server, trust: &Trust) -> Result<Box<dyn Wire>, Trouble> {
    let Server { host, port, .. } = server;
    let addresses = (host.as_str(), *port).to_socket_addrs();
    let addresses = addresses.map_err(|error| Trouble::NoAddress(error.to_string()))?;
    let mut trouble = Trouble::NoAddress("the name has no address".into());
    for address in addresses {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) if server.is_tls => {
                let secure = trust.shake(host, stream, LIMIT);
                return Ok(Box::new(secure.map_err(|error| broken(&error))?));
            }
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                let _ = stream.set_read_timeout(Some(LIMIT));
                let _ = stream.set_write_timeout(Some(LIMIT));
                return Ok(Box::new(stream));
            }
            Err(error) => trouble = Trouble::Unreachable(words(&error)),
        }
    }
    Err(trouble)
}

/// What is wrong where a connection broke.
fn broken(error: &std::io::Error) -> Trouble {
    match tls::refusal_of(error) {
        Some(refused) => Trouble::Untrusted(refused),
        None => Trouble::Unreachable(words(error)),
    }
}

/// An error in words, without its number.
pub fn words(error: &std::io::Error) -> String {
    if is_late(error) {
        return "no answer in time".into();
    }
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or("").to_string()
}

fn reach(server: &Server, trust: &Trust) -> Result<f64, Trouble> {
    let mut stream = connect(server, trust)?;
    if let Some(Secret(password)) = &server.password {
        let answer = ask(&mut *stream, &["AUTH", password])?;
        // A server without a password says that none is set: that is no obstacle.
        if answer.starts_with('-') && !answer.contains("without any password") {
            return Err(complaint(&answer));
        }
    }
    ask(&mut *stream, &["PING"]).and_then(|answer| expect_pong(&answer))?;
    let start = Instant::now();
    ask(&mut *stream, &["PING"]).and_then(|answer| expect_pong(&answer))?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

fn expect_pong(answer: &str) -> Result<(), Trouble> {
    match answer {
        "+PONG" => Ok(()),
        _ if answer.starts_with('-') => Err(complaint(answer)),
        _ => Err(Trouble::Foreign),
    }
}

fn complaint(answer: &str) -> Trouble {
    let text = answer.trim_start_matches('-');
    if wants_tls(text) {
        return Trouble::Tls;
    }
    if text.starts_with("NOAUTH") {
        return Trouble::NeedsPassword;
    }
    if text.starts_with("WRONGPASS") || text.contains("password") {
        return Trouble::WrongPassword;
    }
    Trouble::Refuses(text.chars().filter(|c| !c.is_control()).collect())
}

/// Sends a command and takes one line. What is no RESP line is `Foreign`.
fn ask(stream: &mut dyn Wire, command: &[&str]) -> Result<String, Trouble> {
    let mut text = format!("*{}\r\n", command.len());
    for word in command {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream
        .write_all(text.as_bytes())
        .map_err(|error| broken(&error))?;
    let mut line = Vec::new();
    let mut byte = [0_u8];
    while line.len() < LINE_BYTES_MAX {
        match stream.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            Err(error) if is_late(&error) => return Err(Trouble::Mute),
            Err(error) => {
                let refused = tls::refusal_of(&error).map(Trouble::Untrusted);
                return Err(refused.unwrap_or(Trouble::Foreign));
            }
            Ok(_) => return Err(Trouble::Foreign),
        }
        if line[0] == TLS_ALERT {
            return Err(Trouble::Tls);
        }
        if !matches!(line[0], b'+' | b'-') {
            return Err(Trouble::Foreign);
        }
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            return String::from_utf8(line).map_err(|_| Trouble::Foreign);
        }
    }
    Err(Trouble::Foreign)
}

/// Whether a refusal is that of a port which speaks TLS, in memnode's words.
pub fn wants_tls(refusal: &str) -> bool {
    refusal.contains("this port speaks TLS")
}

/// Whether a socket's time limit is over.
fn is_late(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

impl Trouble {
    /// One line: what is wrong.
    pub fn what(&self, node: &NodeAddr) -> String {
        match self {
            Self::NoAddress(why) => format!("memory node {node} has no address: {why}"),
            Self::Unreachable(why) => format!("cannot reach memory node {node}: {why}"),
            Self::Mute => format!("{node} takes connections and does not answer within 2 s"),
            Self::NeedsPassword => format!("memory node {node} wants a password, none was given"),
            Self::WrongPassword => format!("memory node {node} refuses this password"),
            Self::Tls => format!("memory node {node} speaks TLS"),
            Self::Untrusted(refused) => format!("memory node {node}: {refused}"),
            Self::Foreign => format!("{node} answers, but it is no memory node"),
            Self::Refuses(why) => format!("memory node {node} refuses to serve: {why}"),
        }
    }

    /// One line: what to type.
    pub fn fix(&self, node: &NodeAddr) -> String {
        let (host, port) = match node {
            NodeAddr::Memnode { host, port } | NodeAddr::Redis { host, port, .. } => (host, *port),
            NodeAddr::Cluster { seeds, .. } => match seeds.last() {
                Some((host, port)) => (host, *port),
                None => return "hooktool doctor".into(),
            },
            NodeAddr::Embedded { .. } => return "hooktool doctor".into(),
            NodeAddr::Srv { name, .. } => return format!("look it up:  dig {name} SRV"),
        };
        match self {
            Self::NoAddress(_) => format!("look it up, or give its address:  getent hosts {host}"),
            Self::Unreachable(_) if matches!(node, NodeAddr::Cluster { .. }) => {
                format!("ask it yourself:  redis-cli -h {host} -p {port} CLUSTER INFO")
            }
            Self::Unreachable(_) => {
                format!("start it there:  memnode --listen {host}:{port} --memory auto")
            }
            Self::NeedsPassword | Self::WrongPassword => {
                let scheme = match node {
                    NodeAddr::Cluster { .. } => "redis-cluster",
                    _ => "redis",
                };
                let scheme = match node.is_tls() {
                    true => scheme.replacen("redis", "rediss", 1),
                    false => scheme.to_string(),
                };
                format!("--node {scheme}://:PASSWORD@{host}:{port}")
            }
            Self::Mute => {
                format!(
                    "it is stopped, or no memory node; on that host:  ss -ltnp 'sport = :{port}'"
                )
            }
            Self::Tls => nodes::with_tls(&format!("{host}:{port}")),
            Self::Untrusted(refused) => refused.fix(&format!("{host}:{port}")),
            Self::Foreign => {
                format!("see what listens, on that host:  ss -ltnp 'sport = :{port}'")
            }
            Self::Refuses(_) => format!("ask it yourself:  redis-cli -h {host} -p {port} PING"),
        }
    }

    /// Three lines for `--require`.
    pub fn failure(&self, node: &NodeAddr) -> Failure {
        let means = "--require: the target was not started; without it, it starts with disk reads";
        Failure::launch(self.what(node), means, self.fix(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(addr: &NodeAddr) -> Result<Option<f64>, Trouble> {
        super::node(addr, &Trust::new(tls::Papers::default()))
    }

    fn is_unbounded(addr: &NodeAddr) -> Option<bool> {
        super::is_unbounded(addr, &Trust::new(tls::Papers::default()))
    }
    use std::net::TcpListener;
    use std::thread;

    /// A server that reads one piece per answer and says its lines.
    fn server(answers: &'static [&'static str]) -> NodeAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                let mut piece = [0_u8; 256];
                if stream.read(&mut piece).unwrap_or(0) == 0 {
                    return;
                }
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let password = Some(Secret("pw".into()));
        NodeAddr::Redis {
            host: "127.0.0.1".into(),
            port,
            password,
            is_tls: false,
        }
    }

    #[test]
    fn a_node_answers() {
        let rtt = node(&server(&["+OK\r\n", "+PONG\r\n", "+PONG\r\n"])).unwrap();
        assert!(rtt.is_some_and(|rtt_us| rtt_us > 0.0));
        let open = &["-ERR AUTH <password> called without any password configured\r\n"][..];
        assert!(matches!(
            node(&server(open.to_vec().leak())),
            Err(Trouble::Foreign)
        ));
    }

    #[test]
    fn a_node_that_would_grow_without_bound_is_told_apart() {
        for (info, unbounded) in [
            ("$40\r\nused_memory:10\r\nmaxmemory:0\r\n", Some(true)),
            (
                "$40\r\nused_memory:10\r\nmaxmemory:1048576\r\n",
                Some(false),
            ),
            ("-ERR unknown command\r\n", None),
        ] {
            let answers = vec!["+OK\r\n", info].leak();
            assert_eq!(is_unbounded(&server(answers)), unbounded, "{info}");
        }
    }

    #[test]
    fn strangers_and_refusals_are_told_apart() {
        assert_eq!(
            node(&server(&["HTTP/1.1 400 Bad Request\r\n"])),
            Err(Trouble::Foreign)
        );
        assert_eq!(
            node(&server(&["+OK\r\n", "$4\r\nPONG\r\n"])),
            Err(Trouble::Foreign)
        );
        assert_eq!(node(&server(&[])), Err(Trouble::Foreign));
        assert_eq!(
            node(&server(&["-WRONGPASS no\r\n"])),
            Err(Trouble::WrongPassword)
        );
        assert_eq!(
            node(&server(&[
                "+OK\r\n",
                "-NOAUTH Authentication required.\r\n"
            ])),
            Err(Trouble::NeedsPassword)
        );
        assert_eq!(
            node(&server(&["+OK\r\n", "-LOADING wait\r\n"])),
            Err(Trouble::Refuses("LOADING wait".into()))
        );
    }

    #[test]
    fn a_node_that_speaks_tls_is_told_apart() {
        for answer in [
            "-ERR this port speaks TLS: rediss:// or redis-cli --tls\r\n",
            "\x15\x03\x03\0\x02\x02\x46",
        ] {
            let addr = server(vec![answer].leak());
            assert_eq!(node(&addr), Err(Trouble::Tls), "{answer:?}");
            assert!(Trouble::Tls.what(&addr).contains("speaks TLS"));
            assert!(
                Trouble::Tls
                    .fix(&addr)
                    .contains("--node rediss://127.0.0.1:")
            );
        }
    }

    #[test]
    fn who_takes_connections_and_says_nothing_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = NodeAddr::Memnode {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        assert_eq!(node(&addr), Err(Trouble::Mute));
        assert!(Trouble::Mute.what(&addr).contains("does not answer"));
    }

    #[test]
    fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let addr = NodeAddr::Memnode {
            host: "127.0.0.1".into(),
            port,
        };
        let trouble = node(&addr).unwrap_err();
        assert_eq!(trouble, Trouble::Unreachable("connection refused".into()));
        assert_eq!(trouble.failure(&addr).kind.exit_status(), 125);
    }
}
