//! The memory node of a run: spawned outside the cages, embedded in the hook server, or elsewhere;
//! and the delaying proxy before it.
//!
//! The node's own hit counter is read over its wire protocol, to be compared with what the hooked
//! side says it got.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::binaries::Binaries;
use crate::child::Child;
use crate::error::{Because, Result, advice, unexpected};
use crate::stop;

/// How long a node or proxy may take to listen.
const START: Duration = Duration::from_secs(30);

/// How long the node may take to answer INFO.
const ANSWER: Duration = Duration::from_secs(5);

/// A node and what was started for it; all ends when dropped.
pub struct Node {
    /// For `hooktool run --node`.
    pub address: String,
    /// One sentence for the report.
    pub describe: String,
    /// The node without the proxy, where it can be asked.
    direct: Option<SocketAddr>,
    /// Dropped first: the proxy before the node.
    _proxy: Option<Child>,
    memnode: Option<Child>,
}

/// What node is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `spawn`, `embedded` or an address.
    pub kind: &'a str,
    /// Its memory, where it is ours.
    pub memory_bytes: u64,
    /// Round trip to add.
    pub rtt_us: u32,
    /// For logs.
    pub run_dir: &'a Path,
}

impl Node {
    /// Starts or finds the node.
    pub fn start(wanted: Wanted, binaries: &Binaries) -> Result<Self> {
        match wanted.kind {
            "spawn" => Self::spawn(wanted, binaries),
            "embedded" => Self::embedded(wanted),
            address => Self::elsewhere(address, wanted),
        }
    }

    /// No node: both sides are native.
    pub fn none() -> Self {
        Self {
            address: String::new(),
            describe: "none (calibration: both sides are native)".into(),
            direct: None,
            _proxy: None,
            memnode: None,
        }
    }

    fn spawn(wanted: Wanted, binaries: &Binaries) -> Result<Self> {
        let at = free_address()?;
        let log = File::create(wanted.run_dir.join("memnode.log")).because(|| "memnode.log")?;
        let again = log.try_clone().because(|| "memnode.log")?;
        let mut command = Command::new(&binaries.memnode);
        command.args(["--listen", &at.to_string()]);
        command.args(["--memory", &wanted.memory_bytes.to_string()]);
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        let mut memnode = Child::spawn(&mut command, Signal::TERM)?;
        wait_for(at, &mut memnode)?;
        let size = crate::size::show(wanted.memory_bytes);
        let what = format!("memnode of {size} on this machine, outside the cages");
        Self::behind_proxy(at, wanted, what, Some(memnode))
    }

    fn embedded(wanted: Wanted) -> Result<Self> {
        if wanted.rtt_us > 0 {
            return Err(advice(
                "an embedded node is in the hook server: no network to delay",
                "use --node spawn with --rtt-us",
            ));
        }
        Ok(Self {
            address: format!("embedded:{}", wanted.memory_bytes),
            describe: "embedded in the hook server, inside the cage and charged to it".into(),
            ..Self::none()
        })
    }

    fn elsewhere(address: &str, wanted: Wanted) -> Result<Self> {
        if wanted.rtt_us == 0 {
            let direct = address
                .to_socket_addrs()
                .ok()
                .and_then(|mut all| all.next());
            let describe = format!("{address}, as given");
            return Ok(Self {
                address: address.into(),
                describe,
                direct,
                ..Self::none()
            });
        }
        let found = address
            .to_socket_addrs()
            .because(|| format!("--node {address}"))?
            .next();
        let at = found.ok_or_else(|| advice(format!("--node {address} has no address"), ""))?;
        Self::behind_proxy(at, wanted, format!("{address}, as given"), None)
    }

