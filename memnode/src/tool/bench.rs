//! `memnode ping` and `memnode bench`: how far a node is, and how fast blocks go there and back.
//!
//! Called by `tool`. The benchmark writes under keys of its own, which it removes again.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::dial::{Dialled, Reply, append};
use crate::failure::Failure;

/// Pings unless told otherwise.
const PINGS: u32 = 100;

/// Requests of each kind unless told otherwise.
const REQUESTS: u32 = 20_000;

/// Bytes of a block.
const BLOCK_BYTES: usize = 4096;

/// Keys of the benchmark.
const KEYS: u32 = 64;

/// Requests in flight in the pipelined part.
const PIPELINE: u32 = 16;

/// Times of round trips.
struct Times(Vec<Duration>);

impl Times {
    fn us(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let time = self.0.get((last as f64 * share) as usize);
        time.map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// Round trips of PING.
///
/// # Errors
/// The node cannot be asked.
pub fn ping(node: &mut Dialled, json: bool, count: Option<u32>) -> Result<String, Failure> {
    let mut times = Times(Vec::new());
    for _ in 0..count.unwrap_or(PINGS) {
        let start = Instant::now();
        match node.ask(&[b"PING"])? {
            Reply::Line(word) if word == "PONG" => times.0.push(start.elapsed()),
            _ => return Err(node.broken("its PONG makes no sense")),
        }
    }
    let (count, p50, p99) = (times.0.len(), times.us(0.5), times.us(0.99));
    Ok(match json {
        true => format!(
            "{{\"schema\":1,\"pings\":{count},\"rtt_us\":{{\"p50\":{p50:.1},\"p99\":{p99:.1}}}}}\n"
        ),
        false => format!("{count} pings: p50 {p50:.1} us, p99 {p99:.1} us\n"),
    })
}

/// SET and GET of blocks, one at a time and pipelined.
///
/// # Errors
/// The node cannot be asked, or gives back something else.
pub fn bench(node: &mut Dialled, json: bool, count: Option<u32>) -> Result<String, Failure> {
    let requests = count.unwrap_or(REQUESTS);
    let block = vec![0x5a; BLOCK_BYTES];
    let mut text = String::new();
    for (name, get) in [("SET", false), ("GET", true)] {
        for pipeline in [1, PIPELINE] {
            let (mut times, start) = (Times(Vec::new()), Instant::now());
            let mut done = 0;
            while done < requests {
                let mut batch = Vec::new();
                for index in 0..pipeline {
                    let key = key(done + index);
                    match get {
                        true => append(&mut batch, &[b"GET", key.as_bytes()]),
                        false => append(&mut batch, &[b"SET", key.as_bytes(), &block]),
                    }
                }
                let sent = Instant::now();
                node.send(&batch)?;
                for _ in 0..pipeline {
                    match node.reply()? {
                        Reply::Line(word) if !get && word == "OK" => {}
                        Reply::Bytes(bytes) if get && bytes == block => {}
                        _ => return Err(node.broken("a block did not come back as it went")),
                    }
                }
                times.0.push(sent.elapsed());
                done += pipeline;
            }
            let rate = f64::from(done) / start.elapsed().as_secs_f64();
            let (p50, p99) = (times.us(0.5), times.us(0.99));
            let _ = match json {
                true => writeln!(
                    text,
                    "{{\"schema\":1,\"op\":\"{name}\",\"pipeline\":{pipeline},\"rate\":{rate:.0},\
                     \"batch_us\":{{\"p50\":{p50:.1},\"p99\":{p99:.1}}}}}"
                ),
                false => writeln!(
                    text,
                    "{name} of {BLOCK_BYTES} bytes, {pipeline:>2} in flight: {rate:>8.0}/s, batch \
                     p50 {p50:.1} us, p99 {p99:.1} us"
                ),
            };
        }
    }
    let keys: Vec<String> = (0..KEYS).map(key).collect();
    let mut parts: Vec<&[u8]> = vec![b"DEL"];
    parts.extend(keys.iter().map(String::as_bytes));
    node.ask(&parts)?;
    Ok(text)
}

fn key(number: u32) -> String {
    format!("memnode-bench:{}:{}", std::process::id(), number % KEYS)
}
