//! Sleeping until the other side has done something, with no fence on the path of who did it.
//!
//! A side that wants to sleep writes a *ticket* into its own `waiting` word, looks again, and
//! sleeps on the other side's `doorbell`. A side that has moved its position reads the other's
//! `waiting`: a ticket it has not rung for goes into its own `doorbell`, and the sleeper is woken.
//!
//! ```text
//!   sleeper                                   waker
//!   s1 bell = theirs.doorbell                 w1 position = new
//!   s2 mine.waiting = bell + 1                w2 t = theirs.waiting
//!   s3 membarrier                             w3 t != 0 and t != mine.doorbell:
//!   s4 position moved? stay awake                   mine.doorbell = t; futex wake
//!   s5 futex wait while doorbell == bell
//! ```
//!
//! Without order between w1 and w2 a waker could read an old 0 and a sleeper an old position, both
//! lost. The barrier between s2 and s4 runs on every processor that runs a waker: either its w1
//! came before (s4 sees it), or its w2 comes after (it sees the ticket). A waker that could not
//! register for that fences itself between w1 and w2. A sleep ends after `NAP` in any case, since a
//! waker may be killed between w1 and w3.

use crate::layout::{Bell, count};
use crate::sync::{AtomicU64, Ordering, fence, light_fence};

/// Longest sleep in one go, in milliseconds.
pub const NAP_MS_MAX: u64 = 100;
/// The same where the kernel refuses the barrier: then a lost wake costs this much.
pub const NAP_MS_UNBARRED: u64 = 1;

/// Says that this side is going to sleep. Look at the position again before sleeping on `bell`, the
/// value returned.
pub fn announce(mine: &Bell, theirs: &Bell) -> u32 {
    let bell = theirs.doorbell.load(Ordering::Acquire);
    let ticket = match bell.wrapping_add(1) {
        0 => 1,
        ticket => ticket,
    };
    mine.waiting.store(ticket, Ordering::SeqCst);
    bell
}

/// Says that this side is awake again.
pub fn retract(mine: &Bell) {
    mine.waiting.store(0, Ordering::Relaxed);
}

/// Wakes the other side if it sleeps; `true` if it had to. Call it after the position was stored.
#[inline]
pub fn ring(mine: &Bell, theirs: &Bell, wakes: &AtomicU64, is_fencing: bool) -> bool {
    match is_fencing {
        true => fence(Ordering::SeqCst),
        false => light_fence(),
    }
    let ticket = theirs.waiting.load(Ordering::Relaxed);
    if ticket == 0 || ticket == mine.doorbell.load(Ordering::Relaxed) {
        return false;
    }
    ring_for(ticket, mine, wakes);
    true
}

#[cold]
fn ring_for(ticket: u32, mine: &Bell, wakes: &AtomicU64) {
    mine.doorbell.store(ticket, Ordering::Release);
    count(wakes, 1);
    futex::wake(&mine.doorbell);
}

#[cfg(not(feature = "model"))]
pub use self::blocking::{Pace, Wait, until};
#[cfg(not(feature = "model"))]
use crate::sys as futex;

#[cfg(not(feature = "model"))]
mod blocking {
    use super::{NAP_MS_MAX, NAP_MS_UNBARRED, announce, retract};
    use crate::layout::{Bell, count};
    use crate::sync::AtomicU64;
    use crate::sys;
    use std::time::{Duration, Instant};

    /// What it costs to wake a sleeper on an idle processor: spinning for less than that and then
    /// sleeping costs both (2 us of spin before a sleep gave 35 us a message, 20 us gave 0.2).
    const SPIN: Duration = Duration::from_micros(20);
    /// Looks without a pause and without the clock, some 500 ns: an answer comes within that.
    const EAGER_LOOKS: u32 = 128;
    /// Pauses before the second look of a side that only receives, some 500 ns: a sender that has
    /// been caught up with is given the time to publish several messages, instead of losing the
    /// line of its tail to a look after each.
    const BREATH_OF_A_SINK: u32 = 24;
    /// Looks between two readings of the clock while spinning.
    const LOOKS: u32 = 32;

