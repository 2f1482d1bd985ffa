//! `hooktool bus record` and `replay`: messages into a file of JSON lines, and from it again.
//!
//! A message is acknowledged once its line is written, so an interrupted recording has lost
//! nothing: it may have the last message twice, marked.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::time::{Duration, Instant};

use bus::{Bus, Error, Role, Wait};
use serde::{Deserialize, Serialize};

use super::cli::{RecordArgs, ReplayArgs};
use super::dump::{hex, unhex};
use super::{address, told};
use crate::failure::Failure;
use crate::viewer::line;

/// A recorded message.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    seq: u64,
    from: String,
    to: String,
    /// When it was recorded, in nanoseconds since 1970.
    recorded_ns: u64,
    is_redelivered: bool,
    /// Hex.
    payload: String,
}

/// Runs `record`.
///
/// # Errors
///
/// No such address, it is bound, or the file cannot be written.
pub fn record(bus: &Bus, arguments: &RecordArgs) -> Result<u8, Failure> {
    let end = address(bus, &arguments.address)?;
    let template = bus.template().map_err(told)?;
    let mut receiver = bus.bind_as(end, Role::Receive).map_err(told)?;
    let unwritable = |errno| told(Error::system(&arguments.file, "write", errno));
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&arguments.file);
    let mut file = file.map_err(unwritable)?;
    let idle = arguments.idle.map(Duration::from_secs);
    let mut count = 0;
    while arguments.count == 0 || count < arguments.count {
        let message = match receiver.receive(idle.map_or(Wait::Forever, Wait::For)) {
            Ok(message) => message,
            Err(Error::Empty) => break,
            Err(error @ Error::Damaged { .. }) => {
                eprintln!("hooktool: {error}");
                continue;
            }
            Err(error) => return Err(told(error)),
        };
        let text = serde_json::to_string(&Line {
            seq: message.seq(),
            from: template.show(message.source()).to_string(),
            to: template.show(message.destination()).to_string(),
            recorded_ns: bus::sys::wall_clock_ns(),
            is_redelivered: message.is_redelivered(),
            payload: hex(message.payload()),
        });
        let text = text.unwrap_or_default() + "\n";
        file.write_all(text.as_bytes()).map_err(unwritable)?;
        count += 1;
    }
    receiver.close();
    line(&format!("recorded {count} messages")).map(|()| 0)
}

/// Runs `replay`.
///
/// # Errors
///
/// A line of the file is wrong, no such channel, the source is bound, or nobody takes the messages.
pub fn replay(bus: &Bus, arguments: &ReplayArgs) -> Result<u8, Failure> {
    let unreadable = |errno| told(Error::system(&arguments.file, "read", errno));
    let file = File::open(&arguments.file).map_err(unreadable)?;
    let mut sender = bus
        .bind_as(address(bus, &arguments.from)?, Role::Send)
        .map_err(told)?;
    let begun = Instant::now();
    let (mut first_ns, mut count) = (None, 0);
    for (nth, text) in BufReader::new(file).lines().enumerate() {
        let text = text.map_err(unreadable)?;
        let wrong = || {
            Failure::usage(
                format!(
                    "{}:{}: not a recorded message",
                    arguments.file.display(),
                    nth + 1
                ),
                format!("{count} messages before it were sent"),
                "give a file that `hooktool bus record` wrote",
            )
        };
        let line: Line = serde_json::from_str(&text).map_err(|_| wrong())?;
        let payload = unhex(&line.payload).ok_or_else(wrong)?;
        let to = address(bus, arguments.to.as_ref().unwrap_or(&line.to))?;
        let after_ns = line
            .recorded_ns
            .saturating_sub(*first_ns.get_or_insert(line.recorded_ns));
        if !arguments.fast {
            let due = begun + Duration::from_nanos(after_ns);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        sender
            .send(to, &payload, Wait::For(Duration::from_secs(60)))
            .map_err(told)?;
        count += 1;
    }
    line(&format!("sent {count} messages")).map(|()| 0)
}