    fn behind_proxy(
        at: SocketAddr,
        wanted: Wanted,
        what: String,
        memnode: Option<Child>,
    ) -> Result<Self> {
        let proxy = match wanted.rtt_us {
            0 => None,
            rtt_us => Some(start_proxy(at, rtt_us)?),
        };
        let (address, describe) = match &proxy {
            Some((front, _)) => (
                *front,
                format!("{what}, +{} us of round trip", wanted.rtt_us),
            ),
            None => (at, format!("{what}, +0 us of round trip")),
        };
        Ok(Self {
            address: address.to_string(),
            describe,
            direct: Some(at),
            _proxy: proxy.map(|(_, child)| child),
            memnode,
        })
    }

    /// The node's process, where the lab started it.
    pub fn process(&self) -> Option<&Child> {
        self.memnode.as_ref()
    }

    /// GETs the node answered with a value so far; `None` where it cannot be asked.
    pub fn hits(&self) -> Option<u64> {
        let info = info(self.direct?).ok()?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("keyspace_hits:"));
        line?.trim().parse().ok()
    }
}

/// Starts `lab proxy` in front of `to`; used for nodes and for bare echo servers alike.
pub fn start_proxy(to: SocketAddr, rtt_us: u32) -> Result<(SocketAddr, Child)> {
    let front = free_address()?;
    let lab = std::env::current_exe().because(|| "finding lab itself")?;
    let mut command = Command::new(lab);
    command.args([
        "proxy",
        "--listen",
        &front.to_string(),
        "--to",
        &to.to_string(),
    ]);
    command
        .args(["--rtt-us", &rtt_us.to_string()])
        .stdin(Stdio::null());
    let mut child = Child::spawn(&mut command, Signal::TERM)?;
    wait_for(front, &mut child)?;
    Ok((front, child))
}

/// A loopback port nobody listens on right now.
pub fn free_address() -> Result<SocketAddr> {
    let probe = TcpListener::bind("127.0.0.1:0").because(|| "looking for a free port")?;
    probe.local_addr().because(|| "looking for a free port")
}

/// Waits until `child` accepts connections at `at`.
pub fn wait_for(at: SocketAddr, child: &mut Child) -> Result<()> {
    let reached = stop::until(START, || {
        child.check_alive()?;
        Ok(TcpStream::connect_timeout(&at, Duration::from_millis(200)).ok())
    })?;
    match reached {
        Some(_) => Ok(()),
        None => Err(advice(
            format!("nothing listens on {at} after {} s", START.as_secs()),
            "see what the process says when started by hand",
        )),
    }
}

/// One INFO over RESP.
fn info(at: SocketAddr) -> Result<String> {
    let name = || format!("INFO of {at}");
    let mut stream = TcpStream::connect_timeout(&at, ANSWER).because(name)?;
    stream.set_read_timeout(Some(ANSWER)).because(name)?;
    stream.write_all(b"*1\r\n$4\r\nINFO\r\n").because(name)?;
    let mut answer = Vec::new();
    let mut chunk = [0_u8; 16384];
    loop {
        if let Some(body) = bulk(&answer)? {
            return Ok(body);
        }
        let got = stream.read(&mut chunk).because(name)?;
        if got == 0 {
            return Err(unexpected(name(), "the connection was closed"));
        }
        answer.extend_from_slice(&chunk[..got]);
    }
}

/// A complete RESP bulk (or verbatim) string, or `None` if more has to come.
fn bulk(answer: &[u8]) -> Result<Option<String>> {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n") else {
        return Ok(None);
    };
    let length = head
        .strip_prefix(['$', '='])
        .and_then(|number| number.parse::<usize>().ok());
    let length = length.ok_or_else(|| unexpected("INFO", head))?;
    let whole = body.len() >= length + 2;
    Ok(body.get(..length).filter(|_| whole).map(str::to_string))
}

#[cfg(test)]
mod tests {
    use super::bulk;

    #[test]
    fn bulk_strings_are_read_when_complete() {
        assert_eq!(bulk(b"$5\r\nhel").unwrap(), None);
        assert_eq!(bulk(b"$5\r\nhello\r\n").unwrap().as_deref(), Some("hello"));
        assert!(bulk(b"-NOAUTH password\r\n").is_err());
    }
}
