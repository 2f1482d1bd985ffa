//! `bus-lab`: the bus beside iceoryx2, ZeroMQ, POSIX queues and pipes, in one run, alternating.
//!
//! `make bench-bus` builds and runs it. Every figure is of two processes, one on each of two
//! processors: this program starts itself as *actors* (`actor`), which do the same work whatever
//! lies between them (`link`). Beside each figure stands what a bare shared word took in the same
//! second, since the machines this runs on change their pace by themselves.
//!
//! It is a workspace of its own, so that nobody who does not compare builds the peers. It never
//! uses a bus that is there already, and leaves none behind.

mod actor;
mod cli;
mod link;
mod links;
mod plan;
mod report;
mod shared;
mod stage;

use std::process::ExitCode;

use clap::Parser;

/// What the lab's functions return; `main` prints what went wrong.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let done = match cli::Cli::parse() {
        cli::Cli::Run(arguments) => plan::run(&arguments),
        cli::Cli::Actor(arguments) => actor::act(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bus-lab: {error}");
            ExitCode::FAILURE
        }
    }
}
