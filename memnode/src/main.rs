//! The `memnode` program: lends this machine's memory to its neighbours.
//!
//! Called by people, units and tests. It serves (`serve`), asks a node that does (`tool`), or
//! compares eviction policies (`replay`). Exit status: 0 after a clean end, 2 for a command line or
//! a setting that cannot be, 1 for whatever else went wrong.

mod failure;
mod flags;
mod http;
mod listen;
mod replay;
mod serve;
mod service;
mod settings;
mod tool;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use flags::{Command, Flags, Task};
use settings::Settings;

fn main() -> ExitCode {
    let outcome = match Command::try_parse() {
        Ok(command) => match command.task() {
            Task::Serve(flags) => Settings::gather(Flags::clone(&flags)).and_then(|settings| {
                start_logging(settings.log_json);
                serve::serve(&settings, &flags)
            }),
            Task::Ask(tool, flags) => tool::run(tool, &flags),
            Task::Replay(flags) => replay::replay(&flags).map(|text| {
                // A reader that has seen enough is no failure.
                let _ = std::io::stdout().write_all(text.as_bytes());
            }),
        },
        Err(error) if !error.use_stderr() => {
            // Help and version are what was asked for.
            let _ = write!(std::io::stdout(), "{}", error.render());
            Ok(())
        }
        Err(error) => Err(failure::words(&error.render().to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.status)
        }
    }
}

/// Logs go to stderr; `MEMNODE_LOG` sets what (`info` by default, `debug`, `memnode=trace`, ...).
/// Colours are for people: only on a terminal, and not where `NO_COLOR` is set.
fn start_logging(json: bool) {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !refused;
    let wanted = std::env::var_os("MEMNODE_LOG").filter(|value| !value.is_empty());
    let filter = wanted.as_ref().map(|value| {
        let value = value.to_str().unwrap_or("=");
        tracing_subscriber::EnvFilter::try_new(value)
    });
    let is_wrong = matches!(filter, Some(Err(_)));
    let filter = filter.and_then(Result::ok);
    let filter = filter.unwrap_or_else(|| tracing_subscriber::EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(colours).init();
    }
    if is_wrong {
        tracing::warn!("MEMNODE_LOG cannot be understood: it counts as info (or debug, warn)");
    }
}
