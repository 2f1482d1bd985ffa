//! Names: a node that is known by a name may be elsewhere one day.
//!
//! One thread a session runs `run`. Every half minute it looks the names of all nodes up; a keeper
//! whose node is not found at the address in use moves to where the name points. A node that
//! fails is looked up by its keeper, at once. Resolvers may take their time: nobody waits for this
//! thread.

use std::time::{Duration, Instant};

use super::session::Session;

/// Between two looks at a name.
const LOOK_PAUSE: Duration = Duration::from_secs(30);

/// Between two looks whether the session ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks names up until the session ends.
pub fn run(session: &Session) {
    let mut due = Instant::now() + LOOK_PAUSE;
    while !session.is_ending() {
        std::thread::sleep(PATIENCE);
        if Instant::now() < due {
            continue;
        }
        let nodes = session.pool.nodes();
        for node in nodes.iter().filter(|node| node.target.is_named()) {
            node.look_again();
        }
        due = Instant::now() + LOOK_PAUSE;
    }
}
