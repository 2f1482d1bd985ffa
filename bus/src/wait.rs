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

    /// What it costs to wake a sleeper on an idle processor, as measured (docs/bus.md, section 7).
    const WAKE: Duration = Duration::from_micros(20);
    /// Longest spin: the answer of a peer that has to be woken first comes after one wake and its
    /// work. With less, two sides that have once fallen asleep never find out that spinning pays.
    const SPIN: Duration = Duration::from_micros(2 * WAKE.as_micros() as u64);
    /// A wait asleep that was not longer may have been two wakes, the peer's and this side's, and
    /// nothing else: worth trying whether a spin catches the next one.
    const SHORT: Duration = Duration::from_micros(2 * SPIN.as_micros() as u64);
    /// Spins in vain, in a row, before this side sleeps at once.
    const MISSES_MAX: u32 = 4;
    /// Waits asleep before the next try, after the first try in vain and at most.
    const REST_MIN: u32 = 1;
    const REST_MAX: u32 = 256;
    /// Looks without a pause and without the clock, some 500 ns: an answer comes within that.
    const EAGER_LOOKS: u32 = 128;
    /// Pauses before the second look of a side that only receives, some 500 ns: a sender that has
    /// been caught up with is given the time to publish several messages, instead of losing the
    /// line of its tail to a look after each.
    const BREATH_OF_A_SINK: u32 = 24;
    /// In full flow a receiver on the sender's heels fetches each line out of its cache, and both
    /// are slow. After so many waits in a row that each found so much, it lets the sender run
    /// ahead once, some 40 us; from then on neither waits for the other's lines.
    const HEELS_WAITS: u32 = 32;
    const HEELS_BYTES: u64 = 1024;
    const BREATH_ON_HEELS: u32 = 2000;
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

    /// How long this side spins before it sleeps: `SPIN` while that catches what it waits for, not
    /// at all once it has not for a few times in a row. While it sleeps at once, a wait that turns
    /// out short is followed by a try; each try in vain doubles the number of waits until the next.
    #[derive(Clone, Copy, Debug)]
    pub struct Pace {
        spin: Duration,
        is_fixed: bool,
        breath: u32,
        /// Waits in a row that ended with a sender in full flow.
        heels: u32,
        /// Spins in vain, in a row.
        misses: u32,
        /// Waits asleep until the next try, and how many it will be after the next one in vain.
        rest: u32,
        rest_next: u32,
    }

    impl Default for Pace {
        fn default() -> Pace {
            match sys::has_one_processor() {
                true => Pace::fixed(Duration::ZERO),
                false => Pace {
                    is_fixed: false,
                    ..Pace::fixed(SPIN)
                },
            }
        }
    }

    impl Pace {
        /// Always spins so long (`Duration::MAX`: never sleeps).
        pub fn fixed(spin: Duration) -> Pace {
            Pace {
                spin,
                is_fixed: true,
                breath: 0,
                heels: 0,
                misses: 0,
                rest: 0,
                rest_next: REST_MIN,
            }
        }

        /// Tells whether this side waits for messages it did not provoke by one of its own.
        pub(crate) fn set_sink(&mut self, is_sink: bool) {
            self.breath = match is_sink {
                true if self.heels >= HEELS_WAITS => BREATH_ON_HEELS,
                true => BREATH_OF_A_SINK,
                false => 0,
            };
        }

        /// So many bytes were there when a wait for messages ended.
        pub(crate) fn note_found(&mut self, bytes: u64) {
            self.heels = match bytes >= HEELS_BYTES && self.breath != BREATH_ON_HEELS {
                true => self.heels + 1,
                false => 0,
            };
        }

        /// Does the next wait spin?
        fn is_spinning(&self) -> bool {
            !self.spin.is_zero() && (self.is_fixed || self.misses < MISSES_MAX)
        }

        /// It came while this side spun.
        fn note_caught(&mut self) {
            self.misses = 0;
            self.rest_next = REST_MIN;
        }

        /// This side spun, and nothing came.
        fn note_missed(&mut self) {
            self.misses = self.misses.saturating_add(1);
            if self.misses >= MISSES_MAX {
                self.rest = self.rest_next;
                self.rest_next = (self.rest_next * 2).min(REST_MAX);
            }
        }

        /// This side slept at once, and it came after so long.
        fn note_slept(&mut self, waited: Duration) {
            self.rest = self.rest.saturating_sub(1);
            if self.rest == 0 && waited <= SHORT {
                self.misses = MISSES_MAX - 1;
            }
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
        if !pace.is_spinning() {
            let slept = Instant::now();
            let is_ready = sleep(pairs, deadline, &mut ready);
            if is_ready {
                pace.note_slept(slept.elapsed());
            }
            return is_ready;
        }
        // Without a look at the clock, which takes as long as half a transfer.
        if pace.breath > 0 {
            (0..pace.breath).for_each(|_| std::hint::spin_loop());
        }
        for _ in 0..EAGER_LOOKS {
            if ready(pace.breath == 0) {
                pace.note_caught();
                return true;
            }
        }
        let begun = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if ready(true) {
                    pace.note_caught();
                    return true;
                }
                std::hint::spin_loop();
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                pace.note_missed();
                return false;
            }
            if now - begun >= pace.spin {
                pace.note_missed();
                return sleep(pairs, deadline, &mut ready);
            }
        }
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

    #[cfg(test)]
    mod tests {
        use super::*;

        const US: Duration = Duration::from_micros(1);

        /// A wait for something that comes after so long: how long it takes, a wake included if
        /// this side was asleep by then, and whether it was.
        fn wait(pace: &mut Pace, comes_after: Duration) -> (Duration, bool) {
            let is_spinning = pace.is_spinning();
            if is_spinning && comes_after < pace.spin {
                pace.note_caught();
                return (comes_after, false);
            }
            let waited = comes_after + WAKE;
            match is_spinning {
                true => pace.note_missed(),
                false => pace.note_slept(waited),
            }
            (waited, true)
        }

        fn adaptive() -> Pace {
            Pace {
                is_fixed: false,
                ..Pace::fixed(SPIN)
            }
        }

        fn resting() -> Pace {
            let mut pace = adaptive();
            for _ in 0..100 {
                wait(&mut pace, US * 5000);
            }
            assert!(!pace.is_spinning(), "{pace:?}");
            pace
        }

        /// Rounds until neither side sleeps any more.
        fn rounds_to_spinning(mut sides: [Pace; 2], work: Duration) -> Option<u32> {
            let mut is_asleep = [true; 2];
            (0..2000).find(|_| {
                for (side, other) in [(0, 1), (1, 0)] {
                    // What the other does before it answers, its wake first if it is asleep.
                    let after = if is_asleep[other] { WAKE + work } else { work };
                    (_, is_asleep[side]) = wait(&mut sides[side], after);
                }
                is_asleep == [false; 2]
            })
        }

        #[test]
        fn two_sides_that_sleep_find_out_that_spinning_pays() {
            for work in [US / 10, US * 5, US * 15] {
                let rounds = rounds_to_spinning([resting(), resting()], work);
                assert!(
                    rounds.is_some_and(|rounds| rounds < 10),
                    "{work:?} {rounds:?}"
                );
            }
        }

        #[test]
        fn what_comes_too_late_for_a_spin_costs_few_spins() {
            for interval in [SPIN + US, SHORT - WAKE, SHORT, US * 1000] {
                let mut pace = adaptive();
                let spins = (0..10_000).filter(|_| {
                    let is_spinning = pace.is_spinning();
                    wait(&mut pace, interval);
                    is_spinning
                });
                let spins = spins.count();
                assert!(spins <= 60, "{interval:?}: {spins} spins");
            }
        }

        #[test]
        fn a_long_rest_ends_once_the_waits_are_short() {
            let mut pace = adaptive();
            for _ in 0..10_000 {
                wait(&mut pace, SPIN + US);
            }
            let rounds = rounds_to_spinning([pace, resting()], US);
            assert!(
                rounds.is_some_and(|rounds| rounds <= REST_MAX),
                "{rounds:?}"
            );
        }

        #[test]
        fn who_is_held_on_one_processor_spins_nevertheless() {
            let pinned = std::thread::spawn(|| {
                let allowed = rustix::thread::sched_getaffinity(None).expect("a set");
                let mut one = rustix::thread::CpuSet::new();
                let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
                one.set(first.expect("a processor"));
                rustix::thread::sched_setaffinity(None, &one).expect("pinned");
                Pace::default().is_spinning()
            });
            assert_eq!(pinned.join().expect("it ends"), !sys::has_one_processor());
        }

        #[test]
        fn a_receiver_on_the_heels_of_its_sender_lets_it_run_ahead_once() {
            let mut pace = adaptive();
            let mut breaths = |bytes: u64| {
                pace.set_sink(true);
                let breath = pace.breath;
                pace.note_found(bytes);
                breath
            };
            for _ in 0..2 {
                for _ in 0..HEELS_WAITS {
                    assert_eq!(breaths(HEELS_BYTES), BREATH_OF_A_SINK);
                }
                assert_eq!(breaths(HEELS_BYTES), BREATH_ON_HEELS);
            }
            for bytes in (0..200).map(|nth| HEELS_BYTES - u64::from(nth % 20 == 0)) {
                assert_eq!(breaths(bytes), BREATH_OF_A_SINK);
            }
        }

        #[test]
        fn a_fixed_pace_learns_nothing() {
            let mut pace = Pace::fixed(SPIN);
            for _ in 0..100 {
                wait(&mut pace, US * 5000);
            }
            assert!(pace.is_spinning());
            assert!(!Pace::fixed(Duration::ZERO).is_spinning());
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
