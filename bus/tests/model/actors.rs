//! Senders and receivers: what `Channel` does with the pieces of the ring, in its order, each able
//! to break the one rule that the scenario's fault names, and to die before any step.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bus::extension::Extension;
use bus::layout::Bell;
use bus::owner::{Claim, Details, Owner};
use bus::record::span;
use bus::ring::{Consumer, Half, Note, Producer, Trouble};
use bus::sync::{Killed, Ordering, doom};
use bus::wait;
use shuttle::rand::Rng;

use crate::Fault;
use crate::world::{Mapped, World};

/// A victim dies before one of so many steps, or survives.
const DOOM_STEPS_MAX: u32 = 160;

/// Lives of one actor: killed at random, at most `deaths` times, then to the end.
fn lives(world: &World, deaths: u32, is_receiver: bool, life: impl Fn(&World, &Details)) {
    for nth in 0..=deaths {
        let me = world.born();
        if nth < deaths {
            doom(Some(
                shuttle::rand::thread_rng().gen_range(0..DOOM_STEPS_MAX),
            ));
        }
        let fate = catch_unwind(AssertUnwindSafe(|| life(world, &me)));
        doom(None);
        match fate {
            Ok(()) => return,
            Err(cause) if cause.is::<Killed>() => world.bury(&me, is_receiver),
            Err(cause) => resume_unwind(cause),
        }
    }
}

fn claim(world: &World, owner: &Owner, me: &Details) -> bool {
    let steals = world.scenario.fault == Some(Fault::Steal);
    let is_dead = |holder: &_| steals || world.is_dead(holder);
    !matches!(owner.claim(me, is_dead), Claim::Refused(_))
}

/// Goes to sleep by the protocol, unless `ready`.
fn sleep(world: &World, mine: &Bell, theirs: &Bell, ready: impl Fn() -> bool) {
    let bell = match world.scenario.fault {
        Some(Fault::OldTicket) => {
            let bell = theirs.doorbell.load(Ordering::SeqCst);
            mine.waiting.store(bell, Ordering::SeqCst);
            bell
        }
        _ => wait::announce(mine, theirs),
    };
    if world.scenario.fault == Some(Fault::NoRecheck) || !ready() {
        wait::wait(&theirs.doorbell, bell);
    }
    wait::retract(mine);
}

/// Sends until the last message is sent, in as many lives as it takes.
pub fn send_all(world: &World, nth: u32) {
    let deaths = match nth {
        0 => world.scenario.sender_deaths,
        _ => 0,
    };
    lives(world, deaths, false, |world, me| {
        let half = world.half();
        while !claim(world, &half.producer().owner, me) {
            if world.seen() == world.scenario.messages {
                return;
            }
            shuttle::thread::yield_now();
        }
        let taken = Producer::take_up(half.clone(), world.rules(), false);
        let mut producer = taken.expect("positions that agree");
        while producer.seq() < world.scenario.messages {
            send(world, &mut producer);
        }
        half.producer().owner.release(&me.identity);
    });
}

fn send(world: &World, producer: &mut Producer<Mapped>) {
    let payload = World::payload(producer.seq() + 1);
    let half = world.half();
    if world.scenario.fault == Some(Fault::PublishFirst) {
        let tail = half.producer().tail.at.load(Ordering::Acquire);
        let bytes = span(payload.len() as u64);
        half.producer()
            .tail
            .at
            .store(tail + bytes, Ordering::Release);
    }
    loop {
        // Both ways in, in turn: the long one, and the short one of messages without an extension.
        let wrote = match producer.seq() % 2 {
            0 => producer.write_plain(&[&payload], 0).map(|count| count == 1),
            _ => producer
                .write(&[&payload], &Note::default())
                .map(|seq| seq.is_some()),
        };
        if wrote.expect("positions that agree") {
            break;
        }
        let (mine, theirs) = (half.producer(), half.consumer());
        let tail = mine.tail.at.load(Ordering::Relaxed);
        let need = span(payload.len() as u64) * 2;
        sleep(world, &mine.bell, &theirs.bell, || {
            tail - theirs.head.at.load(Ordering::Acquire) + need <= half.data().capacity()
        });
    }
    match world.scenario.fault {
        Some(Fault::RingFirst) => {
            producer.wake();
            producer.publish();
        }
        _ => producer.commit(),
    }
}

/// Receives until the last message was seen, in as many lives as it takes.
pub fn receive_all(world: &World) {
    lives(world, world.scenario.receiver_deaths, true, |world, me| {
        let half = world.half();
        while !claim(world, &half.consumer().owner, me) {
            shuttle::thread::yield_now();
        }
        let taken = Consumer::take_up(half.clone(), false);
        let mut consumer = taken.expect("positions that agree");
        while world.seen() < world.scenario.messages || consumer.looks_ready() {
            receive(world, &mut consumer);
        }
        half.consumer().owner.release(&me.identity);
    });
}

fn receive(world: &World, consumer: &mut Consumer<Mapped>) {
    let half = world.half();
    let found = match consumer.advance() {
        Ok(Some(found)) => found,
        Ok(None) => {
            let (mine, theirs) = (half.consumer(), half.producer());
            let head = mine.head.at.load(Ordering::Relaxed);
            return sleep(world, &mine.bell, &theirs.bell, || {
                theirs.tail.at.load(Ordering::Acquire) != head
            });
        }
        Err(Trouble::Damage { .. }) => panic!("damage where nobody damages"),
        Err(Trouble::Contradiction(found)) => panic!("{found:?}"),
    };
    let fault = world.scenario.fault;
    if fault == Some(Fault::FreeFirst) {
        consumer.free();
        shuttle::thread::yield_now();
    }
    let mut payload = vec![0; found.head.len as usize];
    let mut extension = Extension::default();
    assert!(
        match found.head.seq % 2 {
            0 => consumer.copy(&found, &mut extension, &mut payload),
            _ => consumer.copy_plain(&found, &mut payload),
        },
        "a damaged payload"
    );
    match fault {
        Some(Fault::NoteLate) => {
            world.see(found.head.seq, &payload, found.is_repeat);
            consumer.hand_out(&found, &extension);
        }
        Some(Fault::NoteAfterFree) => {
            world.see(found.head.seq, &payload, found.is_repeat);
            consumer.acknowledge();
            consumer.hand_out(&found, &extension);
        }
        _ => {
            match found.head.seq % 2 {
                0 => consumer.hand_out(&found, &extension),
                _ => consumer.hand_out_plain(&found),
            }
            world.see(found.head.seq, &payload, found.is_repeat);
        }
    }
    consumer.acknowledge();
}
