//! The rows of `doctor --node redis-cluster://...`: whether the cluster can be the pool, and what
//! it would do to one.
//!
//! `doctor` calls it; the questions are `server::examine_cluster`'s. Nothing is changed.

use super::Finding;
use crate::config::NodeAddr;
use crate::server::{Exam, examine_cluster};
use crate::tls::Papers;

const TOPIC: &str = "cluster";

/// Examines a cluster one of whose members answers.
pub fn examine(addr: &NodeAddr, papers: &Papers) -> Vec<Finding> {
    let NodeAddr::Cluster { seeds, .. } = addr else {
        return Vec::new();
    };
    let Some((host, port)) = seeds.first() else {
        return Vec::new();
    };
    match examine_cluster(addr, papers) {
        Ok(exam) => rows(&exam, super::redis_cli(addr), &format!("{host}:{port}")),
        Err((what, fix)) => vec![Finding::bad(TOPIC, what, fix)],
    }
}

/// `redis_cli` begins the commands to type.
fn rows(exam: &Exam, redis_cli: &str, member: &str) -> Vec<Finding> {
    let (masters, slots) = (exam.masters.len(), exam.slots);
    let releases = match exam.releases.is_empty() {
        true => "release unknown".into(),
        false => exam.releases.join(", "),
    };
    let found = format!("{masters} masters have {slots} of 16384 slots; {releases}");
    let mut rows = vec![match exam.slots_free() {
        0 => Finding::ok(TOPIC, found),
        free => Finding::note(
            TOPIC,
            found,
            format!(
                "{free} slots have no master, no block of them is kept:  {redis_cli} \
                 --cluster fix {member}"
            ),
        ),
    }];
    if exam.slots_left_out > 0 {
        rows.push(Finding::note(
            TOPIC,
            format!("{} slots are of further masters", exam.slots_left_out),
            format!("a session uses {masters} masters at most: reads of the rest go to the disk"),
        ));
    }
    for (master, why) in &exam.lost {
        rows.push(Finding::bad(
            TOPIC,
            format!("master {master} cannot be used from here: {why}"),
            format!(
                "its blocks go to the disk; masters announce the addresses they are reached at:  \
                 {redis_cli} CONFIG GET cluster-announce-ip"
            ),
        ));
    }
    if !exam.keepers.is_empty() {
        rows.push(Finding::note(
            TOPIC,
            format!("nothing is evicted by {}", exam.keepers.join(" ")),
            super::unbounded(redis_cli),
        ));
    }
    if exam.falls_as_one == Some(true) {
        rows.push(Finding::note(
            TOPIC,
            "one lost master makes all others refuse",
            format!(
                "then all reads go to the disk:  {redis_cli} --cluster call {member} CONFIG SET \
                 cluster-require-full-coverage no"
            ),
        ));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    fn grades(exam: &Exam) -> Vec<Grade> {
        let rows = rows(exam, "redis-cli --tls", "h:1");
        let forgets = |row: &&Finding| {
            row.hint.contains("redis-cli") && !row.hint.contains("redis-cli --tls")
        };
        assert_eq!(rows.iter().find(forgets), None);
        let bare = |row: &&Finding| row.grade != Grade::Ok && row.hint.is_empty();
        assert_eq!(rows.iter().find(bare), None);
        rows.into_iter().map(|row| row.grade).collect()
    }

    fn well() -> Exam {
        Exam {
            masters: vec!["a".into(), "b".into()],
            slots: 16384,
            falls_as_one: Some(false),
            ..Exam::default()
        }
    }

    #[test]
    fn whatever_stands_in_the_way_has_its_row() {
        use Grade::{Bad, Note, Ok};
        assert_eq!(grades(&well()), [Ok]);
        assert_eq!(
            grades(&Exam {
                slots: 16383,
                ..well()
            }),
            [Note]
        );
        let slots_left_out = 384;
        assert_eq!(
            grades(&Exam {
                slots: 16000,
                slots_left_out,
                ..well()
            }),
            [Ok, Note]
        );
        let lost = vec![("a".into(), "refused".into())];
        assert_eq!(grades(&Exam { lost, ..well() }), [Ok, Bad]);
        let keepers = vec!["a".into()];
        assert_eq!(grades(&Exam { keepers, ..well() }), [Ok, Note]);
        assert_eq!(
            grades(&Exam {
                falls_as_one: Some(true),
                ..well()
            }),
            [Ok, Note]
        );
    }
}
