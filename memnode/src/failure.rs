//! What went wrong, in three lines: what failed, what it means, what to type.
//!
//! Called wherever the program can fail; printed in one place, by `main`.

use std::fmt;
use std::io;

use memnode::{MEMORY_BYTES_MIN, NodeError, TlsError, TlsProblem, size};

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
        writeln!(f, "memnode: {}", self.what)?;
        writeln!(f, "  {}", self.means)?;
        write!(f, "  try: {}", self.instead)
    }
}

/// The command line has words that are not known: `text` is what its parser says of them.
pub fn words(text: &str) -> Failure {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let what = lines().next().unwrap_or("").trim_start_matches("error: ");
    let tip = lines().find_map(|line| line.strip_prefix("tip: "));
    let means = tip.unwrap_or("the command line cannot be understood");
    Failure::usage(what, means, "memnode --help")
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
        TlsProblem::Unreadable(_) => (
            "without it TLS cannot begin",
            format!("ls -l {file}, as the user that memnode runs as"),
        ),
        TlsProblem::Missing(wanted) => (
            "it is empty, is DER instead of PEM, or holds something else",
            format!(
                "head -1 {file}: it should say -----BEGIN ...{}-----",
                wanted.to_uppercase()
            ),
        ),
        TlsProblem::Locked => (
            "nobody is there to type it when a node starts",
            format!("openssl pkey -in {file} -out FILE, and --tls-key FILE"),
        ),
        TlsProblem::OtherKey => (
            "they were made for each other, or TLS cannot begin",
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
