//! What CLUSTER SLOTS says: which masters there are and which slots each of them has. Redis since 3
//! and Valkey answer it alike; later fields are skipped.
//!
//! Called by `cluster` alone. The answer is not trusted: what does not fit is refused in words.

use grid::node::{NODES_MAX, SLOTS};

use super::super::client::Value;
use crate::nodes;

/// Where a server of the cluster is, as the cluster announces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The cluster at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Masters with slots, at most `NODES_MAX`.
    pub masters: Vec<Member>,
    /// Everybody else who was named, to be asked when the masters are gone.
    pub others: Vec<Member>,
    /// The master of each slot: its place in `masters` + 1, 0 nobody.
    pub slots: Box<[u8]>,
    /// Slots of masters beyond `NODES_MAX`.
    pub left_out: usize,
}

impl Topology {
    /// Reads an answer that was given by `asked`, whose host stands in where the cluster does not
    /// know its own.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn of(answer: &Value, asked: &str) -> Result<Topology, String> {
        let Value::Array(ranges) = answer else {
            return Err("it answers CLUSTER SLOTS with something else than a list".into());
        };
        let mut found = Topology {
            masters: Vec::new(),
            others: Vec::new(),
            slots: vec![0; SLOTS].into(),
            left_out: 0,
        };
        for range in ranges {
            let range = found.take_in(range, asked);
            range.ok_or("a range of CLUSTER SLOTS is malformed")?;
        }
        let Topology {
            masters, others, ..
        } = &mut found;
        others.retain(|other| !masters.contains(other));
        Ok(found)
    }

    /// One range: first slot, last slot, its master, its replicas.
    fn take_in(&mut self, range: &Value, asked: &str) -> Option<()> {
        let Value::Array(parts) = range else {
            return None;
        };
        let [first, last, master, replicas @ ..] = parts.as_slice() else {
            return None;
        };
        let (first, last) = (slot_of(first)?, slot_of(last)?);
        let owned = self.slots.get_mut(first..=last)?;
        let master = member_of(master, asked)?;
        let known = self.masters.iter().position(|known| *known == master);
        match known {
            Some(nth) => owned.fill(nth as u8 + 1),
            None if self.masters.len() < NODES_MAX => {
                self.masters.push(master);
                owned.fill(self.masters.len() as u8);
            }
            None => {
                self.left_out += owned.len();
                note(&mut self.others, master);
            }
        }
        for replica in replicas {
            note(&mut self.others, member_of(replica, asked)?);
        }
        Some(())
    }
}

fn note(members: &mut Vec<Member>, member: Member) {
    if !members.contains(&member) {
        members.push(member);
    }
}

fn slot_of(value: &Value) -> Option<usize> {
    match value {
        Value::Integer(number) => usize::try_from(*number).ok().filter(|slot| *slot < SLOTS),
        _ => None,
    }
}

/// Host, port, and more that is of no interest. A server that does not know how it is reached says
/// nothing, an empty string, or a question mark.
fn member_of(value: &Value, asked: &str) -> Option<Member> {
    let Value::Array(parts) = value else {
        return None;
    };
    let [host, Value::Integer(port), ..] = parts.as_slice() else {
        return None;
    };
    let host = match host {
        Value::Nil => asked.to_string(),
        Value::Text(bytes) => match String::from_utf8(bytes.clone()).ok()?.as_str() {
            "" | "?" => asked.to_string(),
            host if nodes::is_host(host) => host.to_string(),
            _ => return None,
        },
        _ => return None,
    };
    let port = u16::try_from(*port).ok().filter(|port| *port != 0)?;
    Some(Member { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(host: &str, port: u16) -> Member {
        Member {
            host: host.into(),
            port,
        }
    }

    fn named(host: &str, port: i64) -> Value {
        let id = Value::Text(b"09dbe9720cda62f7865eabc5fd8857c5d2678366".to_vec());
        let metadata = Value::Array(vec![]);
        let host = Value::Text(host.into());
        Value::Array(vec![host, Value::Integer(port), id, metadata])
    }

    fn range(first: i64, last: i64, members: &[(&str, i64)]) -> Value {
        let mut parts = vec![Value::Integer(first), Value::Integer(last)];
        parts.extend(members.iter().map(|(host, port)| named(host, *port)));
        Value::Array(parts)
    }

    #[test]
    fn masters_slots_and_replicas_are_read() {
        let answer = Value::Array(vec![
            range(0, 5460, &[("10.0.0.1", 6379), ("10.0.0.4", 6379)]),
            range(5461, 5461, &[("10.0.0.2", 6379)]),
            range(5462, 16000, &[("10.0.0.1", 6379), ("10.0.0.4", 6379)]),
        ]);
        let found = Topology::of(&answer, "seed").unwrap();
        assert_eq!(
            found.masters,
            [member("10.0.0.1", 6379), member("10.0.0.2", 6379)]
        );
        assert_eq!(found.others, [member("10.0.0.4", 6379)]);
        let at = |slot: usize| found.slots[slot];
        assert_eq!((at(0), at(5460), at(5461), at(5462)), (1, 1, 2, 1));
        assert_eq!((at(16000), at(16001), found.left_out), (1, 0, 0));
    }

    #[test]
    fn a_host_that_the_cluster_does_not_know_is_the_one_that_was_asked() {
        let mut answer = vec![range(0, 1, &[("", 7000)]), range(2, 3, &[("?", 7001)])];
        let nil = Value::Array(vec![Value::Nil, Value::Integer(7002)]);
        answer.push(Value::Array(vec![
            Value::Integer(4),
            Value::Integer(5),
            nil,
        ]));
        let found = Topology::of(&Value::Array(answer), "seed").unwrap();
        let ports = [7000, 7001, 7002].map(|port| member("seed", port));
        assert_eq!(found.masters, ports);
    }

    #[test]
    fn masters_beyond_the_limit_have_no_slots_here() {
        let answer = (0..18).map(|n| range(n, n, &[("h", 7000 + n)])).collect();
        let found = Topology::of(&Value::Array(answer), "seed").unwrap();
        assert_eq!((found.masters.len(), found.left_out), (NODES_MAX, 2));
        assert_eq!((found.slots[15], found.slots[16]), (16, 0));
    }

    #[test]
    fn what_no_cluster_says_is_refused() {
        for answer in [
            Value::Nil,
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(3, 2, &[("h", 1)]), range(0, 0, &[])]),
            Value::Array(vec![range(0, 16384, &[("h", 1)])]),
            Value::Array(vec![range(-1, 5, &[("h", 1)])]),
            Value::Array(vec![range(0, 5, &[("h", 0)])]),
            Value::Array(vec![range(0, 5, &[("h", 65536)])]),
            Value::Array(vec![range(0, 5, &[])]),
            Value::Array(vec![range(0, 5, &[("h\x1b[2J", 1)])]),
            Value::Array(vec![range(0, 5, &[("h", 1), ("a b", 1)])]),
        ] {
            assert!(Topology::of(&answer, "seed").is_err(), "{answer:?}");
        }
    }
}
