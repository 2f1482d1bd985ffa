//! The process's place in its session: whether it has joined, the mapped region, its slot. Joining
//! is lazy (the first eligible read or write), happens once per program, again after a fork, which
//! is noticed by a page that the kernel wipes in the child, and again after a change of
//! credentials, for another region (`rooms`).
//!
//! Called by every hook that needs the region. Never blocks longer than the join's time limit, and
//! that only while joining.

use grid::attach::{Verdict, Want};
use grid::header::{Header, switch};
use grid::names::Bypass;
use grid::process::ProcessRecord;
use grid::region::Region;
use grid::sync::{AtomicU64, Ordering};

use crate::join::{self, JOIN_TO_READ_LIMIT_MS, Unanswered};
pub use crate::rooms::Joined;
use crate::sys;
use crate::sys::memory::ForkPage;
use crate::sys::once::Once;
use crate::{lasting, pins, rooms};

/// What the constructor found in the environment.
pub struct Config {
    /// Name of the join socket, without the leading zero.
    pub socket: [u8; 64],
    /// Bytes of it in use.
    pub socket_len: usize,
    /// The token of the session.
    pub token: [u8; 16],
    /// Page that a fork wipes.
    pub fork_page: &'static ForkPage,
    /// Repeat every served read through the kernel and abort on a difference.
    pub oracle: bool,
    /// Break the promise on purpose: writes are not counted, stamps not compared (feature `plant`).
    pub planted: bool,
    /// Panic in every few reads, before and after the kernel's call (feature `plant`).
    pub panics: bool,
    /// Panic in every few writes, before they are counted (feature `plant`).
    pub panics_in_writes: bool,
}

static CONFIG: Once<Config> = Once::new();

const NOBODY: u64 = 0;
const BUSY: u64 = 1;
const FAILED: u64 = 2;
/// How long a thread waits for another one that is joining, in milliseconds: longer than that one
/// waits for an answer.
const WAIT_ROUNDS: u64 = 1000;
/// Between two attempts to register a fork child, in milliseconds.
const RETRY_MS: u64 = 200;
/// ... of a process for which the region has no record free.
const RETRY_FULL_MS: u64 = 1000;
/// Between the first two attempts to join beside a hook server that does not answer, in
/// milliseconds; it doubles up to the second figure.
const RETRY_LATE_MS: u64 = 1000;
const RETRY_LATE_MAX_MS: u64 = 16_000;
/// Attempts in a row that were not answered in time.
static UNANSWERED: AtomicU64 = AtomicU64::new(0);

/// A process's view of the session, registered: what every counted operation needs.
#[derive(Clone, Copy)]
pub struct Member {
    /// The region and its keys.
    pub joined: &'static Joined,
    /// Slot of this process's record; the owner number of its operations. `None`: mapped, but not
    /// registered (no free record, hook server silent): such a process may only poison.
    pub slot: Option<u16>,
}

impl Member {
    /// The region.
    #[inline]
    pub fn region(&self) -> &'static Region {
        &self.joined.region
    }

    /// The header of the region.
    #[inline]
    pub fn header(&self) -> &'static Header {
        self.joined.region.header()
    }

    /// This process's counters.
    #[inline]
    pub fn counters(&self) -> Option<&'static ProcessRecord> {
        let slot = usize::from(self.slot?);
        self.joined.region.processes().get(slot)
    }
}

/// Makes the shim live; called once by the constructor.
pub fn configure(config: Config) {
    CONFIG.set(config);
}

/// The configuration; `None`: the shim is inert.
#[inline]
pub fn config() -> Option<&'static Config> {
    CONFIG.get()
}

/// Whether a stale read is planted: a build for one test, which proves that the oracle bites.
#[inline]
pub fn is_planted() -> bool {
    cfg!(feature = "plant") && config().is_some_and(|config| config.planted)
}

