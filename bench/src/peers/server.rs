//! One server of the comparison: started on a port of its own, asked from outside.
//!
//! Called by `peers`. Each is started as it comes, with the same memory and nothing written to
//! disk. Processor time and resident memory are the kernel's figures, not the server's own.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::PeersArgs;
use crate::child::Child;
use crate::error::{Because, Result, advice, unexpected};
use crate::node::{free_address, wait_for};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Ours.
    Memnode,
    /// redis-server.
    Redis,
    /// memcached.
    Memcached,
}

impl Kind {
    /// For tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Memnode => "memnode",
            Kind::Redis => "redis",
            Kind::Memcached => "memcached",
        }
    }
}

/// A running server; ends when dropped.
pub struct Server {
    /// Which.
    pub kind: Kind,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    pid: u32,
}

impl Server {
    /// Starts it.
    pub fn start(kind: Kind, args: &PeersArgs) -> Result<Server> {
        let address = free_address()?;
        let mut command = command(kind, address.port(), args)?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = Child::spawn(&mut command, Signal::TERM)?;
        wait_for(address, &mut child)?;
        let pid = child.pipes().id();
        Ok(Server {
            kind,
            address,
            child,
            pid,
        })
    }

    /// Processor time of all its threads so far, in nanoseconds.
    pub fn ran_ns(&self) -> Result<u64> {
        let directory = format!("/proc/{}/task", self.pid);
        let mut sum = 0;
        for entry in fs::read_dir(&directory).because(|| directory.clone())? {
            let path = entry
                .because(|| directory.clone())?
                .path()
                .join("schedstat");
            let text = fs::read_to_string(&path).unwrap_or_default();
            let first = text.split_whitespace().next();
            sum += first.and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(sum)
    }

    /// What it keeps in memory, in bytes.
    pub fn resident_bytes(&mut self) -> Result<u64> {
        self.child.check_alive()?;
        let path = format!("/proc/{}/status", self.pid);
        let text = fs::read_to_string(&path).because(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| unexpected(path, &text))
    }

    /// How many values it holds.
    pub fn items(&self) -> Result<u64> {
        let (question, mark) = match self.kind {
            Kind::Memcached => ("stats\r\n", "STAT curr_items "),
            Kind::Memnode | Kind::Redis => ("DBSIZE\r\n", ":"),
        };
        let name = || format!("counting the items of {}", self.kind.name());
        let mut stream = TcpStream::connect(self.address).because(name)?;
        stream.write_all(question.as_bytes()).because(name)?;
        for line in BufReader::new(stream).lines() {
            let line = line.because(name)?;
            if let Some(number) = line.strip_prefix(mark) {
                return number.trim().parse().map_err(|_| unexpected(name(), &line));
            }
        }
        Err(unexpected(name(), "no count among the answers"))
    }
}

fn command(kind: Kind, port: u16, args: &PeersArgs) -> Result<Command> {
    let (memory, port) = (args.memory.to_string(), port.to_string());
    let mib = (args.memory >> 20).to_string();
    Ok(match kind {
        Kind::Memnode => {
            let beside = std::env::current_exe().because(|| "finding lab itself")?;
            let path = args
                .memnode
                .clone()
                .unwrap_or(beside.with_file_name("memnode"));
            if !path.is_file() {
                let what = format!("{} is not there", path.display());
                return Err(advice(
                    what,
                    "cargo build --release, or lab peers --memnode FILE",
                ));
            }
            let mut command = Command::new(path);
            command.args([
                "--memory",
                &memory,
                "--listen",
                &format!("127.0.0.1:{port}"),
            ]);
            command.args(&args.memnode_opts);
            command
        }
        Kind::Redis => {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "no", "--maxmemory", &memory]);
            command.args(["--maxmemory-policy", "allkeys-lru"]);
            command
        }
        Kind::Memcached => {
            let mut command = Command::new("memcached");
            command.args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", &mib]);
            // As root it wants to be told who it should be.
            if rustix::process::geteuid().is_root() {
                command.args(["-u", "nobody"]);
            }
            command
        }
    })
}
