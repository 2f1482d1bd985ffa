//! A forked child finds out that the rings are its parent's.
//!
//! # Safety
//!
//! The child does nothing but call the bus and leave by `_exit` through a raw system call; it never
//! returns into the test harness.
#![allow(unsafe_code)]

use bus::{Error, Wait};

use crate::support::{Bed, at};

/// Forks; runs `child` in the child, which ends with its answer; returns that answer.
fn in_child(mut child: impl FnMut() -> u8) -> i32 {
    // SAFETY: the child runs only `child` and `_exit`, and takes no lock of another thread but the
    // allocator's, which glibc keeps usable across fork.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let answer = child();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(answer)) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a word for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    libc::WEXITSTATUS(status)
}

#[test]
fn a_child_cannot_use_its_parents_ends_and_cannot_release_them() {
    let bed = Bed::with_pair(4096);
    let mut ends = Some((bed.bind("0.0.1.1"), bed.bind("0.0.2.1")));
    let answer = in_child(|| {
        let (a, b) = ends.as_mut().unwrap();
        let sends = a.send(at("0.0.2.1"), b"child", Wait::No);
        let receives = b.receive(Wait::No).map(|_| ());
        let binds = bed.bus.bind("0.0.1.1").map(|_| ());
        // Binding made this process known: the parent's ends are still not its own.
        let still = a.send(at("0.0.2.1"), b"child", Wait::No);
        let right = [
            matches!(sends, Err(Error::Forked)),
            matches!(receives, Err(Error::Forked)),
            matches!(binds, Err(Error::Bound { .. })),
            matches!(still, Err(Error::Forked)),
        ];
        ends = None;
        u8::from(right == [true; 4])
    });
    assert_eq!(answer, 1);
    assert!(
        bed.bus.bind("0.0.1.1").is_err(),
        "the child's end released the parent's claim"
    );
}

#[test]
fn a_child_may_bind_what_is_free() {
    let bed = Bed::with_pair(4096);
    let mut b = bed.bind("0.0.2.1");
    let answer = in_child(|| match bed.bus.bind("0.0.1.1") {
        Ok(mut a) => u8::from(a.send(at("0.0.2.1"), b"from the child", Wait::No).is_ok()),
        Err(_) => 0,
    });
    assert_eq!(answer, 1);
    assert_eq!(b.receive(Wait::No).unwrap().payload(), b"from the child");
    // It exited without giving its end up: dead by proof.
    assert!(bed.bus.bind("0.0.1.1").is_ok());
}
