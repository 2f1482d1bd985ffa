//! Logs of the hook server: off unless `HOOKTOOL_LOG` says otherwise (`info`, `hooktool=debug`).
//!
//! They go to standard error, which the hook server keeps only for that. `RUST_LOG` is never read:
//! it belongs to the target.

use tracing_subscriber::EnvFilter;

/// Starts logging, once, in the hook server's process.
pub fn start() {
    let wanted = std::env::var("HOOKTOOL_LOG").unwrap_or_default();
    if wanted.is_empty() {
        return;
    }
    let filter = EnvFilter::try_new(&wanted).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false);
    let _ = subscriber.with_writer(std::io::stderr).try_init();
}
