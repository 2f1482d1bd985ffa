//! A hold on a process: tells whether this very process lives, whoever has its number by now.
//!
//! A process descriptor (`pidfd_open`, Linux 5.3), which poll(2) can wait for; where there is none,
//! or a filter refuses it, the open `/proc/PID/stat` of the process. That file belongs to the
//! process, not to its number: once it is gone, reading it is ESRCH for ever, whatever became of
//! the number. It must be asked again and again. Used by `members`, `life`, `attach`; `reap` waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::sys;

/// A hold.
#[derive(Debug)]
pub enum Hold {
    /// A process descriptor.
    Descriptor(OwnedFd),
    /// Its status file.
    Status(OwnedFd),
}

/// What is known of a process by its status.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Lives,
    Over,
}

impl Hold {
    /// A hold on the process of this number.
    ///
    /// # Errors
    ///
    /// There is no such process, or neither way is open.
    pub fn of(pid: u32) -> io::Result<Hold> {
        sys::pidfd(pid).map_or_else(
            |error| by_status(pid, &error),
            |fd| Ok(Hold::Descriptor(fd)),
        )
    }

    /// A hold on the process that connected `socket`, whose number is `pid`. By number it is as
    /// good, while the peer waits for its answer on this very socket.
    ///
    /// # Errors
    ///
    /// As `of`.
    pub fn of_peer(socket: BorrowedFd<'_>, pid: u32) -> io::Result<Hold> {
        let descriptor = sys::peer_pidfd(socket);
        descriptor.map_or_else(|_| Hold::of(pid), |fd| Ok(Hold::Descriptor(fd)))
    }

    /// Whether the process has ended, its threads included: a proof (assumption 5). Where nobody
    /// can say, it lives.
    pub fn is_over(&self) -> bool {
        match self {
            Hold::Descriptor(fd) => sys::is_readable(fd),
            Hold::Status(file) => state_of(file) == State::Over,
        }
    }

    /// What becomes readable when the process ends; `None`: it must be asked.
    pub fn waitable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Hold::Descriptor(fd) => Some(fd.as_fd()),
            Hold::Status(_) => None,
        }
    }

    /// The number of the descriptor.
    pub fn number(&self) -> i32 {
        match self {
            Hold::Descriptor(fd) | Hold::Status(fd) => fd.as_raw_fd(),
        }
    }
}

/// The other hold, after `error` of pidfd_open(2).
fn by_status(pid: u32, error: &io::Error) -> io::Result<Hold> {
    let gone = io::Error::from(io::ErrorKind::NotFound);
    if error.raw_os_error() == Some(libc::ESRCH) || !is_own_proc() {
        return Err(gone);
    }
    let file = OwnedFd::from(std::fs::File::open(format!("/proc/{pid}/stat"))?);
    match state_of(&file) {
        State::Lives => Ok(Hold::Status(file)),
        State::Over => Err(gone),
    }
}

/// Whether the numbers in `/proc` are those of this process's namespace.
fn is_own_proc() -> bool {
    let own = std::process::id().to_string();
    std::fs::read_link("/proc/self").is_ok_and(|name| name.as_os_str() == own.as_str())
}

fn state_of(file: &OwnedFd) -> State {
    let mut text = [0; 1024];
    match rustix::io::pread(file, &mut text, 0) {
        Err(rustix::io::Errno::SRCH) => State::Over,
        Ok(len) if is_dead(&text[..len]) => State::Over,
        _ => State::Lives,
    }
}

/// Whether a status says that no thread is left in a system call: nobody has waited for the process
/// yet, and its first thread, which is over, is the only one.
fn is_dead(status: &[u8]) -> bool {
    const THREADS: usize = 17;
    let status = String::from_utf8_lossy(status);
    // The name before it may hold anything.
    let fields = status.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let fields: Vec<_> = fields.split(' ').collect();
    fields.first() == Some(&"Z") && fields.get(THREADS) == Some(&"1")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_is_over_is_over_before_and_after_somebody_has_waited_for_it() {
        let refused = io::Error::from_raw_os_error(libc::ENOSYS);
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let holds = [
            Hold::of(child.id()).unwrap(),
            by_status(child.id(), &refused).unwrap(),
        ];
        assert!(matches!(holds, [Hold::Descriptor(_), Hold::Status(_)]));
        assert!(holds.iter().all(|hold| !hold.is_over()));
        drop(child.stdin.take());
        while !holds[0].is_over() {
            std::thread::yield_now();
        }
        assert!(holds[1].is_over(), "nobody has waited for it yet");
        assert!(by_status(child.id(), &refused).is_err());
        child.wait().unwrap();
        assert!(holds.iter().all(Hold::is_over));
        assert!(Hold::of(child.id()).is_err());
    }

    #[test]
    fn a_first_thread_that_has_ended_is_not_the_end() {
        let status = |state: &str, threads: &str| {
            format!("7 (a) Z 1 (x) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 99")
        };
        assert!(is_dead(status("Z", "1").as_bytes()));
        for (state, threads) in [("Z", "2"), ("Z", "0"), ("S", "1"), ("R", "3")] {
            assert!(!is_dead(status(state, threads).as_bytes()));
        }
        assert!(!is_dead(b"") && !is_dead(b"7 (x) Z"));
    }
}
