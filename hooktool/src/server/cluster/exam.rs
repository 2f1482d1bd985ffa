//! Looks at a cluster as a session would use it, for `hooktool doctor`: every slot has a master,
//! every master can be reached from here, and none of them would keep blocks for ever.
//!
//! Asks members one after the other, each within a limit. It changes nothing.

use std::time::Duration;

use grid::node::SLOTS;

use super::super::client::{Client, Info, NodeError, Reply, Target, Value};
use super::topology::{Member, Topology};
use super::{Cluster, ask};

/// Longest wait for a member, and again for each answer.
const LIMIT: Duration = Duration::from_secs(2);

/// What a cluster is like.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exam {
    /// Masters that have slots, as many as a session uses.
    pub masters: Vec<String>,
    /// Slots that one of them has, of 16384.
    pub slots: usize,
    /// Slots of masters beyond those that a session uses.
    pub slots_left_out: usize,
    /// Masters that cannot be used from here, and why.
    pub lost: Vec<(String, String)>,
    /// Masters that would keep every block: no limit of memory, or nothing is evicted.
    pub keepers: Vec<String>,
    /// Whether one lost master makes the others refuse, too; `None`: it does not say.
    pub falls_as_one: Option<bool>,
    /// Releases of the masters, each once.
    pub releases: Vec<String>,
}

impl Exam {
    /// Slots that nobody has.
    pub fn slots_free(&self) -> usize {
        SLOTS.saturating_sub(self.slots + self.slots_left_out)
    }
}

impl Cluster {
    /// Asks a member for the map, and then every master.
    ///
    /// # Errors
    ///
    /// No member answers, or not as one of a cluster.
    pub fn examine(&self) -> Result<Exam, NodeError> {
        let mut failure = std::io::Error::other("nobody to ask").into();
        for seed in &self.seeds {
            let found = self
                .reach(seed)
                .and_then(|mut seen| ask(&mut seen, &seed.host));
            match found {
                Ok(found) => return Ok(self.look_at_masters(&found)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn reach(&self, member: &Member) -> Result<Client, NodeError> {
        let target = Target {
            host: member.host.clone(),
            port: member.port,
            password: self.password.clone(),
            tunnels: self.tunnels.clone(),
        };
        Client::connect(&target, LIMIT)
    }

    fn look_at_masters(&self, found: &Topology) -> Exam {
        let mut exam = Exam {
            slots: found.slots.iter().filter(|byte| **byte != 0).count(),
            slots_left_out: found.left_out,
            ..Exam::default()
        };
        for master in &found.masters {
            let shown = self.addr_of(master).to_string();
            exam.masters.push(shown.clone());
            let outcome = self
                .reach(master)
                .and_then(|mut client| exam.look_at(&mut client, &shown));
            if let Err(error) = outcome {
                exam.lost.push((shown, error.to_string()));
            }
        }
        exam
    }
}

impl Exam {
    fn look_at(&mut self, client: &mut Client, shown: &str) -> Result<(), NodeError> {
        if let Reply::Bulk(text) = client.command(&[b"INFO"])? {
            let text = String::from_utf8_lossy(&text);
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            let evicts = field("maxmemory_policy:").is_none_or(|policy| policy != "noeviction");
            if Info::parse(&text).max_bytes == 0 || !evicts {
                self.keepers.push(shown.to_string());
            }
            let valkey = field("valkey_version:").map(|number| format!("Valkey {number}"));
            let redis = || field("redis_version:").map(|number| format!("Redis {number}"));
            if let Some(release) = valkey.or_else(redis)
                && !self.releases.contains(&release)
            {
                self.releases.push(release);
            }
        }
        // A managed cluster may refuse to tell.
        let name = b"cluster-require-full-coverage";
        if let Value::Array(pair) = client.value(&[b"CONFIG", b"GET", name])?
            && let Some(Value::Text(word)) = pair.get(1)
        {
            let falls = word == b"yes" || self.falls_as_one == Some(true);
            self.falls_as_one = Some(falls);
        }
        Ok(())
    }
}