/// Panics now and then where a panic is planted, to prove that nobody notices.
#[inline]
pub fn panic_if_planted(fd: i32) {
    if cfg!(feature = "plant") && config().is_some_and(|config| config.panics) {
        assert!(
            !(sys::ticks() >> 4).is_multiple_of(3),
            "planted in a read of {fd}"
        );
    }
}

/// Panics now and then where a write is about to be counted.
#[inline]
pub fn panic_in_write_if_planted(fd: i32) {
    if cfg!(feature = "plant") && config().is_some_and(|config| config.panics_in_writes) {
        assert!(
            !(sys::ticks() >> 4).is_multiple_of(3),
            "planted in a write of {fd}"
        );
    }
}

/// Nothing is served any more in the region of this process: a change of a file could not be told.
pub fn stop_service() {
    if let Some(member) = member() {
        member.header().set_switch(switch::SERVE, false);
    }
}

/// The membership if this process has joined already; never joins.
#[inline]
pub fn member() -> Option<Member> {
    let joined = rooms::current()?;
    let process = config()?.fork_page.process.load(Ordering::Relaxed);
    let slot = process.checked_sub(1).map(|slot| slot as u16);
    Some(Member { joined, slot })
}

/// The membership of a process that is about to change something, joining (or registering a fork
/// child) if need be, for which it waits as long as rule O4 asks, once. `None`: not in a session,
/// or the hook server would not have us.
pub fn join() -> Option<Member> {
    enter(Purpose::Change)
}

/// The membership of a process that reads, joining if need be; it does not wait long for that.
pub fn join_to_read() -> Option<Member> {
    enter(Purpose::Read)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Read,
    Change,
}

impl Purpose {
    /// Whether to wait as rule O4 asks: not done yet, and something may be changed next.
    fn is_patient(self, page: &ForkPage) -> bool {
        self == Purpose::Change && page.waited.load(Ordering::Relaxed) == 0
    }
}

#[inline]
fn enter(purpose: Purpose) -> Option<Member> {
    match member() {
        Some(Member { slot: None, joined }) => register_child(joined, purpose),
        None => first_join(purpose),
        registered => registered,
    }
}

/// Whether a process that is in no region may ask for one now.
pub fn may_ask() -> bool {
    config().is_some_and(|config| {
        let page = config.fork_page;
        page.joining.load(Ordering::Relaxed) == NOBODY
            && sys::monotonic_ms() >= page.retry_at_ms.load(Ordering::Relaxed)
    })
}

#[cold]
#[inline(never)]
fn first_join(purpose: Purpose) -> Option<Member> {
    let config = config()?;
    let page = config.fork_page;
    let is_patient = || purpose.is_patient(page);
    let too_early =
        || !is_patient() && sys::monotonic_ms() < page.retry_at_ms.load(Ordering::Relaxed);
    if page.changing.load(Ordering::SeqCst) != 0
        || too_early()
        || is_shared_memory_child()
        || !may_move()
    {
        return None;
    }
    let rounds = if is_patient() {
        WAIT_ROUNDS
    } else {
        JOIN_TO_READ_LIMIT_MS
    };
    let mut is_mine = false;
    for _ in 0..rounds {
        let joining = &page.joining;
        match joining.compare_exchange(NOBODY, BUSY, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => {
                is_mine = true;
                break;
            }
            Err(FAILED) => return None,
            Err(_) => sys::sleep_ms(1),
        }
        if rooms::current().is_some() {
            return member();
        }
    }
    // Whoever waited here beside one that got no answer does not ask once more.
    let is_done = || rooms::current().is_some() || too_early();
    if is_mine || is_patient() {
        let state = match is_done() || move_in(config, is_patient()) {
            true => NOBODY,
            false => FAILED,
        };
        page.joining.store(state, Ordering::Release);
    }
    member()
}

