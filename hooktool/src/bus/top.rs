//! `hooktool bus top`: a screen of all queues every interval: rates, depths, who is stopped.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus::Bus;
use bus::view::queues;

use super::channels;
use super::cli::TopArgs;
use super::see::{in_words, who};
use crate::failure::Failure;
use crate::viewer::line;

/// Runs `top`.
///
/// # Errors
///
/// The directory cannot be read.
pub fn top(bus: &Bus, arguments: &TopArgs) -> Result<u8, Failure> {
    let interval_s = arguments.arguments.first().copied().unwrap_or(1);
    let count = arguments.arguments.get(1).copied().unwrap_or(u64::MAX);
    let mut before: HashMap<(u32, u32), u64> = HashMap::new();
    let mut at = Instant::now();
    for nth in 0..=count {
        if nth > 0 {
            std::thread::sleep(Duration::from_secs(interval_s));
            line("FROM             TO                 MSGS/s  QUEUED  FILL% SENDER, RECEIVER")?;
        }
        let seconds = at.elapsed().as_secs_f64();
        at = Instant::now();
        for queue in channels(bus)?.iter().flat_map(queues) {
            let sent = queue.sent.messages;
            let last = before
                .insert((queue.from.0, queue.to.0), sent)
                .unwrap_or(sent);
            if nth == 0 {
                continue;
            }
            let template = bus.template().unwrap_or_default();
            let fill = queue.bytes().unwrap_or(queue.ring_bytes) * 100 / queue.ring_bytes;
            line(&format!(
                "{:16} {:16} {:8.0} {:7} {fill:6} {}, {}",
                template.show(queue.from).to_string(),
                template.show(queue.to).to_string(),
                sent.saturating_sub(last) as f64 / seconds,
                queue.messages().1,
                in_words(&queue.sender.as_ref().map(who)),
                in_words(&queue.receiver.as_ref().map(who))
            ))?;
        }
    }
    Ok(0)
}
