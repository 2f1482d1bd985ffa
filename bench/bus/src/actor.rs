//! One end of a measurement: the same loop over every link.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cli::{ActorArgs, Kind, Role};
use crate::link::{LAST, Link, MORE};
use crate::links::{iceoryx, mq, pipe, ring, tcp, word, zeromq};

/// Unmeasured time at the beginning.
const SETTLE: Duration = Duration::from_millis(40);
/// Messages between two looks at the clock.
const LOOK: u64 = 64;

/// What an actor saw, one JSON line on its standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Messages (`Ping`: round trips).
    pub messages: u64,
    /// Time they took.
    pub wall_ns: u64,
    /// Processor time of this process for them.
    pub cpu_ns: u64,
    /// Half a round trip (`Ping`).
    pub p50_ns: u64,
    /// Half a round trip (`Ping`).
    pub p99_ns: u64,
}

/// Does what the arguments say and prints what was seen.
pub fn act(arguments: &ActorArgs) -> Result<()> {
    let first = matches!(arguments.role, Role::Ping | Role::Source);
    let stage = arguments.stage.as_path();
    let bytes = arguments.bytes as usize;
    let seen = match arguments.kind {
        Kind::Word => play(word::Word::open(stage, first, false)?, arguments),
        Kind::Futex => play(word::Word::open(stage, first, true)?, arguments),
        Kind::RingSpin | Kind::Ring | Kind::RingBare | Kind::RingSleep | Kind::Relay => {
            play(ring::Ring::open(stage, first, arguments)?, arguments)
        }
        Kind::Iceoryx2 => play(iceoryx::open(stage, first, bytes, false)?, arguments),
        Kind::Iceoryx2Event => play(iceoryx::open(stage, first, bytes, true)?, arguments),
        Kind::Zmq => play(zeromq::Zmq::open(stage, first)?, arguments),
        Kind::Mq => play(mq::Mq::open(stage, first, bytes)?, arguments),
        Kind::Pipe => play(pipe::Pipe::open(stage, first, bytes)?, arguments),
        Kind::Tcp => play(tcp::Tcp::open(stage, first, bytes)?, arguments),
    }?;
    println!("{}", serde_json::to_string(&seen)?);
    Ok(())
}

fn play<L: Link>(mut link: L, arguments: &ActorArgs) -> Result<Seen> {
    let time = Duration::from_millis(arguments.time_ms);
    let mut message = vec![MORE; arguments.bytes as usize];
    let seen = match arguments.role {
        Role::Ping => ping(&mut link, &mut message, time)?,
        Role::Pong => pong(&mut link, &mut message)?,
        Role::Source => source(&mut link, &mut message, time, arguments.batch as usize)?,
        Role::Sink => sink(&mut link, time, arguments.batch > 1)?,
    };
    link.close()?;
    Ok(seen)
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn ping(link: &mut impl Link, message: &mut [u8], time: Duration) -> Result<Seen> {
    let mut taken = Histogram::<u64>::new_with_bounds(1, 1_000_000_000, 3)?;
    let begun = Instant::now();
    while begun.elapsed() < SETTLE {
        link.send(message)?;
        link.receive(|_| {})?;
    }
    let (begun, cpu) = (Instant::now(), cpu_ns());
    let mut before = begun;
    while before - begun < time {
        link.send(message)?;
        link.receive(|_| {})?;
        let now = Instant::now();
        taken.saturating_record((now - before).as_nanos() as u64);
        before = now;
    }
    let (wall, cpu) = (begun.elapsed(), cpu_ns() - cpu);
    message[0] = LAST;
    link.send(message)?;
    link.receive(|_| {})?;
    Ok(Seen {
        messages: taken.len(),
        wall_ns: wall.as_nanos() as u64,
        cpu_ns: cpu,
        p50_ns: taken.value_at_quantile(0.50) / 2,
        p99_ns: taken.value_at_quantile(0.99) / 2,
    })
}

fn pong(link: &mut impl Link, message: &mut [u8]) -> Result<Seen> {
    let mut seen = Seen::default();
    let (mut is_last, mut first) = (false, None);
    while !is_last {
        link.receive(|bytes| {
            is_last = bytes[0] == LAST;
            let common = bytes.len().min(message.len());
            message[..common].copy_from_slice(&bytes[..common]);
        })?;
        link.send(message)?;
        first.get_or_insert_with(|| (Instant::now(), cpu_ns()));
        seen.messages += 1;
    }
    if let Some((begun, cpu)) = first {
        seen.wall_ns = begun.elapsed().as_nanos() as u64;
        seen.cpu_ns = cpu_ns() - cpu;
    }
    Ok(seen)
}

fn source(link: &mut impl Link, message: &mut [u8], time: Duration, batch: usize) -> Result<Seen> {
    // A little longer than the sink measures.
    let time = SETTLE * 3 + time;
    let (begun, mut cpu, mut seen) = (Instant::now(), cpu_ns(), Seen::default());
    let messages = vec![&*message; batch];
    let mut is_settled = false;
    while begun.elapsed() < time {
        if !is_settled && begun.elapsed() > SETTLE {
            (cpu, is_settled, seen.messages) = (cpu_ns(), true, 0);
        }
        for _ in 0..LOOK.div_ceil(batch as u64) {
            match batch {
                1 => link.send(messages[0])?,
                _ => link.send_batch(&messages)?,
            }
            seen.messages += batch as u64;
        }
    }
    seen.wall_ns = (begun.elapsed() - SETTLE).as_nanos() as u64;
    seen.cpu_ns = cpu_ns() - cpu;
    drop(messages);
    message[0] = LAST;
    link.send(message)?;
    Ok(seen)
}

fn sink(link: &mut impl Link, time: Duration, is_batched: bool) -> Result<Seen> {
    let (mut count, mut is_last, mut sum) = (0u64, false, 0u64);
    let mut window: Option<(Instant, u64, u64)> = None;
    let mut seen = Seen::default();
    let mut first = None;
    let mut looked = 0;
    while !is_last {
        let each = |bytes: &[u8]| {
            is_last = bytes[0] == LAST;
            // Both ends of it are looked at, as a program would.
            sum = sum.wrapping_add(u64::from(bytes[0]) + u64::from(bytes[bytes.len() - 1]));
            count += 1;
        };
        match is_batched {
            true => link.receive_batch(each)?,
            false => link.receive(each)?,
        }
        if count - looked < LOOK && !is_last {
            continue;
        }
        looked = count;
        let now = Instant::now();
        let begun = *first.get_or_insert(now);
        match window {
            None if now - begun > SETTLE => window = Some((now, count, cpu_ns())),
            Some((since, before, cpu)) if seen.messages == 0 && now - since >= time => {
                seen.wall_ns = (now - since).as_nanos() as u64;
                seen.cpu_ns = cpu_ns() - cpu;
                seen.messages = count - before;
            }
            _ => {}
        }
    }
    std::hint::black_box(sum);
    match seen.messages {
        0 => Err("the sender ended before the time was over".into()),
        _ => Ok(seen),
    }
}
