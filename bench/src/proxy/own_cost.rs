//! What the proxy itself adds to a round trip, measured against a plain connection: two more
//! hops through the kernel and its own loop. It is taken off the delay, so that `--rtt-us 100` adds
//! 100 us in all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::serve;
use crate::error::{Because, Result};

/// Round trips measured each way.
const ROUNDS: usize = 400;

/// Bytes of a request and of a reply: about a remote read of 4 KiB.
const SIZES: (usize, usize) = (38, 4137);

/// Round trip through an undelayed proxy minus a direct one.
pub fn own_cost() -> Result<Duration> {
    let listen = || TcpListener::bind("127.0.0.1:0").because(|| "measuring the proxy");
    let (echo, front) = (listen()?, listen()?);
    let echo_at = echo.local_addr().because(|| "measuring the proxy")?;
    let front_at = front.local_addr().because(|| "measuring the proxy")?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        thread::spawn(move || answer(&echo, 2));
        scope.spawn(|| {
            serve(&front, echo_at, Duration::ZERO, || {
                stop.load(Ordering::Relaxed)
            })
        });
        let direct = quiet_round_trip(echo_at);
        let proxied = quiet_round_trip(front_at);
        stop.store(true, Ordering::Relaxed);
        Ok(proxied?.saturating_sub(direct?))
    })
}

/// Answers that many connections, one after the other.
fn answer(listener: &TcpListener, connections: usize) {
    for stream in listener.incoming().take(connections).flatten() {
        let mut stream = stream;
        let _ = stream.set_nodelay(true);
        let (mut request, reply) = ([0; SIZES.0], [7; SIZES.1]);
        while stream.read_exact(&mut request).is_ok() && stream.write_all(&reply).is_ok() {}
    }
}

/// The lower quartile: what it takes when nobody disturbs.
fn quiet_round_trip(at: SocketAddr) -> Result<Duration> {
    let name = || format!("round trips to {at}");
    let mut stream = TcpStream::connect(at).because(name)?;
    stream.set_nodelay(true).because(name)?;
    let mut reply = [0; SIZES.1];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        stream.write_all(&[7; SIZES.0]).because(name)?;
        stream.read_exact(&mut reply).because(name)?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times[ROUNDS / 4])
}
