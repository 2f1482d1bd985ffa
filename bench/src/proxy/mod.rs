//! `lab proxy`: a TCP proxy that adds a round trip, so that one machine can show a network.
//!
//! Every chunk of bytes is stamped when it arrives and leaves half the round trip later, in each
//! direction, whatever else is under way: a pipeline is delayed, not serialised. One thread polls
//! all connections. While anything is under way it spins (yielding the processor) instead of
//! sleeping, because waking an idle processor takes tens of microseconds; with nothing to do for a
//! while it sleeps. Queues are bounded: a peer that does not read stops its sender.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::error::{Because, Result};
use crate::stop;

mod link;
mod own_cost;

use link::Link;

/// How long the proxy goes on spinning after the last byte moved.
const LINGER: Duration = Duration::from_micros(300);

/// Longest sleep, so that a stop is seen.
const SLEEP_MAX: Duration = Duration::from_millis(200);

/// Most connections.
const LINKS_MAX: usize = 1024;

/// Token of the listener.
const LISTENER: u64 = u64::MAX;

/// Flags of `lab proxy`.
#[derive(Debug, clap::Args)]
pub struct ProxyArgs {
    /// Address to listen on
    #[arg(long, value_name = "HOST:PORT")]
    listen: SocketAddr,
    /// Address to connect to
    #[arg(long, value_name = "HOST:PORT")]
    to: SocketAddr,
    /// Microseconds to add to a round trip
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    rtt_us: u32,
}

/// Listens and forwards until a signal.
pub fn proxy(args: &ProxyArgs) -> Result<()> {
    let rtt = Duration::from_micros(args.rtt_us.into());
    let delay = rtt.saturating_sub(own_cost::own_cost()?);
    let listener =
        TcpListener::bind(args.listen).because(|| format!("listening on {}", args.listen))?;
    serve(&listener, args.to, delay / 2, stop::requested)
}

/// The loop; `stopped` ends it.
fn serve(
    listener: &TcpListener,
    to: SocketAddr,
    one_way: Duration,
    stopped: impl Fn() -> bool,
) -> Result<()> {
    let name = || "proxy";
    listener.set_nonblocking(true).because(name)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).because(name)?;
    epoll::add(
        &poll,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )
    .because(name)?;
    let mut links: Vec<Option<Link>> = Vec::new();
    let mut moved = Instant::now();
    while !stopped() {
        let busy = moved.elapsed() < LINGER || links.iter().flatten().any(Link::under_way);
        let mut events = Vec::with_capacity(64);
        let timeout = if busy { Duration::ZERO } else { SLEEP_MAX };
        let timeout = rustix::event::Timespec::try_from(timeout).ok();
        match epoll::wait(
            &poll,
            rustix::buffer::spare_capacity(&mut events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).because(name),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => accept(listener, to, one_way, &poll, &mut links)?,
                token => {
                    let link = usize::try_from(token / 2)
                        .ok()
                        .and_then(|at| links.get_mut(at));
                    if let Some(Some(link)) = link {
                        link.receive(token % 2 == 1);
                    }
                }
            }
        }
        let now = Instant::now();
        for slot in &mut links {
            let Some(link) = slot else { continue };
            if link.send(now) {
                moved = now;
            }
            if link.over() {
                *slot = None;
            }
        }
        if !events.is_empty() {
            moved = now;
        } else if busy {
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Takes new connections; one that cannot be forwarded is closed at once.
fn accept(
    listener: &TcpListener,
    to: SocketAddr,
    one_way: Duration,
    poll: &impl AsFd,
    links: &mut Vec<Option<Link>>,
) -> Result<()> {
    loop {
        let (near, _) = match listener.accept() {
            Ok(pair) => pair,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).because(|| "accepting"),
        };
        let free = links
            .iter()
            .position(Option::is_none)
            .unwrap_or(links.len());
        if free >= LINKS_MAX {
            continue;
        }
        let Ok(link) = Link::open(near, to, one_way) else {
            continue;
        };
        let token = 2 * free as u64;
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(poll, link.near(), EventData::new_u64(token), flags).because(|| "epoll")?;
        epoll::add(poll, link.far(), EventData::new_u64(token + 1), flags).because(|| "epoll")?;
        if free == links.len() {
            links.push(None);
        }
        links[free] = Some(link);
    }
}

#[cfg(test)]
mod tests;
