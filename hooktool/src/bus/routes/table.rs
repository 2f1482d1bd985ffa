//! The route table: which far address is behind which relay. TOML, or XML with root `RelayMnger`.
//!
//! ```toml
//! template = "8.8.8.8"
//!
//! [[route]]
//! address = "0.0.3.1"
//! to = "tcp://10.1.44.61:1027"
//! description = "the order book"
//! ```
//!
//! Every complaint names its line. The table of a bus lies beside its channels (`routes.toml`), put
//! there whole by renaming; `hooktool bus routes` changes it and a relay reads it, again whenever
//! it changed.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use bus::{Address, Bus, Template};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::super::table::{Complaint, from_toml, line_at, read_by, template_of};
use super::super::xml;
use crate::failure::Failure;

/// Most routes of a table.
pub const ROUTES_MAX: usize = 1000;

/// A relay to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Name or number of the host, without the brackets of IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Written `tls://`: never without a certificate.
    pub is_tls: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.is_tls {
            true => "tls",
            false => "tcp",
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Target {
    /// Reads `tcp://HOST:PORT` or `tls://HOST:PORT`.
    pub fn parse(text: &str) -> Option<Target> {
        let (scheme, place) = text.split_once("://")?;
        let is_tls = match scheme {
            "tcp" => false,
            "tls" => true,
            _ => return None,
        };
        let (host, port) = place.rsplit_once(':')?;
        let host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => inner
                .parse::<std::net::Ipv6Addr>()
                .ok()
                .map(|_| inner.to_string())?,
            None => host.to_string(),
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        let is_good = !host.is_empty() && host.chars().all(is_plain);
        let is_bracketed = place.starts_with('[');
        (is_good && (is_bracketed || !host.contains(':'))).then_some(Target { host, port, is_tls })
    }
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The far address.
    pub address: Address,
    /// The relay of its host.
    pub to: Target,
    /// Kept for the user.
    pub description: String,
}

/// A route table, read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    /// How its addresses are written.
    pub template: Template,
    /// The routes, in the order written.
    pub routes: Vec<Route>,
}