    /// How long a call may wait.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Wait {
        /// Not at all.
        No,
        /// At most so long from now.
        For(Duration),
        /// Until this instant.
        Until(Instant),
        /// Until it is done.
        Forever,
    }

    impl Wait {
        /// The last instant, fixed now; `None`: for ever.
        pub fn deadline(self) -> Option<Instant> {
            match self {
                Wait::No => Some(Instant::now()),
                Wait::For(time) => Instant::now().checked_add(time),
                Wait::Until(instant) => Some(instant),
                Wait::Forever => None,
            }
        }
    }

    /// How long this side spins before it sleeps: the whole cost of a wake while that pays, nothing
    /// once it has not paid for a while.
    #[derive(Clone, Copy, Debug)]
    pub struct Pace {
        spin: Duration,
        pinned: bool,
        breath: u32,
    }

    impl Default for Pace {
        fn default() -> Pace {
            match sys::processors() {
                1 => Pace::fixed(Duration::ZERO),
                _ => Pace {
                    spin: SPIN,
                    pinned: false,
                    breath: 0,
                },
            }
        }
    }

    impl Pace {
        /// Always spins so long (`Duration::MAX`: never sleeps).
        pub fn fixed(spin: Duration) -> Pace {
            Pace {
                spin,
                pinned: true,
                breath: 0,
            }
        }

        /// Tells whether this side waits for messages it did not provoke by one of its own.
        pub(crate) fn set_sink(&mut self, is_sink: bool) {
            self.breath = match is_sink {
                true => BREATH_OF_A_SINK,
                false => 0,
            };
        }

        fn learn(&mut self, waited: Duration) {
            if self.pinned {
                return;
            }
            self.spin = match waited {
                // It came while spinning, or so soon that a longer spin had caught it.
                waited if waited <= SPIN * 2 => SPIN,
                _ => match self.spin / 2 {
                    half if half < SPIN / 16 => Duration::ZERO,
                    half => half,
                },
            };
        }
    }

    /// Waits until `ready` says so or the deadline passes; `false`: it passed. `pairs` are (mine,
    /// theirs) of every ring that may make it ready. `ready` is told whether to fetch the lines of
    /// what is to come, too: an answer is then here a transfer earlier, but a sender in full flow
    /// loses a line it is writing.
    pub fn until(
        pairs: &[(&Bell, &Bell, &AtomicU64)],
        pace: &mut Pace,
        deadline: Option<Instant>,
        mut ready: impl FnMut(bool) -> bool,
    ) -> bool {
        if ready(false) {
            return true;
        }
        if pace.spin.is_zero() {
            return fall_asleep(pairs, pace, deadline, &mut ready);
        }
        // Without a look at the clock, which takes as long as half a transfer.
        if pace.breath > 0 {
            (0..pace.breath).for_each(|_| std::hint::spin_loop());
        }
        for _ in 0..EAGER_LOOKS {
            if ready(pace.breath == 0) {
                pace.learn(Duration::ZERO);
                return true;
            }
        }
        let begun = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if ready(true) {
                    pace.learn(Duration::ZERO);
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            if now - begun >= pace.spin {
                return fall_asleep(pairs, pace, deadline, &mut ready);
            }
        }
    }

    fn fall_asleep(
        pairs: &[(&Bell, &Bell, &AtomicU64)],
        pace: &mut Pace,
        deadline: Option<Instant>,
        ready: &mut impl FnMut(bool) -> bool,
    ) -> bool {
        let slept = Instant::now();
        let is_ready = sleep(pairs, deadline, ready);
        pace.learn(slept.elapsed());
        is_ready
    }

    fn sleep(
        pairs: &[(&Bell, &Bell, &AtomicU64)],
        deadline: Option<Instant>,
        ready: &mut impl FnMut(bool) -> bool,
    ) -> bool {
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return ready(false);
            }
            let mut bells = [0; sys::WAIT_MAX];
            for (bell, (mine, theirs, sleeps)) in bells.iter_mut().zip(pairs) {
                *bell = announce(mine, theirs);
                count(sleeps, 1);
            }
            let nap_ms = match sys::heavy_fence() {
                true => NAP_MS_MAX,
                false => NAP_MS_UNBARRED,
            };
            let is_ready = ready(false);
            if !is_ready {
                let nap = Duration::from_millis(nap_ms);
                sys::wait_any(pairs, &bells, left.map_or(nap, |left| left.min(nap)));
            }
            pairs.iter().for_each(|(mine, ..)| retract(mine));
            if is_ready || ready(true) {
                return true;
            }
        }
    }
}

#[cfg(feature = "model")]
pub use self::futex::{FutexWorld, is_capped, wait};

/// The kernel's futex as the model has it.
#[cfg(feature = "model")]
#[allow(missing_docs)]
mod futex {
    use crate::sync::{AtomicU32, Ordering};
    use shuttle::sync::{Condvar, Mutex};
    use std::sync::Arc;

    /// All sleepers of one execution. `capped`: a sleep ends by itself, as it must where wakers
    /// die.
    pub struct FutexWorld {
        mutex: Mutex<u64>,
        condvar: Condvar,
        capped: bool,
    }

    thread_local! {
        static WORLD: std::cell::RefCell<Option<Arc<FutexWorld>>> =
            const { std::cell::RefCell::new(None) };
    }

    impl FutexWorld {
        /// A kernel for one execution; every schedule begins with one.
        pub fn install(capped: bool) {
            let world = FutexWorld {
                mutex: Mutex::new(0),
                condvar: Condvar::new(),
                capped,
            };
            WORLD.set(Some(Arc::new(world)));
        }
    }

    fn world() -> Arc<FutexWorld> {
        WORLD.with_borrow(|world| Arc::clone(world.as_ref().expect("a FutexWorld")))
    }

    pub fn is_capped() -> bool {
        world().capped
    }

    pub fn wake(_word: &AtomicU32) {
        let world = world();
        *world.mutex.lock().expect("the model's futex") += 1;
        world.condvar.notify_all();
    }

    pub fn wait(word: &AtomicU32, expected: u32) {
        let world = world();
        if world.capped {
            shuttle::thread::yield_now();
            return;
        }
        let mut guard = world.mutex.lock().expect("the model's futex");
        while word.load(Ordering::SeqCst) == expected {
            guard = world.condvar.wait(guard).expect("the model's futex");
        }
    }
}
