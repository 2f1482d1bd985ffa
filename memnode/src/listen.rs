//! Addresses to listen on: read, resolved, bound.
//!
//! Called by `settings` (is it loopback only?), by `serve` (bind it) and by the tools (reach it).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use memnode::DEFAULT_PORT;

use crate::failure::Failure;

/// Where to listen unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";

/// Ports after one that is taken which are looked at.
const PORTS_TRIED: u16 = 32;

/// What was asked for, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The flag it was said with.
    pub flag: &'static str,
    /// As it was written.
    pub text: String,
    /// What it resolves to; never empty.
    pub addresses: Vec<SocketAddr>,
}

impl Listen {
    /// Reads `HOST:PORT`, `HOST` or `[V6]:PORT`, said with `flag`, and resolves it.
    ///
    /// # Errors
    /// It cannot be read or resolved.
    pub fn parse(flag: &'static str, text: &str) -> Result<Listen, Failure> {
        let unreadable = |why: String, fix: &str| {
            let what = match flag {
                "ADDR" => format!("`{text}` is no address of a node"),
                flag => format!("{flag}: cannot listen on `{text}`"),
            };
            let fix = match flag {
                "ADDR" => fix.to_string(),
                flag => format!("memnode {flag} {fix}"),
            };
            Failure::usage(what, why, &fix)
        };
        if text.parse::<u64>().is_ok() {
            let fix = format!("127.0.0.1:{text}");
            return Err(unreadable("it is a number, not HOST:PORT".into(), &fix));
        }
        let complete = match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => text.into(),
            None if !text.is_empty() => format!("{text}:{DEFAULT_PORT}"),
            _ => {
                let why = "it is not HOST:PORT with a port up to 65535";
                return Err(unreadable(why.into(), DEFAULT_LISTEN));
            }
        };
        let addresses: Vec<SocketAddr> = match complete.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                let why = format!("the host has no address: {error}");
                return Err(unreadable(why, DEFAULT_LISTEN));
            }
        };
        if addresses.is_empty() {
            return Err(unreadable("the host has no address".into(), DEFAULT_LISTEN));
        }
        Ok(Listen {
            flag,
            text: text.to_string(),
            addresses,
        })
    }

    /// Can only this machine reach it?
    pub fn is_loopback(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().is_loopback())
    }
}

/// Binds the first address that can be bound; returns the socket and where it really listens.
///
/// # Errors
/// None can be bound.
pub fn bind(listen: &Listen) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = TcpListener::bind(listen.addresses.as_slice());
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        let flag = listen.flag;
        let host = listen
            .text
            .rsplit_once(':')
            .map_or(listen.text.as_str(), |(host, _)| host);
        let (means, instead) = match error.kind() {
            ErrorKind::AddrInUse => (
                "another program, perhaps another memnode, listens there",
                in_use(listen, host),
            ),
            ErrorKind::AddrNotAvailable => (
                "this machine does not have that address",
                "one of the addresses that `ip address` shows".to_string(),
            ),
            ErrorKind::PermissionDenied => (
                "ports below 1024 need a privilege",
                format!("memnode {flag} {host}:{DEFAULT_PORT}"),
            ),
            _ => (
                "the operating system refused",
                "another address".to_string(),
            ),
        };
        let what = format!("{flag}: cannot listen on {}: {error}", listen.text);
        Failure::own(what, means, &instead)
    })?;
    Ok((listener, address))
}

/// What to type where a port is taken: who has it, and the next one that is free now.
fn in_use(listen: &Listen, host: &str) -> String {
    let first = listen.addresses.first();
    let port = first.map_or(DEFAULT_PORT, SocketAddr::port);
    let who = format!("ss -ltnp 'sport = :{port}'");
    let is_free = |next: &u16| {
        first.is_some_and(|first| TcpListener::bind(SocketAddr::new(first.ip(), *next)).is_ok())
    };
    let next = (port.saturating_add(1)..=port.saturating_add(PORTS_TRIED)).find(is_free);
    match next.filter(|next| *next != port) {
        Some(next) => format!(
            "{who}, to see who; {host}:{next} is free:  memnode {} {host}:{next}",
            listen.flag
        ),
        None => format!("{who}, to see who"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_or_without_a_port() {
        let port = |text: &str| Listen::parse("--listen", text).unwrap().addresses[0].port();
        assert_eq!(port("127.0.0.1:1234"), 1234);
        assert_eq!(port("127.0.0.1"), DEFAULT_PORT);
        assert_eq!(port("[::1]:0"), 0);
        assert!(
            Listen::parse("--listen", "127.0.0.1")
                .unwrap()
                .is_loopback()
        );
        assert!(
            !Listen::parse("--listen", "0.0.0.0:1")
                .unwrap()
                .is_loopback()
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            ":7420",
            "127.0.0.1:70000",
            "127.0.0.1:x",
            "127.0.0.1:",
            "7421",
            "a b:1",
        ] {
            assert!(Listen::parse("--listen", text).is_err(), "{text:?}");
        }
    }
}
