//! The hook server against processes that the tests play themselves: no hook driver is needed.
//!
//! Every test makes a session of its own with `stage::Stage`, joins it as a process would, and asks
//! the region or the control socket what came of it. Nothing asserts how long anything takes;
//! `stage::eventually` is the watchdog.

mod fake_node;
mod life;
mod pooling;
mod proving;
mod pushing;
mod reaping;
mod stage;
mod tunnelling;
mod viewing;

/// A configuration for parts of the hook server that need no nodes.
pub fn bare_config() -> crate::config::ServeConfig {
    stage::config(Vec::new())
}