/// A route as it was written.
#[derive(Debug, Default)]
pub struct RouteRow {
    /// Where it begins.
    pub line: usize,
    /// The far address.
    pub address: String,
    /// Its relay.
    pub to: String,
    /// Kept for the user.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlTable {
    template: Option<Spanned<String>>,
    #[serde(default)]
    route: Vec<Spanned<TomlRoute>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct TomlRoute {
    address: String,
    to: String,
    #[serde(default)]
    description: String,
}

/// Where the route table of a bus lies.
pub fn path_of(bus: &Bus) -> PathBuf {
    bus.path().join("routes.toml")
}

/// Reads a route table.
///
/// # Errors
///
/// The file cannot be read, or a line of it says something impossible.
pub fn read(path: &Path) -> Result<Routes, Failure> {
    let instead = "name a file of routes, or make one:  hooktool bus routes apply FILE";
    read_by(path, parse, instead)
}

/// Parses a route table; XML if it begins like it.
///
/// # Errors
///
/// The first line that is wrong.
pub fn parse(text: &str) -> Result<Routes, Complaint> {
    let (template, rows) = match text.trim_start().starts_with('<') {
        true => xml::routes(text)?,
        false => toml_rows(text)?,
    };
    if let Some(row) = rows.get(ROUTES_MAX) {
        let what = format!("{} routes, {ROUTES_MAX} allowed", rows.len());
        return Err(Complaint {
            line: row.line,
            what,
        });
    }
    let mut lines: HashMap<u32, usize> = HashMap::new();
    let mut routes = Vec::with_capacity(rows.len());
    for row in rows {
        let no = |what: String| Complaint {
            line: row.line,
            what,
        };
        let address = template
            .address(&row.address)
            .map_err(|error| no(error.to_string()))?;
        let to = Target::parse(&row.to).ok_or_else(|| {
            no(format!(
                "`{}` is no relay: write tcp://HOST:PORT or tls://HOST:PORT",
                row.to
            ))
        })?;
        if let Some(before) = lines.insert(address.0, row.line) {
            return Err(no(format!(
                "{} already has a route in line {before}",
                row.address
            )));
        }
        routes.push(Route {
            address,
            to,
            description: row.description,
        });
    }
    Ok(Routes { template, routes })
}

fn toml_rows(text: &str) -> Result<(Template, Vec<RouteRow>), Complaint> {
    let table: TomlTable = from_toml(text)?;
    let template = template_of(text, table.template.as_ref())?;
    let rows = table.route.into_iter().map(|route| {
        let line = line_at(text, route.span().start);
        let route = route.into_inner();
        RouteRow {
            line,
            address: route.address,
            to: route.to,
            description: route.description,
        }
    });
    Ok((template, rows.collect()))
}

/// The table as text, in its TOML form.
pub fn text(routes: &Routes) -> String {
    let mut text = format!("template = \"{}\"\n", routes.template);
    for route in &routes.routes {
        let row = TomlRoute {
            address: routes.template.show(route.address).to_string(),
            to: route.to.to_string(),
            description: route.description.clone(),
        };
        text += "\n[[route]]\n";
        text += &toml::to_string(&row).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: &str = "[[route]]\naddress = \"0.0.3.1\"\nto = \"tcp://10.1.44.61:1027\"\n";

    #[test]
    fn a_table_is_read_and_written_as_it_was() {
        let text_of_two = format!(
            "{ROUTE}description = \"a \\\"b\\\"\"\n[[route]]\naddress = \"0.0.4.1\"\n\
             to = \"tls://[::1]:7\"\n"
        );
        let routes = parse(&text_of_two).unwrap();
        assert_eq!(routes.routes[1].to.to_string(), "tls://[::1]:7");
        assert_eq!(parse(&text(&routes)).unwrap(), routes);
    }

    #[test]
    fn the_old_form_is_read() {
        let xml = "<RelayMnger><AddrTemplet>8.8.8.8</AddrTemplet>\n<RelayShmKey>2688</RelayShmKey>\
            <Relays><Addr>0.0.3.1</Addr>\
            <MConn>tcp://10.1.44.61:1027</MConn><Desc>x</Desc></Relays>\n\
            </RelayMnger>";
        let routes = parse(xml).unwrap();
        assert_eq!(
            routes.routes[0].to,
            Target::parse("tcp://10.1.44.61:1027").unwrap()
        );
        let wrong = parse(&xml.replace("<Desc>x</Desc>", "<Dosc/>")).unwrap_err();
        assert_eq!(wrong.line, 2, "{wrong:?}");
        let channels = parse("<TbusGCIM></TbusGCIM>").unwrap_err();
        assert!(channels.what.contains("hooktool bus apply"), "{channels:?}");
    }

    #[test]
    fn complaints_name_their_line() {
        let cases = [
            (
                format!("{ROUTE}{ROUTE}"),
                4,
                "already has a route in line 1",
            ),
            (ROUTE.replace("0.0.3.1", "0.0.3"), 1, "0.0.3"),
            (ROUTE.replace("tcp:", "udp:"), 1, "tcp://HOST:PORT"),
            (ROUTE.replace(":1027", ":0"), 1, "tcp://HOST:PORT"),
            (ROUTE.replace(":1027", ""), 1, "tcp://HOST:PORT"),
            (ROUTE.replace("to =", "via ="), 3, "unknown field"),
            (format!("template = \"9.9.9.9\"\n{ROUTE}"), 1, "template"),
            (
                ROUTE.replace("to = \"tcp://10.1.44.61:1027\"", ""),
                1,
                "missing field",
            ),
        ];
        for (text, line, what) in cases {
            let complaint = parse(&text).unwrap_err();
            assert!(complaint.what.contains(what), "{text}: {complaint:?}");
            assert_eq!(complaint.line, line, "{text}: {complaint:?}");
        }
    }
}
