//! `hooktool bus ls`: the channels, oldest first, with what is queued.

use bus::Bus;
use bus::view::queues;
use serde::Serialize;

use super::cli::FormatArgs;
use super::{channels, told};
use crate::failure::{self, Failure};
use crate::viewer::{json_line, line};

/// A channel as a script reads it.
#[derive(Serialize)]
struct Row {
    number: usize,
    ends: [String; 2],
    ring_bytes: [u64; 2],
    queued: [u64; 2],
    created_ns: u64,
    epoch: String,
    description: String,
    path: String,
}

/// Runs `ls`.
///
/// # Errors
///
/// The directory cannot be read.
pub fn list(bus: &Bus, arguments: &FormatArgs) -> Result<u8, Failure> {
    if !arguments.json {
        line(" N A                B                   A TO B   B TO A  QUEUED  WHAT")?;
    }
    // Numbers count what is no channel, too, so that `rm N` can remove it.
    for (nth, file) in bus
        .files(bus::channel::Access::View)
        .map_err(told)?
        .into_iter()
        .enumerate()
    {
        let Ok(file) = file else { continue };
        let header = file.header();
        let queued = queues(&file).map(|queue| queue.messages().1);
        let row = Row {
            number: nth + 1,
            ends: header.ends.map(|end| header.template.show(end).to_string()),
            ring_bytes: header.places.map(|place| place.data_bytes),
            queued,
            created_ns: header.created_ns,
            epoch: format!("{:016x}", header.epoch),
            description: header.description.clone(),
            path: file.path().display().to_string(),
        };
        if arguments.json {
            json_line(&row)?;
            continue;
        }
        let [a, b] = &row.ends;
        let [out, back] = row.ring_bytes.map(short);
        let queued = queued[0] + queued[1];
        line(&format!(
            "{:2} {a:16} {b:16} {out:>9} {back:>8} {queued:7}  {}",
            row.number, row.description
        ))?;
    }
    if channels(bus)?.is_empty() {
        let path = bus.path().display();
        failure::note(&match bus.path().is_dir() {
            true => format!("no channels in {path}: make some:  hooktool bus apply FILE"),
            false => format!("there is no bus at {path}: make one:  hooktool bus apply FILE"),
        });
    }
    Ok(0)
}

/// A power of two as people write it.
pub fn short(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        bytes if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        bytes if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        bytes => format!("{bytes}"),
    }
}
