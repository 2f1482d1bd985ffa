//! The dead: watches a hold on each member, and releases what a process that is over had
//! in flight (rules R1 to R3 of the version cells).
//!
//! A thread of its own runs `run`; `members` calls `release` when a process begins anew by exec.
//! Both hold the domain's `frozen` list, so that freezing and thawing never overlap.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use grid::cell;
use grid::files::{Stamp, Trust};
use grid::ops::Op;
use grid::sync::Ordering;

use super::domain::{Domain, Frozen};
use super::hold::Hold;
use super::session::{self, Session};

/// How long to wait before thawing is tried again, or members are asked that cannot be waited for.
const RETRY: Duration = Duration::from_millis(100);

/// Watches the members until the session ends.
pub fn run(session: &Session) {
    while !session.is_ending() {
        let watched: Vec<(u32, Arc<Hold>)> = {
            let members = session.members.lock();
            members
                .iter()
                .map(|member| (member.pid, Arc::clone(&member.hold)))
                .collect()
        };
        let waitable = watched.iter().filter_map(|(_, hold)| hold.waitable());
        let mut fds: Vec<BorrowedFd<'_>> = waitable.collect();
        let must_ask = fds.len() < watched.len();
        fds.push(session.joined.as_fd());
        let limit = (must_ask || has_frozen(session)).then_some(RETRY);
        let ready = session::wait_for(&fds, limit);
        session.joined.silence();
        let mut ready = ready.into_iter();
        let over = watched.iter().filter(|(_, hold)| match hold.waitable() {
            Some(_) => ready.next() == Some(true),
            None => hold.is_over(),
        });
        let over: Vec<_> = over.collect();
        if !over.is_empty() {
            bury(session, &over);
        }
        for domain in session.domains() {
            thaw(&domain);
        }
    }
}

/// Takes processes that are over out of the session.
fn bury(session: &Session, over: &[&(u32, Arc<Hold>)]) {
    let leaving = {
        let mut members = session.members.lock();
        for (pid, hold) in over {
            if members.leave(*pid, hold) {
                tracing::debug!(pid, "process over");
            }
        }
        members.leaving()
    };
    for (domain, slot) in &leaving {
        release(domain, *slot);
    }
    session.members.lock().bury();
}

fn has_frozen(session: &Session) -> bool {
    session
        .domains()
        .iter()
        .any(|domain| !domain.frozen.lock().is_empty())
}

/// Releases everything that the owner of `slot` may hold. Only for an owner that is proved over.
pub fn release(domain: &Domain, slot: u16) {
    let region = &domain.region;
    let mut frozen = domain.frozen.lock();
    grid::reap::freeze_owner(region.cells(), region.ops(), slot, |op| {
        frozen.push(Frozen {
            op,
            is_thawed: false,
        });
    });
    region.files().release_claims(slot);
    domain.local_used().release_owner(slot);
    region.refresh().release_owner(slot);
    drop(frozen);
    thaw(domain);
}

/// Thaws what can be thawed and distrusts the stamps of files that a dead process was writing.
pub fn thaw(domain: &Domain) {
    let mut frozen = domain.frozen.lock();
    let (cells, ops) = (domain.region.cells(), domain.region.ops());
    frozen.retain_mut(|frozen| {
        frozen.is_thawed |= grid::reap::thaw_op(cells, ops, frozen.op);
        !(frozen.is_thawed && distrust(domain, frozen.op))
    });
}

/// Forgets the stamp of the file that `op` was writing: nobody recorded what the dead writer left.
/// True: done, or there is nothing to forget.
fn distrust(domain: &Domain, op: Op) -> bool {
    if !op.guards_stamp {
        return true;
    }
    let files = domain.region.files();
    let writes = domain
        .region
        .cells()
        .file(op.file_hash)
        .writes
        .load(Ordering::Acquire);
    if cell::is_poisoned(writes) {
        return true;
    }
    let mut of_file = files
        .live()
        .filter(|(_, record)| record.ident().hash() == op.file_hash);
    of_file.all(|(found, _)| {
        files.prove(found, Stamp::default(), Trust::None) || !files.is_current(found)
    })
}
