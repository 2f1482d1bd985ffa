//! What can go wrong in the lab, told as: what failed, what it means, what to type.
//!
//! One type for all modules, because every failure has the same reader: the person at the
//! terminal. `main` is the only place that prints it.

use std::fmt::Display;
use std::io;

/// A failure of the lab.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// ^C or SIGTERM: not a failure of anything, but the run ends here.
    #[error("stopped by a signal; processes, control groups and run data were removed")]
    Stopped,
    /// A file, process or socket operation failed.
    #[error("{what}: {cause}")]
    Io {
        /// The operation, with its path or name.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// A program the lab ran failed.
    #[error("{command} failed ({status})\n{tail}")]
    Command {
        /// The command, shortened.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote.
        tail: String,
    },
    /// Something that must be there is not, or a flag makes no sense.
    #[error("{what}\n  {advice}")]
    Advice {
        /// What is wrong and what that means.
        what: String,
        /// What to type.
        advice: String,
    },
}

/// The lab's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Adds to an `io::Error` what was being done.
pub trait Because<T> {
    /// `what` is evaluated on failure only.
    fn because<D: Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<io::Error>> Because<T> for std::result::Result<T, E> {
    fn because<D: Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|cause| Error::Io {
            what: what().to_string(),
            cause: cause.into(),
        })
    }
}

/// Shorthand for `Error::Advice`.
pub fn advice(what: impl Into<String>, advice: impl Into<String>) -> Error {
    Error::Advice {
        what: what.into(),
        advice: advice.into(),
    }
}

/// Shorthand for an answer that does not read as expected.
pub fn unexpected(what: impl Into<String>, got: &str) -> Error {
    Error::Io {
        what: what.into(),
        cause: io::Error::new(io::ErrorKind::InvalidData, got.trim().to_string()),
    }
}
