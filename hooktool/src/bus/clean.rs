//! `hooktool bus clean` and `rm`: throwing away messages, or a channel.

use bus::Bus;

use super::cli::ChannelArgs;
use super::{channel, told};
use crate::failure::Failure;
use crate::viewer::line;

/// Runs `clean`.
///
/// # Errors
///
/// No such channel, or a living process receives there.
pub fn clean(bus: &Bus, arguments: &ChannelArgs) -> Result<u8, Failure> {
    let path = channel(bus, &arguments.channel)?;
    let messages = bus.clean(&path, None, arguments.force).map_err(told)?;
    line(&format!(
        "{}: threw away {messages} messages",
        path.display()
    ))
    .map(|()| 0)
}

/// Runs `rm`.
///
/// # Errors
///
/// No such channel, or a living process has an end bound.
pub fn remove(bus: &Bus, arguments: &ChannelArgs) -> Result<u8, Failure> {
    let path = channel(bus, &arguments.channel)?;
    let _lock = bus.lock().map_err(told)?;
    bus.remove(&path, arguments.force).map_err(told)?;
    line(&format!("removed {}", path.display())).map(|()| 0)
}
