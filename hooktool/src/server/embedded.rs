//! The embedded memory node: memnode's library inside the hook server, on a loopback port with a
//! random password, so that one command works on one machine.
//!
//! `pool` starts it before anything depends on it; it lives until its `Stopper` is dropped.

use std::net::{Ipv4Addr, TcpListener};

use memnode::{Config, MEMORY_BYTES_MIN, Node, NodeError};
use tokio::sync::oneshot;

use super::client::Target;
use crate::config::Secret;
use crate::failure::Failure;
use crate::sizes;

/// The node ends when this is dropped.
pub struct Stopper(#[expect(dead_code, reason = "dropping it is its use")] oneshot::Sender<()>);

/// A stopper, and what ends when it is dropped.
pub fn stopper() -> (Stopper, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Stopper(sender), receiver)
}

/// Starts a node that takes `bytes` of memory altogether.
///
/// # Errors
///
/// Too little memory asked for, none to be had, no port, no thread.
pub fn start(bytes: u64) -> Result<(Target, Stopper), Failure> {
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
    let (stopper, dropped) = stopper();
    let run = move || {
        let until = async {
            let _ = dropped.await;
        };
        if let Err(error) = runtime.block_on(node.run(listener, until)) {
            tracing::error!(%error, "the embedded node ended");
        }
    };
    std::thread::Builder::new()
        .name("hook-memnode".into())
        .spawn(run)
        .map_err(serve)?;
    let host = Ipv4Addr::LOCALHOST.to_string();
    let target = Target {
        host,
        port,
        password: Some(Secret(password)),
        tunnels: None,
    };
    Ok((target, stopper))
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