/// No answer came in time: the next attempt is put off, longer each time.
fn ask_later(page: &ForkPage, was_patient: bool) {
    let times = UNANSWERED.fetch_add(1, Ordering::Relaxed).min(8);
    let pause_ms = (RETRY_LATE_MS << times).min(RETRY_LATE_MAX_MS);
    let retry_at_ms = sys::monotonic_ms() + pause_ms;
    page.retry_at_ms.store(retry_at_ms, Ordering::Relaxed);
    if was_patient {
        page.waited.store(1, Ordering::Relaxed);
    }
}

/// Asks for a region and moves in. False: none is ever to be had.
fn move_in(config: &Config, is_patient: bool) -> bool {
    let page = config.fork_page;
    let (place, is_first) = (rooms::place(), !rooms::were_used());
    // Once more, in this order: who changes credentials says so first, and moves out then.
    if page.changing.load(Ordering::SeqCst) != 0 {
        return true;
    }
    if page.pid.load(Ordering::Relaxed) == 0 {
        forget_parents();
    }
    let want = if is_first { Want::Join } else { Want::Move };
    let answer = match join::ask(config, want, is_patient) {
        Ok(answer) => answer,
        Err(Unanswered::Late) => {
            ask_later(page, is_patient);
            return true;
        }
        Err(Unanswered::Refused) => return false,
    };
    let joined = join::open_region(&answer, place);
    adopt(config, &answer);
    let Some(joined) = joined else {
        return false;
    };
    lasting::renew(&joined.region);
    pins::renew(joined, slot_of(&answer));
    // False: the credentials have changed meanwhile. Whoever needs a region asks again.
    rooms::move_in(joined, place);
    true
}

/// A fork child has the region mapped but no record of its own yet. (So has a process for which
/// there was no record.)
#[cold]
#[inline(never)]
fn register_child(joined: &'static Joined, purpose: Purpose) -> Option<Member> {
    let config = config()?;
    let page = config.fork_page;
    let member = Member { joined, slot: None };
    let now = sys::monotonic_ms();
    // Where files are owned, a child asks before it changes anything, and waits for the answer:
    // what it writes may be owned in another region.
    let is_due = purpose.is_patient(page) && member.header().is_on(switch::OWNS);
    let too_early = now < page.retry_at_ms.load(Ordering::Relaxed);
    let may_ask = !too_early && member.header().is_alive(now);
    if !(is_due || may_ask) || is_shared_memory_child() {
        return Some(member);
    }
    let joining = &page.joining;
    let taken = || {
        joining
            .compare_exchange(NOBODY, BUSY, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    };
    if !taken() {
        let mut rounds = 0..if is_due { WAIT_ROUNDS } else { 0 };
        while joining.load(Ordering::Acquire) == BUSY && rounds.next().is_some() {
            sys::sleep_ms(1);
        }
        return self::member();
    }
    forget_parents();
    let domain = joined.domain;
    match join::ask(config, Want::Fork { domain }, is_due) {
        Ok(answer) if answer.welcome.verdict == Verdict::Elsewhere => {
            leave();
            settled();
        }
        Ok(answer) => adopt(config, &answer),
        Err(_) => {
            page.waited.fetch_or(u64::from(is_due), Ordering::Relaxed);
            page.retry_at_ms.store(now + RETRY_MS, Ordering::Relaxed);
        }
    }
    joining.store(NOBODY, Ordering::Release);
    self::member()
}

/// In a fork child, before it joins: connections, locks and calls in flight are the parent's.
fn forget_parents() {
    crate::sockets::forget_parents();
    crate::send::forget_parents();
    crate::flights::forget_parents();
}

fn slot_of(answer: &join::Answer) -> Option<u16> {
    let has_slot = answer.welcome.verdict == Verdict::Joined;
    has_slot.then_some(answer.welcome.process)
}

fn adopt(config: &Config, answer: &join::Answer) {
    crate::sockets::adopt(answer);
    let page = config.fork_page;
    UNANSWERED.store(0, Ordering::Relaxed);
    page.waited.store(1, Ordering::Relaxed);
    page.pid.store(sys::getpid() as u64, Ordering::Relaxed);
    let slot = slot_of(answer);
    if slot.is_none() {
        let later = sys::monotonic_ms() + RETRY_FULL_MS;
        page.retry_at_ms.store(later, Ordering::Relaxed);
    }
    page.process.store(
        slot.map_or(0, |slot| u64::from(slot) + 1),
        Ordering::Release,
    );
}

/// Whether this is a `vfork` child: it shares its parent's memory, registration included, but it is
/// another process. It must not use the parent's connections, nor register.
pub fn is_shared_memory_child() -> bool {
    let Some(config) = config() else { return false };
    let registered = config.fork_page.pid.load(Ordering::Relaxed);
    registered != 0 && registered != sys::getpid() as u64
}

/// Whose is what a member has in flight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// This process's.
    Ours,
    /// Another process's: this one was forked, by a signal handler, while a counted call was under
    /// way, and returns from the call as well.
    Parent,
    /// Nobody can reach it any more: the process has left that region. It stays in flight there
    /// until the process is over.
    Lost,
}

