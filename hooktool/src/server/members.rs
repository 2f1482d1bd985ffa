//! The processes of a session: who has which slot in which region, proved alive by a hold on
//! each.
//!
//! `attach` registers, `reap` removes, `tend` asks whether anybody is left, `stats` lists. A number
//! of a process alone proves nothing here: the hold does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use grid::process::ProcessRecord;
use grid::sync::Ordering;

use super::domain::Domain;
use super::hold::Hold;
use super::{reap, session};

/// The slot (and owner number) that no process gets: the hook server itself acts under it.
pub const OWN_SLOT: u16 = 0;

/// Most processes without a slot that are counted.
const TURNED_AWAY_MAX: usize = 4096;

/// A process of the session.
pub struct Member {
    /// Its number in this namespace.
    pub pid: u32,
    /// Proves that it lives.
    pub hold: Arc<Hold>,
    /// Its credential domain.
    pub domain: Arc<Domain>,
    /// Its slot in the domain's process records.
    pub slot: u16,
    /// When it joined.
    pub since: Instant,
}

/// A process that shall become a member: the launcher before its target opens the first file.
struct Awaited {
    pid: u32,
    hold: Hold,
}

/// All members.
#[derive(Default)]
pub struct Members {
    /// A process that has changed its credentials is a member of its former domains, too, until it
    /// is over: a thread of it may still be in a call that it began there. The last one is where it
    /// is now.
    by_pid: BTreeMap<u32, Vec<Member>>,
    /// Over, and not released yet.
    leaving: Vec<Member>,
    awaited: Vec<Awaited>,
    /// Processes that found no slot.
    turned_away: BTreeSet<u32>,
    /// Numbers of the domains in which there has ever been such a process.
    crowded: BTreeSet<u32>,
    /// Processes that have ever joined.
    pub joins: u64,
    /// The session is about to end: no further target is let in.
    is_closed: bool,
}

/// A process that shows up, as `attach` has checked it.
pub struct Newcomer {
    /// Its number.
    pub pid: u32,
    /// Proves that it lives; `None`: none is to be had. Then its death could not be
    /// proved, so it may have nothing in flight, and gets no slot.
    pub hold: Option<Hold>,
    /// Its credential domain.
    pub domain: Arc<Domain>,
    /// It says that it starts afresh (first program, or exec): what an earlier program of the same
    /// process had in flight is over.
    pub is_fresh: bool,
}

impl Members {
    /// Registers a process; its slot, or `None` if the region has none left.
    pub fn register(&mut self, newcomer: Newcomer) -> Option<u16> {
        let known = self.by_pid.get(&newcomer.pid).and_then(|all| all.last());
        if known.is_some_and(|known| newcomer.is_fresh || known.hold.is_over()) {
            self.remove(newcomer.pid);
        }
        if let Some(slot) = self.come_back(&newcomer) {
            return Some(slot);
        }
        let elsewhere = self.by_pid.get(&newcomer.pid).and_then(|all| all.last());
        let hold = elsewhere.map(|member| Arc::clone(&member.hold));
        let Some(hold) = hold.or_else(|| newcomer.hold.map(Arc::new)) else {
            self.turn_away(newcomer.pid, &newcomer.domain);
            return None;
        };
        let records = newcomer.domain.region.processes();
        let is_free = |record: &ProcessRecord| record.state.load(Ordering::Acquire) == 0;
        let Some(slot) = (1..records.len()).find(|slot| is_free(&records[*slot])) else {
            self.turn_away(newcomer.pid, &newcomer.domain);
            return None;
        };
        let record = &records[slot];
        record.reset();
        record.pid.store(u64::from(newcomer.pid), Ordering::Relaxed);
        record.since_ms.store(session::now_ms(), Ordering::Relaxed);
        record.generation.fetch_add(1, Ordering::Relaxed);
        record.state.store(1, Ordering::Release);
        let slot = u16::try_from(slot).ok()?;
        let member = Member {
            pid: newcomer.pid,
            hold,
            domain: newcomer.domain,
            slot,
            since: Instant::now(),
        };
        self.awaited.retain(|awaited| awaited.pid != member.pid);
        self.turned_away.remove(&member.pid);
        self.by_pid.entry(member.pid).or_default().push(member);
        self.joins += 1;
        Some(slot)
    }

    /// A process is where it has been before: asking once more, or back from other credentials.
    fn come_back(&mut self, newcomer: &Newcomer) -> Option<u16> {
        let all = self.by_pid.get_mut(&newcomer.pid)?;
        let same = |member: &Member| Arc::ptr_eq(&member.domain, &newcomer.domain);
        let at = all.iter().position(same)?;
        let member = all.remove(at);
        let slot = member.slot;
        all.push(member);
        Some(slot)
    }

