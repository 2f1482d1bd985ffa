//! Proofs.
use super::session::Session;
use std::time::Duration;
/// Waits.
pub fn run(session: &Session) {
    session.set_prover(std::thread::current());
    while !session.is_ending() {
        std::thread::park_timeout(Duration::from_millis(100));
    }
}
