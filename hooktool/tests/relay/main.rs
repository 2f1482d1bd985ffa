//! Two hosts, their relays, and everything that can go wrong between them, for a while, at random:
//! relays, senders and receivers killed, the link cut and restored, a receiver stopped until the
//! rings are full. Each message must come once, in order, and none may be lost.
//!
//! As root the hosts are network namespaces with a veth between each two. Otherwise all are this
//! host, and no link can be cut: a relay is stopped instead, and the test says so. First come three
//! hosts and certificates, for messages that visit all of them (`round`). It is no libtest program,
//! since it starts itself as senders and receivers.
//!
//! `RAMGRID_RELAY_MESSAGES` (default 60000), `RAMGRID_RELAY_OUTAGE_S` (default 2) and
//! `RAMGRID_RELAY_ROUNDS` (default 300) make it longer: `make torture`.

mod actor;
#[path = "../it/certificates.rs"]
mod certificates;
mod hosts;
mod referee;
mod round;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some("sender" | "receiver") = arguments.first().map(String::as_str) {
        actor::act(&arguments);
        return ExitCode::SUCCESS;
    }
    // A listing has no tests, and a filter meant for another target none of these.
    let is_filtered = arguments.iter().any(|word| !word.starts_with('-'));
    if is_filtered || arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    round::all();
    referee::all();
    ExitCode::SUCCESS
}

/// A number from the environment.
fn number(name: &str, usual: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usual)
}