    /// Notes a process that found no slot. It goes on with the kernel, and asks again by itself.
    fn turn_away(&mut self, pid: u32, domain: &Domain) {
        self.crowded.insert(domain.number);
        if self.turned_away.len() >= TURNED_AWAY_MAX {
            self.unserved();
        }
        if self.turned_away.len() < TURNED_AWAY_MAX {
            self.turned_away.insert(pid);
        }
    }

    /// How many live that found no slot. Their numbers alone tell, which may be used again: nothing
    /// but a statistic rests on it.
    pub fn unserved(&mut self) -> usize {
        let lives = |pid: &u32| std::path::Path::new(&format!("/proc/{pid}")).exists();
        self.turned_away.retain(lives);
        self.turned_away.len()
    }

    /// Takes a process out that begins anew under the same number, or whose number another has now:
    /// releases what it had in flight, keeps its counters, frees its slot.
    fn remove(&mut self, pid: u32) {
        for member in self.by_pid.remove(&pid).into_iter().flatten() {
            reap::release(&member.domain, member.slot);
            settle(&member);
        }
    }

    /// A process is over: it is no member any more. Its slot and counters stay until `bury`, so
    /// that what it had in flight can be released without this lock. False: it is not here.
    pub fn leave(&mut self, pid: u32, hold: &Arc<Hold>) -> bool {
        // The number may have been taken by a new process meanwhile: only this one is over.
        if !self
            .get(pid)
            .is_some_and(|member| Arc::ptr_eq(&member.hold, hold))
        {
            return false;
        }
        self.leaving
            .extend(self.by_pid.remove(&pid).into_iter().flatten());
        true
    }

    /// Those who left and are not buried yet: where they were.
    pub fn leaving(&self) -> Vec<(Arc<Domain>, u16)> {
        self.leaving
            .iter()
            .map(|member| (Arc::clone(&member.domain), member.slot))
            .collect()
    }

    /// Keeps the counters and frees the slots of those who left; everything else is released.
    pub fn bury(&mut self) {
        self.leaving.drain(..).for_each(|member| settle(&member));
    }

    /// Whether every process that lives, with a slot or without, is in this domain.
    pub fn are_all_in(&self, domain: &Domain) -> bool {
        let elsewhere = |member: &Member| member.domain.number != domain.number;
        let mut others = self.iter().filter(|member| elsewhere(member));
        self.crowded.iter().all(|number| *number == domain.number)
            && others.all(|member| member.hold.is_over())
    }

    /// Members and those who left but are not buried: everybody whose record still counts.
    pub fn counted(&self) -> impl Iterator<Item = &Member> {
        self.by_pid.values().flatten().chain(&self.leaving)
    }

    /// A launcher announces the process that it is about to turn into the target.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub fn await_process(&mut self, pid: u32) -> std::io::Result<()> {
        let hold = Hold::of(pid)?;
        self.awaited.push(Awaited { pid, hold });
        Ok(())
    }

    /// Whether somebody is here or announced.
    pub fn has_any(&mut self) -> bool {
        self.awaited.retain(|awaited| !awaited.hold.is_over());
        !(self.by_pid.is_empty() && self.leaving.is_empty() && self.awaited.is_empty())
    }

    /// Whether somebody who is here or announced is alive at this instant: who has just died may
    /// still be counted by `has_any`.
    pub fn has_living(&mut self) -> bool {
        self.awaited.retain(|awaited| !awaited.hold.is_over());
        let lives = |member: &Member| !member.hold.is_over();
        !self.awaited.is_empty() || self.iter().any(lives)
    }

    /// The session ends, and nobody is here: no further target is let in.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether no further target is let in.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Each process where it is now, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_pid.values().filter_map(|all| all.last())
    }

    /// Every membership of a process, the one of now last.
    pub fn all_of(&self, pid: u32) -> &[Member] {
        self.by_pid.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.by_pid.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.by_pid.is_empty()
    }

    /// A process by number, where it is now.
    pub fn get(&self, pid: u32) -> Option<&Member> {
        self.all_of(pid).last()
    }
}

/// Keeps a process' counters and frees its slot.
fn settle(member: &Member) {
    let record = &member.domain.region.processes()[usize::from(member.slot)];
    member.domain.totals.lock().add_record(record);
    record.reset();
    record.state.store(0, Ordering::Release);
}
