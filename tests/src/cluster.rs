//! A Redis Cluster of the test's own: real servers on free ports of the loopback, put together
//! without redis-cli, with a password, without persistence.
//!
//! Members are killed as a crash would, and all are when the cluster is dropped. A master that is
//! lost is noticed by the others within a second; without a replica the rest goes on.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::bed::{Bed, small_environment};
use crate::node::free_port;
use crate::resp::{Client, Reply};
use crate::run::{run, wait_until};
use crate::stage::tool;

/// Slots of every Redis Cluster.
const SLOTS: usize = 16384;

/// What members and clients say to each other first.
const PASSWORD: &str = "cluster-pw";

/// One server.
struct Member {
    addr: SocketAddr,
    child: Option<Child>,
}

impl Member {
    /// Starts a server and waits until it answers; it, and the port of its bus. A port may be taken
    /// by somebody else before the server has it: then others are tried.
    fn start(dir: &Path, nodes: &str, memory: &str) -> (Member, String) {
        loop {
            let (addr, bus) = (free_port(), free_port().port().to_string());
            let port = addr.port().to_string();
            let mut command = Command::new(tool("redis-server"));
            small_environment(&mut command);
            command
                .current_dir(dir)
                .args(["--port", &port, "--bind", "127.0.0.1"])
                .args(["--cluster-enabled", "yes", "--cluster-config-file", nodes])
                .args(["--cluster-port", &bus, "--cluster-node-timeout", "1000"])
                .args(["--cluster-require-full-coverage", "no"])
                .args(["--cluster-replica-validity-factor", "0"])
                .args(["--repl-diskless-sync-delay", "0"])
                .args(["--save", "", "--appendonly", "no", "--loglevel", "warning"])
                .args(["--maxmemory", memory, "--maxmemory-policy", "allkeys-lru"])
                .args(["--requirepass", PASSWORD, "--masterauth", PASSWORD])
                .stdin(Stdio::null())
                .stdout(Stdio::null());
            let mut child = command.spawn().expect("start redis-server");
            let mut is_gone = false;
            wait_until("a member answers, or has no port", || {
                is_gone = child.try_wait().expect("wait").is_some();
                is_gone || connect(addr).is_some()
            });
            let child = Some(child);
            let member = Member { addr, child };
            if !is_gone {
                return (member, bus);
            }
        }
    }
}

/// A cluster.
pub struct Cluster {
    members: Vec<Member>,
    masters: usize,
}

impl Cluster {
    /// So many masters, of which the first so many have a replica, each server with `memory`.
    pub fn start(bed: &Bed, masters: usize, replicas: usize, memory: &str) -> Cluster {
        let dir = bed.dir_of("cluster");
        let start = |nth| Member::start(&dir, &format!("nodes-{nth}.conf"), memory);
        let (members, buses): (Vec<Member>, Vec<String>) =
            (0..masters + replicas).map(start).unzip();
        let cluster = Cluster { members, masters };
        cluster.put_together(&buses);
        cluster
    }

