//! Senders and receivers as real processes, killed with SIGKILL again and again: at labelled points
//! (between any two steps of the protocol) and at random. Nothing may be lost, changed, out of
//! order or repeated unmarked.
//!
//! Without arguments it runs the short form (`make test`); `RAMGRID_BUS_KILLS=10000` makes it the
//! long one (`make torture`). It is no libtest program, since it must be able to start itself as an
//! actor: `crash sender|receiver DIR ...`.
#![cfg(not(feature = "model"))]

mod actor;
mod ledger;
mod referee;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some("sender" | "receiver") = arguments.first().map(String::as_str) {
        actor::act(&arguments);
        return ExitCode::SUCCESS;
    }
    // Flags meant for libtest (`--nocapture`, a filter) say nothing here; a listing has no tests.
    if arguments.iter().any(|word| word == "--list") {
        return ExitCode::SUCCESS;
    }
    referee::all();
    ExitCode::SUCCESS
}
