//! The verdict of `check`: its words, its JSON and its exit status.
//!
//! Filled by `check` and `check::process`; printed by `check`. No file is read here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::by_reason;
use super::files::{self, OpenFile};
use crate::coverage::Calls;
use crate::dry_run::quote;
use crate::elf::Glibc;
use crate::precheck::Obstacle;

/// Width of the text form.
const COLUMNS: usize = 80;

/// How much of a program can be covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Reads are served, nothing escapes.
    Covered,
    /// It can be hooked; some or all reads are not served.
    Partly,
    /// It cannot be hooked.
    Impossible,
}

impl Verdict {
    /// The exit status of `check`.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Covered => 0,
            Self::Partly => 3,
            Self::Impossible => 4,
        }
    }
}

/// Everything `check` found out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of this object.
    pub schema: u32,
    /// The file that was named.
    pub target: PathBuf,
    /// The program that would run: the interpreter, for a script.
    pub program: PathBuf,
    /// The running process, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The command as typed.
    pub command: Vec<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in one sentence.
    pub reason: String,
    /// What to type next.
    pub next: String,
    /// glibc it runs with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glibc: Option<String>,
    /// Program and shared objects, as loaded.
    pub objects: Vec<PathBuf>,
    /// Shared objects nobody could find.
    pub missing: BTreeSet<String>,
    /// Its calls.
    #[serde(flatten)]
    pub calls: Calls,
    /// The calls by which it starts other programs, or loads code that nobody could look at.
    pub starts: BTreeSet<String>,
    /// Built by the Go compiler.
    pub go: bool,
    /// The regular files that a running process has open, and how each is read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OpenFile>,
    /// Reads of a running process that were left to the kernel, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bypass: BTreeMap<String, u64>,
    /// Globs worth giving to `--own`.
    pub own: Vec<String>,
    /// Whether the hook driver at hand was asked, not the table alone.
    pub hooks_known: bool,
}

impl Report {
    /// An empty report about a file.
    pub fn new(target: &Path, command: Vec<String>) -> Self {
        Self {
            schema: 1,
            target: target.to_path_buf(),
            program: target.to_path_buf(),
            pid: None,
            command,
            verdict: Verdict::Impossible,
            reason: String::new(),
            next: String::new(),
            glibc: None,
            objects: Vec::new(),
            missing: BTreeSet::new(),
            calls: Calls::default(),
            starts: BTreeSet::new(),
            go: false,
            files: Vec::new(),
            bypass: BTreeMap::new(),
            own: Vec::new(),
            hooks_known: false,
        }
    }

    /// Notes the version of glibc.
    pub fn set_glibc(&mut self, version: Option<Glibc>) {
        self.glibc = version.map(|(major, minor)| format!("{major}.{minor}"));
    }

    /// Concludes that it cannot be hooked.
    pub fn obstruct(&mut self, file: &Path, obstacle: &Obstacle) {
        let failure = obstacle.failure(file);
        self.verdict = Verdict::Impossible;
        self.program = file.to_path_buf();
        self.reason = format!("{}: {}", obstacle.why(), failure.means);
        self.next = failure.fix;
    }

    /// Concludes from the calls.
    pub fn conclude(&mut self) {
        let io_uring = self
            .calls
            .unseen
            .iter()
            .any(|(call, _)| call.starts_with("io_uring"));
        self.next = self.command_line(io_uring);
        let reads: Vec<_> = self
            .calls
            .bypassed
            .iter()
            .map(|(call, _)| call.as_str())
            .collect();
        (self.verdict, self.reason) = if self.go {
            let why = "the Go runtime makes its system calls itself: no read passes the hooks";
            (Verdict::Impossible, why.to_string())
        } else if !self.missing.is_empty() {
            let names: Vec<_> = self.missing.iter().map(String::as_str).collect();
            (
                Verdict::Partly,
                format!("it would not start: {} not found", names.join(", ")),
            )
        } else if self.calls.served.is_empty() {
            let with = if reads.is_empty() {
                "nothing".into()
            } else {
                reads.join(", ")
            };
            let reason = match self.starts.is_empty() {
                true => format!("no read of it would be served: it reads with {with}"),
                false => {
                    let starts: Vec<_> = self.starts.iter().map(String::as_str).collect();
                    format!(
                        "its own reads are not served (it reads with {with}). It starts or loads \
                         other code ({}), which is hooked as well: check that",
                        starts.join(", ")
                    )
                }
            };
            (Verdict::Partly, reason)
        } else if io_uring {
            let why = "reads by io_uring skip the hooks; with --no-io-uring it falls back to calls \
                       that are served, if it can";
            (Verdict::Partly, why.to_string())
        } else if !self.calls.unseen.is_empty() {
            let (call, why) = self.calls.unseen.first().cloned().unwrap_or_default();
            (Verdict::Partly, format!("{call}: {why}"))
        } else {
            let names: Vec<_> = self.calls.served.iter().map(String::as_str).collect();
            (
                Verdict::Covered,
                format!("its reads by {} are served", names.join(", ")),
            )
        };
        if self.go {
            self.next = "start it without hooktool".into();
        }
    }

