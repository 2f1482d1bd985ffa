//! The scenarios: who meets whom. Each is a handful of actors around one page or two, small enough
//! that tens of thousands of schedules cover most of what can happen between them.

use crate::faults::Fault;
use crate::world::{Plan, World};

/// What one actor does.
pub type Actor = fn(&World);

/// A setting, its actors, and which of them (if any) is killed at a random step.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What the world is made of.
    pub plan: Plan,
    /// Before the actors start.
    pub setup: Actor,
    /// The actors, each a thread.
    pub actors: &'static [Actor],
    /// Owner number of the victim, which nobody else has, and its place among the actors.
    pub victim: Option<(u16, usize)>,
}

impl Scenario {
    /// The same without one of the rules.
    pub fn without(self, fault: Fault) -> Scenario {
        let plan = Plan {
            fault: Some(fault),
            ..self.plan
        };
        Scenario { plan, ..self }
    }
}

fn warm(world: &World) {
    world.open(9, 0, 12);
    world.prove(0);
    world.fill(9, 0, 0);
    world.fill(9, 0, 1);
}

fn warm_and_written(world: &World) {
    world.open(9, 0, 12);
    world.write(9, 0, 0);
    world.write(9, 0, 1);
    world.prove(0);
    world.fill(9, 0, 0);
    world.fill(9, 0, 1);
}

fn serve_thrice(world: &World) {
    for _ in 0..3 {
        world.serve(5, 0, 0);
    }
}

fn serve_other_page(world: &World) {
    for _ in 0..3 {
        world.serve(5, 0, 1);
    }
}

fn reap_thrice(world: &World) {
    for _ in 0..3 {
        world.reap();
    }
}

fn fill_twice(world: &World) {
    world.fill(3, 0, 0);
    world.fill(3, 0, 0);
}

fn disown_and_intrude(world: &World) {
    world.disown();
    intrude_locked(world);
}

fn fill_other_page(world: &World) {
    world.fill(3, 0, 1);
    world.fill(3, 0, 1);
}

fn write_twice(world: &World) {
    world.write(1, 0, 0);
    world.write(1, 0, 0);
}

fn write_once(world: &World) {
    world.write(2, 0, 0);
}

fn write_locked(world: &World) {
    for _ in 0..2 {
        let _lock = world.lock.lock();
        world.write(1, 0, 0);
    }
}

fn intrude_locked(world: &World) {
    for _ in 0..2 {
        let _lock = world.lock.lock();
        world.intrude(0, 1);
    }
}

fn prove_twice(world: &World) {
    world.prove(0);
    world.prove(0);
}

/// Two writers of one page, a filler, two servers.
pub const WRITERS: Scenario = Scenario {
    plan: Plan::PLAIN,
    setup: warm,
    actors: &[write_twice, write_once, fill_twice, serve_thrice, |world| {
        world.serve(6, 0, 0);
        world.serve(6, 0, 0);
    }],
    victim: None,
};

/// The same, one writer killed anywhere, and the reaper.
pub const KILLED: Scenario = Scenario {
    plan: Plan::PLAIN,
    setup: warm,
    actors: &[
        write_twice,
        write_once,
        fill_twice,
        serve_thrice,
        reap_thrice,
    ],
    victim: Some((1, 0)),
};

/// The same for a file that is served by identity alone: no stamp stands in for the cells.
pub const OWNED: Scenario = Scenario {
    plan: Plan {
        owned: true,
        ..Plan::PLAIN
    },
    ..KILLED
};

/// Two writers of an owned file, nobody dies: the block cells alone.
pub const OWNED_WRITERS: Scenario = Scenario {
    plan: Plan {
        owned: true,
        ..Plan::PLAIN
    },
    ..WRITERS
};

/// An owned file; a process of other credentials is let in, and writes in turns with the session.
pub const DISOWNED: Scenario = Scenario {
    plan: Plan {
        owned: true,
        ..Plan::PLAIN
    },
    setup: warm,
    actors: &[
        write_locked,
        disown_and_intrude,
        prove_twice,
        fill_other_page,
        serve_other_page,
    ],
    victim: None,
};

/// A session writer and an outsider who take turns under a lock, and the prover.
pub const OUTSIDER: Scenario = Scenario {
    plan: Plan::PLAIN,
    setup: warm,
    actors: &[
        write_locked,
        intrude_locked,
        prove_twice,
        fill_other_page,
        serve_other_page,
    ],
    victim: None,
};

/// An outsider without any lock, while the session only reads.
pub const ONLY_OUTSIDER: Scenario = Scenario {
    plan: Plan::PLAIN,
    setup: warm,
    actors: &[
        |world| {
            world.intrude(0, 0);
            world.intrude(0, 0);
        },
        prove_twice,
        fill_twice,
        serve_thrice,
    ],
    victim: None,
};