/// Who holds what `member` has in flight.
pub fn holder(member: Member) -> Holder {
    let page = config().map(|config| config.fork_page);
    let process = page.map_or(0, |page| page.process.load(Ordering::Relaxed));
    if !is_current(member) {
        return Holder::Lost;
    }
    match process.checked_sub(1) == member.slot.map(u64::from) {
        true => Holder::Ours,
        false => Holder::Parent,
    }
}

/// Whether this process is still in the region in which it was a member: what it entered there
/// before this question has reached the region.
pub fn is_current(member: Member) -> bool {
    rooms::is_current(member.joined)
}

/// Whether the session serves at all right now.
#[inline]
pub fn is_serving(header: &Header, now_ms: u64) -> bool {
    header.is_on(switch::SERVE) && header.is_alive(now_ms)
}

/// Before a change of credentials: what was mapped under the old ones is not used, seen or reached
/// any more, and nobody joins before `settled`. The next eligible call after that joins the region
/// of the new credentials.
pub fn leave() {
    let Some(config) = config() else { return };
    if is_shared_memory_child() {
        // A `vfork` child: the memory is the parent's, who changes nothing.
        return;
    }
    if !may_move() {
        disown();
    }
    let page = config.fork_page;
    page.changing.fetch_add(1, Ordering::SeqCst);
    if let Some(counters) = member().and_then(|member| member.counters()) {
        counters.bypassed(Bypass::Left, 1);
    }
    rooms::move_out();
    page.process.store(0, Ordering::SeqCst);
    page.retry_at_ms.store(0, Ordering::Relaxed);
    page.waited.store(0, Ordering::Relaxed);
    let (failed, nobody) = (FAILED, NOBODY);
    let _ = page
        .joining
        .compare_exchange(failed, nobody, Ordering::SeqCst, Ordering::Relaxed);
    crate::sockets::forget_all();
    crate::send::forget_contents();
}

/// Before a change after which this process may write what it has open, and nobody will know: it
/// cannot reach the hook server any more.
pub fn lose_touch() {
    if !is_shared_memory_child() {
        disown();
    }
    leave();
}

/// Rule O2, in the region that the process is about to leave for good.
fn disown() {
    if let Some(member) = member() {
        member.header().set_switch(switch::DISOWNED, true);
        member.region().files().disown();
    }
}

/// Whether this process may join a region that it is not in.
fn may_move() -> bool {
    rooms::has_fresh() && !lasting::is_full()
}

/// After it, whatever came of it.
pub fn settled() {
    let Some(config) = config() else { return };
    let changing = &config.fork_page.changing;
    if !is_shared_memory_child() {
        let _ = changing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |threads| {
            threads.checked_sub(1)
        });
    }
}
