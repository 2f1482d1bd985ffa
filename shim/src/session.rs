//! The process's place in its session: whether it has joined, the mapped region, its slot. Joining
//! is lazy (the first eligible read or write), happens once per program, and again after a fork,
//! which is noticed by a page that the kernel wipes in the child.
//!
//! Called by every hook that needs the region. Never blocks longer than the join's time limit, and
//! that only while joining.

use grid::attach::{Verdict, Want};
use grid::header::{Header, switch};
use grid::process::ProcessRecord;
use grid::region::Region;
use grid::sync::{AtomicU64, Ordering};
use wire::Keys;

use crate::join;
use crate::sys;
use crate::sys::memory::ForkPage;
use crate::sys::once::Once;

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
}

/// The region, once joined.
pub struct Joined {
    /// The mapped region.
    pub region: Region,
    /// Keys derived from its secret.
    pub keys: Keys,
}

static CONFIG: Once<Config> = Once::new();
static JOINED: Once<Joined> = Once::new();
/// Monotonic milliseconds before which a failed fork registration is not tried again.
static RETRY_AT_MS: AtomicU64 = AtomicU64::new(0);

/// Not 0 once the process has changed its credentials: it has left its region for good.
static LEFT: AtomicU64 = AtomicU64::new(0);

const NOBODY: u64 = 0;
const BUSY: u64 = 1;
const FAILED: u64 = 2;
/// How long a thread waits for another one that is joining.
const WAIT_ROUNDS: u32 = 300;

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

/// The membership if this process has joined already; never joins.
#[inline]
pub fn member() -> Option<Member> {
    if LEFT.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let joined = JOINED.get()?;
    let process = config()?.fork_page.process.load(Ordering::Relaxed);
    let slot = process.checked_sub(1).map(|slot| slot as u16);
    Some(Member { joined, slot })
}

/// The membership, joining (or registering a fork child) if need be. `None`: not in a session, or
/// the hook server would not have us.
pub fn join() -> Option<Member> {
    let member = member();
    match member {
        Some(Member { slot: Some(_), .. }) => member,
        Some(_) => Some(register_child()),
        None => first_join(),
    }
}

fn first_join() -> Option<Member> {
    let config = config()?;
    if LEFT.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let joining = &config.fork_page.joining;
    for _ in 0..WAIT_ROUNDS {
        match joining.compare_exchange(NOBODY, BUSY, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => break,
            Err(FAILED) => return None,
            Err(_) => sys::sleep_ms(1),
        }
        if JOINED.get().is_some() {
            return member();
        }
    }
    if JOINED.get().is_some() {
        joining.store(NOBODY, Ordering::Release);
        return member();
    }
    let outcome = join::ask(config, Want::Join);
    if let Some(answer) = &outcome
        && let Some(joined) = join::open_region(answer)
    {
        JOINED.set(joined);
        adopt(config, answer);
        joining.store(NOBODY, Ordering::Release);
        return member();
    }
    joining.store(FAILED, Ordering::Release);
    None
}

/// A fork child has the region mapped but no record of its own yet.
fn register_child() -> Member {
    let joined = JOINED.get();
    let (Some(joined), Some(config)) = (joined, config()) else {
        unreachable_member()
    };
    let mut member = Member { joined, slot: None };
    let now = sys::monotonic_ms();
    let too_early = now < RETRY_AT_MS.load(Ordering::Relaxed);
    if too_early || !member.header().is_alive(now) || is_shared_memory_child() {
        return member;
    }
    let joining = &config.fork_page.joining;
    if joining
        .compare_exchange(NOBODY, BUSY, Ordering::Acquire, Ordering::Relaxed)
        .is_err()
    {
        return member;
    }
    crate::sockets::forget_parents();
    crate::send::forget_parents();
    crate::flights::forget_parents();
    match join::ask(config, Want::Fork) {
        Some(answer) => adopt(config, &answer),
        None => RETRY_AT_MS.store(now + 200, Ordering::Relaxed),
    }
    joining.store(NOBODY, Ordering::Release);
    let process = config.fork_page.process.load(Ordering::Relaxed);
    member.slot = process.checked_sub(1).map(|slot| slot as u16);
    member
}

/// `member()` answered, so region and configuration exist.
fn unreachable_member() -> ! {
    sys::abort_with(b"ramgrid: a member without a region\n")
}

fn adopt(config: &Config, answer: &join::Answer) {
    crate::sockets::adopt(answer);
    if answer.welcome.verdict == Verdict::Joined {
        let page = config.fork_page;
        page.pid.store(sys::getpid() as u64, Ordering::Relaxed);
        page.process
            .store(u64::from(answer.welcome.process) + 1, Ordering::Release);
    }
}

/// Whether this is a `vfork` child: it shares its parent's memory, registration included, but it is
/// another process. It must not use the parent's connections, nor register.
pub fn is_shared_memory_child() -> bool {
    let Some(config) = config() else { return false };
    let registered = config.fork_page.pid.load(Ordering::Relaxed);
    registered != 0 && registered != sys::getpid() as u64
}

/// Whether what `member` has in flight is another process's: this one was forked, by a signal
/// handler, while a counted call was under way, and returns from the call as well.
pub fn is_inherited(member: Member) -> bool {
    let page = config().map(|config| config.fork_page);
    let process = page.map_or(0, |page| page.process.load(Ordering::Relaxed));
    LEFT.load(Ordering::Relaxed) == 0 && process.checked_sub(1) != member.slot.map(u64::from)
}

/// Whether the session serves at all right now.
#[inline]
pub fn is_serving(header: &Header, now_ms: u64) -> bool {
    header.is_on(switch::SERVE) && header.is_alive(now_ms)
}

/// Before a change of credentials: what was mapped under the old ones is not used any more, and
/// this process, its threads and its children go to the kernel until they execute a new program.
pub fn leave() {
    if let Some(config) = config()
        && JOINED.get().is_some()
    {
        LEFT.store(1, Ordering::SeqCst);
        config.fork_page.process.store(0, Ordering::SeqCst);
        crate::sockets::forget_all();
    }
}
