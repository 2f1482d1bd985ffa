//! The table of a bus as a user writes it, in TOML or XML, checked line by line.
//!
//! ```toml
//! template = "8.8.8.8"
//!
//! [[channel]]
//! between = ["0.0.1.1", "0.0.2.1"]
//! send = "2MiB"                      # ring from the first to the second
//! receive = "2MiB"                   # and back
//! message_max = "64KiB"              # default: a quarter of the smaller ring
//! checksum = true
//! timestamps = false
//! description = "orders"
//! ```
//!
//! Every complaint names its line. `apply` makes a bus of it; nothing here looks at one.

use std::collections::HashMap;
use std::path::Path;

use bus::{RING_BYTES_DEFAULT, Spec, Template};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::xml;
use crate::failure::Failure;
use crate::sizes::parse_size;

/// Most channels of a table.
const CHANNELS_MAX: usize = 10_000;
/// Largest table, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A table, read and checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// The bus it is for, if it says so (the XML form's key).
    pub key: Option<String>,
    /// The channels.
    pub channels: Vec<Spec>,
}

/// A complaint about a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Complaint {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

/// A channel as it was written, before its texts are checked.
#[derive(Debug, Default)]
pub struct Row {
    /// Where it begins.
    pub line: usize,
    /// Both ends.
    pub between: Vec<String>,
    /// Sizes, as texts.
    pub send: Option<String>,
    /// Back.
    pub receive: Option<String>,
    /// Largest message.
    pub message_max: Option<String>,
    /// Checksums; default yes.
    pub checksum: Option<bool>,
    /// Times of sending; default no.
    pub timestamps: Option<bool>,
    /// Kept for the user.
    pub priority: u32,
    /// Kept for the user.
    pub description: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlTable {
    template: Option<Spanned<String>>,
    #[serde(default)]
    channel: Vec<Spanned<TomlChannel>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlChannel {
    between: Vec<String>,
    send: Option<String>,
    receive: Option<String>,
    message_max: Option<String>,
    checksum: Option<bool>,
    timestamps: Option<bool>,
    #[serde(default)]
    priority: u32,
    #[serde(default)]
    description: String,
}

/// Reads a table.
///
/// # Errors
///
/// The file cannot be read, or a line of it says something impossible.
pub fn read(path: &Path) -> Result<Table, Failure> {
    let instead = "name a file of channels; docs/bus.md shows one";
    read_by(path, parse, instead)
}

/// Reads a table of whatever kind `parse` knows; `instead` is what to do where there is none.
///
/// # Errors
///
/// As `read`.
pub fn read_by<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Complaint>,
    instead: &str,
) -> Result<T, Failure> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        Failure::usage(
            format!("{shown}: {error}"),
            "the table cannot be read, so nothing was changed",
            instead,
        )
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let error = std::io::Error::other(format!("{bytes} bytes are too many for a table"));
        return Err(unreadable(error));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|complaint| {
        Failure::usage(
            format!("{shown}:{}: {}", complaint.line, complaint.what),
            "the table says something impossible, so nothing was changed",
            format!("correct line {} and apply it again", complaint.line),
        )
    })
}

/// Parses a table; XML if it begins like it.
///
/// # Errors
///
/// The first line that is wrong.
pub fn parse(text: &str) -> Result<Table, Complaint> {
    let (key, template, rows) = match text.trim_start().starts_with('<') {
        true => xml::rows(text)?,
        false => toml_rows(text)?,
    };
    if rows.len() > CHANNELS_MAX {
        let what = format!("{} channels, {CHANNELS_MAX} allowed", rows.len());
        return Err(Complaint {
            line: rows[CHANNELS_MAX].line,
            what,
        });
    }
    let mut channels = Vec::with_capacity(rows.len());
    let mut lines: HashMap<[u32; 2], usize> = HashMap::new();
    for row in rows {
        let spec = check(&row, template).map_err(|what| Complaint {
            line: row.line,
            what,
        })?;
        let mut pair = spec.ends.map(|end| end.0);
        pair.sort_unstable();
        if let Some(before) = lines.insert(pair, row.line) {
            let what = format!("this channel is already in line {before}");
            return Err(Complaint {
                line: row.line,
                what,
            });
        }
        channels.push(spec);
    }
    Ok(Table { key, channels })
}

/// The line, from 1, of the byte `at`.
pub fn line_at(text: &str, at: usize) -> usize {
    text[..at.min(text.len())].matches('\n').count() + 1
}

