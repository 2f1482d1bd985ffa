//! What went wrong, in three lines: what failed, what it means, what to type.
//!
//! Called wherever the program can fail; printed in one place, by `main`.

use std::fmt;
use std::io::{self, ErrorKind};

use memnode::{Found, MEMORY_BYTES_MIN, NodeError, TlsError, TlsProblem, size};

/// Exit status for a command line or a setting that cannot be.
const USAGE: u8 = 2;

/// Exit status for everything else.
const OWN: u8 = 1;

/// A failure to be told to a person.
#[derive(Debug)]
pub struct Failure {
    what: String,
    means: String,
    instead: String,
    /// What the program exits with.
    pub status: u8,
}

impl Failure {
    /// A setting that cannot be.
    pub fn usage(what: impl Into<String>, means: impl Into<String>, instead: &str) -> Failure {
        let (what, means) = (what.into(), means.into());
        Failure {
            what,
            means,
            instead: instead.to_string(),
            status: USAGE,
        }
    }

    /// Something that should have worked.
    pub fn own(what: impl Into<String>, means: impl Into<String>, instead: &str) -> Failure {
        Failure {
            status: OWN,
            ..Failure::usage(what, means, instead)
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [what, means, instead] =
            [&self.what, &self.means, &self.instead].map(|text| one_line(text));
        write!(f, "memnode: {what}\n  {means}\n  try: {instead}")
    }
}

/// A text as one line for people: control characters of names become spaces, and the numbers the
/// standard library puts behind errors are left out, since the words say it.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().map(plain).collect();
    while let Some(start) = line.find(" (os error ") {
        let end = line[start..]
            .find(')')
            .map_or(line.len(), |end| start + end + 1);
        line.replace_range(start..end, "");
    }
    line
}

/// Why a file that was named cannot be read, and what to do about it.
pub fn unreadable(error: &io::Error, file: &str) -> (&'static str, String) {
    match error.kind() {
        ErrorKind::NotFound => (
            "the name is misspelt, or means another place from where memnode runs",
            format!("ls -l {file}; a name that begins with / means the same everywhere"),
        ),
        ErrorKind::PermissionDenied => (
            "the user that memnode runs as may not read it",
            format!(
                "ls -l {file}; chown USER {file}; in a unit of systemd: LoadCredential=NAME:{file}"
            ),
        ),
        ErrorKind::IsADirectory => (
            "a file is wanted",
            format!("ls {file}, and name a file in it"),
        ),
        _ => ("its disk or file system refuses", format!("cat {file}")),
    }
}

/// The command line has words that are not known: `text` is what its parser says of them.
pub fn words(text: &str) -> Failure {
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let what = lines
        .first()
        .copied()
        .unwrap_or("")
        .trim_start_matches("error: ");
    let usage = lines.iter().find_map(|line| line.strip_prefix("Usage: "));
    // How to pass such a word as a value is not what somebody who misspelt a flag looks for.
    let tip = lines.iter().find_map(|line| line.strip_prefix("tip: "));
    let tip = tip.filter(|tip| !tip.starts_with("to pass"));
    // What the parser lists below a line that ends with a colon: what is missing, or in the way.
    let listed = lines.iter().skip(1);
    let listed = listed.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For "));
    let listed: Vec<_> = listed
        .filter(|line| !line.starts_with("tip:"))
        .copied()
        .collect();
    let means = match tip {
        _ if what.contains("but none was supplied") => {
            "an empty variable of the environment counts, too: unset it, or give it a value".into()
        }
        Some(tip) => tip.to_string(),
        None if !listed.is_empty() => format!("namely {}", listed.join(" ")),
        None => "the command line cannot be understood".to_string(),
    };
    let command = usage.unwrap_or("memnode").split_whitespace();
    let command = command.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let command = command.collect::<Vec<_>>().join(" ");
    Failure::usage(what, means, &format!("{command} --help"))
}

/// The node itself failed.
pub fn node(error: NodeError) -> Failure {
    let least = size::format(MEMORY_BYTES_MIN as u64);
    match error {
        NodeError::TooSmall { .. } => Failure::usage(
            error.to_string(),
            "connections and the program itself need their share before the first block",
            &format!("memnode --memory {least}"),
        ),
        NodeError::Memory { .. } => Failure::own(
            error.to_string(),
            "a limit of this process or of the machine is in the way",
            "a smaller --memory, or see `ulimit -v`, vm.overcommit_memory and, with --hugepages \
             require, vm.nr_hugepages",
        ),
        error => Failure::own(
            error.to_string(),
            "the operating system refused a socket or a thread",
            "look at `ulimit -n` and `ulimit -u`",
        ),
    }
}

/// A file of TLS cannot be used.
pub fn tls(error: TlsError) -> Failure {
    let what = format!("cannot use {error}");
    let file = error.path.display();
    let (means, instead) = match error.problem {
        TlsProblem::Unreadable(error) => unreadable(&error, &file.to_string()),
        TlsProblem::Missing { wanted, found } => (
            match found {
                Found::Nothing => "it is empty",
                Found::Der => "it is DER, the binary form, and PEM is wanted",
                Found::OtherPem => "it is PEM of something else: two files were confused, perhaps",
                _ => "it is no PEM at all",
            },
            match found {
                Found::Der if wanted == "certificate" => {
                    format!("openssl x509 -inform DER -in {file} -out FILE, and name that")
                }
                Found::Der => {
                    format!("openssl pkey -inform DER -in {file} -out FILE, and name that")
                }
                _ => format!(
                    "grep BEGIN {file}: it should say -----BEGIN ...{}-----",
                    wanted.to_uppercase()
                ),
            },
        ),
        TlsProblem::Torn => (
            "it was cut off when it was copied, or changed by hand",
            format!("copy it anew; to see where it breaks off: openssl storeutl -noout {file}"),
        ),
        TlsProblem::Locked => (
            "nobody is there to type it when a node starts",
            format!("openssl pkey -in {file} -out FILE, and --tls-key FILE"),
        ),
        TlsProblem::OtherKey => (
            "a certificate and its key are made together: one of the two is of another pair",
            "openssl x509 -noout -pubkey -in CERT; openssl pkey -pubout -in KEY: the same twice"
                .to_string(),
        ),
        _ => (
            "it was damaged, or is of a kind that TLS does not use here",
            format!("openssl x509 -noout -text -in {file}, or openssl pkey -noout -in {file}"),
        ),
    };
    Failure::usage(what, means, &instead)
}

/// The runtime could not be started.
pub fn runtime(error: io::Error) -> Failure {
    Failure::own(
        format!("cannot start: {error}"),
        "the operating system refused a thread, a descriptor or a signal handler",
        "look at `ulimit -n` and `ulimit -u`",
    )
}
