//! The hook server: owns a session's region, sockets and nodes for as long as the session lives.
//!
//! `run` starts it as a process of its own and waits for its readiness; this boundary is all that
//! the command line knows of it.

use crate::config::ServeConfig;
use crate::failure::Failure;
use crate::ready::ReadyPipe;

/// Runs the session described by `config` until its last process is gone (and its linger over).
///
/// The caller has detached the process: its own session, no inherited descriptor but standard
/// error for the log, signals at their defaults. `ready` is answered when an attach would succeed.
///
/// # Errors
///
/// The session cannot be made. The caller passes it to `ready` where nothing was answered yet.
pub fn serve(config: ServeConfig, ready: &mut ReadyPipe) -> Result<(), Failure> {
    let _ = (config, ready);
    Err(Failure::launch(
        "this hooktool was built without its hook server",
        "no session can be made",
        "build it again from a complete source tree:  cargo build --release",
    ))
}
