//! The embedded memory node: memnode's library inside the hook server, on a loopback port that
//! nobody else knows the password of.

use super::client::Target;
use crate::failure::Failure;

/// Starts a node of `bytes`.
///
/// # Errors
///
/// It cannot be started.
pub fn start(bytes: u64) -> Result<Target, Failure> {
    Err(Failure::launch(
        format!("an embedded node of {bytes} bytes is not built yet"),
        "no session can be made without a node",
        "start a memory node and give its address:  --node HOST:PORT",
    ))
}
