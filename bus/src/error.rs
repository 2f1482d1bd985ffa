//! What can go wrong, in words that say what to do next.
//!
//! One enum for everybody: Rust callers match on it, the C and Python faces turn it into their own
//! codes, `hooktool bus` prints it. `Full` and `Empty` are ordinary answers and cost nothing to
//! make.

use std::path::{Path, PathBuf};

use crate::address::{Dotted, Template};

/// The result of everything on the bus.
pub type Result<T> = std::result::Result<T, Error>;

/// What a call could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room in the ring: the other side is behind, or not there.
    #[error("the channel is full: the other side has not read; send again, or wait longer")]
    Full,
    /// No message: nothing has come, or nothing within the time given.
    #[error("the channel is empty: nothing has come; receive again, or wait longer")]
    Empty,
    /// Nobody made a channel for this address or pair.
    #[error("no channel for {what}: make one with `hooktool bus apply FILE`")]
    NoChannel {
        /// The address or the pair.
        what: String,
    },
    /// A living process (or one that cannot be proved dead) holds this end.
    #[error("{what} is bound by {owner}")]
    Bound {
        /// Which end of which channel.
        what: String,
        /// Who has it, and since when.
        owner: Box<crate::owner::Holder>,
    },
    /// A template that is not four bit widths.
    #[error("`{text}` is no address template: write four widths, together at most 32: 8.8.8.8")]
    BadTemplate {
        /// As it was written.
        text: String,
    },
    /// A text that is no address under the template.
    #[error(
        "`{text}` is no address: {template} wants four numbers that fit so many bits, as 0.0.1.1"
    )]
    BadAddress {
        /// As it was written.
        text: String,
        /// What it was read by.
        template: Template,
    },
    /// The message can never fit this channel.
    #[error(
        "{bytes} bytes are too large: this channel takes {bytes_max}; split, or make it larger"
    )]
    TooLarge {
        /// Payload and route, in bytes.
        bytes: u64,
        /// The most this channel takes.
        bytes_max: u64,
    },
    /// The caller's buffer is too small; the message stays.
    #[error("the message has {bytes} bytes, the buffer {room}: receive again with a larger one")]
    BufferTooSmall {
        /// Bytes of the message.
        bytes: u64,
        /// Bytes of the buffer.
        room: u64,
    },
    /// Something in the ring was not what a sender writes. What follows it is still delivered.
    #[error("damaged: {messages} message(s), {bytes} bytes skipped after number {after}; go on")]
    Damaged {
        /// Messages lost by it, as far as the numbering tells.
        messages: u64,
        /// Bytes skipped.
        bytes: u64,
        /// Number of the last good message before.
        after: u64,
    },
    /// Head and tail contradict each other: nothing in this ring can be trusted.
    #[error(
        "head {head} and tail {tail} contradict each other: empty it with `hooktool bus clean`"
    )]
    Contradiction {
        /// What the consumer's page says.
        head: u64,
        /// What the producer's page says.
        tail: u64,
    },
    /// The file was written by a version that this one does not know.
    #[error("{path}: layout {found_major}.{found_minor}, this program knows {known}: upgrade it")]
    Version {
        /// The channel's file.
        path: PathBuf,
        /// What the file says.
        found_major: u16,
        /// What the file says.
        found_minor: u16,
        /// The major layout this program knows.
        known: u16,
    },
    /// The file is not (or no longer) a channel.
    #[error(
        "{path} is no channel: {why}; `hooktool bus rm` removes it, `hooktool bus apply` remakes it"
    )]
    NotAChannel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The channel was removed while it was bound.
    #[error("the channel was removed: bind again once it is made anew")]
    Removed,
    /// The process was forked since it bound: the rings belong to the parent.
    #[error("bound before a fork: the parent has this end; bind an address of your own")]
    Forked,
    /// More channels than one process or address can hold.
    #[error("{what}: at most {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
    /// A reply along a route that has none.
    #[error("the message came by no route: answer its source with send")]
    NoRoute,
    /// A channel asked for with impossible sizes or addresses.
    #[error("{what}: {why}")]
    BadSpec {
        /// Which channel.
        what: String,
        /// What is impossible.
        why: String,
    },
    /// No memory left on the file system of the bus.
    #[error(
        "{path}: no room for {bytes} bytes; free some, or make the channel smaller (df {path})"
    )]
    NoSpace {
        /// The directory of the bus.
        path: PathBuf,
        /// What was needed.
        bytes: u64,
    },
    /// The kernel refused.
    #[error("{path}: cannot {action}: {errno}")]
    System {
        /// What it was about.
        path: PathBuf,
        /// The verb.
        action: &'static str,
        /// Why.
        errno: std::io::Error,
    },
}

impl Error {
    /// The kernel refused `action` on `path`.
    pub fn system(
        path: impl Into<PathBuf>,
        action: &'static str,
        errno: impl Into<std::io::Error>,
    ) -> Error {
        Error::System {
            path: path.into(),
            action,
            errno: errno.into(),
        }
    }

    /// Is it an ordinary answer: try again later?
    pub fn is_again(&self) -> bool {
        matches!(self, Error::Full | Error::Empty)
    }

    /// The file it is about, if it is about one that cannot be used.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::NotAChannel { path, .. }
            | Error::Version { path, .. }
            | Error::System { path, .. } => Some(path),
            _ => None,
        }
    }

    /// No channel joins these two.
    pub fn no_pair(from: Dotted, to: Dotted) -> Error {
        Error::NoChannel {
            what: format!("{from} to {to}"),
        }
    }
}
