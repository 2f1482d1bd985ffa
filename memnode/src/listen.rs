//! Addresses to listen on: read, resolved, bound.
//!
//! Called by `settings` (is it loopback only?) and by `main` (bind it).

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use memnode::DEFAULT_PORT;

use crate::failure::Failure;

/// Where to listen unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7420";

/// What was asked for, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// As it was written.
    pub text: String,
    /// What it resolves to; never empty.
    pub addresses: Vec<SocketAddr>,
}

impl Listen {
    /// Reads `HOST:PORT`, `HOST` or `[V6]:PORT` and resolves it.
    ///
    /// # Errors
    /// It cannot be read or resolved.
    pub fn parse(text: &str) -> Result<Listen, Failure> {
        if text.parse::<u64>().is_ok() {
            let what = format!("cannot listen on `{text}`");
            let fix = format!("memnode --listen 127.0.0.1:{text}");
            return Err(Failure::usage(what, "it is a number, not HOST:PORT", &fix));
        }
        let complete = match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => text.into(),
            None if !text.is_empty() => format!("{text}:{DEFAULT_PORT}"),
            _ => {
                return Err(unreadable(
                    text,
                    "it is not HOST:PORT with a port up to 65535",
                ));
            }
        };
        let addresses: Vec<SocketAddr> = match complete.to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                return Err(unreadable(
                    text,
                    &format!("the host has no address: {error}"),
                ));
            }
        };
        if addresses.is_empty() {
            return Err(unreadable(text, "the host has no address"));
        }
        Ok(Listen {
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

fn unreadable(text: &str, why: &str) -> Failure {
    let what = format!("cannot listen on `{text}`");
    Failure::usage(what, why, &format!("memnode --listen {DEFAULT_LISTEN}"))
}

/// Binds the first address that can be bound; returns the socket and where it really listens.
///
/// # Errors
/// None can be bound.
pub fn bind(listen: &Listen) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = TcpListener::bind(listen.addresses.as_slice());
    let bound = bound.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        let port = listen
            .addresses
            .first()
            .map_or(DEFAULT_PORT, SocketAddr::port);
        let host = listen
            .text
            .rsplit_once(':')
            .map_or(listen.text.as_str(), |(host, _)| host);
        let next = port.checked_add(1).unwrap_or(DEFAULT_PORT);
        let (means, instead) = match error.kind() {
            ErrorKind::AddrInUse => (
                "another program, perhaps another memnode, listens there".to_string(),
                format!(
                    "memnode --listen {host}:{next}, or find it with: ss -ltnp sport = :{port}"
                ),
            ),
            ErrorKind::AddrNotAvailable => (
                "this machine does not have that address".to_string(),
                "one of the addresses that `ip address` shows".to_string(),
            ),
            ErrorKind::PermissionDenied => (
                "ports below 1024 need a privilege".to_string(),
                format!("memnode --listen {host}:{DEFAULT_PORT}"),
            ),
            _ => (
                "the operating system refused".to_string(),
                "another address".to_string(),
            ),
        };
        Failure::own(
            format!("cannot listen on {}: {error}", listen.text),
            means,
            &instead,
        )
    })?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_or_without_a_port() {
        let port = |text: &str| Listen::parse(text).unwrap().addresses[0].port();
        assert_eq!(port("127.0.0.1:1234"), 1234);
        assert_eq!(port("127.0.0.1"), DEFAULT_PORT);
        assert_eq!(port("[::1]:0"), 0);
        assert!(Listen::parse("127.0.0.1").unwrap().is_loopback());
        assert!(!Listen::parse("0.0.0.0:1").unwrap().is_loopback());
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
            assert!(Listen::parse(text).is_err(), "{text:?}");
        }
    }
}
