//! `hooktool bus dump`: queued messages, without taking them. Also how any payload is shown.

use bus::Bus;
use bus::channel::{Access, File};
use bus::record::TEST;
use bus::view::{Queued, queues};
use serde::Serialize;

use super::cli::{DumpArgs, Shape};
use super::{address, channel, told};
use crate::failure::Failure;
use crate::viewer::{json_line, line};

/// A message as a script reads it; also a line of what `record` writes.
#[derive(Serialize)]
pub struct Shown {
    pub seq: u64,
    pub from: String,
    pub to: String,
    pub sent_ns: u64,
    pub is_test: bool,
    pub is_good: bool,
    pub trace: Option<String>,
    pub payload: String,
}

/// Runs `dump`.
///
/// # Errors
///
/// No such channel.
pub fn dump(bus: &Bus, arguments: &DumpArgs) -> Result<u8, Failure> {
    let words = [arguments.from.clone(), arguments.to.clone()];
    let from = address(bus, &arguments.from)?;
    let file = File::open(&channel(bus, &words)?, Access::View).map_err(told)?;
    for queue in queues(&file).into_iter().filter(|queue| queue.from == from) {
        for message in queue.dump(arguments.messages, arguments.bytes) {
            show(&message, &words, arguments.format)?;
        }
    }
    Ok(0)
}

fn show(message: &Queued, words: &[String; 2], shape: Shape) -> Result<(), Failure> {
    let head = message.head;
    let shown = Shown {
        seq: head.seq,
        from: words[0].clone(),
        to: words[1].clone(),
        sent_ns: head.sent_ns,
        is_test: head.flags & TEST != 0,
        is_good: message.is_good,
        trace: message
            .extension
            .trace
            .map(|trace| format!("{:016x}", trace.id)),
        payload: hex(&message.payload),
    };
    if shape == Shape::Json {
        return json_line(&shown);
    }
    let note = match (shown.is_good, shown.is_test) {
        (false, _) => ", DAMAGED",
        (_, true) => ", a test",
        _ => "",
    };
    line(&format!("number {}, {} bytes{note}", head.seq, head.len))?;
    payload(&message.payload, shape)
}

/// Shows a payload as hex or text.
///
/// # Errors
///
/// Nobody reads any more.
pub fn payload(bytes: &[u8], shape: Shape) -> Result<(), Failure> {
    if shape == Shape::Text {
        return line(&bytes.escape_ascii().to_string());
    }
    for (nth, row) in bytes.chunks(16).enumerate() {
        let digits: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String = row.iter().map(|byte| letter(*byte)).collect();
        line(&format!(
            "  {:06x}  {:47}  {letters}",
            nth * 16,
            digits.join(" ")
        ))?;
    }
    Ok(())
}

fn letter(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    }
}

/// Bytes as hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hex digits as bytes.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let is_hex = text.len().is_multiple_of(2) && text.bytes().all(|c| c.is_ascii_hexdigit());
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    is_hex.then(|| pairs.filter_map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("012"), None);
    }
}
