//! One ring, who died, and what the program behind the receivers has seen.

use std::sync::{Arc, Mutex};

use bus::layout::{ConsumerPage, ProducerPage};
use bus::memory::Data;
use bus::owner::{Details, Holder, Identity};
use bus::ring::{Half, Rules};

use crate::Scenario;

/// The shared memory of one direction.
#[derive(Debug)]
pub struct Shared {
    producer: ProducerPage,
    consumer: ConsumerPage,
    data: Data,
}

/// How a process sees it.
#[derive(Clone, Debug)]
pub struct Mapped(Arc<Shared>);

impl Half for Mapped {
    fn producer(&self) -> &ProducerPage {
        &self.0.producer
    }

    fn consumer(&self) -> &ConsumerPage {
        &self.0.consumer
    }

    fn data(&self) -> &Data {
        &self.0.data
    }
}

/// What happened. Plain locks: they are held for no step of the schedule.
#[derive(Debug, Default)]
struct Log {
    dead: Vec<u64>,
    receivers_killed: u64,
    seen: u64,
    repeats: u64,
    next_pid: u32,
}

/// One execution.
#[derive(Debug)]
pub struct World {
    /// The plan.
    pub scenario: Scenario,
    half: Mapped,
    log: Mutex<Log>,
}

impl World {
    pub fn new(scenario: Scenario) -> World {
        let shared = Shared {
            producer: ProducerPage::default(),
            consumer: ConsumerPage::default(),
            data: Data::new(scenario.ring_bytes),
        };
        World {
            scenario,
            half: Mapped(Arc::new(shared)),
            log: Mutex::default(),
        }
    }

    pub fn half(&self) -> Mapped {
        self.half.clone()
    }

    pub fn rules(&self) -> Rules {
        Rules {
            message_bytes_max: self.scenario.ring_bytes / 4,
            is_summed: true,
            is_stamped: false,
        }
    }

    /// A process is born.
    pub fn born(&self) -> Details {
        let mut log = self.log.lock().unwrap();
        log.next_pid += 1;
        Details {
            identity: Identity {
                pid: log.next_pid,
                start_ticks: 1,
                namespace: 1,
                boot: 1,
            },
            since_ns: 0,
            is_fencing: false,
            name: [0; 32],
        }
    }

    /// A process is dead for certain.
    pub fn bury(&self, who: &Details, is_receiver: bool) {
        let mut log = self.log.lock().unwrap();
        log.dead.push(who.identity.word());
        log.receivers_killed += u64::from(is_receiver);
    }

    pub fn is_dead(&self, holder: &Holder) -> bool {
        self.log.lock().unwrap().dead.contains(&holder.word)
    }

    /// The payload of a message: three words at most, so that records differ in length and wrap.
    pub fn payload(seq: u64) -> Vec<u8> {
        let words = 1 + seq % 3 * 2;
        (0..words)
            .flat_map(|word| (seq << 32 | word).to_le_bytes())
            .collect()
    }

    /// The program sees a message.
    pub fn see(&self, seq: u64, payload: &[u8], is_repeat: bool) {
        let mut log = self.log.lock().unwrap();
        assert_eq!(
            payload,
            World::payload(seq),
            "message {seq} is not what was sent"
        );
        if seq <= log.seen {
            assert!(is_repeat, "message {seq} came again unmarked");
            log.repeats += 1;
            assert!(
                log.repeats <= log.receivers_killed,
                "more repeats than deaths"
            );
        } else {
            assert_eq!(seq, log.seen + 1, "a message is missing");
            log.seen = seq;
        }
    }

    /// The last message the program has seen.
    pub fn seen(&self) -> u64 {
        self.log.lock().unwrap().seen
    }

    /// Everything was seen.
    pub fn judge(&self) {
        assert_eq!(
            self.seen(),
            self.scenario.messages,
            "messages are missing in the end"
        );
    }
}
