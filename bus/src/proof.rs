//! Proof of death: is the process that a claim names gone for certain?
//!
//! Only these are proofs: the process is of another boot; nobody has its number any more; who has
//! the number started at another time; it is a zombie without threads. A process of another pid
//! namespace cannot be judged from here, one that is stopped is alive, and silence proves nothing,
//! however long. Reads `/proc`; called when an address is bound and by tools, never on a hot path.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Pid, getpid, test_kill_process};

use crate::error::{Error, Result};
use crate::owner::{self, Details, Holder, Identity};

/// What `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: u32,
    state: u8,
    threads: u64,
    start_ticks: u64,
}

/// This process, as an owner.
///
/// # Errors
///
/// `/proc` is not there, or is that of another pid namespace.
pub fn me(is_fencing: bool) -> Result<Details> {
    let path = "/proc/self/stat";
    let text = fs::read(path).map_err(|errno| Error::system(path, "read", errno))?;
    let own = getpid().as_raw_nonzero().get() as u32;
    let stat = parse(&text).filter(|stat| stat.pid == own).ok_or_else(|| {
        let errno = std::io::Error::other("it is not of this process's pid namespace: mount /proc");
        Error::system(path, "use", errno)
    })?;
    let namespace_path = "/proc/self/ns/pid";
    let namespace = fs::metadata(namespace_path)
        .map_err(|errno| Error::system(namespace_path, "look at", errno))?
        .ino();
    let mut name = [0; 32];
    let comm = fs::read("/proc/self/comm").unwrap_or_default();
    let comm = comm.trim_ascii_end();
    let length = comm.len().min(name.len());
    name[..length].copy_from_slice(&comm[..length]);
    Ok(Details {
        identity: Identity {
            pid: own,
            start_ticks: stat.start_ticks,
            namespace,
            boot: boot()?.1,
        },
        since_ns: crate::sys::wall_clock_ns(),
        is_fencing,
        name,
    })
}

/// The boot this machine is in: its 16 bytes, and a hash of them.
///
/// # Errors
///
/// `/proc` is not there.
pub fn boot() -> Result<([u8; 16], u64)> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|errno| Error::system(path, "read", errno))?;
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("0"), 16).unwrap_or(0);
    }
    let (low, high) = bytes.split_at(8);
    let word = |half: &[u8]| u64::from_le_bytes(half.try_into().unwrap_or_default());
    Ok((bytes, word(low) ^ word(high).rotate_left(23)))
}

/// Is the holder of a claim proved dead, as seen from `me`? `held` tells whether this very process
/// knows of holding it.
pub fn is_dead(holder: &Holder, me: &Identity, held: bool) -> bool {
    if holder.word == me.word() {
        // This process: the program it executed before is gone.
        return !held;
    }
    match &holder.details {
        Some(details) if details.identity.boot != me.boot => return true,
        Some(details) if details.identity.namespace != me.namespace => return false,
        None if !me.shares_place(holder.word) => return false,
        _ => {}
    }
    let pid = owner::pid_of(holder.word);
    let Ok(text) = fs::read(format!("/proc/{pid}/stat")) else {
        return is_unknown(pid);
    };
    let Some(stat) = parse(&text) else {
        return false;
    };
    let is_other = match &holder.details {
        Some(details) => details.identity.start_ticks != stat.start_ticks,
        None => !owner::started_at(holder.word, stat.start_ticks),
    };
    // A zombie with threads is a program whose first thread has ended.
    is_other || (matches!(stat.state, b'Z' | b'X') && stat.threads <= 1)
}

/// Does the kernel know no such process? (`/proc` may hide those of others.)
fn is_unknown(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    test_kill_process(pid) == Err(rustix::io::Errno::SRCH)
}

/// Is a process stopped (by a signal or a debugger)? For viewers.
pub fn is_stopped(holder: &Holder, me: &Identity) -> bool {
    let is_near = holder
        .details
        .as_ref()
        .is_some_and(|d| d.identity.namespace == me.namespace);
    let stat = fs::read(format!("/proc/{}/stat", owner::pid_of(holder.word)));
    let state = stat
        .ok()
        .and_then(|text| parse(&text))
        .map(|stat| stat.state);
    is_near && matches!(state, Some(b'T' | b't'))
}

/// Reads the fields behind the name, which may hold blanks and brackets itself.
fn parse(text: &[u8]) -> Option<Stat> {
    let text = std::str::from_utf8(text).ok()?;
    let pid = text.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        state: *fields.first()?.as_bytes().first()?,
        threads: fields.get(17)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn holder_of(pid: u32) -> Holder {
        let stat = parse(&fs::read(format!("/proc/{pid}/stat")).unwrap()).unwrap();
        let mut details = me(false).unwrap();
        details.identity.pid = pid;
        details.identity.start_ticks = stat.start_ticks;
        Holder {
            word: details.identity.word(),
            details: Some(details),
        }
    }

    #[test]
    fn a_name_with_brackets_is_read() {
        let line = b"42 (a) R (x) y) S 1 1 1 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 777 1 1\n";
        let stat = parse(line).unwrap();
        assert_eq!(
            (stat.pid, stat.state, stat.threads, stat.start_ticks),
            (42, b'S', 3, 777)
        );
    }

    #[test]
    fn the_living_the_stopped_and_the_dead() {
        let me = me(false).unwrap().identity;
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let holder = holder_of(child.id());
        assert!(!is_dead(&holder, &me, false));
        let pid = Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        while !is_stopped(&holder, &me) {
            std::thread::yield_now();
        }
        assert!(!is_dead(&holder, &me, false), "a stopped process is alive");
        let bare = Holder {
            details: None,
            ..holder.clone()
        };
        assert!(!is_dead(&bare, &me, false));
        child.kill().unwrap();
        // A zombie first, nobody after.
        while !is_dead(&holder, &me, false) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(is_dead(&holder, &me, false) && is_dead(&bare, &me, false));
    }

    #[test]
    fn another_start_another_boot_another_namespace() {
        let me = me(false).unwrap().identity;
        let with = |change: fn(&mut Identity)| {
            let mut holder = holder_of(1);
            let details = holder.details.as_mut().unwrap();
            change(&mut details.identity);
            holder.word = details.identity.word();
            holder
        };
        assert!(!is_dead(&with(|_| ()), &me, false), "process 1 is alive");
        assert!(is_dead(&with(|id| id.start_ticks += 1), &me, false));
        assert!(is_dead(&with(|id| id.boot ^= 1), &me, false));
        assert!(!is_dead(
            &with(|id| (id.namespace, id.pid) = (1, 4_000_000)),
            &me,
            false
        ));
    }

    #[test]
    fn what_this_process_does_not_hold_it_held_before_it_executed() {
        let me = me(false).unwrap();
        let holder = Holder {
            word: me.identity.word(),
            details: None,
        };
        assert!(is_dead(&holder, &me.identity, false));
        assert!(!is_dead(&holder, &me.identity, true));
    }
}