/// Two files whose cells are the same pair: a writer of one must not vouch for the other.
pub const COLLIDING: Scenario = Scenario {
    plan: Plan {
        files_collide: true,
        ..Plan::PLAIN
    },
    setup: |world| {
        world.open(9, 1, 12);
        world.write(9, 1, 0);
        warm(world);
    },
    actors: &[
        |world| {
            world.write(2, 1, 0);
            world.write(2, 1, 0);
        },
        write_locked,
        |world| {
            let _lock = world.lock.lock();
            world.intrude(0, 1);
        },
        fill_other_page,
        serve_other_page,
    ],
    victim: None,
};

/// One record for two files: it is recycled under everybody's feet and comes back with blocks of
/// another size.
pub const RECYCLED: Scenario = Scenario {
    plan: Plan {
        records: 1,
        owned: true,
        ..Plan::PLAIN
    },
    setup: |world| {
        world.open(9, 0, 13);
        world.prove(0);
        world.fill(9, 0, 1);
    },
    actors: &[
        |world| {
            world.age(0);
            world.open(7, 1, 12);
            world.age(1);
            world.open(7, 0, 12);
        },
        |world| world.write(1, 0, 1),
        |world| world.fill(3, 0, 1),
        serve_other_page,
    ],
    victim: None,
};

/// The same where stamps are compared, with a prover, and the process that makes records killed.
pub const RECYCLED_STAMPS: Scenario = Scenario {
    plan: Plan {
        records: 1,
        ..Plan::PLAIN
    },
    victim: Some((7, 0)),
    actors: &[
        RECYCLED.actors[0],
        RECYCLED.actors[1],
        |world| {
            world.prove(0);
            world.fill(3, 0, 1);
        },
        serve_other_page,
        reap_thrice,
        |world| {
            world.prove(1);
            world.write(2, 1, 0);
        },
    ],
    ..RECYCLED
};

/// Many processes meet one file at once; it must never have two records.
pub const FIRST_MEETING: Scenario = Scenario {
    plan: Plan {
        records: 2,
        owned: true,
        ..Plan::PLAIN
    },
    setup: |_| (),
    actors: &[
        |world| {
            world.open(1, 0, 13);
            world.fill(1, 0, 1);
            world.write(1, 0, 1);
        },
        |world| {
            world.open(2, 0, 12);
            world.fill(2, 0, 1);
            world.write(2, 0, 1);
        },
        serve_other_page,
    ],
    victim: None,
};

/// Blocks that travel to the node through a refresh slot; the process that fills one is killed.
pub const REFRESH: Scenario = Scenario {
    plan: Plan::PLAIN,
    setup: |world| {
        world.open(9, 0, 12);
        world.prove(0);
    },
    actors: &[
        |world| {
            world.write(1, 0, 0);
            world.offer(1, 0, 0);
            world.write(1, 0, 0);
        },
        |world| {
            world.offer(2, 0, 0);
            world.offer(2, 0, 0);
        },
        |world| (0..4).for_each(|_| world.drain()),
        serve_thrice,
        reap_thrice,
    ],
    victim: Some((2, 1)),
};

/// Tags of the local cache that change hands while they are copied; a filler is killed.
pub const TAGS: Scenario = Scenario {
    plan: Plan {
        owned: true,
        ..Plan::PLAIN
    },
    setup: warm_and_written,
    actors: &[
        |world| {
            for slot in 0..3 {
                world
                    .local()
                    .evict(slot, 8, |slot| world.copy_in(slot, [77, 77]));
            }
        },
        |world| {
            world.fill(4, 0, 0);
            world.fill(4, 0, 0);
        },
        fill_other_page,
        serve_thrice,
        serve_other_page,
        reap_thrice,
    ],
    victim: Some((4, 1)),
};

/// A stream open for writing, whose process is killed, beside an ordinary writer.
pub const STREAM: Scenario = Scenario {
    plan: Plan {
        owned: true,
        ..Plan::PLAIN
    },
    setup: warm,
    actors: &[
        |world| world.stream(1, 0, 0),
        write_once,
        fill_twice,
        serve_thrice,
        reap_thrice,
    ],
    victim: Some((1, 0)),
};

/// One operation record for three writers: those that find none poison the file.
pub const FEW_RECORDS: Scenario = Scenario {
    plan: Plan {
        ops: 1,
        owned: true,
        ..Plan::PLAIN
    },
    setup: warm,
    actors: &[write_twice, write_once, fill_twice, serve_thrice],
    victim: None,
};
