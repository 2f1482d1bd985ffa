//! Failures and exit statuses: what a user is told when something cannot be done.
//!
//! A failure is three lines: what failed, what it means, what to type. `main` is the only place
//! that prints one; `Kind::exit_status` is the only place that turns one into a number. The hook
//! server sends its failure to the launcher as JSON, so that it is printed there.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, as far as the exit status must tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line, a variable or the configuration file says something impossible.
    Usage,
    /// A command of hooktool other than `run` failed.
    Command,
    /// `run` could not do its part; the target was not started.
    Launch,
    /// The target exists and cannot be executed.
    NotExecutable,
    /// The target does not exist.
    NotFound,
}

/// Three lines for the user, and what kind of failure it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides the exit status.
    pub kind: Kind,
    /// First line: object and error, in words.
    pub what: String,
    /// Second line: the consequence or the cause.
    pub means: String,
    /// Third line: a command or a setting to type.
    pub fix: String,
}

impl Kind {
    /// The exit status of hooktool, as pinned for scripts.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Command => 1,
            Self::Usage => 2,
            Self::Launch => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
        }
    }
}

impl Failure {
    /// A failure of the given kind, in three lines.
    pub fn new(
        kind: Kind,
        what: impl Into<String>,
        means: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            means: means.into(),
            fix: fix.into(),
        }
    }

    /// The launcher failed before the target ran.
    pub fn launch(
        what: impl Into<String>,
        means: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Launch, what, means, fix)
    }

    /// A setting has an impossible value.
    pub fn usage(
        what: impl Into<String>,
        means: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Usage, what, means, fix)
    }

    /// A command other than `run` failed.
    pub fn command(
        what: impl Into<String>,
        means: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(Kind::Command, what, means, fix)
    }
}

/// Says something in one line on standard error. One that takes nothing keeps no program from
/// starting.
pub fn note(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "hooktool: {}", one_line(text));
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [what, means, fix] = [&self.what, &self.means, &self.fix].map(|text| one_line(text));
        write!(f, "hooktool: {what}\n  {means}\n  {fix}")
    }
}

/// A text as one line for people: control characters of names become spaces, and the numbers the
/// standard library puts behind errors are left out, since the words say it.
pub fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    while let Some(start) = line.find(" (os error ") {
        let end = line[start..]
            .find(')')
            .map_or(line.len(), |end| start + end + 1);
        line.replace_range(start..end, "");
    }
    line
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_statuses_are_the_pinned_ones() {
        let table = [
            (Kind::Command, 1),
            (Kind::Usage, 2),
            (Kind::Launch, 125),
            (Kind::NotExecutable, 126),
            (Kind::NotFound, 127),
        ];
        for (kind, status) in table {
            assert_eq!(kind.exit_status(), status, "{kind:?}");
        }
    }

    #[test]
    fn a_failure_is_three_lines() {
        let text = Failure::launch("no", "because", "type this").to_string();
        assert_eq!(text, "hooktool: no\n  because\n  type this");
        let text = Failure::launch("a\nb", "c\r\nd", "e\x1b[31m").to_string();
        assert_eq!(text, "hooktool: a b\n  c  d\n  e [31m");
    }

    #[test]
    fn errors_are_words() {
        let error = std::io::Error::from_raw_os_error(libc::EACCES);
        let text = Failure::launch(format!("x: {error}, y: {error}"), "", "").to_string();
        assert!(text.starts_with("hooktool: x: Permission denied, y: Permission denied\n"));
    }
}
