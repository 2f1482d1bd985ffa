//! The measurements: two threads on two processors, one figure at a time.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bus::wait::Pace;
use bus::{Address, Endpoint, Result, Wait};
use rustix::thread::futex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Samples of a latency, at most.
const SAMPLES_MAX: usize = 4 << 20;
/// Messages the receiver of a stream may have unacknowledged.
const UNACKNOWLEDGED: u64 = 32;

/// Half a round trip.
#[derive(Clone, Copy, Debug)]
pub struct Percentiles {
    pub p50_ns: u64,
    pub p99_ns: u64,
}

/// Both ends of a channel.
pub struct Pair {
    pub ends: [Address; 2],
    pub near: Endpoint,
    pub far: Endpoint,
}

/// A word alone in its pair of cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Alone<T>(T);

/// Puts the calling thread on the `nth` processor it may use.
fn pin(nth: usize) {
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let usable: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    let Some(cpu) = usable.get(nth % usable.len().max(1)) else {
        return;
    };
    let mut one = CpuSet::new();
    one.set(*cpu);
    // Unpinned the figures are still figures.
    let _ = sched_setaffinity(None, &one);
}

/// Times `round` until `time` is over, and halves.
fn sample(time: Duration, mut round: impl FnMut()) -> Percentiles {
    let mut taken = Vec::with_capacity(SAMPLES_MAX);
    let begun = Instant::now();
    (0..1000).for_each(|_| round());
    let mut before = Instant::now();
    while begun.elapsed() < time && taken.len() < SAMPLES_MAX {
        round();
        let now = Instant::now();
        taken.push((now - before).as_nanos() as u64 / 2);
        before = now;
    }
    taken.sort_unstable();
    let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
    Percentiles {
        p50_ns: at(0.50),
        p99_ns: at(0.99),
    }
}

/// The floor: a word that each side waits for and answers.
pub fn raw_word(time: Duration) -> Percentiles {
    let (ping, pong) = (Alone(AtomicU64::new(0)), Alone(AtomicU64::new(0)));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            let mut next = 1;
            while !over.load(Ordering::Relaxed) {
                if ping.0.load(Ordering::Acquire) == next {
                    pong.0.store(next, Ordering::Release);
                    next += 1;
                }
            }
        });
        let near = scope.spawn(|| {
            pin(0);
            let mut next = 0;
            sample(time, || {
                next += 1;
                ping.0.store(next, Ordering::Release);
                while pong.0.load(Ordering::Acquire) != next {}
            })
        });
        let took = near.join().expect("the near side");
        over.store(true, Ordering::Relaxed);
        took
    })
}

/// The floor of a sleep: a futex wake, and the same back.
pub fn futex_wake(time: Duration) -> Percentiles {
    let (ping, pong) = (Alone(AtomicU32::new(0)), Alone(AtomicU32::new(0)));
    let over = AtomicBool::new(false);
    let ring = |word: &AtomicU32, value: u32| {
        word.store(value, Ordering::Release);
        let _ = futex::wake(word, futex::Flags::empty(), 1);
    };
    let wait = |word: &AtomicU32, value: u32| {
        while word.load(Ordering::Acquire) != value && !over.load(Ordering::Relaxed) {
            let _ = futex::wait(word, futex::Flags::empty(), value.wrapping_sub(1), None);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(1);
            for next in 1.. {
                wait(&ping.0, next);
                if over.load(Ordering::Relaxed) {
                    return;
                }
                ring(&pong.0, next);
            }
        });
        let near = scope.spawn(|| {
            pin(0);
            let mut next = 0;
            let took = sample(time, || {
                next += 1;
                ring(&ping.0, next);
                wait(&pong.0, next);
            });
            over.store(true, Ordering::Relaxed);
            ring(&ping.0, next.wrapping_add(1));
            took
        });
        near.join().expect("the near side")
    })
}

impl Pair {
    /// A message there and one back.
    ///
    /// # Errors
    ///
    /// Of the bus.
    pub fn ping_pong(&mut self, bytes: usize, pace: Pace, time: Duration) -> Result<Percentiles> {
        let Pair { ends, near, far } = self;
        let (to_near, to_far) = (ends[0], ends[1]);
        near.set_pace(pace);
        far.set_pace(pace);
        let over = AtomicBool::new(false);
        let took = thread::scope(|scope| {
            scope.spawn(|| {
                pin(1);
                let mut buffer = vec![0; bytes];
                while !over.load(Ordering::Relaxed) {
                    let wait = Wait::For(Duration::from_millis(20));
                    if let Ok(envelope) = far.receive_into(&mut buffer, wait) {
                        let answer = &buffer[..envelope.len()];
                        far.send(to_near, answer, Wait::Forever).expect("an answer");
                    }
                }
                far.acknowledge();
            });
            let near = scope.spawn(|| {
                pin(0);
                let (payload, mut buffer) = (vec![7; bytes], vec![0; bytes]);
                let took = sample(time, || {
                    near.send(to_far, &payload, Wait::Forever).expect("sent");
                    near.receive_into(&mut buffer, Wait::Forever)
                        .expect("an answer");
                });
                near.acknowledge();
                took
            });
            let took = near.join().expect("the near side");
            over.store(true, Ordering::Relaxed);
            took
        });
        Ok(took)
    }

    /// As many messages as go, one way; returns messages a second.
    ///
    /// # Errors
    ///
    /// Of the bus.
    pub fn stream(&mut self, bytes: usize, batch: usize, time: Duration) -> Result<u64> {
        let Pair { ends, near, far } = self;
        let to_far = ends[1];
        let spin = Pace::fixed(Duration::MAX);
        near.set_pace(spin);
        far.set_pace(spin);
        far.set_unacknowledged_max(UNACKNOWLEDGED);
        let over = AtomicBool::new(false);
        let rate = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin(1);
                let payload = vec![7; bytes];
                let messages = vec![&payload[..]; batch];
                let channel = near.channel(bus::To::One(to_far)).expect("the channel");
                let note = bus::ring::Note::default();
                while !over.load(Ordering::Relaxed) {
                    let wait = Wait::For(Duration::from_millis(20));
                    let _ = match batch {
                        1 => channel.send(&[&payload], &note, wait).map(|_| 1),
                        _ => channel.send_batch(&messages, wait),
                    };
                }
            });
            let receiver = scope.spawn(|| {
                pin(0);
                let mut buffer = vec![0; bytes];
                let (begun, mut count) = (Instant::now(), 0u64);
                while count & 0xFFF != 0 || begun.elapsed() < time {
                    far.receive_into(&mut buffer, Wait::Forever)
                        .expect("a message");
                    count += 1;
                }
                let rate = count as f64 / begun.elapsed().as_secs_f64();
                over.store(true, Ordering::Relaxed);
                while far
                    .receive_into(&mut buffer, Wait::For(Duration::from_millis(30)))
                    .is_ok()
                {}
                rate as u64
            });
            let rate = receiver.join().expect("the receiver");
            sender.join().expect("the sender");
            rate
        });
        far.set_unacknowledged_max(1);
        Ok(rate)
    }
}
