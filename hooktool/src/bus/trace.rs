//! `hooktool bus trace ID`: the passages of a traced message through all channels, in order of
//! time.

use bus::Bus;
use bus::view::queues;

use super::channels;
use super::cli::TraceArgs;
use crate::failure::Failure;
use crate::viewer::line;

/// Runs `trace`.
///
/// # Errors
///
/// No such trace.
pub fn trace(bus: &Bus, arguments: &TraceArgs) -> Result<u8, Failure> {
    let missing = || {
        Failure::command(
            format!("no trace {}", arguments.id),
            "each side of a channel remembers the last 64 traced messages that passed it",
            "send one:  hooktool bus send --traced FROM TO TEXT",
        )
    };
    let id = u64::from_str_radix(&arguments.id, 16).map_err(|_| missing())?;
    let mut passages = Vec::new();
    for file in channels(bus)? {
        let template = file.header().template;
        for queue in queues(&file) {
            let [from, to] = [queue.from, queue.to].map(|end| template.show(end).to_string());
            let (sent, received) = queue.passages();
            let sent = sent.into_iter().map(|passage| ("sent", passage));
            let received = received.into_iter().map(|passage| ("received", passage));
            for (what, passage) in sent.chain(received).filter(|(_, passage)| passage.id == id) {
                passages.push((passage.at_ns, what, from.clone(), to.clone(), passage));
            }
        }
    }
    passages.sort_by_key(|passage| passage.0);
    let begun = passages.first().ok_or_else(missing)?.0;
    for (at_ns, what, from, to, passage) in passages {
        let after_us = (at_ns - begun) as f64 / 1000.0;
        let (seq, bytes) = (passage.seq, passage.bytes);
        line(&format!(
            "{after_us:10.1} us  {what:8} {from} -> {to}, number {seq}, {bytes} bytes"
        ))?;
    }
    Ok(0)
}