/// A table as its TOML says it.
///
/// # Errors
///
/// It is no such table: the line and what is wrong there.
pub fn from_toml<T: DeserializeOwned>(text: &str) -> Result<T, Complaint> {
    toml::from_str(text).map_err(|error| Complaint {
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        what: error.message().trim().to_string(),
    })
}

/// The template of a table's addresses, or the usual one.
///
/// # Errors
///
/// It is none.
pub fn template_of(text: &str, written: Option<&Spanned<String>>) -> Result<Template, Complaint> {
    let Some(written) = written else {
        return Ok(Template::default());
    };
    Template::parse(written.get_ref()).map_err(|error| Complaint {
        line: line_at(text, written.span().start),
        what: error.to_string(),
    })
}

fn toml_rows(text: &str) -> Result<(Option<String>, Template, Vec<Row>), Complaint> {
    let table: TomlTable = from_toml(text)?;
    let template = template_of(text, table.template.as_ref())?;
    let rows = table.channel.into_iter().map(|channel| {
        let line = line_at(text, channel.span().start);
        let channel = channel.into_inner();
        Row {
            line,
            between: channel.between,
            send: channel.send,
            receive: channel.receive,
            message_max: channel.message_max,
            checksum: channel.checksum,
            timestamps: channel.timestamps,
            priority: channel.priority,
            description: channel.description,
        }
    });
    Ok((None, template, rows.collect()))
}

fn check(row: &Row, template: Template) -> Result<Spec, String> {
    let [first, second] = row.between.as_slice() else {
        return Err(format!(
            "a channel joins two addresses, not {}",
            row.between.len()
        ));
    };
    let end = |text: &str| template.address(text).map_err(|error| error.to_string());
    let size = |name: &str, text: &str| {
        parse_size(text).map_err(|bad| format!("{name} = \"{text}\": {bad}, such as {}", bad.write))
    };
    let ring = |name: &str, text: &Option<String>| match text {
        Some(text) => size(name, text),
        None => Ok(RING_BYTES_DEFAULT),
    };
    let message = row
        .message_max
        .as_ref()
        .map(|text| size("message_max", text))
        .transpose()?;
    let spec = Spec {
        template,
        ends: [end(first)?, end(second)?],
        ring_bytes: [ring("send", &row.send)?, ring("receive", &row.receive)?],
        message_bytes_max: message,
        is_summed: row.checksum.unwrap_or(true),
        is_stamped: row.timestamps.unwrap_or(false),
        priority: row.priority,
        description: row.description.clone(),
    };
    spec.rounded().map_err(|error| error.to_string())?;
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: &str = "[[channel]]\nbetween = [\"0.0.1.1\", \"0.0.2.1\"]\n";

    #[test]
    fn a_small_table_is_read() {
        let table = parse(&format!("{PAIR}send = \"64KiB\"\nchecksum = false\n")).unwrap();
        let spec = &table.channels[0];
        assert_eq!(spec.ring_bytes, [64 << 10, RING_BYTES_DEFAULT]);
        assert!(!spec.is_summed && !spec.is_stamped);
    }

    #[test]
    fn complaints_name_their_line() {
        let cases = [
            (format!("{PAIR}\n\n{PAIR}"), 5, "already in line 1"),
            (format!("template = \"8.8\"\n{PAIR}"), 1, "template"),
            (
                format!("{PAIR}[[channel]]\nbetween = [\"1.2.3.4\"]"),
                3,
                "joins two",
            ),
            (
                format!("{PAIR}[[channel]]\nbetween = [\"1.2.3.4\", \"1.2.3.400\"]"),
                3,
                "1.2.3.400",
            ),
            (format!("{PAIR}sent = \"1MiB\""), 3, "unknown field"),
            (format!("{PAIR}send = \"1M\""), 1, "1MiB"),
            (format!("{PAIR}send = \"1TiB\""), 1, "at most"),
            (format!("{PAIR}message_max = \"2MiB\""), 1, "quarter"),
            (
                "[[channel]]\nbetween = [\"1.2.3.4\", \"1.2.3.4\"]".into(),
                1,
                "same address",
            ),
            ("[[channel]\n".into(), 1, ""),
        ];
        for (text, line, what) in cases {
            let complaint = parse(&text).unwrap_err();
            assert_eq!(complaint.line, line, "{text}: {complaint:?}");
            assert!(complaint.what.contains(what), "{text}: {complaint:?}");
        }
    }

    #[test]
    fn narrow_templates_rule_the_addresses() {
        let text = "template = \"4.4.4.4\"\n[[channel]]\nbetween = [\"1.1.1.1\", \"15.0.0.16\"]";
        assert!(parse(text).unwrap_err().what.contains("15.0.0.16"));
    }
}
