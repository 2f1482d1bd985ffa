//! A memory node of the test's own, on a free port of the loopback.
//!
//! Started by tests that look at both ends of the wire. Killed when dropped; can be stopped,
//! continued, killed and started again on the same port, as neighbours do in the field.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Signal, kill_process};

use crate::bed::Bed;
use crate::cable::Cable;
use crate::resp::Client;
use crate::run::{group_of, wait_until};
use crate::stage::tool;

/// A running memory node.
pub struct Node {
    /// Where it listens.
    pub addr: SocketAddr,
    command: Command,
    child: Child,
}

impl Node {
    /// Starts a node with `memory` (a SIZE) and waits until it answers.
    pub fn start(bed: &Bed, memory: &str) -> Node {
        Node::start_at(bed, memory, free_port())
    }

    /// The same at a chosen address.
    pub fn start_at(bed: &Bed, memory: &str, addr: SocketAddr) -> Node {
        Node::start_by(Command::new(bed.artefact("memnode")), memory, addr)
    }

    /// The same at the far end of a cable, for everybody there.
    pub fn start_in(bed: &Bed, memory: &str, addr: SocketAddr, cable: &Cable) -> Node {
        let mut command = Command::new(tool("ip"));
        command.args(["netns", "exec", &cable.namespace]);
        command.arg(bed.artefact("memnode")).arg("--no-auth");
        Node::start_by(command, memory, addr)
    }

    /// The same with further flags, for a node that does not speak to the test: ready when it takes
    /// connections.
    pub fn start_with(bed: &Bed, memory: &str, flags: &[String]) -> Node {
        let mut command = Command::new(bed.artefact("memnode"));
        command.args(flags);
        let node = Node::spawn(command, memory, free_port());
        node.wait_listening();
        node
    }

    /// Waits until it takes connections.
    pub fn wait_listening(&self) {
        wait_until(&format!("memnode listens at {}", self.addr), || {
            std::net::TcpStream::connect(self.addr).is_ok()
        });
    }

    /// Starts it again after [`Node::kill`], where it does not speak to the test.
    pub fn restart_unheard(&mut self) {
        self.child = self.command.spawn().expect("start memnode again");
        self.wait_listening();
    }

    fn start_by(command: Command, memory: &str, addr: SocketAddr) -> Node {
        let node = Node::spawn(command, memory, addr);
        node.wait_ready();
        node
    }

    fn spawn(mut command: Command, memory: &str, addr: SocketAddr) -> Node {
        let listen = addr.to_string();
        crate::bed::small_environment(&mut command);
        command
            .env("MEMNODE_LOG", "error")
            .args(["--listen", &listen, "--memory", memory])
            .process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().expect("start memnode");
        Node {
            addr,
            command,
            child,
        }
    }

    fn wait_ready(&self) {
        wait_until(&format!("memnode answers at {}", self.addr), || {
            Client::connect(self.addr).is_ok_and(|mut client| client.ping().is_ok())
        });
    }

    /// A connection of the test's own.
    pub fn client(&self) -> Client {
        Client::connect(self.addr).expect("connect to memnode")
    }

    /// A number from INFO, such as `keyspace_hits`.
    pub fn info(&self, key: &str) -> u64 {
        let text = self.client().info().expect("INFO");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let line = line.unwrap_or_else(|| panic!("INFO has no `{key}`:\n{text}"));
        line.trim().parse().expect("a number")
    }

    /// The most memory the node has ever held, in bytes.
    pub fn memory_peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("memnode lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        number.expect("VmHWM in kB") * 1024
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(group_of(&self.child), signal).expect("signal memnode");
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill memnode");
        self.child.wait().expect("reap memnode");
    }

    /// Starts it again after [`Node::kill`], on the same port, empty.
    pub fn restart(&mut self) {
        self.child = self.command.spawn().expect("start memnode again");
        self.wait_ready();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address nobody listens on right now.
pub fn free_port() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    probe.local_addr().expect("a bound socket has an address")
}
