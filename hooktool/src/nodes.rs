//! Addresses of memory nodes: from what was typed to `NodeAddr`.
//!
//! `HOST[:PORT]`, `redis://[:PASSWORD@]HOST[:PORT]`, `embedded:SIZE`, `srv://[:PASSWORD@]NAME`,
//! `redis-cluster://[:PASSWORD@]HOST[:PORT],...`; `rediss` in place of `redis`: by TLS. Names are
//! not looked up here.
//! Schemes that a later version will speak are refused by name, not misread as hosts, and with the
//! way round them.

use crate::config::{MEMNODE_PORT, NodeAddr, REDIS_PORT, Secret};
use crate::sizes::{self, BadQuantity};

/// What to type about a node that speaks TLS and was addressed without; `at` is `HOST:PORT`.
pub fn with_tls(at: &str) -> String {
    format!("address it so:  --node rediss://{at} --node-ca FILE")
}

/// Parses an address.
///
/// # Errors
///
/// What is wrong with it and an address that would be right. Never repeats a password.
pub fn parse(text: &str) -> Result<NodeAddr, BadQuantity> {
    let text = text.trim();
    if let Some(size) = text.strip_prefix("embedded:") {
        return match sizes::parse_size(size) {
            Ok(0) => Err(bad(
                "an embedded node of no memory holds nothing",
                "embedded:256MiB",
            )),
            Ok(bytes) => Ok(NodeAddr::Embedded { bytes }),
            Err(error) => Err(bad(&error.means, &format!("embedded:{}", error.write))),
        };
    }
    match text.split_once("://") {
        None if text == "embedded" => Err(bad("an embedded node needs a size", "embedded:256MiB")),
        None => {
            let (host, port) = host_port(text, MEMNODE_PORT)?;
            Ok(NodeAddr::Memnode { host, port })
        }
        Some((scheme @ ("redis" | "rediss"), rest)) => redis(rest, scheme),
        Some(("srv", rest)) => srv(rest),
        Some((scheme @ ("redis-cluster" | "rediss-cluster"), rest)) => cluster(rest, scheme),
        Some(_) => Err(bad(
            "no such kind of node",
            "HOST:7420 or redis://HOST:6379",
        )),
    }
}

/// Members of a cluster that may be asked, as many as there are.
const SEEDS_MAX: usize = 64;

fn cluster(rest: &str, scheme: &str) -> Result<NodeAddr, BadQuantity> {
    let example = format!("{scheme}://HOST:6379,HOST2:6379");
    let (password, addresses) = password(rest, scheme)?;
    let mut seeds = Vec::new();
    for address in addresses.split(',') {
        let seed = host_port(address, REDIS_PORT)
            .map_err(|error| bad(&error.means, &format!("{scheme}://{}", error.write)))?;
        if !seeds.contains(&seed) {
            seeds.push(seed);
        }
    }
    if seeds.len() > SEEDS_MAX {
        let means = format!("any member knows all others: name at most {SEEDS_MAX}");
        return Err(bad(&means, &example));
    }
    Ok(NodeAddr::Cluster {
        seeds,
        password,
        is_tls: scheme.starts_with("rediss"),
    })
}

fn srv(rest: &str) -> Result<NodeAddr, BadQuantity> {
    let example = "srv://_memnode._tcp.example.org";
    let (secret, name) = match rest.rsplit_once('@') {
        Some((secret, name)) => (
            secret.strip_prefix(':').filter(|secret| !secret.is_empty()),
            name,
        ),
        None => (None, rest),
    };
    if rest.contains('@') && secret.is_none() {
        let means = "before the @ stands a colon and the password, no user name";
        return Err(bad(means, "srv://:PASSWORD@_memnode._tcp.example.org"));
    }
    let name = name.trim_end_matches(['/', '.']);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let label = |label: &str| !label.is_empty() && label.len() <= 63;
    if name.len() > 253 || !name.bytes().all(plain) || !name.split('.').all(label) {
        let means = "srv:// stands before a name with SRV records, which have the ports";
        return Err(bad(means, example));
    }
    let password = secret.map(decode).transpose()?.map(Secret);
    let name = name.to_string();
    Ok(NodeAddr::Srv { name, password })
}

fn redis(rest: &str, scheme: &str) -> Result<NodeAddr, BadQuantity> {
    let (password, address) = password(rest, scheme)?;
    let (host, port) = host_port(address, REDIS_PORT)?;
    Ok(NodeAddr::Redis {
        host,
        port,
        password,
        is_tls: scheme == "rediss",
    })
}

