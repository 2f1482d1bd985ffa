//! The life of a node: socket, memory, signals, end.
//!
//! Called by `main` with settings that can be acted on. SIGTERM and SIGINT end it, within the
//! grace; a second one at once. SIGHUP reads password, certificates and idle timeout again, from
//! the same flags, variables and file; what cannot change in a running node is said to need a
//! restart.

use memnode::{Config, Node, Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{self, Failure};
use crate::flags::Flags;
use crate::settings::Settings;
use crate::{http, listen, service};

/// Serves until told to end.
///
/// # Errors
/// A socket, the memory or a thread is not to be had.
pub fn serve(settings: &Settings, flags: &Flags) -> Result<(), Failure> {
    let (listener, address) = match service::passed_socket()? {
        Some(passed) => passed,
        None => listen::bind(&settings.listen)?,
    };
    let metrics = settings.metrics.as_ref().map(listen::bind).transpose()?;
    let config = Config {
        eviction: settings.eviction,
        huge_pages: settings.huge_pages,
        idle_time_max: settings.idle_time_max,
        grace: settings.grace,
        shutdown_allowed: true,
        password: settings.password.clone(),
        lend: settings.lend,
        tls: settings.tls.clone(),
        ..Config::new(settings.memory_bytes)
    };
    let node = Node::new(config).map_err(failure::node)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failure::runtime)?;
    runtime.block_on(async {
        let signals = Signals::new().map_err(failure::runtime)?;
        if let Some((listener, address)) = metrics {
            tracing::info!(metrics = %address, "/metrics and /healthz");
            let serving = http::serve(listener, node.clone());
            tokio::spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "--metrics is not served");
                }
            });
        }
        let size = |bytes: usize| memnode::size::format(bytes as u64);
        let memory = match settings.lend {
            None => size(settings.memory_bytes),
            Some(lend) => format!(
                "{} to {}",
                size(lend.floor_bytes),
                size(settings.memory_bytes)
            ),
        };
        let (tls, eviction) = (settings.tls.is_some(), settings.eviction.name());
        tracing::info!(%address, %memory, eviction, tls, "serving");
        warn(settings);
        if settings.password.is_some() && !tls && !address.ip().is_loopback() {
            tracing::warn!("the password and the blocks can be read on the way: no --tls-cert");
        }
        let status = format!("serving {memory} on {address}");
        service::ready(&status);
        let ended = signals.watch(node.clone(), flags.clone(), status);
        node.run(listener, ended).await.map_err(failure::node)
    })?;
    tracing::info!("ended");
    Ok(())
}

/// The signals that mean something to a node.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Becomes ready at the first word to end; a second one then ends the node at once.
    async fn watch(mut self, node: Node, flags: Flags, status: String) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => reload(&node, &flags, &status),
            }
        }
        tracing::info!("told to end");
        service::stopping();
        tokio::spawn(async move {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            node.end();
        });
    }
}

/// Says what clients will not like about the certificate.
fn warn(settings: &Settings) {
    if let Some(warning) = settings.tls.as_ref().and_then(Tls::warning) {
        tracing::warn!("--tls-cert: {warning}");
    }
}

/// Reads the settings again. One that cannot be changes nothing.
fn reload(node: &Node, flags: &Flags, status: &str) {
    service::reloading();
    match Settings::gather(flags.clone()) {
        Ok(settings) => {
            warn(&settings);
            node.set_password(settings.password);
            node.set_idle_time_max(settings.idle_time_max);
            if node.is_secure() != settings.tls.is_some() {
                tracing::error!(
                    "TLS can be turned on and off by a restart only: it stays as it is"
                );
            }
            settings.tls.into_iter().for_each(|tls| node.set_tls(tls));
            tracing::info!(
                "reloaded: password, certificates and idle timeout; the other settings change \
                 with a restart"
            );
        }
        Err(failure) => {
            let failure = failure.to_string().replace('\n', " ");
            tracing::error!(%failure, "not reloaded, all stays as it is");
        }
    }
    service::ready(status);
}