    fn command_line(&self, io_uring: bool) -> String {
        let mut line = String::from("hooktool run");
        if io_uring {
            line.push_str(" --no-io-uring");
        }
        for glob in &self.own {
            let _ = write!(line, " --own {}", quote(glob));
        }
        line.push_str(" --");
        for word in &self.command {
            let _ = write!(line, " {}", quote(word));
        }
        line
    }

    /// The form for people.
    pub fn text(&self) -> String {
        let mut out = format!("{}\n", self.title());
        if !self.objects.is_empty() {
            self.calls_text(&mut out);
        }
        files::text(&mut out, &self.files);
        if !self.bypass.is_empty() {
            let reasons: Vec<_> = self
                .bypass
                .iter()
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            wrap(
                &mut out,
                "  kernel's  ",
                &reasons.join(", "),
                "            ",
            );
        }
        let verdict = match self.verdict {
            Verdict::Covered => "covered",
            Verdict::Partly => "partly covered",
            Verdict::Impossible => "impossible",
        };
        wrap(
            &mut out,
            "verdict: ",
            &format!("{verdict}. {}", self.reason),
            "  ",
        );
        let _ = writeln!(out, "next:    {}", self.next);
        out
    }

    fn title(&self) -> String {
        let mut title = match self.pid {
            Some(pid) => format!("process {pid}: {}", self.target.display()),
            None => self.target.display().to_string(),
        };
        if self.program != self.target {
            let _ = write!(title, " (run by {})", self.program.display());
        }
        if let Some(glibc) = &self.glibc {
            let count = self.objects.len();
            let _ = write!(
                title,
                "  dynamically linked, glibc {glibc}, {count} objects"
            );
        }
        title
    }

    fn calls_text(&self, out: &mut String) {
        let list = |names: &BTreeSet<String>| match names.is_empty() {
            true => "none".to_string(),
            false => names
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join(" "),
        };
        wrap(
            out,
            "  served    ",
            &list(&self.calls.served),
            "            ",
        );
        wrap(
            out,
            "  followed  ",
            &list(&self.calls.followed),
            "            ",
        );
        for (head, calls) in [
            ("  bypassed  ", &self.calls.bypassed),
            ("  unseen    ", &self.calls.unseen),
        ] {
            let groups = by_reason(calls);
            if groups.is_empty() {
                let _ = writeln!(out, "{head}none");
            }
            for (reason, names) in groups {
                wrap(
                    out,
                    head,
                    &format!("{} ({reason})", names.join(" ")),
                    "            ",
                );
            }
        }
        if !self.hooks_known {
            out.push_str("  (no hook driver at hand: by the table of calls alone)\n");
        }
    }
}

/// Writes words after a head, broken at the last column, following lines indented.
fn wrap(out: &mut String, head: &str, text: &str, indent: &str) {
    let mut line = head.to_string();
    let mut fresh = true;
    for word in text.split(' ') {
        if !fresh && line.len() + 1 + word.len() > COLUMNS {
            let _ = writeln!(out, "{}", line.trim_end());
            line = indent.to_string();
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(calls: &[&str]) -> Report {
        let mut report = Report::new(Path::new("/bin/x"), vec!["x".into(), "a b".into()]);
        for call in calls {
            report.calls.add(call, None);
        }
        report.conclude();
        report
    }

    #[test]
    fn verdicts_have_their_exit_statuses() {
        assert_eq!(report(&["pread", "write", "read"]).verdict.exit_status(), 0);
        assert_eq!(report(&["read", "fread"]).verdict.exit_status(), 3);
        assert_eq!(report(&[]).verdict.exit_status(), 3);
        assert_eq!(
            report(&["pread", "io_uring_queue_init"])
                .verdict
                .exit_status(),
            3
        );
        let mut go = report(&["pread"]);
        go.go = true;
        go.conclude();
        assert_eq!(go.verdict.exit_status(), 4);
    }

    #[test]
    fn io_uring_brings_its_flag() {
        assert_eq!(
            report(&["pread", "io_uring_queue_init"]).next,
            "hooktool run --no-io-uring -- x 'a b'"
        );
    }

    #[test]
    fn the_text_fits_eighty_columns() {
        let mut report = report(&["pread", "pread64", "io_uring_queue_init", "mmap", "fread"]);
        for row in crate::coverage::TABLE {
            row.calls
                .iter()
                .for_each(|call| report.calls.add(call, None));
        }
        report.objects.push("/bin/x".into());
        report.conclude();
        for line in report.text().lines() {
            assert!(line.len() <= COLUMNS, "{line}");
        }
    }
}
