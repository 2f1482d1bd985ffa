//! `hooktool doctor`: examines this machine, row by row, and says what to type about each finding.
//!
//! Kernel, stamps, page cache questions, leases, memory limits, the hook driver, the file system of
//! the data, the nodes. It changes nothing but a temporary file in the directory it examines. Exit
//! status 0, or 1 when a row says that nothing could be served here.

mod cluster;
mod files;
mod machine;

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::DoctorArgs;
use crate::config::NodeAddr;
use crate::failure::{self, Failure};
use crate::tls::{self, Trust};
use crate::{nodes, probe, shim, viewer};

/// How `redis-cli` is called for a node: by TLS it wants to be told.
fn redis_cli(addr: &NodeAddr) -> &'static str {
    match addr.is_tls() {
        true => "redis-cli --tls",
        false => "redis-cli",
    }
}

/// What to do about a server that evicts nothing.
fn unbounded(redis_cli: &str) -> String {
    format!(
        "blocks are evicted, never deleted: this server would only grow:  \
         {redis_cli} CONFIG SET maxmemory 8gb; \
         {redis_cli} CONFIG SET maxmemory-policy allkeys-lru"
    )
}

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// As wished.
    Ok,
    /// It works, with less gain or less comfort.
    Note,
    /// Nothing can be served this way.
    Bad,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Version of this object.
    pub schema: u32,
    /// What was examined.
    pub topic: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What it means and what to type; empty where nothing is to be done.
    pub hint: String,
}

impl Finding {
    /// A finding that needs no hint.
    pub fn ok(topic: &'static str, found: impl Into<String>) -> Self {
        Self {
            schema: 1,
            topic,
            grade: Grade::Ok,
            found: failure::one_line(&found.into()),
            hint: String::new(),
        }
    }

    /// A finding with a hint.
    pub fn note(topic: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            hint: hint.into(),
            grade: Grade::Note,
            ..Self::ok(topic, found)
        }
    }

    /// A finding that stands in the way.
    pub fn bad(topic: &'static str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            hint: hint.into(),
            grade: Grade::Bad,
            ..Self::ok(topic, found)
        }
    }
}

/// Runs the examination.
///
/// # Errors
///
/// An address that is none, or the output cannot be written.
pub fn doctor(arguments: &DoctorArgs) -> Result<u8, Failure> {
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from("."));
    let mut findings = machine::examine();
    findings.push(driver());
    findings.extend(files::examine(&directory));
    findings.extend(nodes_of(arguments)?);
    for finding in &findings {
        if arguments.json {
            viewer::json_line(finding)?;
        } else {
            viewer::line(&text(finding))?;
        }
    }
    let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(u8::from(bad))
}

fn text(finding: &Finding) -> String {
    let grade = match finding.grade {
        Grade::Ok => "ok  ",
        Grade::Note => "note",
        Grade::Bad => "BAD ",
    };
    let first = format!("{grade} {:<12} {}", finding.topic, finding.found);
    if finding.hint.is_empty() {
        first
    } else {
        format!("{first}\n     {:<12} {}", "", finding.hint)
    }
}

/// The hook driver and what it needs.
fn driver() -> Finding {
    let topic = "hook driver";
    match shim::find(std::env::var("HOOKTOOL_SHIM").ok().as_deref()) {
        Err(failure) => Finding::bad(topic, failure.what, failure.fix),
        Ok(shim) => {
            let needed = shim.elf.glibc_needed.map_or_else(
                || "no particular glibc".to_string(),
                |(major, minor)| format!("glibc {major}.{minor}"),
            );
            Finding::ok(topic, format!("{}, needs {needed}", shim.path.display()))
        }
    }
}

/// The nodes, and whom to believe of those that speak TLS.
fn nodes_of(arguments: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let papers = tls::papers_of(&arguments.node_tls)?;
    let trust = Trust::new(papers);
    let mut findings = Vec::new();
    let lists = arguments.node.iter();
    for text in lists.flat_map(|text| nodes::split_list(text)) {
        findings.extend(node(&text, &trust)?);
    }
    Ok(findings)
}

fn node(text: &str, trust: &Trust) -> Result<Vec<Finding>, Failure> {
    let addr = nodes::parse(text).map_err(|bad| {
        Failure::usage(
            "--node: this is not the address of a node",
            bad.means,
            format!("write:  --node {}", bad.write),
        )
    })?;
    let topic = "node";
    let first = match probe::node(&addr, trust) {
        Ok(None) => Finding::ok(topic, format!("{addr} is part of the hook server")),
        Ok(Some(rtt_us)) => {
            let by = if addr.is_tls() { " by TLS" } else { "" };
            let found = format!("{addr} answers{by}, round trip {rtt_us:.0} us");
            match probe::is_unbounded(&addr, trust) {
                // Of a cluster every master is asked.
                Some(true) if !matches!(addr, NodeAddr::Cluster { .. }) => Finding::note(
                    topic,
                    format!("{found}, no limit of memory"),
                    unbounded(redis_cli(&addr)),
                ),
                _ => Finding::ok(topic, found),
            }
        }
        Err(trouble) => Finding::bad(topic, trouble.what(&addr), trouble.fix(&addr)),
    };
    let mut findings = vec![first];
    if findings[0].grade != Grade::Bad {
        findings.extend(cluster::examine(&addr, trust.papers()));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_examined_here() {
        let mut topics: Vec<_> = machine::examine()
            .iter()
            .map(|finding| finding.topic)
            .collect();
        let files = files::examine(&std::env::temp_dir());
        topics.extend(files.iter().map(|finding| finding.topic));
        for topic in [
            "kernel",
            "glibc",
            "memory",
            "pressure",
            "region",
            "limits",
            "rights",
            "confinement",
            "directory",
            "file system",
            "stamps",
            "page cache",
            "leases",
        ] {
            assert!(topics.contains(&topic), "{topic}: {topics:?}");
        }
    }

    #[test]
    fn every_trouble_has_a_hint() {
        let mut findings = machine::examine();
        findings.extend(files::examine("/proc".as_ref()));
        findings.extend(files::examine("/no/such/place".as_ref()));
        for finding in findings.iter().filter(|finding| finding.grade != Grade::Ok) {
            assert!(!finding.hint.is_empty(), "{finding:?}");
        }
        assert!(findings.iter().any(|finding| finding.grade == Grade::Bad));
    }
}
