//! `lab`: the slow-disk lab and the benchmarks. Parses, dispatches, prints errors; nothing else.

use std::io;
use std::process::ExitCode;

use clap::Parser;

mod binaries;
mod cage;
mod child;
mod cli;
mod demo;
mod device;
mod enter;
mod error;
mod files;
mod maria;
mod node;
mod peers;
mod pg;
mod proxy;
mod report;
mod run;
mod side;
mod size;
mod slices;
mod stats;
mod stop;
mod users;
mod web;
mod work;
mod workload;

use cli::{Cli, Command};
use error::{Because, Error, Result};

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Stopped) => {
            eprintln!("lab: {}", Error::Stopped);
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    // What the lab runs in its cages keeps the signals it was given.
    if !matches!(cli.command, Command::Work(_) | Command::Enter(_)) {
        stop::install()?;
    }
    match cli.command {
        Command::Run(args) => run::run(*args).map(|_| ()),
        Command::Proxy(args) => proxy::proxy(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Peers(args) => peers::peers(&args),
        Command::Work(args) => ended_by_reader(work::work(&args)),
        Command::Enter(args) => enter::enter(&args),
    }
}

/// A worker whose reader is gone has nothing to report.
fn ended_by_reader(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.because(|| "worker"),
    }
}
