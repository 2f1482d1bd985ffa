//! The readiness pipe: how a hook server tells its launcher that the target may start.
//!
//! The launcher keeps the reading end and blocks until one line of JSON or the end of the stream
//! comes; the hook server keeps the writing end and answers exactly once. A server that dies
//! without an answer is a failure like any other. Nothing else ever travels here.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Longest answer, in bytes: three lines and a kind.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ready {
        /// What is wrong with the nodes, one line each.
        troubles: Vec<String>,
    },
    Failed(Failure),
}

/// The hook server's end: answers once, then is closed.
#[derive(Debug)]
pub struct ReadyPipe {
    end: Option<File>,
}

impl ReadyPipe {
    /// Takes the writing end of the pipe.
    pub fn new(end: OwnedFd) -> Self {
        Self {
            end: Some(File::from(end)),
        }
    }

    /// Says that region and sockets stand: the launcher executes the target now.
    ///
    /// Call it only when an attach would succeed. Later calls do nothing. `troubles` are shown to
    /// the user: nodes that cannot be used yet.
    pub fn ready(&mut self, troubles: Vec<String>) {
        self.answer(&Answer::Ready { troubles });
    }

    /// Says that the session cannot be: the launcher prints the failure and starts nothing.
    ///
    /// Does nothing after `ready`. The caller of `server::serve` sends its error here.
    pub fn failed(&mut self, failure: &Failure) {
        self.answer(&Answer::Failed(failure.clone()));
    }

    /// Whether the answer has been given.
    pub fn is_answered(&self) -> bool {
        self.end.is_none()
    }

    fn answer(&mut self, answer: &Answer) {
        let Some(mut end) = self.end.take() else {
            return;
        };
        let line = serde_json::to_vec(answer).unwrap_or_default();
        // A launcher that was killed meanwhile cannot be told, and needs not be.
        let _ = end.write_all(&line);
    }
}

/// The launcher's side: waits for the answer of the hook server. Returns what is wrong with the
/// nodes, one line each.
///
/// # Errors
///
/// The server's own failure, or one that says that it ended without an answer.
pub fn wait(end: OwnedFd) -> Result<Vec<String>, Failure> {
    let mut line = Vec::new();
    let read = File::from(end)
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut line);
    match read.ok().and_then(|_| serde_json::from_slice(&line).ok()) {
        Some(Answer::Ready { troubles }) => Ok(troubles),
        Some(Answer::Failed(failure)) => Err(failure),
        None => Err(Failure::launch(
            "the hook server ended before it was ready",
            "no session was made and the target was not started",
            "to see why:  HOOKTOOL_LOG=debug hooktool run ...",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (OwnedFd, OwnedFd) {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn the_first_answer_counts() {
        let (reader, writer) = pipe();
        let mut ready = ReadyPipe::new(writer);
        ready.ready(vec!["a node".into()]);
        assert!(ready.is_answered());
        ready.failed(&Failure::launch("late", "", ""));
        assert_eq!(wait(reader), Ok(vec!["a node".into()]));
    }

    #[test]
    fn a_failure_arrives_whole() {
        let (reader, writer) = pipe();
        let failure = Failure::usage("a", "b", "c");
        ReadyPipe::new(writer).failed(&failure);
        assert_eq!(wait(reader), Err(failure));
    }

    #[test]
    fn a_silent_death_is_a_failure() {
        let (reader, writer) = pipe();
        drop(writer);
        assert!(
            wait(reader)
                .unwrap_err()
                .what
                .contains("ended before it was ready")
        );
    }
}
