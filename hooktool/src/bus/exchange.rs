//! `hooktool bus test`, `send` and `recv`: taking part like any other program.

use std::io::Read;
use std::time::{Duration, Instant};

use bus::channel::{Access, File};
use bus::view::queues;
use bus::{Bus, Error, Role, Wait};

use super::cli::{RecvArgs, SendArgs, Shape, TestArgs};
use super::dump::{Shown, hex, payload};
use super::{address, channel, told, wait};
use crate::failure::Failure;
use crate::viewer::{json_line, line};

/// Largest message read from standard input.
const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Runs `test`: writes messages, and tells whether they were taken.
///
/// # Errors
///
/// No such channel, the source is bound, no room, or not acknowledged in time.
pub fn test(bus: &Bus, arguments: &TestArgs) -> Result<u8, Failure> {
    let words = [arguments.src.clone(), arguments.dst.clone()];
    let path = channel(bus, &words)?;
    let [from, to] = [address(bus, &arguments.src)?, address(bus, &arguments.dst)?];
    let mut sender = bus.bind_as(from, Role::Send).map_err(told)?;
    let data: Vec<u8> = (0..arguments.data_len)
        .map(|at| b'a' + (at % 26) as u8)
        .collect();
    let begun = Instant::now();
    let mut last = 0;
    for _ in 0..arguments.count {
        last = sender
            .send_test(to, &data, Wait::For(Duration::from_secs(1)))
            .map_err(told)?;
    }
    let took_us = begun.elapsed().as_micros();
    let (count, bytes) = (arguments.count, arguments.data_len);
    line(&format!(
        "sent {count} messages of {bytes} bytes, the last is number {last}, {took_us} us"
    ))?;
    let Some(seconds) = arguments.receipt else {
        return Ok(0);
    };
    let end = begun + Duration::from_secs(seconds);
    let file = File::open(&path, Access::View).map_err(told)?;
    loop {
        let left: u64 = queues(&file)
            .iter()
            .filter(|queue| queue.from == from)
            .map(|queue| queue.messages().1)
            .sum();
        if left == 0 {
            line(&format!(
                "all acknowledged after {} us",
                begun.elapsed().as_micros()
            ))?;
            return Ok(0);
        }
        if Instant::now() >= end {
            return Err(Failure::command(
                format!("{left} messages are not acknowledged after {seconds} s"),
                format!(
                    "nobody at {} has taken them, or its last one is still in work",
                    words[1]
                ),
                format!("look who:  hooktool bus see {}", words[1]),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `send`.
///
/// # Errors
///
/// No such channel, the source is bound, no room, or standard input cannot be read.
pub fn send(bus: &Bus, arguments: &SendArgs) -> Result<u8, Failure> {
    let [from, to] = [address(bus, &arguments.from)?, address(bus, &arguments.to)?];
    let mut sender = bus.bind_as(from, Role::Send).map_err(told)?;
    let mut bytes = Vec::new();
    match &arguments.text {
        Some(text) => bytes.extend_from_slice(text.as_bytes()),
        None => {
            let input = std::io::stdin().lock();
            let read = input.take(INPUT_BYTES_MAX).read_to_end(&mut bytes);
            read.map_err(|errno| told(Error::system("standard input", "read", errno)))?;
        }
    }
    let limit = wait(arguments.wait);
    if arguments.traced {
        let id = sender.send_traced(to, &bytes, limit).map_err(told)?;
        return line(&format!("{id:016x}")).map(|()| 0);
    }
    sender.send(to, &bytes, limit).map_err(told)?;
    Ok(0)
}

/// Runs `recv`.
///
/// # Errors
///
/// No such address, it is bound, or nothing came in time.
pub fn receive(bus: &Bus, arguments: &RecvArgs) -> Result<u8, Failure> {
    let end = address(bus, &arguments.address)?;
    let template = bus.template().map_err(told)?;
    let mut receiver = bus.bind_as(end, Role::Receive).map_err(told)?;
    let mut received = 0;
    while arguments.count == 0 || received < arguments.count {
        let limit = match arguments.count {
            0 => Wait::Forever,
            _ => wait(arguments.wait),
        };
        match receiver.receive(limit) {
            Ok(message) if arguments.format == Shape::Json => json_line(&Shown {
                seq: message.seq(),
                from: template.show(message.source()).to_string(),
                to: template.show(message.destination()).to_string(),
                sent_ns: message.sent_ns().unwrap_or(0),
                is_test: message.is_test(),
                is_good: true,
                trace: message.trace().map(|trace| format!("{:016x}", trace.id)),
                payload: hex(message.payload()),
            })?,
            Ok(message) => payload(message.payload(), arguments.format)?,
            Err(error @ Error::Damaged { .. }) => {
                eprintln!("hooktool: {error}");
                continue;
            }
            Err(error) => {
                receiver.close();
                return Err(told(error));
            }
        }
        received += 1;
    }
    receiver.close();
    Ok(0)
}