/// What stands before the `@`, and what behind it.
fn password<'a>(rest: &'a str, scheme: &str) -> Result<(Option<Secret>, &'a str), BadQuantity> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(user), address),
        None => (None, rest),
    };
    let password = match user.map(|user| user.split_once(':')) {
        None => None,
        Some(Some(("" | "default", password))) if !password.is_empty() => {
            Some(Secret(decode(password)?))
        }
        Some(_) => {
            let means = "before the @ stands a colon and the password, no user name";
            return Err(bad(means, &format!("{scheme}://:PASSWORD@HOST:6379")));
        }
    };
    if address.contains('/') {
        return Err(bad(
            "blocks live in database 0, none can be chosen",
            &format!("{scheme}://HOST:6379"),
        ));
    }
    Ok((password, address))
}

/// A password as a URL writes it: what stands there, `%40` and its kin decoded, as redis-cli does.
/// A percent sign before anything but two digits means itself.
fn decode(text: &str) -> Result<String, BadQuantity> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%');
        let code =
            digits.and_then(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok());
        let plain = digits.is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        match code.filter(|_| plain) {
            Some(code) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let means = "the password, its %XX decoded, is not UTF-8";
    String::from_utf8(bytes).map_err(|_| bad(means, "redis://:PASSWORD@HOST:6379"))
}

fn host_port(text: &str, port_default: u16) -> Result<(String, u16), BadQuantity> {
    let rule = "a node is a host name or address, a colon and a port";
    let example = format!("10.0.0.7:{port_default}");
    if let Some(first) = text.split([' ', ',']).next().filter(|first| *first != text) {
        let means = "several addresses are written one by one, or with commas in HOOKTOOL_NODE";
        return Err(bad(means, if first.is_empty() { &example } else { first }));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) if port.starts_with(':') => (host, Some(&port[1..])),
        Some((host, port)) => {
            let means = "between the bracket and the port stands a colon";
            return Err(bad(means, &format!("[{host}]:{port}")));
        }
        None if text.starts_with('[') => {
            let means = "the bracket is not closed";
            return Err(bad(means, &bracketed(&text[1..], &example)));
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.contains(':') => {
                let means = "an IPv6 address stands in brackets";
                return Err(bad(means, &bracketed(text, &example)));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::parse::<u16>) {
        None => port_default,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err(bad("a port is a number from 1 to 65535", &example)),
    };
    if !is_host(host) {
        return Err(bad(rule, &example));
    }
    // The C library would take it for an address: 7421 is 0.0.28.253.
    if host.bytes().all(|byte| byte.is_ascii_digit()) {
        let means = "a number alone is no host; a port stands behind a host and a colon";
        return Err(bad(means, &format!("127.0.0.1:{host}")));
    }
    Ok((host.to_string(), port))
}

/// Splits a list of addresses at its commas. Those behind the first member of a cluster are further
/// members of it: a cluster is the whole pool of a session, so nothing else can follow.
pub fn split_list(text: &str) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for part in text.split(',') {
        match nodes.last_mut() {
            Some(last) if last.contains("-cluster://") && !part.contains("://") => {
                last.push(',');
                last.push_str(part.trim());
            }
            _ => nodes.push(part.trim().to_string()),
        }
    }
    nodes.retain(|node| !node.is_empty());
    nodes
}

/// Whether this can be the name or the address of a host: what others say is one (a cluster, a name
/// server) is shown on terminals, too.
pub fn is_host(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    (1..=253).contains(&text.len()) && text.bytes().all(plain)
}

/// What may have been meant by an IPv6 address without brackets: what stands behind the last colon
/// is a port if the rest is an address and it has more digits than a part of one, or looks as
/// though.
fn bracketed(text: &str, example: &str) -> String {
    let is_address = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port >= 1024);
    match text.rsplit_once(':') {
        Some((host, tail)) if is_address(host) && port(tail) => format!("[{host}]:{tail}"),
        _ if is_address(text) => format!("[{text}]:7420"),
        _ => example.to_string(),
    }
}

/// An address with whatever stands before its `@` hidden, and in the shape it was typed in: what is
/// wrong may be the shape.
pub fn mask(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else {
        return text.to_string();
    };
    let (scheme, user) = match before.split_once("://") {
        Some((scheme, user)) => (format!("{scheme}://"), user),
        None => (String::new(), before),
    };
    let hidden = match user.split_once(':') {
        Some(("", _)) => ":***",
        Some(_) => "***:***",
        None => "***",
    };
    format!("{scheme}{hidden}@{host}")
}