    fn put_together(&self, buses: &[String]) {
        for nth in 0..self.members.len() {
            let epoch = (nth + 1).to_string();
            self.must(nth, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
        }
        for (member, bus) in self.members.iter().zip(buses).skip(1) {
            let port = member.addr.port().to_string();
            self.must(0, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let share = SLOTS.div_ceil(self.masters);
        for nth in 0..self.masters {
            let last = ((nth + 1) * share).min(SLOTS) - 1;
            let (first, last) = ((nth * share).to_string(), last.to_string());
            self.must(nth, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]);
        }
        self.wait_agreed();
        for nth in self.masters..self.members.len() {
            let master = self.id(nth - self.masters);
            self.must(nth, &["CLUSTER", "REPLICATE", &master]);
            wait_until("the replica follows its master", || {
                self.text(nth, &["INFO", "replication"])
                    .contains("master_link_status:up")
            });
        }
        self.wait_agreed();
    }

    /// Waits until all members that live see all slots covered, and everybody.
    pub fn wait_agreed(&self) {
        let known = format!("cluster_known_nodes:{}", self.members.len());
        wait_until("the cluster stands", || {
            self.living().all(|nth| {
                let info = self.text(nth, &["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        });
    }

    /// Waits until every slot has a master that lives, by what all members that live say.
    pub fn wait_covered(&self) {
        wait_until("every slot has a master", || {
            self.living().all(|nth| {
                let info = self.text(nth, &["CLUSTER", "INFO"]);
                info.contains("cluster_slots_ok:16384")
            })
        });
    }

    /// The `--node` of this cluster: one seed, with the password.
    pub fn address(&self) -> String {
        format!("redis-cluster://:{PASSWORD}@{}", self.members[0].addr)
    }

    /// A member as sessions show it.
    pub fn shown(&self, nth: usize) -> String {
        format!("redis://{}", self.members[nth].addr)
    }

    /// Kills a member as a crash would.
    pub fn kill(&mut self, nth: usize) {
        let mut child = self.members[nth].child.take().expect("it lives");
        child.kill().expect("kill redis-server");
        child.wait().expect("reap redis-server");
    }

    /// How many slots a member has now, by what `asked` says.
    pub fn slots_of(&self, nth: usize, asked: usize) -> usize {
        let Reply::Array(ranges) = self.ask(asked, &["CLUSTER", "SLOTS"]) else {
            panic!("no ranges");
        };
        let port = Reply::Integer(self.members[nth].addr.port().into());
        let slots = ranges.iter().map(|range| match range {
            Reply::Array(parts) => match parts.as_slice() {
                [
                    Reply::Integer(first),
                    Reply::Integer(last),
                    Reply::Array(master),
                    ..,
                ] if master[1] == port => usize::try_from(last - first + 1).expect("a range"),
                _ => 0,
            },
            _ => 0,
        });
        slots.sum()
    }

    /// Moves so many slots with all their keys from one master to another while everything runs.
    pub fn reshard(&self, from: usize, to: usize, slots: usize) {
        let mut command = Command::new(tool("redis-cli"));
        small_environment(&mut command);
        command
            .env("REDISCLI_AUTH", PASSWORD)
            .args(["--cluster", "reshard", &self.members[from].addr.to_string()])
            .args([
                "--cluster-from",
                &self.id(from),
                "--cluster-to",
                &self.id(to),
            ])
            .args(["--cluster-slots", &slots.to_string(), "--cluster-yes"])
            .args(["--cluster-pipeline", "100"]);
        run(&mut command).must_pass();
    }

    /// Numbers of the members that live.
    fn living(&self) -> impl Iterator<Item = usize> {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| member.child.is_some())
            .map(|(nth, _)| nth)
    }

    fn id(&self, nth: usize) -> String {
        self.text(nth, &["CLUSTER", "MYID"])
    }

    fn ask(&self, nth: usize, words: &[&str]) -> Reply {
        let mut client = connect(self.members[nth].addr).expect("connect to a member");
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        client.ask(&words).expect("a reply")
    }

    fn must(&self, nth: usize, words: &[&str]) {
        assert_eq!(
            self.ask(nth, words),
            Reply::Simple("OK".into()),
            "{words:?}"
        );
    }

    fn text(&self, nth: usize, words: &[&str]) -> String {
        match self.ask(nth, words) {
            Reply::Bulk(Some(text)) => String::from_utf8(text).expect("text"),
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

/// A connection that has said the password.
fn connect(addr: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(addr).ok()?;
    let said = client.ask(&[b"AUTH", PASSWORD.as_bytes()]).ok()?;
    (said == Reply::Simple("OK".into())).then_some(client)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self
            .members
            .iter_mut()
            .filter_map(|member| member.child.as_mut())
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
