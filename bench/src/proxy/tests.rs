//! The proxy delays by what was asked for, does not serialise a pipeline, and passes ends on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::serve;

/// A server that sends everything back, with a proxy before it.
fn echo_behind(rtt: Duration) -> (SocketAddr, Arc<AtomicBool>) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut &stream, &mut writer);
            });
        }
    });
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = front.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&stop);
    thread::spawn(move || serve(&front, to, rtt / 2, || ends.load(Ordering::Relaxed)));
    (at, stop)
}

#[test]
fn a_round_trip_takes_at_least_what_was_asked_for() {
    let rtt = Duration::from_millis(20);
    let (at, stop) = echo_behind(rtt);
    let mut stream = TcpStream::connect(at).unwrap();
    for number in 0..5_u8 {
        let begun = Instant::now();
        stream.write_all(&[number; 100]).unwrap();
        let mut answer = [0; 100];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [number; 100]);
        assert!(begun.elapsed() >= rtt, "{:?}", begun.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
}

#[test]
fn a_pipeline_is_delayed_and_not_serialised() {
    let rtt = Duration::from_millis(50);
    let (at, stop) = echo_behind(rtt);
    let mut stream = TcpStream::connect(at).unwrap();
    let begun = Instant::now();
    for number in 0..100_u8 {
        stream.write_all(&[number]).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    let mut answer = [0; 100];
    stream.read_exact(&mut answer).unwrap();
    // One after the other would take 100 round trips, 5 s.
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(answer.to_vec(), (0..100).collect::<Vec<u8>>());
    stop.store(true, Ordering::Relaxed);
}

#[test]
fn megabytes_and_the_end_arrive() {
    let (at, stop) = echo_behind(Duration::from_millis(1));
    let stream = TcpStream::connect(at).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent: Vec<u8> = (0..30_000_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    let copy = sent.clone();
    let sender = thread::spawn(move || {
        writer.write_all(&copy).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    (&stream).read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert!(got == sent, "{} bytes of {}", got.len(), sent.len());
    stop.store(true, Ordering::Relaxed);
}
