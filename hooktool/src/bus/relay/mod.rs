//! `hooktool bus relay`: carries messages between the buses of different hosts.
//!
//! ```text
//!        host 1                                                host 2
//!   program 0.0.1.1                                       program 0.0.2.1
//!        |  ^                                                  |  ^
//!    ring|  |ring      a channel 0.0.1.1 - 0.0.2.1         ring|  |ring
//!        v  |          on each of the two hosts                v  |
//!      relay, as 0.0.2.1  <------- TCP or TLS ------->  relay, as 0.0.1.1
//! ```
//!
//! To each program the relay is its peer: a receiver and sender like any, bound to the far address.
//! A message leaves its ring when the far relay has committed it, so neither a killed relay nor a
//! cut link loses one. Each relay dials those that have its far addresses and sends there; what it
//! receives comes by connections others dialled. `docs/bus.md` has the protocol and its argument.
//! One thread, tokio; the doorbell's threads only wake it.

mod accept;
mod dial;
mod doorbell;
mod end;
mod hub;
mod inlet;
mod outlet;
mod pipe;
pub mod status;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::rc::Rc;
use std::time::Duration;

use bus::Bus;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::hub::Hub;
use self::tls::Security;
use super::cli::RelayArgs;
use super::routes::table::path_of;
use crate::failure::{Failure, note};

/// How often routes and channels are looked at.
const REFRESH_EVERY: Duration = Duration::from_millis(500);

/// Runs `relay`, until it is told to end.
///
/// # Errors
///
/// The routes or certificates cannot be used, or nobody can be listened to.
pub fn relay(bus: &Bus, arguments: &RelayArgs) -> Result<u8, Failure> {
    let security = Security::load(arguments)?;
    let routes = arguments.routes.clone().unwrap_or_else(|| path_of(bus));
    let dead_after = Duration::from_secs(arguments.dead_after);
    let hub = Rc::new(Hub::new(bus, routes, security, dead_after));
    hub.start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(unable)?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, serve(hub, arguments))
}

fn unable(error: std::io::Error) -> Failure {
    Failure::command(
        format!("cannot run a relay: {error}"),
        "no message leaves this host; what is sent waits in its ring",
        "look at the limits of this process:  ulimit -a",
    )
}

async fn serve(hub: Rc<Hub>, arguments: &RelayArgs) -> Result<u8, Failure> {
    for address in &arguments.listen {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::command(
                format!("cannot listen at {address}: {error}"),
                "no other relay could bring messages here",
                "see who has it:  ss -ltnp; or name another with --listen",
            )
        })?;
        let bound = listener.local_addr().map_err(unable)?;
        note(&format!("relay listens at {bound}"));
        tokio::task::spawn_local(accept::listen(Rc::clone(&hub), listener));
    }
    let on = |kind| signal(kind).map_err(unable);
    let mut ends: [Signal; 2] = [on(SignalKind::terminate())?, on(SignalKind::interrupt())?];
    let mut reload = on(SignalKind::hangup())?;
    let mut is_asked = false;
    loop {
        hub.refresh(is_asked);
        hub.tell();
        let [terminate, interrupt] = &mut ends;
        is_asked = tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = reload.recv() => true,
            () = tokio::time::sleep(REFRESH_EVERY) => false,
        };
    }
    // Nothing needs saying: what is not acknowledged is sent again by the next relay.
    note("relay ends");
    Ok(0)
}
