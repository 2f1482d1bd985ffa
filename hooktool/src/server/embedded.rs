//! The embedded memory node: memnode's library inside the hook server, on a loopback port with a
//! random password, so that one command works on one machine.
//!
//! `serve` starts it before anything else depends on it; it lives as long as the process.

use std::net::{Ipv4Addr, TcpListener};

use memnode::{Config, MEMORY_BYTES_MIN, Node, NodeError};

use super::client::Target;
use crate::config::Secret;
use crate::failure::Failure;
use crate::sizes;

/// Starts a node that takes `bytes` of memory altogether.
///
/// # Errors
///
/// Too little memory asked for, none to be had, no port, no thread.
pub fn start(bytes: u64) -> Result<Target, Failure> {
    let password = random_password()?;
    let memory_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let config = Config {
        password: Some(password.clone().into()),
        ..Config::new(memory_bytes)
    };
    let node = Node::new(config).map_err(|error| cannot_be(bytes, &error))?;
    let serve = |error| cannot_be(bytes, &NodeError::Serve(error));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(serve)?;
    let port = listener.local_addr().map_err(serve)?.port();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(serve)?;
    let run = move || {
        let for_ever = std::future::pending();
        if let Err(error) = runtime.block_on(node.run(listener, for_ever)) {
            tracing::error!(%error, "the embedded node ended");
        }
    };
    std::thread::Builder::new()
        .name("hook-memnode".into())
        .spawn(run)
        .map_err(serve)?;
    let host = Ipv4Addr::LOCALHOST.to_string();
    Ok(Target {
        host,
        port,
        password: Some(Secret(password)),
    })
}

fn cannot_be(bytes: u64, error: &NodeError) -> Failure {
    let fix = match error {
        NodeError::TooSmall { .. } => {
            format!("give it at least {}", sizes::show(MEMORY_BYTES_MIN as u64))
        }
        _ => "make it smaller:  --node embedded:64MiB   or use a node elsewhere:  --node HOST:7420"
            .into(),
    };
    Failure::launch(
        format!("--node embedded:{}: {error}", sizes::show(bytes)),
        "no session can be made without the node that was asked for",
        fix,
    )
}

/// A password that nobody can guess, in digits that any protocol carries.
fn random_password() -> Result<String, Failure> {
    let secret = super::region::random_secret()?;
    Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect())
}