fn bad(means: &str, write: &str) -> BadQuantity {
    BadQuantity {
        means: means.to_string(),
        write: write.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).map_or_else(
            |error| format!("bad: {}", error.means),
            |node| node.to_string(),
        )
    }

    #[test]
    fn ports_have_their_defaults() {
        assert_eq!(shown("10.0.0.7"), "10.0.0.7:7420");
        assert_eq!(shown("node-1.lan:9000"), "node-1.lan:9000");
        assert_eq!(shown("[::1]"), "[::1]:7420");
        assert_eq!(shown("[::1]:7000"), "[::1]:7000");
        assert_eq!(shown("redis://cache"), "redis://cache:6379");
        assert_eq!(shown("rediss://:pw@[::1]"), "rediss://[::1]:6379");
        assert_eq!(shown("embedded:64MiB"), "embedded:64MiB");
        assert_eq!(shown("srv://_m._tcp.lan."), "srv://_m._tcp.lan");
        assert_eq!(shown("srv://:pw@_m._tcp.lan"), "srv://_m._tcp.lan");
    }

    #[test]
    fn what_may_have_been_meant_is_proposed() {
        let proposed = |text: &str| parse(text).unwrap_err().write;
        assert_eq!(proposed("::1:7600"), "[::1]:7600");
        assert_eq!(proposed("::1"), "[::1]:7420");
        assert_eq!(proposed("fe80::12"), "[fe80::12]:7420");
        assert_eq!(proposed("[::1"), "[::1]:7420");
        assert_eq!(proposed("[::1]7600"), "[::1]:7600");
        assert_eq!(proposed("a:b:c"), "10.0.0.7:7420");
        assert_eq!(proposed("a:1 b:2"), "a:1");
        assert_eq!(proposed("7421"), "127.0.0.1:7421");
        assert_eq!(proposed("a:1,b:2"), "a:1");
    }

    #[test]
    fn a_password_is_taken_and_not_shown() {
        let node = parse("redis://:s3c:r@t@cache:7000/").unwrap();
        assert_eq!(node.to_string(), "redis://cache:7000");
        let NodeAddr::Redis { password, .. } = node else {
            panic!("not redis")
        };
        assert_eq!(password, Some(Secret("s3c:r@t".into())));
    }

    #[test]
    fn a_password_is_decoded_as_urls_are() {
        for (typed, meant) in [
            ("p%40ss", "p@ss"),
            ("50%25", "50%"),
            ("50%", "50%"),
            ("a%+1b", "a%+1b"),
            ("%zz%4", "%zz%4"),
        ] {
            let node = parse(&format!("redis://:{typed}@cache")).unwrap();
            let NodeAddr::Redis { password, .. } = node else {
                panic!("not redis")
            };
            assert_eq!(password, Some(Secret(meant.into())), "{typed}");
        }
        assert!(parse("redis://:%ff@cache").is_err());
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            ":7420",
            "host:0",
            "7421",
            "host:65536",
            "host:http",
            "::1",
            "a b",
            "redis://user@host",
            "redis://user:pw@host",
            "redis://host/3",
            "redis-cluster://",
            "redis-cluster://a,",
            "redis-cluster://a,b:0",
            "redis-cluster://user@a,b",
            "redis-cluster://a,b/3",
            "http://host",
            "srv://",
            "srv://a..b",
            "srv://host:7420",
            "srv://user@a.b",
            "embedded",
            "embedded:0",
            "embedded:64g",
            "[::1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_addresses_leaves_a_cluster_whole() {
        assert_eq!(split_list("a:1, b:2,"), ["a:1", "b:2"]);
        let cluster = "redis-cluster://:p,w@a:1,b:2";
        assert_eq!(split_list(cluster), [cluster]);
        assert_eq!(
            split_list(&format!("{cluster}, srv://c")),
            [cluster, "srv://c"]
        );
        assert_eq!(split_list(" ,"), [""; 0]);
    }

    #[test]
    fn a_cluster_has_seeds_and_one_password() {
        assert_eq!(
            shown("redis-cluster://a,b:7000,[::1]:7001/"),
            "redis-cluster://a:6379,b:7000,[::1]:7001"
        );
        let node = parse("redis-cluster://:p%40w@a:1,b:2,a:1").unwrap();
        assert_eq!(
            node,
            NodeAddr::Cluster {
                seeds: vec![("a".into(), 1), ("b".into(), 2)],
                password: Some(Secret("p@w".into())),
                is_tls: false,
            }
        );
        assert_eq!(
            shown("rediss-cluster://a,b:1"),
            "rediss-cluster://a:6379,b:1"
        );
    }
}
