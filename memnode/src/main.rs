//! The `memnode` program: lends this machine's memory to its neighbours.
//!
//! Called by people, units and tests. It reads its settings, binds its socket, says on which
//! address it serves, and serves until SIGTERM, SIGINT or SIGHUP. Exit status: 0 after a clean end,
//! 2 for a command line or a setting that cannot be, 1 for whatever else went wrong.

mod failure;
mod flags;
mod host;
mod listen;
mod settings;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use memnode::{Config, Node};
use tokio::signal::unix::{SignalKind, signal};

use failure::Failure;
use flags::Command;
use settings::Settings;

fn main() -> ExitCode {
    let outcome = match Command::try_parse() {
        Ok(command) => {
            start_logging();
            Settings::gather(command.flags()).and_then(|settings| serve(&settings))
        }
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

fn serve(settings: &Settings) -> Result<(), Failure> {
    let (listener, address) = listen::bind(&settings.listen)?;
    let config = Config {
        eviction: settings.eviction,
        huge_pages: settings.huge_pages,
        idle_time_max: settings.idle_time_max,
        shutdown_allowed: true,
        password: settings.password.clone(),
        ..Config::new(settings.memory_bytes)
    };
    let node = Node::new(config).map_err(failure::node)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failure::runtime)?;
    runtime.block_on(async {
        let ended = end_signal().map_err(failure::runtime)?;
        let memory = memnode::size::format(settings.memory_bytes as u64);
        tracing::info!(%address, %memory, eviction = settings.eviction.name(), "serving");
        node.run(listener, ended).await.map_err(failure::node)
    })?;
    tracing::info!("ended");
    Ok(())
}

/// Becomes ready at the first SIGTERM, SIGINT or SIGHUP (its terminal is gone).
fn end_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Logs go to stderr; `MEMNODE_LOG` sets what (`info` by default, `debug`, `memnode=trace`, ...).
/// Colours are for people: only on a terminal, and not where `NO_COLOR` is set.
fn start_logging() {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = std::io::stderr().is_terminal() && !refused;
    let filter = tracing_subscriber::EnvFilter::try_from_env("MEMNODE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(std::io::stderr)
        .init();
}
