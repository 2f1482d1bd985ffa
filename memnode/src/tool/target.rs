//! Which node is meant: `HOST:PORT`, `redis://[:PASSWORD@]HOST:PORT` or `rediss://...`.
//!
//! Called by `dial`. A URL is read as the Redis tools read it: with a user or without, parts
//! percent-encoded, and `/0` or nothing behind the address.

use crate::failure::Failure;
use crate::listen::Listen;

/// A node, as somebody named it.
#[derive(Debug, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub listen: Listen,
    /// Its host without the port: what its certificate should say.
    pub host: String,
    /// By TLS?
    pub is_secure: bool,
    /// From the URL.
    pub password: Option<Vec<u8>>,
}

impl Target {
    /// Reads it and resolves the host.
    ///
    /// # Errors
    /// It is no address of a node.
    pub fn parse(text: &str) -> Result<Target, Failure> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let is_secure = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => {
                return Err(Failure::usage(
                    format!("`{scheme}://` is no node"),
                    "nodes speak the Redis protocol, plain or by TLS",
                    "redis://HOST:PORT, or rediss://HOST:PORT",
                ));
            }
        };
        let (user, address) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(user, address)| (Some(user), address));
        let (address, database) = address.split_once('/').unwrap_or((address, ""));
        if !matches!(database, "" | "0") {
            return Err(Failure::usage(
                format!("`/{database}`: there is one database"),
                "a node has number 0 and no other",
                &format!("{scheme}://{address}"),
            ));
        }
        let password = user.map(|user| user.split_once(':').map_or(user, |(_, word)| word));
        let listen = Listen::parse("ADDR", address)?;
        let host = match address.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => address,
        };
        Ok(Target {
            host: host.trim_matches(['[', ']']).to_string(),
            listen,
            is_secure,
            password: password.map(percent_decoded),
        })
    }
}

/// `%2F` is `/`; what is no such triple stays as it is.
fn percent_decoded(text: &str) -> Vec<u8> {
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let code = match behind {
            [high, low, ..] if *first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        match code {
            None => bytes.push(*first),
            Some((high, low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_node_is_understood() {
        for (text, host, secure, password) in [
            ("127.0.0.1", "127.0.0.1", false, None),
            ("127.0.0.1:7421", "127.0.0.1", false, None),
            ("redis://127.0.0.1/0", "127.0.0.1", false, None),
            ("rediss://localhost:7421/", "localhost", true, None),
            ("rediss://[::1]:7421", "::1", true, None),
            (
                "redis://:a%2Fb%@127.0.0.1",
                "127.0.0.1",
                false,
                Some("a/b%"),
            ),
            (
                "redis://default:x:y@127.0.0.1",
                "127.0.0.1",
                false,
                Some("x:y"),
            ),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!(
                (target.host.as_str(), target.is_secure),
                (host, secure),
                "{text}"
            );
            let said = target.password.map(|word| String::from_utf8(word).unwrap());
            assert_eq!(said.as_deref(), password, "{text}");
        }
    }

    #[test]
    fn what_is_no_node_is_refused() {
        for text in [
            "http://127.0.0.1",
            "redis://127.0.0.1/1",
            "redis://",
            "rediss://h:99999",
        ] {
            assert!(Target::parse(text).is_err(), "{text}");
        }
    }
}
